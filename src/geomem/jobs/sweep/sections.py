"""The page of a sweep: the verdict, dimension against the number of training images, and what folds below."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import xarray as xr

from geomem.figures import sweep as figures
from geomem.findings.finding import Findings
from geomem.findings.readings import readings_table
from geomem.intervals import Interval
from geomem.jobs.sweep.findings import ALG3, COPIES, DIMENSIONS, box
from geomem.jobs.sweep.measure import EMPIRICAL, NETWORK
from geomem.jobs.sweep.numbers import READING, reading_of, reference_time
from geomem.measure.observe import HELD_OUT, TRAINING
from geomem.page import Cell, Column, Page, Picture, Section, Table

__all__ = ["page", "short_table", "size_table"]

_SHORT = 5
# Rows of long tables that the page shows.
_SHOWN = 24

_Row = Mapping[str, Any]


def page(arrays: xr.Dataset, rows: Sequence[_Row], found: Findings, missing: int, note: str) -> Page:
    """The page.

    Args:
        arrays: The cells' records, joined.
        rows: What `numbers.rows` made of them.
        found: What `findings.findings` made of them.
        missing: Number of cells that are not done.
        note: Small print of the figures.
    """
    t = reference_time(arrays)
    at = [row for row in rows if row["t"] == t]
    short = [f.text for f in found.values() if f.section != ALG3][:_SHORT]
    return Page(
        box(arrays, at, missing),
        short,
        [
            _screening(rows),
            _dimensions(arrays, rows, found, note),
            _copies(at, t, found, note),
            _readings(arrays),
            _alg3(arrays, found, note),
            _trainings(at, arrays["seed"].values.tolist(), t),
            Section("How to read this page", _READING),
        ],
        table=size_table(at, t, reading_of(arrays)),
        picture=Picture(
            "dimension",
            figures.dimension_figure(rows, reading_of(arrays), note),
            f"Directions with survival above ½ against N at {arrays.sizes['t']} noise variances t, mean over images with 95% bands. Solid: the "
            "networks; dotted: the empirical score of the same training images.",
            "Resolved dimension against the number of training images at each t.",
        ),
        lead=_lead(arrays),
    )


def short_table(at: Sequence[_Row], reading: str = READING) -> Table:
    """Dimensions and copies by N, as a terminal has room for them."""
    columns = [Column("N", ",d"), Column("training"), Column("held-out"), Column("copies")]
    return Table("sizes", columns, [[row["size"], *_dimensions_of(row, NETWORK, reading), row["copies"]] for row in at])


def size_table(at: Sequence[_Row], t: float, reading: str = READING) -> Table:
    """All that the reference t says of each N."""
    columns = [
        Column("N", ",d"),
        Column("network, training"),
        Column("network, held-out"),
        Column("empirical score, held-out"),
        Column("copies among samples"),
        Column("copies among held-out"),
        Column("loss", ".4f"),
    ]
    cells: list[list[Cell]] = [
        [
            row["size"],
            *_dimensions_of(row, NETWORK, reading),
            _known(row["dimension"][reading][EMPIRICAL][HELD_OUT]),
            row["copies"],
            row["control"],
            row["loss"],
        ]
        for row in at
    ]
    caption = f"Resolved dimension at t = {t:.3g}, and copies, by number of training images N; 95% intervals."
    if any(row["screened"] is not None for row in at):
        columns[1:1] = [Column("lost (%)", "z.0f"), Column("AUC", ".2f"), Column("calibration ratio", ".2f")]
        cells = [[line[0], *_screened(row), *line[1:]] for line, row in zip(cells, at, strict=True)]
        caption += " Lost: share of the degrees of freedom at held-out images that training images lack."
    return Table("sizes", columns, cells, caption)


def _screened(row: _Row) -> list[Cell]:
    """Share lost in percent, AUC and calibration ratio."""
    found = row["screened"] or {"lost": None, "auc": None, "calibration": None}
    lost = found["lost"]
    if lost is not None:
        fine = lost.low > float("-inf")
        lost = Interval(100 * lost.value, 100 * lost.low, 100 * lost.high, lost.n) if fine else None
    return [lost, found["auc"], found["calibration"]]


def _screening(rows: Sequence[_Row]) -> Section:
    """Screened images by N and t."""
    if all(row["screened"] is None for row in rows):
        return Section("Images screened")
    columns = [Column("N", ",d"), Column("t", ".3g"), Column("degrees of freedom, training"), Column("held-out")]
    columns += [Column("lost (%)", "z.0f"), Column("AUC", ".2f"), Column("calibration ratio", ".2f")]
    cells: list[list[Cell]] = []
    for row in rows:
        found = row["screened"] or {"training": None, "held_out": None}
        cells.append([row["size"], row["t"], found["training"], found["held_out"], *_screened(row)])
    caption = (
        "Degrees of freedom of the networks, the share lost at training images, how often the denoising error tells a training image from a "
        "held-out one, and error over trace at held-out images, which is 1 for a model that generalizes."
    )
    return Section("Images screened", tables=[Table("screening", columns, cells, caption, shown=_SHOWN)])


def _dimensions_of(row: _Row, score: str, reading: str) -> list[Cell]:
    return [_known(row["dimension"][reading][score][where]) for where in (TRAINING, HELD_OUT)]


def _known(found: Interval) -> Cell:
    """Without an interval where a single point has a dimension."""
    return found if found.n else found.value


def _lead(arrays: xr.Dataset) -> str:
    a, seeds = arrays.attrs, arrays.sizes["seed"]
    return (
        f"{a['data']}: {a['cells']} models ({a['network']}, {a['parameters']:,} parameters, {a['noise_process']}), trained for "
        f"{a['steps']:,} steps of {a['batch_size']} images in {a['precision']}, {'1 training' if seeds == 1 else f'{seeds} trainings'} of each "
        f"size; {a['held_out']:,} images held out of all."
    )


def _texts(found: Findings, section: str) -> list[str]:
    return [finding.text for finding in found.section(section)]


def _dimensions(arrays: xr.Dataset, rows: Sequence[_Row], found: Findings, note: str) -> Section:
    columns = [
        *(Column("N", ",d"), Column("t", ".3g"), Column("network, training"), Column("network, held-out")),
        *(Column("held-out less training"), Column("empirical, training"), Column("empirical, held-out")),
    ]
    reading = reading_of(arrays)
    cells: list[list[Cell]] = [
        [
            row["size"],
            row["t"],
            *_dimensions_of(row, NETWORK, reading),
            row["gap"],
            *_dimensions_of(row, EMPIRICAL, reading),
        ]
        for row in rows
    ]
    table = Table("dimensions", columns, cells, "Resolved dimension by N and t.", shown=_SHOWN)
    picture = Picture(
        "spectra",
        figures.spectra_figure(arrays, note),
        "Ordered singular values of t times the networks' Jacobian, mean over images. 1 is a direction that is pinned.",
        "Mean spectra of the networks at each t, colored by the number of training images.",
    )
    return Section("Dimensions at every noise variance", (), _texts(found, DIMENSIONS), [picture], [table])


def _copies(at: Sequence[_Row], t: float, found: Findings, note: str) -> Section:
    picture = Picture(
        "copies",
        figures.copies_figure(at, t, note),
        "Left: share of samples, and of held-out images, whose nearest training image is less than a third as far as the second nearest. "
        f"Right: squared denoising error of the networks at t = {t:.3g}, sum over pixels.",
        "Copy rate and denoising error against the number of training images.",
    )
    return Section("Copies among samples", (), _texts(found, COPIES), [picture])


def _readings(arrays: xr.Dataset) -> Section:
    table = replace(readings_table(arrays, over=("size",)), shown=_SHOWN)
    return Section("Every reading of the spectra", tables=[table])


def _alg3(arrays: xr.Dataset, found: Findings, note: str) -> Section:
    discard, threshold = arrays.attrs["discard"], arrays.attrs["threshold"]
    picture = Picture(
        "kinks",
        figures.kink_figure(arrays, note),
        f"Second differences of the spectrum at one training image without its {discard} largest values, by the dimension that a kink there "
        f"would mean. Dotted: {threshold:g} times their median, Alg. 3's threshold; vertical: the dimension that it finds.",
        "Second differences of the spectra for some numbers of training images.",
    )
    return Section("The paper's reading (Alg. 3)", (), _texts(found, ALG3), [picture])


def _trainings(at: Sequence[_Row], seeds: Sequence[int], t: float) -> Section:
    """Each training by itself, where there are several of a size."""
    if len(seeds) < 2:
        return Section("Trainings one by one")
    columns = [Column("N", ",d"), Column("seed", "d"), Column("network, training"), Column("network, held-out")]
    cells: list[list[Cell]] = [
        [row["size"], seed, row["by_seed"][TRAINING][i], row["by_seed"][HELD_OUT][i]]
        for row in at
        for i, seed in enumerate(seeds)
    ]
    caption = f"Resolved dimension at t = {t:.3g} of each training, mean over its images."
    return Section("Trainings one by one", tables=[Table("trainings", columns, cells, caption, shown=_SHOWN)])


_READING = (
    "Each model was trained on N images. Its score is measured at some of them, and at held-out images, which no model was trained on.",
    "At a noisy point the score's Jacobian J says in which directions the clean image may still vary. The eigenvalues of I + tJ, the "
    "survivals, are 0 for a direction that is pinned, by the structure of the data or by memory, and 1 for one that is free at the "
    "scale √t. The resolved dimension counts survivals above ½.",
    "A model that memorizes pins directions that the data leave free: it has fewer dimensions at training images than at held-out ones, "
    "and its samples copy training images. With very few images it pins them everywhere.",
    "A model that has hardly trained, or that meets noise too weak for it, leaves nearly all directions free. Its dimension then says "
    "nothing of the data.",
    "The empirical score is what a network of unlimited capacity would learn from the same N images. It always memorizes in the end.",
)
