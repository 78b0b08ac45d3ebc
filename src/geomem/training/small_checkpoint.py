"""Checkpoints of a training run: one safetensors file from which it continues bit for bit.

Tensors are the stacked weights, their average and Adam's two moments; the step, the scale of the data and the
configuration are JSON in the file's header. Random state is not stored: every step derives its own from the seed.
"""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from geomem.errors import InputError
from geomem.training.small import TrainConfig, TrainState

__all__ = ["load_checkpoint", "read_tensors", "save_checkpoint", "write_tensors"]

_MOMENTS = ("exp_avg", "exp_avg_sq")
_State = TypeVar("_State")


def write_tensors(path: Path, tensors: dict[str, torch.Tensor], header: dict[str, Any]) -> None:
    """Write tensors, with a header that JSON can hold, as safetensors."""
    # As bytes first: writing them raises the operating system's own error where the disk is full.
    path.write_bytes(save({k: v.contiguous() for k, v in tensors.items()}, {"geomem": json.dumps(header)}))


def read_tensors(path: Path, build: Callable[[dict[str, Any], dict[str, torch.Tensor]], _State]) -> _State:
    """What `build` makes of the header and the tensors that `write_tensors` wrote.

    Raises:
        InputError: If the file is missing, damaged, or not what `build` expects (KeyError, TypeError, ValueError).
    """
    try:
        with safe_open(path, framework="pt") as stored:
            header = json.loads((stored.metadata() or {})["geomem"])
            tensors = {key: stored.get_tensor(key) for key in stored.keys()}  # noqa: SIM118 - no mapping
        return build(header, tensors)
    except InputError:
        raise
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"{path}: is no readable geomem checkpoint ({error}); delete it to train anew.") from error


def save_checkpoint(path: Path, state: TrainState) -> None:
    """Write `state` to `path`, which the caller makes atomic (see `records.atomic_path`)."""
    tensors: dict[str, torch.Tensor] = {}
    for name, p in state.ensemble.parameters.items():
        tensors[f"weights/{name}"] = p.detach()
        tensors[f"average/{name}"] = state.average[name]
        moments = state.optimizer.state.get(p, {})
        for key in _MOMENTS:
            tensors[f"{key}/{name}"] = moments.get(key, torch.zeros_like(p))
    header = {"step": state.step, "dim": state.dim, "sigma_data": state.sigma_data, "config": asdict(state.config)}
    write_tensors(path, tensors, header)


def load_checkpoint(path: Path) -> TrainState:
    """The state saved at `path`.

    Raises:
        InputError: If the file is missing, damaged, or no checkpoint of geomem.
    """

    def build(header: dict[str, Any], tensors: dict[str, torch.Tensor]) -> TrainState:
        config = TrainConfig(**{**header["config"], "sizes": tuple(header["config"]["sizes"])})
        state = TrainState(config, header["dim"], header["sigma_data"])
        for name, p in state.ensemble.parameters.items():
            for part in ("weights", "average", *_MOMENTS):
                if tensors[f"{part}/{name}"].shape != p.shape:
                    raise ValueError(f"{part}/{name} is of another shape")
            with torch.no_grad():
                p.copy_(tensors[f"weights/{name}"])
            state.average[name].copy_(tensors[f"average/{name}"])
            if header["step"]:
                moments = {key: tensors[f"{key}/{name}"].clone() for key in _MOMENTS}
                state.optimizer.state[p] = {"step": torch.tensor(float(header["step"])), **moments}
        state.step = header["step"]
        return state

    return read_tensors(path, build)
