"""`geomem sweep`: train on more and more images, and measure which dimensions each model has."""

import json
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import xarray as xr

from geomem.data import DataSet
from geomem.errors import GeomemError, InputError
from geomem.jobs.progress import Progress, duration
from geomem.jobs.sweep import places
from geomem.jobs.sweep.cell import Cell, Source
from geomem.jobs.sweep.settings import SweepSettings, cell_name, paper_sizes, reading_of, times_of
from geomem.jobs.train.run import settings_of
from geomem.records import Result, Run, digest
from geomem.training.images import divided, shape_of

__all__ = ["COMMAND", "cells_of", "finish", "joined", "settings_for", "sweep"]

COMMAND = "sweep"
# Images kept apart where nothing else is asked: at most this share of the data, and this number.
_SHARE, _APART = 5, 1000
_SMALLEST = 2
# Share of a cell's work after which the time left is told.
_SOON = 0.05


def settings_for(
    data: DataSet,
    preset: str,
    sizes: Sequence[int] | str,
    seeds: Sequence[int] = (0,),
    *,
    held_out: int | None = None,
    points: int = 16,
    times: Sequence[float] = (),
    samples: int = 200,
    sampling_steps: int = 50,
    **training: Any,
) -> SweepSettings:
    """Settings of a sweep, checked.

    Args:
        data: What to train on.
        preset: One of `training.PRESETS`.
        sizes: Numbers of training images, or "paper".
        seeds: One training of each size for each.
        held_out: Images kept apart from all training; None for a fifth, 1,000 at most.
        points: Training images, and images kept apart, at which spectra are taken.
        times: Noise variances; () for DDPM's steps 0 (the paper's for the data set), 30, 100 and 250.
        samples: Samples drawn from each model.
        sampling_steps: Noise levels that they are drawn in.
        **training: See `training.settings_of`.

    Raises:
        InputError: For what cannot be done with the data.
    """
    distinct = divided(data, None, 1, 0)[0].size + 1
    apart = min(_APART, distinct // _SHARE) if held_out is None else held_out
    if not 2 <= apart <= distinct - _SMALLEST:
        raise InputError(
            f"--held-out: {apart:,} of the {distinct:,} distinct images of {data.name} cannot be kept apart; at least 2 must be, and as many left "
            "to train on."
        )
    if isinstance(sizes, str) and sizes != "paper":
        raise InputError(f"--sizes: {sizes!r} is not known; give numbers, or paper.")
    chosen = paper_sizes(preset, distinct - apart) if isinstance(sizes, str) else tuple(sorted(set(sizes)))
    if not chosen or not seeds or min(seeds) < 0 or len(set(seeds)) < len(seeds):
        raise InputError("--sizes, --seeds: at least one size and one seed are needed, no seed negative or twice.")
    if chosen[0] < _SMALLEST:
        raise InputError(f"--sizes: at least {_SMALLEST} images are needed to tell copies, got {chosen[0]}.")
    if chosen[-1] + apart > distinct:
        raise InputError(
            f"--sizes: {data.name} has {distinct:,} distinct images; {chosen[-1]:,} to train on and {apart:,} kept apart (--held-out) are "
            f"more. The largest size can be {distinct - apart:,}."
        )
    if points < 2 or samples < 1 or sampling_steps < 2:
        raise InputError("--points, --samples: at least 2 points, 1 sample and 2 sampling steps are needed.")
    template = settings_of(data, preset, size=chosen[-1], held_out=apart, **training)
    reading = reading_of(shape_of(data))
    return SweepSettings(
        training=replace(template, seed=0, split_seed=0),
        sizes=chosen,
        seeds=tuple(seeds),
        points=min(points, apart),
        times=times_of(tuple(times), reading.step),
        discard=reading.discard,
        threshold=reading.threshold,
        samples=samples,
        sampling_steps=sampling_steps,
    )


def sweep(
    source: str | Path | Source,
    *,
    preset: str,
    sizes: Sequence[int] | str,
    seeds: Sequence[int] = (0,),
    out: Path | str | None = None,
    on: str = "local",
    workers: int | None = None,
    force: bool = False,
    progress: Progress | None = None,
    **options: Any,
) -> Result:
    """Train and measure one cell for each size and seed, then make the sweep's table, figures and page.

    Cells that are done are not repeated; one that was interrupted goes on where it was. A cell that fails does not
    keep the others from being done.

    Args:
        source: The data, where all who work on cells find them.
        preset: One of `training.PRESETS`.
        sizes: Numbers of training images, or "paper".
        seeds: One training of each size for each.
        out: Folder of the sweep; None is one below geomem-sweep/ that is named after what is asked.
        on: "local" (processes of this machine), "here" (this process), "ray" (a Ray of this machine), or a Ray
            cluster's address.
        workers: Cells at a time on this machine; None for one a core, or one a GPU.
        force: Replace another run in the folder.
        progress: Called with what is being done and the share that is done.
        **options: See `settings_for`.

    Raises:
        InputError: For data or options that cannot be used.
        OutputError: If the folder cannot be used, or is in use by another run.
        GeomemError: If cells failed, once all others are done.
    """
    where = source if isinstance(source, Source) else Source(str(source))
    where = replace(where, path=str(Path(where.path).resolve())) if Path(where.path).exists() else where
    if workers is not None and workers < 1:
        raise InputError(f"--workers: at least 1 is needed, got {workers}.")
    places.check(on)
    settings = settings_for(where.read(), preset, sizes, seeds, **options)
    if out is None:
        out = Path("geomem-sweep") / f"{Path(settings.training.data[0]).stem}-{preset}-{digest(settings)}"
    run = Run.open(out, COMMAND, settings, force=force)
    with run.alone():
        failed = list(cells_of(run, settings, where, on=on, workers=workers, progress=progress))
        if progress is not None:
            progress("drawing", 1.0)
        if failed:
            if len(failed) < len(settings.cells):
                finish(run)
            raise failed_cells(run, failed, settings)
        return finish(run)


def failed_cells(run: Run, failed: Sequence[places.Outcome], settings: SweepSettings) -> GeomemError:
    """What is said of cells that failed."""
    shown = "; ".join(f"N = {cell.size:,}, seed {cell.seed}: {why}" for cell, why in failed[:3])
    more = f"; and {len(failed) - 3} more" if len(failed) > 3 else ""
    return GeomemError(
        f"{len(failed)} of {len(settings.cells)} cells failed ({shown}{more}). The others are kept, and drawn, in {run.path}; run the same "
        "command again to try these once more."
    )


def cells_of(
    run: Run, settings: SweepSettings, source: Source, *, on: str, workers: int | None, progress: Progress | None
) -> Iterator[places.Outcome]:
    """Work on the cells that are not done; yields those that failed."""
    cells = [Cell(str(run.path), source, size, seed) for size, seed in settings.cells]
    waiting = [cell for cell in cells if not run.has(cell.name)]
    before = done = len(cells) - len(waiting)
    begun = time.monotonic()

    def tell(under_way: float) -> None:
        worked = done - before + under_way
        if progress is not None:
            left = (time.monotonic() - begun) * (len(waiting) / worked - 1) if worked > _SOON else math.nan
            words = f", {duration(left)} left" if math.isfinite(left) else ""
            progress(
                f"training and measuring · {done} of {len(cells)} cells are done{words}",
                (done + under_way) / len(cells),
            )

    if not waiting:
        return
    match on:
        case "here":
            outcomes = places.here(waiting, tell)
        case "local":
            outcomes = places.local(waiting, workers or _workers(), tell)
        case address:
            outcomes = places.ray(waiting, None if address == "ray" else address, tell)
    with closing(outcomes):
        tell(0.0)
        for cell, failure in outcomes:
            done += 1
            run.log(cell=cell.name, failure=failure or "")
            tell(0.0)
            if failure is not None:
                yield cell, failure


def _workers() -> int:
    import torch

    return torch.cuda.device_count() or places.cores()


def joined(run: Run, settings: SweepSettings) -> xr.Dataset:
    """The records of the cells that are done as one, over (size, seed); NaN for those that are not.

    Raises:
        InputError: If a record is damaged, or no cell is done.
    """
    done = [cell for cell in settings.cells if run.has(cell_name(*cell))]
    if not done:
        raise InputError(f"{run.path}: no cell is done; run the command that made it again, it goes on where it was.")
    parts = {cell: run.load(cell_name(*cell)) for cell in done}
    sizes = [size for size in settings.sizes if any(size == other for other, _ in done)]
    by_size = []
    for size in sizes:
        seeds = [seed for seed in settings.seeds if (size, seed) in parts]
        by_seed = [parts[size, seed].assign(loss=((), parts[size, seed].attrs["loss"])) for seed in seeds]
        by_size.append(xr.concat(by_seed, xr.Variable("seed", seeds), join="outer", combine_attrs="override"))
    out = xr.concat(by_size, xr.Variable("size", sizes), join="outer", combine_attrs="override")
    first = parts[done[0]].attrs
    training = settings.training
    out.attrs = {
        "data": training.data[0],
        "network": training.network,
        "flow": training.noise_process,
        "parameters": first["parameters"],
        "steps": training.steps,
        "batch_size": training.batch_size,
        "precision": training.precision,
        "held_out": training.held_out,
        "discard": settings.discard,
        "threshold": settings.threshold,
        "cells": len(done),
    }
    return out


def finish(run: Run) -> Result:
    """Table, figures and page from the records of the cells that are done.

    Raises:
        InputError: If none is.
    """
    from geomem.findings.plain import plain
    from geomem.jobs.sweep.page import sweep_page, sweep_table
    from geomem.jobs.sweep.summary import summarise

    arrays = joined(run, SweepSettings.read(run.config))
    summary = summarise(arrays)
    page = sweep_page(run, arrays, summary)
    table = sweep_table(summary)
    stated: dict[str, Any] = {**plain(summary), "table": {"head": list(table.head), "rows": list(table.rows)}}
    run.write_text("summary.json", json.dumps(stated, indent=2) + "\n")
    return Result(run.path, page, stated)
