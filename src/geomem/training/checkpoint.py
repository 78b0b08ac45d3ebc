"""Checkpoints: one safetensors file from which a training resumes bit for bit.

    weights/NAME, average/NAME             parameters, and their exponential moving average
    exp_avg/NAME, exp_avg_sq/NAME, step/NAME   Adam's moments and step count, after the first step
    header, "geomem"                       JSON: step, averaged (number of EMA updates), settings

No random state is stored, because every step derives its own from the seed.
"""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from geomem.errors import InputError, reason_of
from geomem.files import Unreadable, opened, printable
from geomem.training.loop import Settings, Training

__all__ = ["load_training", "read_tensors", "save_training", "write_tensors"]

_MOMENTS = ("exp_avg", "exp_avg_sq")
_Content = TypeVar("_Content")


def save_training(path: Path, state: Training) -> None:
    """Write `state` to `path`; the caller must make this atomic (see `records.atomic_path`)."""
    tensors: dict[str, Tensor] = {}
    for (name, p), mean in zip(state.network.named_parameters(), state.average.shadow_params, strict=True):
        tensors[f"weights/{name}"] = p.detach()
        tensors[f"average/{name}"] = mean.detach()
        for key, moment in state.optimizer.state.get(p, {}).items():
            tensors[f"{key}/{name}"] = torch.as_tensor(moment)
    header = {"step": state.step, "averaged": state.average.optimization_step, "settings": asdict(state.settings)}
    write_tensors(path, tensors, header)


def load_training(path: Path, settings: Settings) -> Training:
    """The state saved at `path`.

    Raises:
        InputError: If the file is missing, damaged, or has other settings.
    """

    def build(header: Any, tensors: dict[str, Tensor]) -> Training:
        held, own = header["settings"], json.loads(json.dumps(asdict(settings)))
        if held.keys() != own.keys():
            raise ValueError("settings of another kind")
        changed = [f"{k} = {held[k]!r}, not {v!r}" for k, v in own.items() if held[k] != v]
        if changed:
            raise InputError(
                f"{path}: is a checkpoint of another training ({'; '.join(changed[:2])}); delete it to train again, or choose "
                "another folder with --out."
            )
        state = Training(settings)
        with torch.no_grad():
            for (name, p), mean in zip(state.network.named_parameters(), state.average.shadow_params, strict=True):
                p.copy_(_fitting(tensors, f"weights/{name}", p))
                mean.copy_(_fitting(tensors, f"average/{name}", p))
                if p.requires_grad and header["step"]:
                    moments = {key: _fitting(tensors, f"{key}/{name}", p).clone() for key in _MOMENTS}
                    state.optimizer.state[p] = {"step": tensors[f"step/{name}"].clone(), **moments}
        state.step, state.average.optimization_step = int(header["step"]), int(header["averaged"])
        return state

    return read_tensors(path, build)


def _fitting(tensors: dict[str, Tensor], key: str, like: Tensor) -> Tensor:
    if tensors[key].shape != like.shape:
        raise ValueError(f"{key} is of another shape")
    return tensors[key]


def write_tensors(path: Path, tensors: dict[str, Tensor], header: dict[str, Any]) -> None:
    """Write tensors and a JSON header as safetensors."""
    # Serialized to bytes first: if the disk is full, writing them raises the operating system's own error.
    path.write_bytes(save({k: v.contiguous() for k, v in tensors.items()}, {"geomem": json.dumps(header)}))


def read_tensors(path: Path, build: Callable[[dict[str, Any], dict[str, Tensor]], _Content]) -> _Content:
    """Read a file of `write_tensors`, and return `build(header, tensors)`.

    Raises:
        InputError: If the file is missing, damaged, or not what `build` expects (KeyError, TypeError, ValueError).
    """
    try:
        with opened(path):  # safetensors would wait for a pipe
            pass
    except Unreadable as error:
        reason = reason_of(error).removeprefix(f"{printable(path)}: ")
        raise InputError(
            f"{path}: is not a readable geomem checkpoint ({reason}); delete it to train again."
        ) from error
    try:
        with safe_open(path, framework="pt") as stored:
            header = json.loads((stored.metadata() or {})["geomem"])
            tensors = {key: stored.get_tensor(key) for key in stored.keys()}  # noqa: SIM118 - no mapping
        return build(header, tensors)
    except InputError:
        raise
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise InputError(f"{path}: is not a readable geomem checkpoint ({error}); delete it to train again.") from error
