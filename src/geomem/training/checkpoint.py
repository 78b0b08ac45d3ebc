"""Checkpoints of an image network's training: one safetensors file from which it goes on bit for bit.

Tensors are the weights, their average and Adam's moments; steps and settings are JSON in the file's header. Random
state is not stored: every step derives its own from the seed.
"""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from geomem.errors import InputError
from geomem.training.loop import Training
from geomem.training.presets import TrainSettings
from geomem.training.small_checkpoint import read_tensors, write_tensors

__all__ = ["load_training", "save_training"]

_MOMENTS = ("exp_avg", "exp_avg_sq")


def save_training(path: Path, state: Training) -> None:
    """Write `state` to `path`, which the caller makes atomic (see `records.atomic_path`)."""
    tensors: dict[str, Tensor] = {}
    for (name, p), mean in zip(state.network.named_parameters(), state.average.shadow_params, strict=True):
        tensors[f"weights/{name}"] = p.detach()
        tensors[f"average/{name}"] = mean.detach()
        for key, moment in state.optimizer.state.get(p, {}).items():
            tensors[f"{key}/{name}"] = torch.as_tensor(moment)
    header = {"step": state.step, "averaged": state.average.optimization_step, "settings": asdict(state.settings)}
    write_tensors(path, tensors, header)


def load_training(path: Path, settings: TrainSettings) -> Training:
    """The state saved at `path`.

    Raises:
        InputError: If the file is missing, damaged, or of other settings.
    """

    def build(header: Any, tensors: dict[str, Tensor]) -> Training:
        held = TrainSettings.read(header["settings"])
        if held != settings:
            other = [k for k, v in asdict(settings).items() if asdict(held)[k] != v]
            changed = "; ".join(f"{k} = {getattr(held, k)!r}, not {getattr(settings, k)!r}" for k in other[:2])
            raise InputError(
                f"{path}: is a checkpoint of another training ({changed}); delete it to train anew, or choose another folder "
                "with --out."
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
