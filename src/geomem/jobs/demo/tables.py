"""The demo's tables: one row for each number of training samples, or for each score of each."""

from collections.abc import Sequence
from dataclasses import replace

import xarray as xr

from geomem.findings.readings import readings_table
from geomem.jobs.demo.measure import NETWORK
from geomem.jobs.demo.numbers import CaseNumbers, Copies, Numbers, OriginNumbers
from geomem.measure.observe import HELD_OUT, TRAINING
from geomem.page import Cell, Column, Table

__all__ = ["all_readings", "copies_table", "origin_table", "overview", "scores_table"]

# "z": what rounds to 0 has no sign.
_SPEC = "z.1f"


def overview(found: Numbers) -> Table:
    """The digits at the reference t: one row for each number of training samples."""
    case = found.digits
    columns = [
        Column("N", ""),
        *(Column(f"network, {where}", _SPEC) for where in (TRAINING, HELD_OUT)),
        Column("lost at training digits", _SPEC),
        Column("copies among drawn", ""),
    ]
    rows: list[list[Cell]] = [
        [row.size, row.training, row.held_out, row.difference, copies.generated]
        for row, copies in zip(case.of(NETWORK), found.copies, strict=True)
    ]
    caption = (
        f"Resolved dimension of {case.dim} at t = {case.t:g} by number N of training digits, mean over digits with 95% "
        "interval; and the share of drawn digits that copy a training digit."
    )
    return Table("digits", columns, rows, caption)


def origin_table(origin: OriginNumbers) -> Table:
    """How far theory and network are off the simulated singular values at the origin."""
    names = {
        "correlated": "correlated theory",
        "row": "Eq. 18, row form",
        "exact": "exact score's spectrum",
        "network": "trained network",
    }
    columns = [Column("singular values", ""), Column("below t_c", ".2g"), Column("above 2 t_c", ".2g")]
    rows: list[list[Cell]] = [
        [words, origin.error(name, origin.below), origin.error(name, origin.above)] for name, words in names.items()
    ]
    return Table(
        "manifold_origin",
        columns,
        rows,
        f"At the origin, N = {origin.size:,}: |ln ratio| to the median over data sets, median over t and over the singular "
        f"values that the manifold moves. The condensation time is t_c = {origin.condensation_time:.3g}.",
    )


def scores_table(name: str, case: CaseNumbers, points: str) -> Table:
    """Every score at every number of training samples, at the reference t."""
    columns = [
        Column("N", ""),
        Column("score", ""),
        *(Column(f"{where} {points}", _SPEC) for where in (TRAINING, HELD_OUT)),
    ]
    columns.append(Column("lost at training points", _SPEC))
    rows: list[list[Cell]] = [[r.size, r.score, r.training, r.held_out, r.difference] for r in case.rows]
    caption = f"Resolved dimension of {case.dim} at t = {case.t:g}, mean over points with 95% interval."
    return Table(name, columns, rows, caption)


def copies_table(copies: Sequence[Copies]) -> Table:
    """Copies among drawn and among held-out digits."""
    columns = [Column(title, "") for title in ("N", "copies among drawn", "drawn", "among held-out", "held-out")]
    rows: list[list[Cell]] = [[c.size, c.generated, c.generated.total, c.control, c.control.total] for c in copies]
    return Table(
        "copies",
        columns,
        rows,
        "Digits much closer to one training digit than to the second closest. Held-out digits cannot be copies: they give the "
        "rate at which this rule errs.",
    )


def all_readings(name: str, points: xr.Dataset, t: float) -> Table:
    """Every reading of every score; the reference t stands first."""
    caption = (
        f"{name.capitalize()}: dimension by every reading, mean over points with 95% intervals. The page shows t = {t:g}, "
        "the file every t. Found: points at which a reading has an answer."
    )
    table = readings_table(points, name=f"{name}_readings", caption=caption, over=("size",))
    times = [column.title for column in table.columns].index("t")
    rows = sorted(table.rows, key=lambda row: row[times] != t)
    return replace(table, rows=rows, shown=points.sizes["size"] * points.sizes["reading"])
