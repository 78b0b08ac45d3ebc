"""What an audit refuses before it writes anything: data that it cannot speak of, samples that do not go with them."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from geomem.data import DataSet, holds_image_files, load
from geomem.data.duplicates import distinct_rows
from geomem.errors import InputError
from geomem.jobs.audit.settings import APART, CONTROLS, LEAST, SMALLEST, kept_apart

__all__ = ["enough", "like", "scale_of", "unseen"]

# Beyond these, squares and their inverses leave the range in which screens are computed.
_HUGE = 1e15
# Difference between channels, of 255, below which an image is gray.
_TINT = 8
# Rows by which a scale is judged.
_LOOKED_AT = 2000


def enough(real: DataSet, limit: int | None, sizes: tuple[int, ...], held_out: int | None) -> None:
    """Refuse, before anything is written, data that an audit cannot speak of."""
    n = len(real)
    if n == 1:
        raise InputError(f"{real.name}: holds one sample; an audit compares at least {LEAST} distinct ones.")
    first = np.asarray(real.values[:1])
    if all(np.array_equal(np.broadcast_to(first, block.shape), block) for _, block in real.blocks()):
        constant = bool(np.all(first == first.flat[0]))
        what = f"every value is {first.flat[0]:g}" if constant else "every sample equals the first"
        raise InputError(f"{real.name}: {what}, so there are no dimensions to lose; check how the data were made.")
    low, high = (f([float(f(block)) for _, block in real.blocks()]) for f in (np.min, np.max))
    if not (max(abs(low), abs(high)) < _HUGE and high - low > 1 / _HUGE):
        raise InputError(
            f"{real.name}: its values lie between {low:.3g} and {high:.3g}, which squares of distances cannot hold; rescale them."
        )
    distinct = distinct_rows(real)[0].size
    if distinct < LEAST:
        raise InputError(
            f"{real.name}: holds {distinct} distinct samples among {n:,}; an audit needs at least {LEAST}."
        )
    usable = min(distinct, limit or distinct)
    if limit is not None and limit > distinct:
        raise InputError(f"--limit: {limit:,} rows are asked for, but {real.name} has {distinct:,} distinct ones.")
    if held_out is not None and held_out > usable // APART:
        raise InputError(
            f"--held-out: {held_out:,} rows are more than a fifth of the {usable:,} distinct ones of {real.name}; ask for "
            f"{usable // APART:,} or fewer."
        )
    training = usable - kept_apart(usable, held_out)
    if sizes and not SMALLEST <= min(sizes) <= max(sizes) <= training:
        raise InputError(
            f"--sizes: must lie between {SMALLEST} and the {training:,} distinct training samples of {real.name}, got "
            f"{', '.join(map(str, sizes))}."
        )


def like(real: DataSet, source: str | Path, name: str, mode: str | None, array: str | None) -> DataSet:
    """Samples that are to be compared with `real`: of its shape and, by all appearance, on its scale.

    Images are scaled to the side of square data; what had to be done to them is among their notes.
    """
    files, target = holds_image_files(source), real.image_shape
    side = target[0] if files and target is not None and target[0] == target[1] else None

    def read(mode: str | None) -> DataSet:
        return load(source, size=side, mode=mode, array=array if str(source).endswith(".npz") else None)

    other = read(mode if files else None)
    if files and target is not None and other.image_shape is not None and len(other.image_shape) != len(target):
        other = _of_channels(other, len(target), read)
    if target is not None and other.image_shape == target:
        other = other.arranged(real)
    if other.shape != real.shape:
        raise InputError(
            f"--{name}: {other.name} has samples of shape {other.shape}, {real.name} of {real.shape}; they must agree."
        )
    if len(other) < 2:
        raise InputError(f"--{name}: {other.name} holds one sample; give as many as you can, hundreds at least.")
    _same_scale(real, other, name)
    return other


def unseen(real: DataSet, control: DataSet, *, of_model: bool) -> None:
    """Refuse a control that shares rows with the data: it must not have been trained on."""
    joined = DataSet("", "", np.concatenate([real.rows(slice(None)).numpy(), control.rows(slice(None)).numpy()]))
    _, first = distinct_rows(joined)
    shared = int(np.sum(first[len(real) :] < len(real)))
    if shared:
        raise InputError(
            f"--control: {shared:,} of the {len(control):,} samples of {control.name} are among those of {real.name}; a control "
            "must not have been trained on. Take them out of one of the two."
        )
    if len(control) < CONTROLS:
        instead = (
            "Give more: nothing else tells what is lost" if of_model else "Leave it out, and rows of the data serve"
        )
        raise InputError(
            f"--control: {control.name} holds {len(control)} samples; fewer than {CONTROLS} say nothing. {instead}."
        )


def _of_channels(other: DataSet, axes: int, read: Callable[[str | None], DataSet]) -> DataSet:
    """Images brought to gray (2 axes) or colour (3), with a note where that changed them."""
    values = other.values
    if axes == 3:
        note = "They are gray and were compared with colour data as gray in three channels."
        return replace(read("rgb"), notes=(*other.notes, note))
    coloured = any(
        int(np.ptp(block.astype(np.int64), axis=-1).max()) > _TINT for block in np.array_split(values, 16) if block.size
    )
    note = "They are in colour and were compared with gray data in gray."
    return replace(read("gray"), notes=(*other.notes, *([note] if coloured else [])))


def _same_scale(real: DataSet, other: DataSet, name: str) -> None:
    """Refuse pixels on another scale: they would be far from all data and never look like copies."""
    scales = [scale_of(real), scale_of(other)]
    if None not in scales and scales[0] != scales[1]:
        raise InputError(
            f"--{name}: the values of {other.name} look like pixels from {scales[1]}, those of {real.name} like pixels from "
            f"{scales[0]} (bytes are read as v/127.5 - 1). Bring both to one scale, or save both as bytes (uint8)."
        )


def scale_of(data: DataSet) -> str | None:
    """The range that values fill if they look like pixels."""
    if data.pixels:
        return "-1 to 1"
    rows = data.rows(slice(0, _LOOKED_AT)).numpy()
    low, high = float(rows.min()), float(rows.max())
    if low >= -0.01 and 0.5 < high <= 1.01:
        return "0 to 1"
    if low >= -0.01 and 2 < high <= 256:
        return "0 to 255"
    return "-1 to 1" if -1.01 <= low < -0.5 and 0 < high <= 1.01 else None
