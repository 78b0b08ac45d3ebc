"""The cells of a sweep: one size and one seed each, trained in a folder of its own and measured, and their records as one."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import xarray as xr

from geomem.data import DataSet
from geomem.errors import InputError
from geomem.jobs.job import Part, Stage, Tell
from geomem.jobs.sweep.request import SweepRequest
from geomem.jobs.sweep.settings import SweepSettings, cell_name, settings_for
from geomem.jobs.train.model import MODEL, accelerator_in, losses, train_model
from geomem.models import opened
from geomem.records import Run
from geomem.training.images import divided, tensor_of

__all__ = ["CELLS", "Sweep", "joined", "open_sweep", "sweep_stage"]

# Folder of the cells' own folders.
CELLS = "cells"
# Command that a cell's folder names; it is a part of a run, none of its own.
_CELL = "training"
# Least seconds of a step on one core, by which it is decided whether processes pay.
_STEP_SECONDS = 0.005


@dataclass(frozen=True)
class Sweep:
    """Images, and what is done with them."""

    data: DataSet
    settings: SweepSettings


def open_sweep(request: SweepRequest) -> Sweep:
    """Read the images, and refuse what cannot be done with them.

    Raises:
        InputError: Naming the option.
    """
    data = request.load(request.data)
    return Sweep(data, settings_for(data, request))


def sweep_stage(
    name: str, sweep: Sweep, run: Run, *, prefix: str = "", join: bool = False, share: float = 1.0
) -> Stage:
    """All cells as the parts of a stage.

    Args:
        name: Of the stage, and of the joined record.
        sweep: What to train on, and how.
        run: The run; a cell's own folder lies below it.
        prefix: Before the names of the cells, to tell several sweeps of one run apart.
        join: Whether the cells' records become one, in their place.
        share: Share of the whole job's time.
    """
    settings = sweep.settings

    def parts() -> Sequence[Part]:
        return [
            Part(
                prefix + cell_name(size, seed),
                _label(prefix, size, seed),
                _maker(sweep, run, prefix, size, seed),
            )
            for size, seed in settings.cells
        ]

    return Stage(
        name,
        parts,
        join=(lambda records: joined(records, settings)) if join else None,
        share=share,
        seconds=_STEP_SECONDS * settings.training.steps * len(settings.cells),
        keep_going=True,
    )


def _label(prefix: str, size: int, seed: int) -> str:
    return f"training and measuring · {prefix.replace('-', ' ')}N = {size:,}, seed {seed}"


def _maker(sweep: Sweep, run: Run, prefix: str, size: int, seed: int) -> Callable[[Tell], xr.Dataset]:
    def make(tell: Tell) -> xr.Dataset:
        return _cell(sweep, run, prefix, size, seed, tell)

    return make


def _cell(sweep: Sweep, run: Run, prefix: str, size: int, seed: int, tell: Tell) -> xr.Dataset:
    """Train and measure one cell; a model that it has left already is measured as it is."""
    from geomem.jobs.sweep.measure import measured

    settings, data = sweep.settings, sweep.data
    training = replace(settings.training, size=size, seed=seed, split_seed=seed)
    label = _label(prefix, size, seed)
    with run.within(f"{CELLS}/{prefix}{cell_name(size, seed)}", _CELL, training) as own:
        train_model(own, data, training, accelerator_in(own.path), lambda share, _: tell(share / 2, label))
        found = losses(own)["loss"].values
    rows, apart = divided(data, size, training.held_out, seed)
    known, unseen = (tensor_of(data, index, training.shape) for index in (rows, apart))
    model = opened(own.path / MODEL, data, scheduler=None, label=None, device=None)
    arrays = measured(model, known, unseen, settings, seed=seed, tell=lambda share: tell(0.5 + share / 2, label))
    arrays.attrs = {
        "size": size,
        "seed": seed,
        "steps": training.steps,
        "parameters": model.parameters,
        "loss": float(found[-1]) if found.size else math.nan,
    }
    return arrays


def joined(records: Sequence[xr.Dataset], settings: SweepSettings) -> xr.Dataset:
    """The records of the cells that are done as one, over (size, seed); NaN for those that are not.

    Raises:
        InputError: If there is none.
    """
    if not records:
        raise InputError("no model of this sweep is done; run the command that made it again to resume.")
    parts = {(record.attrs["size"], record.attrs["seed"]): record for record in records}
    sizes = [size for size in settings.sizes if any(size == other for other, _ in parts)]
    by_size = []
    for size in sizes:
        seeds = [seed for seed in settings.seeds if (size, seed) in parts]
        by_seed = [parts[size, seed].assign(loss=((), parts[size, seed].attrs["loss"])) for seed in seeds]
        by_size.append(xr.concat(by_seed, xr.Variable("seed", seeds), join="outer", combine_attrs="override"))
    out = xr.concat(by_size, xr.Variable("size", sizes), join="outer", combine_attrs="override")
    training = settings.training
    out.attrs = {
        "data": training.data[0],
        "network": training.network,
        "noise_process": training.noise_process,
        "parameters": records[0].attrs["parameters"],
        "steps": training.steps,
        "batch_size": training.batch_size,
        "precision": training.precision,
        "held_out": training.held_out,
        "discard": settings.discard,
        "threshold": settings.threshold,
        "cells": len(parts),
    }
    return out
