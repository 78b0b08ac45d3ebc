"""What folds on the page: pictures and tables by subject, with captions that state the records' values."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from geomem.figures import data as figures
from geomem.figures.pictures import local_directions
from geomem.jobs.data.dimensions import dimensions_section
from geomem.jobs.data.material import Material
from geomem.page import Cell, Column, Picture, Section, Table
from geomem.spectra.dimension import RESOLVED

__all__ = ["how_to_read", "sections_of"]

# Rows of long tables, and principal directions, that the page shows.
_SHOWN = 10
_HALF = f"{RESOLVED:g}"


def sections_of(material: Material) -> list[Section]:
    """Data, condensation, dimensions, directions, samples needed, and which data are memorized first."""
    makers: Sequence[Callable[[Material], Section]] = (
        _data,
        _condensation,
        dimensions_section,
        _directions,
        _needed,
        _memorized,
    )
    return [make(material) for make in makers]


def _data(m: Material) -> Section:
    duplicates = m.records["duplicates"]
    rows: list[list[Cell]] = [
        [str(a), "equals", str(b), 0.0]
        for a, b in zip(duplicates["repeated_label"].values, duplicates["original_label"].values, strict=True)
    ]
    rows += [
        [str(a), "is near", str(b), float(d)]
        for (a, b), d in zip(duplicates["pair_label"].values, duplicates["distance"].values, strict=True)
    ]
    columns = [Column("duplicate"), Column(""), Column("of"), Column("distance", ".3g")]
    dup = m.numbers["duplicates"]
    caption = (
        f"Duplicates. Near ones lie nearer than {dup['near_threshold']:.3g}, a third of the usual {dup['typical_distance']:.3g} to the "
        "tenth neighbor, and than a third of the distance to the next neighbor beyond."
    )
    tables = [Table("duplicates", columns, rows, caption, shown=_SHOWN)] if rows else []
    return Section("Data and duplicates", findings=m.said("data"), tables=tables)


def _condensation(m: Material) -> Section:
    c = m.numbers["condensation"]
    picture = Picture(
        "effective_samples",
        figures.effective_samples(m.records["posterior"], m.records["theory"], c["half"].value, m.note),
        f"Left: how many {m.unit}s the score averages over at a held-out {m.unit} (1 over the mean of Σw²); the dotted line marks "
        f"t = {c['half'].value:.3g}, where that is 2 for all of the data. Right: the weight of a training {m.unit} at itself, measured "
        "and predicted for a Gaussian of the same covariance.",
        "Effective samples at held-out points and own weight at training points against noise variance. "
        + m.findings["condensation.half"].text,
    )
    names = {"none": "infinite (no correction)", "plug-in": "Σ (s/(s+t))² of the covariance"}
    rows: list[list[Cell]] = []
    for name, guess in c["guesses"].items():
        time = None if math.isnan(guess["t_c"].value) else guess["t_c"]
        rows.append([names.get(name, f"Σκ² at 2t, {name}"), float(guess["rank"]), time])
    table = Table(
        "condensation_times",
        [Column("rank taken as"), Column("rank", ".3g"), Column("t_c", ".3g")],
        rows,
        "Condensation time by what the rank of the data is taken to be; a correction needs a rank above 2.",
    )
    return Section("When memorization sets in", findings=m.said("condensation"), pictures=[picture], tables=[table])


def _directions(m: Material) -> Section:
    rows, t = m.numbers["directions"], m.numbers["dimensions"]["t"]
    pictures = []
    if m.pictures:
        examples = m.records["directions"]
        pictures.append(
            Picture(
                "local_directions",
                local_directions(examples, m.shape, m.note),
                f"At t = {t:.3g}, in each row: a point, its posterior mean E[y|x], the directions that survive there most, and of those "
                "lost the ones along which the data vary most, each with its survival.",
                f"{examples.sizes['point']} points with directions kept and lost there, as images.",
            )
        )
    if not rows:
        return Section("Directions", pictures=pictures)
    shares = [f"no. {row['direction']} at {row['held_out']}" for row in (rows[0], rows[-1])]
    pictures.append(
        Picture(
            "directions",
            figures.directions(m.records["data"], rows, m.shape, m.note),
            f"Principal directions along which the data have variance above t = {t:.3g}: those that survive at the most held-out "
            f"{m.unit}s, then those that survive at the fewest. A Gaussian would keep all of them.",
            f"Principal directions; survival at held-out points: {', '.join(dict.fromkeys(shares))}.",
        )
    )
    columns = [
        Column("principal direction", ""),
        Column("variance", ".3g"),
        Column(f"survives at held-out {m.unit}s"),
        Column(f"at training {m.unit}s"),
    ]
    cells = [[row["direction"], row["variance"], row["held_out"], row["training"]] for row in rows]
    caption = f"Share of points at which a principal direction survives at t = {t:.3g}, with exact 95% intervals."
    return Section("Directions", pictures=pictures, tables=[Table("directions", columns, cells, caption, shown=_SHOWN)])


def _needed(m: Material) -> Section:
    needed = m.numbers["needed"]
    picture = Picture(
        "samples_needed",
        figures.samples_needed(
            needed, m.records["posterior"], m.records["theory"], m.numbers["condensation"]["by_size"], m.note
        ),
        f"Left: samples for which one direction survives on average at a held-out {m.unit}. Right: samples for which the score at "
        f"held-out {m.unit}s condenses at t. The green line, ln N less the weights' entropy, needs no subsampling but is right only "
        "far below the dotted line, which is all of the data.",
        "Number of samples against noise variance, by subsampling and by theory. " + m.findings["needed.now"].text,
    )
    rows: list[list[Cell]] = []
    for row in needed["rows"]:
        kinds = [(row[name], _kind(row, name)) for name in ("subsampling", "theory")]
        rows.append([row["t"], *(cell for kind in kinds for cell in kind)])
    columns = [Column("t", ".3g"), Column("by subsampling", ",.0f"), Column("kind")]
    columns += [Column("by theory (Gaussian)", ",.0f"), Column("kind, theory")]
    caption = (
        "Samples needed for one direction to survive at t. Extrapolated: in logarithms, by the slope of the largest sizes, at most "
        "three, beyond the data or what theory was computed for. At most: fewer were not tried, or keep no direction at any t."
    )
    tables = [Table("samples_needed", columns, rows, caption)] if rows else []
    return Section("How many samples are needed", findings=m.said("needed"), pictures=[picture], tables=tables)


def _kind(row: Mapping[str, Any], name: str) -> str:
    """How a number of samples was found."""
    if row[f"{name}_at_most"]:
        return "at most"
    return "extrapolated" if row[f"{name}_beyond"] else "interpolated"


def _memorized(m: Material) -> Section:
    memorized = m.records["memorized"]
    pictures = []
    if m.pictures:
        shown = memorized.sizes["shown"] // 2
        pictures.append(
            Picture(
                "isolated",
                figures.isolated(memorized, m.shape, m.note),
                f"The {shown} most and the {shown} least isolated training images, by the noise variance up to which they hold half of "
                "the weight at themselves. A model that memorizes returns the isolated ones even from strong noise.",
                "The most and the least isolated training images, each with its nearest training image below.",
            )
        )
    times, labels = memorized["half_weight_time"].values, memorized["label"].values
    rows: list[list[Cell]] = [
        [place, str(labels[i]), float(times[i]), str(memorized["neighbour_label"].values[i])]
        for place, i in enumerate(np.argsort(-times), start=1)
    ]
    columns = [
        Column("", ""),
        Column(f"training {m.unit}"),
        Column("half of the weight up to t", ".3g"),
        Column("nearest"),
    ]
    caption = f"Training {m.unit}s in the order in which they are memorized as the noise falls."
    return Section(
        f"Which {m.unit}s are memorized first",
        findings=m.said("memorized"),
        pictures=pictures,
        tables=[Table("memorized_first", columns, rows, caption, shown=_SHOWN)],
    )


def how_to_read() -> Section:
    """The words of the page."""
    return Section(
        "How to read this page",
        [
            "Noise of variance t is added to an image, and a diffusion model estimates where the image came from. The empirical score is "
            "what a model of unlimited capacity would learn from these data. It weighs every training image by its distance: "
            "w = softmax(−|x − y|²/2t). With strong noise it averages over many images. Below the condensation time it returns single "
            "ones.",
            "So this page says what memorizing these data would look like, and at which noise it would set in. It says nothing about a "
            "particular model unless samples of one were given: trained networks have limited capacity, and keep more dimensions.",
            "Survival, the eigenvalues of I + tJ with J the Jacobian of the score, is the posterior variance over the noise variance. It "
            "is 0 for a direction that is pinned, by the data's manifold or by memory, and 1 for one that is free at the scale √t. The "
            f"resolved dimension counts survivals above {_HALF}. Where it is lower at training images than at held-out ones, dimensions "
            "have been lost to memorization.",
            "Theory takes the data as a Gaussian of the same covariance. Real data are not Gaussian, so where it differs from "
            "subsampling, believe subsampling.",
        ],
    )
