"""Selection of the rows of a data set: distinct rows, some of them held out, and their groups of near duplicates.

The record `duplicates`, which says what these are, is described in `data.used`.
"""

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from geomem.data.dataset import DataSet
from geomem.data.distinct import distinct_rows
from geomem.data.splits import Split, nested_split
from geomem.errors import InputError

__all__ = ["LEAST", "check_rows", "divided", "hold_out_count", "representatives"]

# Fewest distinct rows that can be analyzed.
LEAST = 40
# At most one row in this many is held out, and by default at most this number of rows.
_SHARE, _HELD_OUT = 5, 1000
# Beyond these bounds, squares or their inverses leave the range of the screens' arithmetic.
_HUGE = 1e15


def check_rows(data: DataSet, limit: int | None, *, least: int = LEAST) -> int:
    """Check that data can be analyzed, and return the number of rows to use.

    Raises:
        InputError: For constant rows, values out of range, too few distinct rows, or a limit above their number.
    """
    n = len(data)
    if limit is not None and limit < least:
        raise InputError(f"--limit: must be at least {least}, got {limit}.")
    if n == 1:
        raise InputError(f"{data.name}: holds one sample; at least {least} distinct ones are needed.")
    first = np.asarray(data.values[:1])
    if all(np.array_equal(np.broadcast_to(first, block.shape), block) for _, block in data.blocks()):
        constant = bool(np.all(first == first.flat[0]))
        what = f"every value is {first.flat[0]:g}" if constant else "every sample equals the first"
        raise InputError(f"{data.name}: {what}, so there are no dimensions to lose; check how the data were made.")
    low, high = (f([float(f(block)) for _, block in data.blocks()]) for f in (np.min, np.max))
    if not (max(abs(low), abs(high)) < _HUGE and high - low > 1 / _HUGE):
        raise InputError(
            f"{data.name}: its values lie between {low:.3g} and {high:.3g}, too large or too close for squared distances; "
            "rescale them."
        )
    distinct = distinct_rows(data)[0].size
    if distinct < least:
        raise InputError(f"{data.name}: holds {distinct} distinct samples among {n:,}; at least {least} are needed.")
    if limit is not None and limit > distinct:
        raise InputError(f"--limit: asks for {limit:,} rows, but {data.name} has {distinct:,} distinct ones.")
    return min(distinct, limit or distinct)


def hold_out_count(data: DataSet, usable: int, requested: int | None) -> int:
    """Number of rows to hold out: as requested, or by default a fifth, at most 1,000.

    Raises:
        InputError: For more than a fifth.
    """
    most = usable // _SHARE
    if requested is not None and requested > most:
        raise InputError(
            f"--hold-out: {requested:,} is more than a fifth of the {usable:,} distinct rows of {data.name}; choose {most:,} or "
            "fewer."
        )
    return min(_HELD_OUT if requested is None else requested, most)


def divided(data: DataSet, duplicates: xr.Dataset, count: int, *, seed: int) -> Split:
    """Training rows and `count` held-out rows, as positions in `row`; no held-out row has a near duplicate.

    Raises:
        InputError: If too few rows are without near duplicates.
    """
    group = duplicates["group"].values
    n = group.size
    alone = np.bincount(group, minlength=n)[group] == 1
    if alone.sum() < count:
        raise InputError(
            f"{data.name}: only {int(alone.sum()):,} of {n:,} distinct samples have no near duplicate, too few to hold out "
            f"{count:,}; choose fewer with --hold-out, or remove the near duplicates."
        )
    return nested_split(n, (n - count,), held_out=count, seed=seed, eligible=alone)


def representatives(data: DataSet, duplicates: xr.Dataset) -> NDArray[np.int64]:
    """Distinct rows, with one row of each group of near duplicates, ascending; the limit on rows does not apply here."""
    kept = duplicates["row"].values
    places = np.unique(duplicates["group"].values)
    unused = np.setdiff1d(distinct_rows(data)[0], kept)
    return np.sort(np.concatenate([kept[places], unused]))
