"""The part of an audit's page that shows whole spectra, for whoever names a probe."""

from collections.abc import Mapping
from typing import Any

import xarray as xr

from geomem.figures import audit as figures
from geomem.findings.finding import Findings
from geomem.findings.readings import readings_table
from geomem.jobs.audit.findings import PROBED
from geomem.jobs.audit.numbers import Numbers
from geomem.measure.pairs import EMPIRICAL, LEFT_OUT, MODEL
from geomem.page import Cell, Column, Picture, Section, Table

__all__ = ["LISTED", "hundred", "probed_sections"]

# Training images that the page lists; the CSV files have all.
LISTED = 10


def probed_sections(
    records: Mapping[str, xr.Dataset], numbers: Numbers, findings: Findings, note: str
) -> list[Section]:
    """Dimensions of whole spectra, by noise level and by image; and every reading."""
    found, unit = numbers["probed"], numbers["unit"]
    pictures = []
    if found["reading"] == "resolved":
        pictures.append(
            Picture(
                "spectra",
                figures.model_spectra([records[MODEL], records[EMPIRICAL]], note),
                f"Survival of the ordered directions, median over {unit}s: solid the model, dashed the empirical score. A direction counts "
                "above the dotted line.",
                "Ordered survival of the model and of the empirical score at each noise variance.",
            )
        )
    text = [f.text for f in findings.section(PROBED)]
    tables = [_levels_table(numbers), _images_table(numbers)]
    return [Section("Whole spectra", (), text, pictures, tables), _readings(records, numbers)]


def _levels_table(numbers: Numbers) -> Table:
    """By noise variance: dimensions of the model, what it has lost, and what perfect memorization would lose."""
    unit, found = numbers["unit"], numbers["probed"]
    other = "held-out" if numbers["held_out"] else f"empirical score without the {unit}"
    columns = [
        Column("t", ".3g"),
        Column("training", "z.1f"),
        Column(other, "z.1f"),
        Column("lost", "z.1f"),
        Column("lost (%)", "z.0f"),
        Column("empirical score (%)", "z.0f"),
    ]
    rows: list[list[Cell]] = []
    for row in found["levels"]:
        m = row["model"]
        fractions = [hundred(row[source]["fraction"]) for source in (MODEL, EMPIRICAL)]
        rows.append([row["t"], m["training"], m["compared"], m["dimensions"], *fractions])
    if not numbers["held_out"]:
        columns, rows = columns[:3], [row[:3] for row in rows]
    caption = f"Mean dimension of the model by noise variance, at {unit}s in pairs that look alike."
    return Table("spectra", columns, rows, caption)


def _images_table(numbers: Numbers) -> Table:
    unit, images = numbers["unit"], numbers["probed"]["images"]
    if numbers["held_out"]:
        columns = [
            Column(f"training {unit}"),
            Column("dimension", "z.1f"),
            Column(f"held-out {unit} it is paired with"),
            Column("its dimension", "z.1f"),
            Column("held-out less training", "z.1f"),
        ]
        rows = [[r["image"], r["dimension"], r["partner"], r["compared"], r["lost"]] for r in images]
        caption = (
            f"Every training {unit} that was measured, most lost first. The interval is what two held-out neighbors differ by; negative "
            "numbers: it has more dimensions than its partner."
        )
    else:
        columns = [
            Column(f"training {unit}"),
            Column("dimension", "z.1f"),
            Column("empirical score without it", "z.1f"),
        ]
        rows = [[r["image"], r["dimension"], r["compared"]] for r in images]
        caption = (
            f"Every training {unit} that was measured, fewest dimensions against the empirical score without it first."
        )
    return Table("pairs", columns, rows, caption, shown=LISTED)


def hundred(share: Any) -> Any:
    """A share with its interval, in percent; None where it is not known."""
    if share.low == float("-inf"):
        return None
    return type(share)(100 * share.value, 100 * share.low, 100 * share.high, share.n)


def _readings(records: Mapping[str, xr.Dataset], numbers: Numbers) -> Section:
    """Every reading of every score."""
    found = xr.concat([records[name].drop_attrs(deep=False) for name in (MODEL, EMPIRICAL)], "score", join="outer")
    text = [
        "Gap rules (largest gap, second difference, normal bundle) look for a drop in the singular values. Where the data have no gap, they "
        "answer seldom or with nearly all dimensions; the column “found” says at how many points they answered."
    ]
    if numbers["probed"]["preset_t"] is not None:
        text.append(f"The preset reads Alg. 3 at t = {numbers['probed']['preset_t']:.3g}.")
    if LEFT_OUT in found["score"].values:
        text.append(f"left-out: the empirical score without the {numbers['unit']} that it is evaluated at.")
    return Section("Every reading of the dimension", text, tables=[readings_table(found)])
