"""Text encoders of a pipeline: from words to what a network is conditioned on.

Tokenizers and encoders are transformers' own classes, named in a table here and not by the model's folder. Nothing of the folder runs.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from geomem.errors import InputError, reason_of
from geomem.files import exists, is_folder, names, printable, read_json
from geomem.memory import check_memory
from geomem.models.single import Checkpoint
from geomem.models.weights import SUFFIX, Weights, few_layers, find_weights

if TYPE_CHECKING:
    from geomem.models.families import Word

__all__ = ["Encoded", "Texts"]

# Classes of encoders, and of their tokenizers.
_ENCODERS = {
    "CLIPTextModel": "CLIPTokenizer",
    "CLIPTextModelWithProjection": "CLIPTokenizer",
    "T5EncoderModel": "T5Tokenizer",
}
_EXTRA = 'install what reads them: pip install "geomem[text]"'


@dataclass(frozen=True)
class Encoded:
    """Encoded texts (n).

    Attributes:
        last: Last hidden states (n, tokens, width).
        penultimate: Those of the layer before (n, tokens, width); the last where an encoder gives no other.
        pooled: One vector a text (n, width), projected where the encoder projects it.
        mask: 1 for tokens of the text, 0 for padding (n, tokens).
    """

    last: Tensor
    penultimate: Tensor
    pooled: Tensor
    mask: Tensor


@dataclass
class Texts:
    """The text encoders of a pipeline, each read when it is first used.

    Attributes:
        folder: The pipeline's folder.
        pipeline: Class of the pipeline.
        names: Classes of its text encoders, by name.
        zeros_for_none: Whether zeros stand for no text, as in SDXL, instead of an encoded empty text.
        factor: Pixels of an image for each latent, along a side.
        changed: What adapters change in an encoder, by name, see `models.adapters`.
        spelled: Words of adapters that are several tokens, written so.
        checkpoint: A file that holds encoders whose folders have no weights.
    """

    folder: Path
    pipeline: str
    names: Mapping[str, str]
    zeros_for_none: bool = False
    factor: int = 8
    changed: dict[str, list[Any]] = field(default_factory=dict)
    spelled: dict[str, str] = field(default_factory=dict)
    checkpoint: Checkpoint | None = None
    _read: dict[str, tuple[Any, Any]] = field(default_factory=dict, repr=False)

    def pixels(self, shape: tuple[int, ...]) -> int:
        """Side in pixels of an image with latents of this shape."""
        return self.factor * shape[-1]

    @torch.no_grad()
    def clip(self, name: str, words: Sequence["Word"]) -> Encoded:
        """Texts encoded by a CLIP encoder; no text is encoded as an empty one.

        Raises:
            InputError: If the encoder cannot be read.
        """
        tokenizer, encoder = self._encoder(name)
        with _explained(self.folder / name):
            length = min(int(tokenizer.model_max_length), int(encoder.config.max_position_embeddings))
            ids, mask = self._tokens(tokenizer, words, length)
            attended = mask if getattr(encoder.config, "use_attention_mask", False) else None
            out = encoder(ids, attention_mask=attended, output_hidden_states=True)
            last = out.last_hidden_state
            pooled = out.text_embeds if "text_embeds" in out else out.pooler_output
        return Encoded(last, out.hidden_states[-2] if len(out.hidden_states) > 1 else last, pooled, mask.to(last))

    @torch.no_grad()
    def t5(self, name: str, words: Sequence["Word"], length: int, *, masked: bool = False) -> Encoded:
        """Texts encoded by T5, of `length` tokens; `masked` hides the padding from it.

        Raises:
            InputError: If the encoder cannot be read.
        """
        tokenizer, encoder = self._encoder(name)
        with _explained(self.folder / name):
            ids, mask = self._tokens(tokenizer, words, length)
            last = encoder(ids, attention_mask=mask if masked else None).last_hidden_state
        return Encoded(last, last, last.mean(1), mask.to(last))

    def _tokens(self, tokenizer: Any, words: Sequence["Word"], length: int) -> tuple[Tensor, Tensor]:
        texts = ["" if word is None else str(word) for word in words]
        for word, tokens in self.spelled.items():
            texts = [text.replace(word, tokens) for text in texts]
        found = tokenizer(texts, padding="max_length", max_length=length, truncation=True, return_tensors="pt")
        return found.input_ids, found.attention_mask

    def _encoder(self, name: str) -> tuple[Any, Any]:
        """Tokenizer and encoder."""
        if name not in self._read:
            if name not in self.names:
                raise InputError(
                    f"{printable(self.folder)}: has no {name}, which encodes the texts that its network takes; copy or download it as well."
                )
            self._read[name] = _opened(self.folder, name, self.names[name], self.checkpoint)
            for change in self.changed.get(name, []):
                change(*self._read[name])
        return self._read[name]


def _opened(folder: Path, name: str, kind: str, checkpoint: Checkpoint | None) -> tuple[Any, Any]:
    """Tokenizer and encoder of a part of a pipeline, in float32.

    Raises:
        InputError: For a class that is not known, missing parts, or weights that are no safetensors.
    """
    try:
        import transformers
    except ImportError:
        raise InputError(f"{printable(folder)}: is conditioned on texts; {_EXTRA}.") from None
    where, words = folder / name, folder / name.replace("text_encoder", "tokenizer")
    if kind not in _ENCODERS:
        raise InputError(
            f"{printable(where)}: its texts are encoded by {printable(kind)[:60]}; supported are {', '.join(_ENCODERS)}."
        )
    for place, needed in ((where, "config.json"), (words, "")):
        if not is_folder(place) or (needed and not exists(place / needed)):
            raise InputError(
                f"{printable(place)}: is missing, so texts cannot be encoded; copy or download it as well."
            )
    if exists(where / "adapter_config.json"):  # transformers would open the model that it names, wherever that is
        raise InputError(f"{printable(where)}: holds an adapter_config.json, which an encoder has not; take it out.")
    cls = getattr(transformers, kind)
    single = checkpoint is not None and not any(held.endswith(SUFFIX) for held in names(where))
    # safetensors alone, and within the folder
    weights = checkpoint.all_weights if checkpoint is not None and single else find_weights(where, stem="model")
    _plan(cls, where, weights)
    try:
        with _silent(transformers.utils.logging):
            tokenizer = getattr(transformers, _ENCODERS[kind]).from_pretrained(words, local_files_only=True)
            if checkpoint is not None and single:
                return tokenizer, checkpoint.encoder(cls, folder, name).eval().requires_grad_(False)
            encoder, report = cls.from_pretrained(
                where,
                local_files_only=True,
                use_safetensors=True,
                variant=weights.variant,
                dtype=torch.float32,
                attn_implementation="eager",  # a configuration may name code of the hub here
                output_loading_info=True,
            )
    except InputError:
        raise
    except Exception as error:  # a configuration can hold anything
        raise InputError(
            f"{printable(where)}: its texts' encoder cannot be opened ({reason_of(error)}); it may be damaged, or was saved by another "
            "version of transformers."
        ) from error
    for problem in ("missing_keys", "mismatched_keys"):
        if report[problem]:
            first = printable(str(sorted(map(str, report[problem]))[0]))
            raise InputError(f"{printable(where)}: its weights do not fit its config.json ({problem}: {first}, ...).")
    return tokenizer, encoder.eval().requires_grad_(False)


def _plan(cls: Any, where: Path, weights: Weights) -> None:
    """Raise an error if an encoder's configuration asks for much more memory than its weights hold."""
    config = read_json(where / "config.json")
    kernel = next((v for k, v in config.items() if "attn_implementation" in k and isinstance(v, str)), "")
    if "/" in kernel:  # transformers would load it from the hub, and run it
        raise InputError(
            f"{printable(where)}: its config.json names code to run, {printable(kernel)[:80]}; it is refused."
        )
    try:
        with torch.device("meta"), few_layers(len(weights.files)):
            plan = cls(cls.config_class.from_dict(dict(config)))
    except Exception as error:  # a configuration can hold anything
        raise InputError(
            f"{printable(where)}: its config.json cannot be opened as a {cls.__name__} ({reason_of(error)}); it may be damaged."
        ) from error
    wanted = sum(p.numel() for p in plan.parameters())
    held = sum(math.prod(shape) for _, shape in weights.files.values())
    if wanted > 2 * held:  # tied tensors are stored once
        raise InputError(
            f"{printable(where)}: its weights hold {held:,} values, but its config.json asks for {wanted:,}; they do not belong together."
        )
    check_memory(4 * wanted, printable(where), "use a computer with more memory")


@contextmanager
def _explained(where: Path) -> Iterator[None]:
    """Errors of encoding as one that names the encoder's folder: tokenizers and configurations can hold anything."""
    try:
        yield
    except Exception as error:
        raise InputError(
            f"{printable(where)}: texts cannot be encoded ({reason_of(error)}); its tokenizer and its encoder may be damaged, or do not "
            "belong together."
        ) from error


@contextmanager
def _silent(logging: Any) -> Iterator[None]:
    """No progress bars and warnings of transformers; what matters is checked."""
    said, shown = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(said)
        if shown:
            logging.enable_progress_bar()
