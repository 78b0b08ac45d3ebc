"""The sections of an audit's page that speak of the model."""

from collections.abc import Mapping
from typing import Any

import xarray as xr

from geomem.data.layout import image_shape
from geomem.figures import model as figures
from geomem.jobs.audit.model_findings import rule_cell, share, unit_of
from geomem.page.page import Picture, Section, Table

__all__ = ["model_sections"]

# Images in the table at each end of their order.
_ENDS = 8


def model_sections(arrays: Mapping[str, xr.Dataset], summary: Mapping[str, Any], note: str) -> list[Section]:
    """Dimensions of the model and where they were lost; none without a model."""
    m = summary["model"]
    if m is None:
        return []
    unit = unit_of(summary)
    pictures = [
        Picture(
            "model_dimension",
            figures.dimension_against_time(m["times"], m["t"], m["reading"], m["held_out"], note),
            "Left: mean dimension of the model (solid) and of the empirical score (dashed), with 95% bands over points. Right: the share of "
            + (
                f"its dimensions at new {unit}s that each has lost at training {unit}s; dotted at a tenth and at a half, which separate the "
                "verdicts."
                if m["held_out"]
                else f"the dimensions of an empirical score without the {unit} it is asked at that each lacks at training {unit}s."
            )
            + " The vertical line is the noise level of the verdict.",
            "Dimension and share lost against noise variance. " + summary["findings"]["model"][0],
        )
    ]
    if m["reading"] == "resolved":
        pictures.append(
            Picture(
                "model_spectra",
                figures.model_spectra(arrays["model"], arrays["empirical"], note),
                "Survival of the ordered directions, median over points: solid the model, dashed the empirical score. Above ½ a direction "
                "counts.",
                "Ordered survival spectra of the model and of the empirical score at each noise variance.",
            )
        )
    shape = tuple(m["shape"])
    if image_shape(shape) is not None and "kept" in arrays["model"]:
        pictures.append(
            Picture(
                "lost_images",
                figures.lost_images(arrays["points"], arrays["model"], m["images"], shape, note),
                f"At t = {m['t']:.3g}, in each row: a training image with its dimension, what the model makes of it (E[y|x]), "
                + ("the new image that it is paired with, " if m["held_out"] else "")
                + "and directions that the model keeps there and has lost, each with its survival.",
                "Training images where most and least is lost, with directions kept and lost there.",
            )
        )
    return [Section("The model: dimensions kept and lost", summary["findings"]["model"], pictures, _tables(m, unit))]


def _tables(m: Mapping[str, Any], unit: str) -> list[Table]:
    names = {"model": "model", "empirical": "empirical score"}
    other = "held-out" if m["held_out"] else "without the image (empirical score)"
    head, rows = ["t"], []
    for name in names.values():
        head += [f"{name}, training", other, "lost", "share lost"]
    for row in m["times"]:
        cells = [f"{row['t']:.3g}"]
        for source in names:
            cells += [f"{row[source][key]:.1f}" for key in ("training", "other", "lost")]
            cells.append(share(row[source]["share"]))
        rows.append(cells)
    tables = [Table(head, rows)]
    beside = (
        {"model": ["held-out"], "empirical": ["held-out"]}
        if m["held_out"]
        else {"model": [], "empirical": ["without the image"]}
    )
    head = ["t", "rule"] + [f"{names[k]}, {where}" for k in names for where in ["training", *beside[k]]]
    shown_t = {m["t"], m["preset_t"]}
    rows = [
        [f"{row['t']:.3g}{' (preset)' if row['t'] == m['preset_t'] else ''}", row["rule"].replace("_", " ")]
        + [rule_cell(cell) for source in names for cell in row[source]]
        for row in m["rules"]
        if row["t"] in shown_t
    ]
    tables.append(Table(head, rows))
    shown = m["images"] if len(m["images"]) <= 2 * _ENDS else [*m["images"][:_ENDS], *m["images"][-_ENDS:]]
    if m["held_out"]:
        head = [f"training {unit}", "dimension", f"new {unit} it is paired with", "its dimension", "lost"]
        rows = [
            [r["image"], f"{r['dimension']:.1f}", r["partner"], f"{r['other']:.1f}", f"{r['lost']:.1f}"] for r in shown
        ]
    else:
        head = [f"training {unit}", "dimension", "of the empirical score without it"]
        rows = [[r["image"], f"{r['dimension']:.1f}", f"{r['other']:.1f}"] for r in shown]
    return [*tables, Table(head, rows)]
