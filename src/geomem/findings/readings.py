"""Every reading of every score and set, as one table: what a command shows of a measurement."""

import numpy as np
import xarray as xr

from geomem.intervals import Interval, mean
from geomem.page import Cell, Column, Table

__all__ = ["readings_table"]

# Points of which a mean has an interval.
_FEWEST = 3


def readings_table(
    found: xr.Dataset, *, name: str = "readings", caption: str = "", over: tuple[str, ...] = ()
) -> Table:
    """Mean of each reading over points, with 95% intervals, by t; rows for each further dimension in `over`.

    Args:
        found: What `measure.observe` returned: `dimension` over (reading, score, set, point, t) and `over`.
        name: Of the CSV file.
        caption: What the table shows.
        over: Further dimensions, as "size", each value of which has rows of its own.
    """
    values = found["dimension"].transpose(*over, "t", "reading", "score", "set", ...)
    heads = [f"{score}, {where}" for score in values["score"].values for where in values["set"].values]
    columns = [*(Column(dim, "") for dim in over), Column("t", ".3g"), Column("reading", "")]
    # "z": what rounds to 0 has no sign.
    columns += [Column(head, "z.1f") for head in heads]
    columns.append(Column("found", ""))
    # Theory has readings without a score, and so without a pull.
    measured = found["pull"].notnull() | found["dimension"].notnull().any("reading")
    asked = measured.sum([dim for dim in measured.dims if dim not in (*over, "t")]).transpose(*over, "t").values
    labels = [values[dim].values.tolist() for dim in (*over, "t", "reading")]
    rows: list[list[Cell]] = []
    for index in np.ndindex(*values.shape[: len(over) + 2]):
        at = values.values[index]
        *where, reading = (labels[i][j] for i, j in enumerate(index))
        cells = [_mean(at[i, j]) for i in range(at.shape[0]) for j in range(at.shape[1])]
        share = f"{int(np.isfinite(at).sum())} of {int(asked[index[:-1]])}"
        rows.append([*where, str(reading).replace("_", " "), *cells, share])
    words = (
        caption
        or "Dimension by every reading, mean over points with 95% intervals; found: points at which a reading has an answer."
    )
    return Table(name, columns, rows, words)


def _mean(values: np.ndarray) -> Interval | float | None:
    """Mean over points, with its interval where there are three at least: that of two says next to nothing."""
    finite = values[np.isfinite(values)]
    if finite.size == 0:
        return None
    return mean(finite) if finite.size >= _FEWEST else float(finite.mean())
