"""Find the parts of a diffusers folder without running any code in it.

Configurations must be JSON and weights safetensors. Pickles are refused, because opening one can run code.
"""

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geomem.errors import InputError, reason_of
from geomem.files import exists, is_file, is_folder, names, path_of, printable, read_json
from geomem.models.families import FAMILIES
from geomem.models.single import Checkpoint, open_checkpoint
from geomem.models.weights import PICKLES, Weights, find_weights, pickled

__all__ = ["Parts", "find"]

_FORMS = (
    "A model is a diffusers folder (model_index.json with unet/ or transformer/ and scheduler/, or a network's config.json with its "
    "weights), or a model of the hub as hf:owner/name, such as hf:google/ddpm-cifar10-32"
)
# Networks that have several inputs beside a text, or that are no score of images, and what to do with them.
_REFUSED = {
    "StableCascadeUNet": "its latents come from two stages",
    "Kandinsky3UNet": "its text encoder has no family here",
    "PriorTransformer": "it makes embeddings, not images",
    "UNet3DConditionModel": "it makes videos",
    "ConsistencyModelUNet": "it maps noise to samples in one step, and has no score",
}
# Libraries whose classes a pipeline may name; none of them is looked up by its name.
_LIBRARIES = ("diffusers", "transformers", "stable_diffusion")
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


@dataclass(frozen=True)
class Parts:
    """A model's parts on disk.

    Attributes:
        name: Name given by the user.
        network: Folder with config.json and weights.
        config: Content of the network's config.json.
        weights: Its weights.
        scheduler: Content of scheduler_config.json.
        scheduler_path: Path of that file.
        folder: The model's folder.
        pipeline: The parts of its pipeline, library and class by name; none for a network alone.
        settings: The rest of its model_index.json.
        checkpoint: The file of all its tensors; None where each part has its own.
    """

    name: str
    network: Path
    config: Mapping[str, Any]
    weights: Weights
    scheduler: Mapping[str, Any]
    scheduler_path: Path
    folder: Path
    pipeline: Mapping[str, tuple[str, str]]
    settings: Mapping[str, Any]
    checkpoint: Checkpoint | None = None


def find(source: str | Path, scheduler: str | Path | None = None, config: str | Path | None = None) -> Parts:
    """Find the parts of a model in a folder, or download them from the hub.

    Args:
        source: Folder, or "hf:owner/name" for a model of the hub; with `config`, a .safetensors file of the original form.
        scheduler: Folder or file of a scheduler's configuration to use instead of the model's own.
        config: Folder of the configurations of a single file, or "hf:owner/name".

    Raises:
        InputError: If it is not such a folder, contains code or pickles, or lacks a part.
    """
    checkpoint = None if config is None else open_checkpoint(source)
    folder = _folder(str(source if config is None else config))
    network, pipeline, settings = _network(folder)
    content = read_json(network / "config.json")
    kind = content.get("_class_name")
    _is_known(kind, network / "config.json")
    weights = find_weights(network) if checkpoint is None else checkpoint.weights(str(kind), content)
    path = _scheduler(folder, network, scheduler)
    return Parts(
        printable(source),
        network,
        content,
        weights,
        read_json(path),
        path,
        folder,
        pipeline,
        settings,
        checkpoint,
    )


def _folder(source: str) -> Path:
    if not source:
        raise InputError(f"no model was given. {_FORMS}.")
    if source.startswith("hf:"):
        return _downloaded(source.removeprefix("hf:"))
    path = path_of(source)
    if is_folder(path):
        return path
    where, suffix = printable(path), path.suffix.lower()
    if not exists(path):
        hub = f"; a model of the hub is written hf:{source}" if _HUB_ID.fullmatch(source) else ""
        raise InputError(f"{where}: does not exist{hub}. {_FORMS}.")
    if suffix in PICKLES:
        raise InputError(
            f"{where}: is a pickle by its name, which can run code when it is opened and is refused. If you trust its origin, "
            "convert it once: docs/models.md, Conversions, shows how, for diffusers, CompVis, EDM and denoising-diffusion-pytorch; the "
            "result is a folder of safetensors, or a module for geomem.scores.NetworkScore."
        )
    if suffix == ".safetensors":
        raise InputError(
            f"{where}: is a file of weights, which does not say what network they belong to; give its folder, "
            f"{printable(path.parent)}, if its config.json is there. For a whole model in one file, add the diffusers folder of its kind: "
            "config=FOLDER, --config FOLDER."
        )
    raise InputError(f"{where}: is a file. {_FORMS}.")


def _downloaded(name: str) -> Path:
    """A snapshot of a hub repository, without pickles."""
    from huggingface_hub import snapshot_download

    if not _HUB_ID.fullmatch(name):
        raise InputError(f"hf:{printable(name)}: is not the name of a model on the hub, which is hf:owner/name.")
    try:
        return Path(snapshot_download(name, allow_patterns=["*.json", "*.safetensors", "*.txt", "*.model"]))
    except Exception as error:  # the library raises errors of its own, of its dependencies and of the server
        raise InputError(
            f"hf:{name}: could not be downloaded from the Hugging Face hub ({reason_of(error)}). Check the name and the network, "
            "or download it elsewhere and give its folder."
        ) from error


def _network(folder: Path) -> tuple[Path, Mapping[str, tuple[str, str]], Mapping[str, Any]]:
    """The network's folder, and the parts and settings of its pipeline."""
    index = folder / "model_index.json"
    where = printable(index)
    if not exists(index):
        if not exists(folder / "config.json"):
            raise _no_model(folder)
        return folder, {}, {}
    pipeline = read_json(index)
    parts = {k: v for k, v in pipeline.items() if isinstance(v, list) and len(v) == 2 and v[0]}
    for name, (library, cls) in parts.items():
        if not (isinstance(library, str) and isinstance(cls, str)):
            raise InputError(
                f"{where}: its part {printable(name)} is not the name of a library and of a class; it is damaged."
            )
        if library not in _LIBRARIES and (cls not in FAMILIES or FAMILIES[cls].library != library):
            raise InputError(
                f"{where}: its part {name} is {cls} of {library!r}, custom code of the model, which is not run. Rebuild the "
                "network as a module and wrap it in geomem.scores.NetworkScore."
            )
    part = next((name for name in ("unet", "transformer") if name in parts), None)
    if part is None:
        raise InputError(
            f"{where}: has no part unet or transformer (it has {', '.join(parts) or 'none'}); supported are pipelines of "
            f"{', '.join(FAMILIES)}."
        )
    _is_known(parts[part][1], index)
    inner = folder / part
    network = inner if is_folder(inner) else folder  # the oldest models on the hub have one flat folder
    if not exists(network / "config.json"):
        raise InputError(f"{printable(network)}: has no config.json, so the model's network is missing.")
    settings = {k: v for k, v in pipeline.items() if k not in parts}
    return network, {name: (library, cls) for name, (library, cls) in parts.items()}, settings


def _no_model(folder: Path) -> InputError:
    """The error for a folder without model_index.json and config.json, by what it holds instead."""
    held, where = names(folder), printable(folder)
    if "adapter_config.json" in held or any("lora" in name.lower() and name.endswith(".safetensors") for name in held):
        return InputError(
            f"{where}: holds a LoRA, a change of a model's weights and not a model. Give its base model as the model, and this with "
            f"--adapter: geomem audit BASE --adapter {shlex.quote(where)} --trained-on IMAGES."
        )
    pickles = [name for name in held if Path(name).suffix.lower() in PICKLES]
    if pickles:
        return pickled(folder, pickles[0])
    listed = ", ".join(map(printable, held[:4]))
    shown = f"it holds {listed}{' ...' if len(held) > 4 else ''}" if held else "it is empty"
    return InputError(f"{where}: is not a diffusers model ({shown}). {_FORMS}.")


def _is_known(cls: Any, where: Path) -> None:
    if not isinstance(cls, str) or cls not in FAMILIES:
        why = f" ({_REFUSED[cls]})" if isinstance(cls, str) and cls in _REFUSED else ""
        raise InputError(
            f"{printable(where)}: its network is {printable(str(cls))[:80]}{why}, but supported are {', '.join(FAMILIES)}. Wrap another network, with its "
            "conditions bound, in geomem.scores.NetworkScore."
        )


def _scheduler(folder: Path, network: Path, given: str | Path | None) -> Path:
    if given is not None:
        path = path_of(given)
        places = (
            [path] if is_file(path) else [path / "scheduler_config.json", path / "scheduler" / "scheduler_config.json"]
        )
    else:
        # If the folder is the network's own, its pipeline's scheduler is beside it.
        inside = [folder / "scheduler", folder, network, network.parent / "scheduler"]
        places = [p / "scheduler_config.json" for p in inside]
    for place in places:
        if exists(place):
            return place
    where = given or folder
    raise InputError(
        f"{printable(where)}: has no scheduler_config.json, which defines the network's noise process; give the folder of the "
        "scheduler (load's `scheduler`, --scheduler)."
    )
