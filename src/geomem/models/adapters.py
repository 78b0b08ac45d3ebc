"""Small changes of a model's weights: LoRA files of diffusers, PEFT and kohya, and textual inversions; safetensors alone.

The network keeps its own weights beside the adapter's, so that one network gives the score of both, see `Adapted`.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from geomem.errors import InputError, reason_of
from geomem.files import exists, is_file, is_folder, names, path_of, printable, read_json
from geomem.models.texts import Texts
from geomem.models.weights import PICKLES, SUFFIX, read_tensors

__all__ = ["adapt", "switch"]

_NAME = "geomem"
# Usual names of files in an adapter's folder, and what diffusers calls the loaders of LoRAs, by the network's class.
_USUAL = ("pytorch_lora_weights", "adapter_model", "learned_embeds")
_LOADERS = {
    "UNet2DConditionModel": "StableDiffusionLoraLoaderMixin",
    "SD3Transformer2DModel": "SD3LoraLoaderMixin",
    "FluxTransformer2DModel": "FluxLoraLoaderMixin",
}
_PEFT, _METADATA = "base_model.model.", "lora_adapter_metadata"
_ENCODERS = ("text_encoder", "text_encoder_2")


def adapt(network: Any, part: str, source: str | Path, texts: Texts | None) -> bool:
    """Add an adapter to a network and its text encoders.

    Args:
        network: The network.
        part: Its part in the pipeline, "unet" or "transformer".
        source: A safetensors file, or a folder that holds one.
        texts: The pipeline's text encoders; None for none.

    Returns:
        Whether the network itself has changed, and not only what encodes its texts.

    Raises:
        InputError: If it is no adapter, or belongs to another model.
    """
    path = _file(path_of(source))
    where = printable(path)
    tensors, metadata = read_tensors(path)
    if not tensors:
        raise InputError(f"{where}: holds no tensors; copy or download it again.")
    if not any("lora" in name for name in tensors):
        return _inverted(tensors, where, path.stem, texts)
    kind = type(network).__name__
    if kind not in _LOADERS:
        raise InputError(f"{where}: is a LoRA, which can be used with {', '.join(_LOADERS)}, not with a {kind}.")
    try:
        state, alphas, settings = _diffusers_form(tensors, metadata, path, part, _LOADERS[kind], network)
    except InputError:
        raise
    except Exception as error:  # converters raise errors of many kinds
        raise InputError(f"{where}: cannot be read as a LoRA ({reason_of(error)}).") from error
    groups = {name.split(".")[0] for name in state}
    strange = groups - {part, *_ENCODERS}
    if strange:
        raise InputError(f"{where}: changes {printable(min(strange))[:60]}, which is no part of this model's {kind}.")
    for name in sorted(groups & set(_ENCODERS)):
        _of_encoder(name, state, alphas, settings, where, texts)
    own = {name: tensor for name, tensor in state.items() if name.startswith(f"{part}.")}
    if own:
        _load(network, own, alphas, settings, part, where)
    return bool(own)


def switch(network: Any, on: bool) -> None:
    """Switch the adapter of a network on or off, and with it between a fine-tuned model and its base."""
    (network.enable_adapters if on else network.disable_adapters)()


def _file(path: Path) -> Path:
    """The adapter's file."""
    where = printable(path)
    if is_folder(path):
        held = [name for name in names(path) if name.endswith(SUFFIX)]
        usual = [name for name in held if name.removesuffix(SUFFIX) in _USUAL]
        if len(usual or held) == 1:
            return path / (usual or held)[0]
        poison = [name for name in names(path) if Path(name).suffix.lower() in PICKLES]
        if not held and poison:
            raise InputError(_pickle(path / poison[0]))
        found = ", ".join(map(printable, held[:4])) or "none"
        raise InputError(f"{where}: must hold one adapter as a {SUFFIX} file ({found} there); name the file to use.")
    if not exists(path):
        raise InputError(
            f"{where}: does not exist. An adapter is a LoRA or a textual inversion, a {SUFFIX} file or its folder."
        )
    if path.suffix.lower() in PICKLES:
        raise InputError(_pickle(path))
    if not is_file(path) or path.suffix != SUFFIX:
        raise InputError(f"{where}: is no {SUFFIX} file; an adapter is a LoRA or a textual inversion in this format.")
    return path


def _pickle(path: Path) -> str:
    return (
        f"{printable(path)}: is a pickle by its name, which can run code when it is opened and is refused. If you trust its origin, convert "
        'it once: python -c "import torch, safetensors.torch as s; '
        f"s.save_file(torch.load({printable(path)!r}, weights_only=True), 'adapter.safetensors')\""
    )


def _diffusers_form(
    tensors: dict[str, Tensor], metadata: Mapping[str, str], path: Path, part: str, loader: str, network: Any
) -> tuple[dict[str, Tensor], dict[str, float] | None, dict[str, Any] | None]:
    """Tensors named after the parts that they change, their alphas and their settings, each None where it is not there."""
    import diffusers.loaders

    if all(name.startswith(_PEFT) for name in tensors):  # as PEFT saves an adapter of the network alone
        config = read_json(path.parent / "adapter_config.json") if exists(path.parent / "adapter_config.json") else {}
        if config.get("peft_type", "LORA") != "LORA":
            raise InputError(
                f"{printable(path)}: is an adapter of type {str(config['peft_type'])[:40]}; LoRA is supported."
            )
        keys = ("r", "lora_alpha", "target_modules", "rank_pattern", "alpha_pattern", "use_rslora", "use_dora", "bias")
        given = {f"{part}.{key}": config[key] for key in keys if config.get(key) is not None}
        return {f"{part}.{name.removeprefix(_PEFT)}": v for name, v in tensors.items()}, None, given or None
    options = {"unet_config": network.config} if part == "unet" else {"return_alphas": True}
    found = getattr(diffusers.loaders, loader).lora_state_dict(dict(tensors), **options)
    state, alphas = found if isinstance(found, tuple) else (found, None)
    settings = json.loads(metadata[_METADATA]) if _METADATA in metadata else None
    if any("." not in name or name.split(".")[0] not in (part, *_ENCODERS) for name in state):
        # Tensors of the network alone, without the part's name.
        state = {name if name.split(".")[0] in (part, *_ENCODERS) else f"{part}.{name}": v for name, v in state.items()}
    return state, alphas or None, settings


def _load(
    network: Any,
    state: dict[str, Tensor],
    alphas: dict[str, float] | None,
    settings: dict[str, Any] | None,
    part: str,
    where: str,
) -> None:
    modules = {name for name, _ in network.named_modules()}
    named = {name.removeprefix(f"{part}.").split(".lora")[0].split(".processor")[0] for name in state}
    unknown = sorted(
        name for name in named if name not in modules and not name.endswith("attn1") and "alpha" not in name
    )
    if unknown:
        raise InputError(
            f"{where}: changes {len(unknown)} layers that the model does not have ({printable(unknown[0])}, ...); it was made for another one."
        )
    from diffusers.utils import logging

    said = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        network.load_lora_adapter(
            state, prefix=part, adapter_name=_NAME, network_alphas=None if settings else alphas, metadata=settings
        )
    except ImportError:
        raise InputError(f'{where}: is a LoRA; install what reads them: pip install "geomem[text]"') from None
    except Exception as error:  # a LoRA can hold anything
        raise InputError(
            f"{where}: cannot be added to the model ({reason_of(error)}); it was made for another one."
        ) from error
    finally:
        logging.set_verbosity(said)
    network.to(next(network.parameters()).dtype)


def _of_encoder(
    name: str,
    state: dict[str, Tensor],
    alphas: dict[str, float] | None,
    settings: dict[str, Any] | None,
    where: str,
    texts: Texts | None,
) -> None:
    if texts is None or name not in texts.names:
        raise InputError(f"{where}: changes the {name}, which this model does not have.")

    def change(_: Any, encoder: Any) -> None:
        import diffusers.loaders

        try:
            getattr(diffusers.loaders, _LOADERS["UNet2DConditionModel"]).load_lora_into_text_encoder(
                state,
                None if settings else alphas,
                encoder,
                prefix=name,
                adapter_name=_NAME,
                metadata=settings,
                low_cpu_mem_usage=False,
            )
        except Exception as error:  # a LoRA can hold anything
            raise InputError(f"{where}: cannot be added to the {name} ({reason_of(error)}).") from error
        encoder.eval().requires_grad_(False)

    texts.changed.setdefault(name, []).append(change)


def _inverted(tensors: dict[str, Tensor], where: str, stem: str, texts: Texts | None) -> bool:
    """Add the words of a textual inversion to the tokenizers: one token for each of its vectors.

    Returns:
        False: the network itself is the same.

    Raises:
        InputError: If the file is none, or the vectors do not fit.
    """
    if texts is None or not texts.names:
        raise InputError(f"{where}: is a textual inversion, but the model is not conditioned on texts.")
    # diffusers: the word is the name. SDXL: one tensor an encoder. Others: "emb_params", and the word is the file's name.
    of_encoder = {"clip_l": "text_encoder", "clip_g": "text_encoder_2", "emb_params": "text_encoder"}
    for name, vectors in tensors.items():
        encoder, word = of_encoder.get(name, "text_encoder"), stem if name in of_encoder else name
        rows = vectors.reshape(-1, vectors.shape[-1]) if vectors.ndim else vectors
        if rows.ndim != 2 or len(rows) > 100 or encoder not in texts.names:
            raise InputError(f"{where}: is neither a LoRA nor a textual inversion of this model.")
        tokens = [word, *(f"{word}_{i}" for i in range(1, len(rows)))]
        texts.spelled[word] = " ".join(tokens)
        texts.changed.setdefault(encoder, []).append(_word(tokens, rows, where))
    return False


def _word(tokens: list[str], rows: Tensor, where: str) -> Any:
    def change(tokenizer: Any, encoder: Any) -> None:
        table = encoder.get_input_embeddings().weight
        if rows.shape[1] != table.shape[1]:
            raise InputError(
                f"{where}: its vectors have {rows.shape[1]} values, but the model's text encoder takes {table.shape[1]}."
            )
        if tokenizer.add_tokens(tokens) != len(tokens):
            raise InputError(f"{where}: its word {printable(tokens[0])!r} is known to the tokenizer already.")
        encoder.resize_token_embeddings(len(tokenizer), mean_resizing=False)
        with torch.no_grad():
            encoder.get_input_embeddings().weight[tokenizer.convert_tokens_to_ids(tokens)] = rows.to(table)
        encoder.requires_grad_(False)

    return change
