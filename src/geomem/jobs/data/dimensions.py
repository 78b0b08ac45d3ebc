"""Dimensions kept and lost: the picture and the table that stand open, and the section."""

import numpy as np
import xarray as xr

from geomem.figures import data as figures
from geomem.findings.readings import readings_table
from geomem.jobs.data.material import Material
from geomem.page import Column, Picture, Section, Table
from geomem.spectra.dimension import RESOLVED

__all__ = ["dimensions_picture", "dimensions_section", "dimensions_table"]

_HALF = f"{RESOLVED:g}"


def dimensions_picture(m: Material) -> Picture:
    """Resolved dimension by number of samples."""
    dims = m.numbers["dimensions"]
    return Picture(
        "dimension_by_size",
        figures.dimension_by_size(dims["rows"], dims["t"], m.note),
        f"Resolved dimension at t = {dims['t']:.3g}: directions with survival above {_HALF}, with 95% intervals.",
        f"Resolved dimension against the number of training {m.unit}s. {m.findings['dimensions.lost'].text}",
    )


def dimensions_table(m: Material) -> Table:
    """Resolved dimension by number of samples, measured and by theory."""
    dims = m.numbers["dimensions"]
    keys = ("training", "held_out", "difference", "theory_training", "theory_held_out")
    heads = ("training", "held-out", "lost", "theory, training", "theory, held-out")
    columns = [Column(f"{m.unit}s N", ""), *(Column(head, "z.1f") for head in heads)]
    rows = [[row["size"], *(row[key] for key in keys)] for row in dims["rows"]]
    caption = (
        f"Dimensions that memorizing N {m.unit}s leaves at training and held-out {m.unit}s, t = {dims['t']:.3g}, with 95% intervals. "
        "Lost: held-out less training. Theory: for a Gaussian of the same covariance."
    )
    return Table("dimension_by_size", columns, rows, caption)


def dimensions_section(m: Material) -> Section:
    """What supports them: curves over noise variance, survival, predictions, and every reading."""
    dims, cells, theory = m.numbers["dimensions"], m.records["posterior"], m.records["theory"]
    sizes = theory["size"].values
    beyond = float(sizes.max()) / float(cells["size"].max())
    pictures = [
        Picture(
            "dimension_by_time",
            figures.dimension_by_time(cells, theory, m.records["data"]["variance"].values, m.note),
            "Mean resolved dimension against noise variance: solid measured, dashed by theory. Dotted: directions along which the data "
            "have variance above t, all of which a Gaussian of their covariance would keep.",
            "Resolved dimension against noise variance at training and held-out points, by number of samples.",
        ),
        Picture(
            "survival",
            figures.survival_spectra(cells, dims["t"], m.note),
            f"Survival of the ordered directions (eigenvalues of I + tJ), median over points. Above {_HALF} a direction counts as "
            "resolved; above 1 the point lies between several groups of samples.",
            "Ordered survival spectra by noise variance, for the fewest and the most samples.",
        ),
        Picture(
            "predictions",
            figures.predictions(theory, m.note),
            f"Theory for a Gaussian of the data's covariance, up to {beyond:g} times more samples than there are (mean of "
            f"{theory.sizes['draw']} drawn spectra; a heuristic).",
            "Predicted resolved dimension at held-out points against noise variance, one line for each number of samples.",
        ),
    ]
    tables = [_readings(m, cells)]
    if m.numbers["copies"] is not None:  # which then stand open on the page
        pictures, tables = [dimensions_picture(m), *pictures], [dimensions_table(m), *tables]
    return Section("Dimensions kept and lost", findings=m.said("dimensions"), pictures=pictures, tables=tables)


def _readings(m: Material, cells: xr.Dataset) -> Table:
    """Every reading, the most samples and the reference t first."""
    t = cells["t"].values
    focus = t[np.argmin(abs(np.log(t / m.numbers["t"])))]
    found = cells[["dimension", "pull"]].isel(subset=0).rename(seen="point").expand_dims(score=["empirical score"])
    ordered = found.sel(size=np.sort(found["size"].values)[::-1], t=[focus, *t[t != focus]])
    outside = float(cells["outside"].sel(size=cells["size"].max()).max())
    caption = (
        "Dimension by every reading, mean over points of one subset with 95% intervals; found: points at which a reading has an "
        f"answer. Directions with little variance against t count as lost (they hold up to {outside:.2g} degrees of freedom), so "
        "rules that look for a gap may find where those begin."
    )
    table = readings_table(ordered, caption=caption, over=("size",))
    return Table(table.name, table.columns, table.rows, table.caption, shown=cells.sizes["reading"])
