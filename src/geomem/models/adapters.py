"""Small changes of a model's weights: LoRA files of diffusers, PEFT and kohya, and textual inversions; safetensors alone.

The network keeps its own weights beside the adapter's, so that one network gives the score of both, see `Adapted`.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
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
# Most tensors of an adapter, and bound of an alpha: each far beyond any model's.
_MOST, _LARGEST = 20_000, 1e6


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
    tensors, metadata = read_tensors(path, most=_MOST)
    if not tensors:
        raise InputError(f"{where}: holds no tensors; copy or download it again.")
    for name, tensor in tensors.items():
        if not bool(torch.isfinite(tensor).all()):
            raise InputError(f"{where}: holds NaN or infinity in {printable(name)[:80]}; it is damaged.")
    if not any("lora" in name for name in tensors):
        return _inverted(tensors, where, path.stem, texts)
    kind = type(network).__name__
    if kind not in _LOADERS:
        raise InputError(f"{where}: is a LoRA, which can be used with {', '.join(_LOADERS)}, not with a {kind}.")
    try:
        state, alphas, settings = _diffusers_form(tensors, metadata, path, part, _LOADERS[kind], network)
        groups = {name.split(".")[0] for name in state}
        layers = {name: _named(name, state, alphas, settings, where) for name in sorted(groups & {part, *_ENCODERS})}
    except InputError:
        raise
    except Exception as error:  # converters raise errors of many kinds
        raise InputError(f"{where}: cannot be read as a LoRA ({reason_of(error)}).") from error
    strange = groups - {part, *_ENCODERS}
    if strange:
        raise InputError(f"{where}: changes {printable(min(strange))[:60]}, which is no part of this model's {kind}.")
    for name, some in layers.items():
        if name == part:
            _load(network, some, where, "model")
        else:
            _of_encoder(name, some, where, texts)
    return part in layers


def switch(network: Any, on: bool) -> None:
    """Switch the adapter of a network on or off, and with it between a fine-tuned model and its base."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    for module in network.modules():
        if isinstance(module, BaseTunerLayer):
            module.enable_adapters(enabled=on)
    network.requires_grad_(False)  # PEFT would train what it switches on


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
) -> tuple[dict[str, Tensor], dict[str, float], dict[str, Any]]:
    """Tensors named after the parts that they change, their alphas and their settings."""
    import diffusers.loaders

    if all(name.startswith(_PEFT) for name in tensors):  # as PEFT saves an adapter of the network alone
        config = read_json(path.parent / "adapter_config.json") if exists(path.parent / "adapter_config.json") else {}
        if config.get("peft_type", "LORA") != "LORA":
            raise InputError(
                f"{printable(path)}: is an adapter of type {printable(str(config['peft_type']))[:40]}; LoRA is supported."
            )
        settings = {f"{part}.{key}": value for key, value in config.items() if value is not None}
        return {f"{part}.{name.removeprefix(_PEFT)}": v for name, v in tensors.items()}, {}, settings
    options = {"unet_config": network.config} if part == "unet" else {"return_alphas": True}
    found = getattr(diffusers.loaders, loader).lora_state_dict(dict(tensors), **options)
    state, alphas = found if isinstance(found, tuple) else (found, None)
    settings = json.loads(metadata[_METADATA]) if _METADATA in metadata else {}
    known = (part, *_ENCODERS)
    # Tensors of the network alone may be without the part's name.
    state = {name if name.split(".")[0] in known else f"{part}.{name}": v for name, v in state.items()}
    return state, dict(alphas or {}), settings


def _load(network: Any, layers: "_Layers", where: str, what: str) -> None:
    """Add layers to a network.

    PEFT puts them in, with settings made here: those of a file may hold patterns without end and ranks beyond its tensors.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model, set_peft_model_state_dict
    except ImportError:
        raise InputError(f'{where}: is a LoRA; install what reads them: pip install "geomem[text]"') from None
    modules = dict(network.named_modules())
    targets = sorted({_layer(name) for name in layers.tensors})
    unknown = [name for name in targets if name not in modules]
    if unknown:
        raise InputError(
            f"{where}: changes {len(unknown)} layers that the {what} does not have ({printable(unknown[0])[:80]}, ...); it was made for "
            "another model."
        )
    ranks = {name: _rank(name, layers.tensors, modules[name], where) for name in targets}
    try:
        alphas = {name: layers.alpha(name, rank) for name, rank in ranks.items()}
        # A name is a pattern to PEFT; "^" keeps it from fitting a longer name's end.
        config = LoraConfig(
            r=max(ranks.values()),
            lora_alpha=1,
            target_modules=targets,
            rank_pattern={f"^{re.escape(name)}": rank for name, rank in ranks.items()},
            alpha_pattern={f"^{re.escape(name)}": alpha for name, alpha in alphas.items()},
            use_dora=any("lora_magnitude_vector" in name for name in layers.tensors),
            lora_bias=any("lora_B" in name and name.endswith(".bias") for name in layers.tensors),
            use_rslora=layers.settings.get("use_rslora") is True,
        )
        inject_adapter_in_model(config, network, adapter_name=_NAME, state_dict=layers.tensors)
        report: Any = set_peft_model_state_dict(network, layers.tensors, _NAME)
        lost = [*report.unexpected_keys, *(name for name in report.missing_keys if f".{_NAME}" in name)]
        if lost:
            raise ValueError(f"it has no place for {lost[0]}")
    except InputError:
        raise
    except Exception as error:  # a LoRA can hold anything
        raise InputError(
            f"{where}: cannot be added to the {what} ({reason_of(error)}); it was made for another model."
        ) from error
    network.to(next(network.parameters()).dtype)
    network.eval().requires_grad_(False)


@dataclass(frozen=True)
class _Layers:
    """What a LoRA changes in one network, named as PEFT does.

    Attributes:
        tensors: Tensors by their names: layer, then lora_A.weight or lora_B.weight.
        alphas: Alphas that are stored layer by layer, as kohya's scripts do.
        settings: PEFT's settings, as far as they are used: lora_alpha, alpha_pattern and use_rslora.
        where: The file, for messages.
    """

    tensors: dict[str, Tensor]
    alphas: dict[str, float]
    settings: Mapping[str, Any]
    where: str

    def alpha(self, layer: str, rank: int) -> float:
        """Alpha of a layer: what the layer adds is B A alpha/rank. Without any it is the rank."""
        found = self.alphas.get(layer, self.settings.get("lora_alpha", rank))
        for pattern, alpha in dict(self.settings.get("alpha_pattern") or {}).items():
            # PEFT takes these as patterns, but writes names; names cannot be without end.
            name = str(pattern).removeprefix("^")
            if layer == name or layer.endswith(f".{name}"):
                found = alpha
        if isinstance(found, bool) or not isinstance(found, int | float) or not abs(found) < _LARGEST:
            raise InputError(f"{self.where}: its settings give {printable(layer)[:80]} no alpha that is a number.")
        return float(found)


def _named(
    part: str, state: dict[str, Tensor], alphas: Mapping[str, float], settings: Mapping[str, Any], where: str
) -> _Layers:
    """The layers of one part, of the names that diffusers gives them."""
    from diffusers.utils.state_dict_utils import (
        StateDictType,
        convert_state_dict_to_diffusers,
        convert_state_dict_to_peft,
        convert_unet_state_dict_to_peft,
    )

    start = f"{part}."
    own = {name.removeprefix(start): tensor for name, tensor in state.items() if name.startswith(start)}
    # A file may have names of both kinds: diffusers' training scripts rename those of attention layers alone.
    ready = {name: name for name in own if ".lora_A" in name or ".lora_B" in name or ".lora_magnitude" in name}
    names = {name: name for name in own if name not in ready}  # converters rename, whatever the values are
    if names and part in _ENCODERS:
        names = convert_state_dict_to_diffusers(names, StateDictType.DIFFUSERS_OLD)
        names = convert_state_dict_to_peft(names, StateDictType.DIFFUSERS)
    elif names:
        names = convert_unet_state_dict_to_peft(names)
    names = {**ready, **names}
    layer_of = {old: _layer(new) for new, old in names.items()}
    stems = {name.removeprefix(start).removesuffix(".alpha"): alpha for name, alpha in alphas.items()}
    found = {layer_of.get(stem, stem): alpha for stem, alpha in stems.items()}
    return _Layers(
        {new: own[old] for new, old in names.items()},
        found,
        {name.removeprefix(start): value for name, value in settings.items() if name.startswith(start)},
        where,
    )


def _layer(name: str) -> str:
    """The layer that a tensor belongs to."""
    return name.split(".lora_")[0]


def _rank(layer: str, tensors: Mapping[str, Tensor], module: Any, where: str) -> int:
    """The rank of a layer's change, whose tensors have the layer's own inputs and outputs.

    Raises:
        InputError: If they do not, so that PEFT would ask for memory which the file does not have.
    """
    weight = getattr(module, "weight", None)
    down, up = (tensors.get(f"{layer}.lora_{side}.weight") for side in "AB")
    if down is None or up is None or not isinstance(weight, Tensor):
        raise InputError(f"{where}: has no pair of tensors for {printable(layer)[:80]}; it is damaged.")
    rank = down.shape[0] if down.ndim else 0
    fits = down.ndim == up.ndim == weight.ndim >= 2 and rank >= 1
    if not fits or down.shape[1] != weight.shape[1] or (up.shape[0], up.shape[1]) != (weight.shape[0], rank):
        raise InputError(
            f"{where}: its change of {printable(layer)[:80]} has the shape {_sizes(up)} {_sizes(down)}, but the layer has {_sizes(weight)}; "
            "it was made for another model."
        )
    return int(rank)


def _sizes(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "()"


def _of_encoder(name: str, layers: _Layers, where: str, texts: Texts | None) -> None:
    """Have a text encoder changed once it is read."""
    if texts is None or name not in texts.names:
        raise InputError(f"{where}: changes the {name}, which this model does not have.")

    def change(_: Any, encoder: Any) -> None:
        # transformers' CLIP models of today are without the part that older files name.
        flat = not hasattr(encoder, "text_model")

        def named(layer: str) -> str:
            return layer.removeprefix("text_model.") if flat else layer

        tensors = {named(key): tensor for key, tensor in layers.tensors.items()}
        alphas = {named(key): alpha for key, alpha in layers.alphas.items()}
        _load(encoder, replace(layers, tensors=tensors, alphas=alphas), where, name)

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
        rows = vectors[None] if vectors.ndim == 1 else vectors
        fits = rows.ndim == 2 and rows.is_floating_point() and 1 <= len(rows) <= 100 and rows.shape[1] > 0
        if not fits or not word.isprintable() or not word.strip() or encoder not in texts.names:
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
        # A word that is known already would change what other texts mean.
        if set(tokens) & set(tokenizer.get_vocab()) or tokenizer.add_tokens(tokens) != len(tokens):
            raise InputError(f"{where}: its word {printable(tokens[0])!r} is known to the tokenizer already.")
        encoder.resize_token_embeddings(len(tokenizer), mean_resizing=False)
        with torch.no_grad():
            encoder.get_input_embeddings().weight[tokenizer.convert_tokens_to_ids(tokens)] = rows.to(table)
        encoder.requires_grad_(False)

    return change
