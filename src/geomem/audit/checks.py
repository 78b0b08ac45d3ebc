"""What an audit refuses before it writes anything: data that it cannot speak of, samples that do not go with them."""

import warnings
from pathlib import Path

import numpy as np

from geomem.audit.duplicates import distinct_rows
from geomem.audit.settings import APART, LEAST, SMALLEST, kept_apart
from geomem.errors import InputError, NumericalWarning
from geomem.images import DataSet, load

__all__ = ["enough", "like"]


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


def like(real: DataSet, source: str | Path, name: str, size: int | None, array: str | None) -> DataSet:
    """Samples that are to be compared with `real`: of its shape and, by all appearance, on its scale."""
    path = Path(source).expanduser()
    channels = {2: "gray", 3: "rgb"}.get(len(real.image_shape)) if real.image_shape is not None else None
    files = path.is_dir() or str(source).startswith("hf:")
    other = load(
        source,
        size=size if files else None,
        mode=channels if files and real.pixels else None,
        array=array if str(source).endswith(".npz") else None,
    )
    if other.image_shape is not None and real.image_shape is not None and other.image_shape == real.image_shape:
        other = other.arranged(real)
    if other.shape != real.shape:
        hint = " Bring both to one size with --size." if files else ""
        raise InputError(
            f"--{name}: {other.name} has samples of shape {other.shape}, {real.name} of {real.shape}; they must agree.{hint}"
        )
    if len(other) < 2:
        raise InputError(f"--{name}: {other.name} holds one sample; give as many as you can, hundreds at least.")
    spread = [float(d.rows(slice(0, 2000)).std()) for d in (real, other)]
    if not 0.2 < spread[1] / max(spread[0], 1e-300) < 5:
        warnings.warn(
            f"--{name}: values of {other.name} spread over {spread[1]:.3g}, those of {real.name} over {spread[0]:.3g}; are "
            "they on the same scale? Bytes are read as v/127.5 - 1, other numbers as they are.",
            NumericalWarning,
            stacklevel=3,
        )
    return other
