"""Find the parts of a diffusers folder without running any code in it.

Configurations must be JSON and weights safetensors. Pickles are refused, because opening one can run code.
"""

import json
import os
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geomem.errors import InputError, reason_of

__all__ = ["NETWORKS", "Parts", "find"]

# Supported network classes, and the modules that define them.
NETWORKS = {"UNet2DModel": "diffusers", "PixelMLP": "geomem.models.pixels"}
_NETWORK = "UNet2DModel"
_PICKLES = (".bin", ".ckpt", ".pkl", ".pt", ".pth")
_FORMS = (
    "A model is a diffusers folder (model_index.json with unet/ and scheduler/, or a UNet2DModel's config.json with its "
    "weights), or its id on the hub, such as google/ddpm-cifar10-32"
)
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


@dataclass(frozen=True)
class Parts:
    """A model's parts on disk.

    Attributes:
        name: Name given by the user.
        network: Folder with config.json and weights.
        config: Content of the network's config.json.
        variant: Variant in the file name of the weights, such as "fp16"; None for none.
        scheduler: Content of scheduler_config.json.
        scheduler_path: Path of that file.
        latent: Whether the pipeline generates latents, which another network decodes to images.
    """

    name: str
    network: Path
    config: Mapping[str, Any]
    variant: str | None
    scheduler: Mapping[str, Any]
    scheduler_path: Path
    latent: bool


def find(source: str | Path, scheduler: str | Path | None = None) -> Parts:
    """Find the parts of a model in a folder, or download them from the hub.

    Args:
        source: Folder or hub id.
        scheduler: Folder or file of a scheduler's configuration to use instead of the model's own.

    Raises:
        InputError: If it is not such a folder, contains code or pickles, or lacks a part.
    """
    folder = _folder(str(source))
    network, pipeline = _network(folder)
    config = _read(network / "config.json")
    _is_unet(config.get("_class_name"), network / "config.json")
    variant = _weights(network)
    path = _scheduler(folder, network, scheduler)
    latent = any(name.startswith("vq") or name == "vae" for name in pipeline)
    return Parts(str(source), network, config, variant, _read(path), path, latent)


def _folder(source: str) -> Path:
    if not source:
        raise InputError(f"no model was given. {_FORMS}.")
    path = Path(os.path.expanduser(source))  # noqa: PTH111 - an unknown user name must not raise here
    if path.is_dir():
        return path
    if path.exists():
        if path.suffix.lower() in _PICKLES:
            raise InputError(
                f"{path}: is a pickle by its name, which can run code when it is opened and is refused. If you trust its origin, "
                "open it where it was made and save the network as a folder of safetensors: unet.save_pretrained(FOLDER)."
            )
        raise InputError(f"{path}: is a file. {_FORMS}.")
    name = source.removeprefix("hf:")
    if source.startswith("hf:") or (_HUB_ID.fullmatch(source) and not path.parent.exists()):
        return _downloaded(name)
    raise InputError(f"{path}: does not exist. {_FORMS}.")


def _downloaded(name: str) -> Path:
    """A snapshot of a hub repository, without pickles."""
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        raise InputError(
            f"{name}: a model of the hub needs the extra diffusers: pip install 'geomem[diffusers]'."
        ) from None
    try:
        return Path(snapshot_download(name, allow_patterns=["*.json", "*.safetensors"]))
    except Exception as error:  # the library raises errors of its own, of its dependencies and of the server
        raise InputError(
            f"{name}: is not a folder here, and could not be downloaded from the Hugging Face hub ({reason_of(error)}). Check the "
            "name and the network, or download it elsewhere and give its folder."
        ) from error


def _network(folder: Path) -> tuple[Path, Mapping[str, Any]]:
    """The network's folder, and the parts of its pipeline."""
    index = folder / "model_index.json"
    if not index.exists():
        if not (folder / "config.json").exists():
            held = sorted(p.name for p in folder.iterdir())
            if any(Path(n).suffix.lower() in _PICKLES for n in held):
                raise _pickled(folder, next(n for n in held if Path(n).suffix.lower() in _PICKLES))
            shown = f"it holds {', '.join(held[:4])}{' ...' if len(held) > 4 else ''}" if held else "it is empty"
            raise InputError(f"{folder}: is not a diffusers model ({shown}). {_FORMS}.")
        return folder, {}
    pipeline = _read(index)
    parts = {k: v for k, v in pipeline.items() if isinstance(v, list) and len(v) == 2 and v[0]}
    for name, (library, cls) in parts.items():
        if library not in ("diffusers", "transformers") and NETWORKS.get(cls) != library:
            raise InputError(
                f"{index}: its part {name} is {cls} of {library!r}, custom code of the model, which is not run. Rebuild the "
                "network as a module and wrap it in geomem.scores.NetworkScore."
            )
    if "unet" not in parts:
        raise InputError(
            f"{index}: has no part unet (it has {', '.join(parts) or 'none'}); only pipelines of a {_NETWORK} are supported."
        )
    _is_unet(parts["unet"][1], index)
    inner = folder / "unet"
    network = inner if inner.is_dir() else folder  # the oldest models on the hub have one flat folder
    if not (network / "config.json").exists():
        raise InputError(f"{network}: has no config.json, so the model's network is missing.")
    return network, parts


def _is_unet(cls: Any, where: Path) -> None:
    if cls not in NETWORKS:
        raise InputError(
            f"{where}: its network is {cls}, but only {_NETWORK} is supported. Wrap another network, with its conditions bound, "
            "in geomem.scores.NetworkScore."
        )


def _weights(network: Path) -> str | None:
    """The variant of the weights, which must be complete safetensors."""
    from safetensors import SafetensorError, safe_open

    files = sorted(network.glob("diffusion_pytorch_model*.safetensors"))
    if not files:
        pickles = sorted(p.name for p in network.iterdir() if p.suffix.lower() in _PICKLES)
        if pickles:
            raise _pickled(network, pickles[0])
        raise InputError(f"{network}: has no weights (no diffusion_pytorch_model.safetensors); save the model again.")
    plain = [p for p in files if re.fullmatch(r"diffusion_pytorch_model(-\d+-of-\d+)?\.safetensors", p.name)]
    for path in plain or files:
        try:
            with safe_open(path, framework="pt"):
                pass
        except (SafetensorError, OSError) as error:
            raise InputError(
                f"{path}: is damaged or cut short ({reason_of(error)}); copy or download it again."
            ) from error
    if plain:
        return None
    return files[0].name.removeprefix("diffusion_pytorch_model.").split(".")[0].split("-")[0]


def _scheduler(folder: Path, network: Path, given: str | Path | None) -> Path:
    if given is not None:
        path = Path(given).expanduser()
        places = (
            [path] if path.is_file() else [path / "scheduler_config.json", path / "scheduler" / "scheduler_config.json"]
        )
    else:
        # If the folder is the network's own, its pipeline's scheduler is beside it.
        inside = [folder / "scheduler", folder, network, network.parent / "scheduler"]
        places = [p / "scheduler_config.json" for p in inside]
    for place in places:
        if place.is_file():
            return place
    where = given or folder
    raise InputError(
        f"{where}: has no scheduler_config.json, which defines the network's noise process; give the folder of the "
        "scheduler (load's `scheduler`, --scheduler)."
    )


def _read(path: Path) -> Mapping[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as JSON ({reason_of(error)}).") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: holds no JSON object, so diffusers did not write it.")
    return content


def _pickled(folder: Path, name: str) -> InputError:
    where = str(folder)
    code = f"from diffusers import UNet2DModel as U; U.from_pretrained({where!r}, use_safetensors=False).save_pretrained({where!r})"
    return InputError(
        f"{folder / name}: is a pickle by its name, which can run code when it is opened and is refused; safetensors are "
        f"needed. If you trust its origin, convert it once: python -c {shlex.quote(code)}"
    )
