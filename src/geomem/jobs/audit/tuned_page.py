"""The page of a fine-tuned model beside its base: the verdict, what supports it, and what folds."""

from collections.abc import Mapping
from typing import Any

import xarray as xr

from geomem.data.layout import image_shape
from geomem.figures import tuned as figures
from geomem.findings.copies import copies_section
from geomem.jobs.audit.probed_page import LISTED, hundred
from geomem.jobs.audit.tuned_numbers import LOOKED
from geomem.jobs.audit.words import percent
from geomem.measure.observe import TRAINING
from geomem.measure.pairs import MODEL
from geomem.measure.tuned import LEAST_TUNED
from geomem.page import Box, Cell, Column, Page, Picture, Section, Table
from geomem.records import Run

__all__ = ["tuned_page"]

Numbers = Mapping[str, Any]
_HOW = (
    "The base has not seen these images. At the same image with the same noise it says which dimensions there are; what the fine-tuned "
    "model lacks of them, it has lost. Degrees of freedom are the sum of squared survival, measured by how far the denoised image moves "
    "when the noise changes its sign.",
    "A fine-tuned model may be surer at any image of the new kind. What it has lost at held-out images is taken off, where there are some.",
    "Memorizing: samples copy training images, or more than half is lost by the whole interval. Losing dimensions: more than a quarter. "
    "Overfitting: more than a twentieth, or the error, relative to the base's, tells training images from held-out ones (AUC above .55). "
    "Keeping its base's dimensions: less than a tenth. Undecided: anything else. Intervals hold at all noise levels together.",
    "Dims: directions with a survival above ½ for the base. Where: the survival that is lost, summed over the values of each place; orange "
    "is lost, purple is gained. Lost directions are changes of the image, with the survival for the base and for the fine-tuned model.",
)


def tuned_page(run: Run, records: Mapping[str, xr.Dataset], numbers: Numbers) -> Page:
    """The page of a finished run."""
    note, unit = run.note(), numbers["unit"]
    shape = tuple(numbers["model"]["image_shape"])
    sections = [_looked(records, numbers, note, shape), _ranking(numbers)]
    if numbers["copies"] is not None:
        data_shape = tuple(numbers["data"]["shape"])
        shown = data_shape if image_shape(data_shape) is not None else None
        sections.append(copies_section(records["copies"], numbers["copies"], shown, note, unit))
    sections += [Section("How to read this page", _HOW), Section("What was measured", findings=_setting(numbers))]
    return Page(
        Box(_verdict(numbers), _sure(numbers), _next(numbers)),
        _short(numbers),
        sections,
        _levels(numbers),
        Picture(
            "lost",
            figures.lost_against_time(numbers["levels"], numbers["reference_t"], note),
            f"Left: degrees of freedom of the fine-tuned model (solid) and of its base (dashed), means over {unit}s. Right: the share of the "
            "base's that the fine-tuned model has lost, with simultaneous 95% intervals; dotted at a tenth, a quarter and a half. The vertical "
            "line is the reference t.",
            "Degrees of freedom and share lost against noise variance. " + _short(numbers)[0],
        ),
        f"{numbers['model']['name']}, fine-tuned on {numbers['data']['n']:,} {unit}s from {numbers['data']['source']}, beside its base. Intervals "
        f"are 95%, over {unit}s. t is the variance of the added noise, in data units squared.",
    )


def _verdict(numbers: Numbers) -> str:
    word, reason, unit = numbers["verdict"]["word"], numbers["verdict"]["reason"], numbers["unit"]
    lost = numbers["lost"]["fraction"]
    if reason == "copies":
        return f"This fine-tuned model is memorizing: {numbers['copies']['generated']} of its samples are copies of training {unit}s"
    if word == "undecided":
        why = {
            "few": f"{numbers['training']} {unit}s are too few; {LEAST_TUNED} are the least",
            "open": f"it has lost {percent(lost)} of its base's degrees of freedom at training {unit}s",
            "likely": f"little is lost at its training {unit}s, but its samples are probably copies",
            "flat": "at these noise levels its base has no degrees of freedom to lose",
        }[reason]
        return f"Undecided whether this fine-tuned model memorizes: {why}"
    if word == "keeping":
        return f"This fine-tuned model keeps its base's dimensions: at most {max(0.0, 100 * lost.high):.0f}% are lost at training {unit}s"
    if word == "overfitting":
        if numbers["membership"] is not None and not lost.low > 0.05:
            return (
                f"This fine-tuned model has begun to overfit: its error tells training {unit}s from held-out ones in "
                f"{percent(numbers['membership']['auc'])} of pairs"
            )
        return f"This fine-tuned model has begun to overfit: it has lost {percent(lost)} of its base's degrees of freedom at training {unit}s"
    return f"This fine-tuned model is {word}: at training {unit}s it has lost {percent(lost)} of its base's degrees of freedom"


def _sure(numbers: Numbers) -> str:
    unit, lost = numbers["unit"], numbers["lost"]
    parts = [f"{numbers['training']:,} training {unit}s, each at {numbers['pairs']} mirrored pairs of noise draws."]
    if lost["held_out"] is None:
        parts.append(
            f"There are no held-out {unit}s, so what the model loses at any {unit} of this kind is counted, too; --held-out takes it off."
        )
    else:
        parts.append(
            f"At {numbers['held_out']:,} held-out {unit}s it has lost {percent(lost['held_out'])}, which is taken off."
        )
    return " ".join(parts)


def _next(numbers: Numbers) -> str:
    unit = numbers["unit"]
    return {
        "memorizing": f"Fine-tune for fewer steps, at a lower rank or on more {unit}s, and audit again. Do not release it if the {unit}s are private.",
        "losing dimensions": f"Use an earlier checkpoint, or more {unit}s. The ranking lists the {unit}s that it knows best.",
        "overfitting": f"You may use it, but do not train it longer on these {unit}s.",
        "keeping": f"No action is needed. The ranking lists the {unit}s that it knows best.",
        "undecided": "Raise --budget for more draws of noise, or give held-out images with --held-out.",
    }[numbers["verdict"]["word"]]


def _short(numbers: Numbers) -> list[str]:
    unit, lost, t = numbers["unit"], numbers["lost"], f"noise variance {numbers['reference_t']:.3g}"
    out = [f"At training {unit}s it has lost {percent(lost['training'])} of its base's degrees of freedom, at {t}."]
    if lost["held_out"] is not None:
        out.append(f"At held-out {unit}s it has lost {percent(lost['held_out'])} there.")
    if numbers["membership"] is not None:
        out.append(
            f"Its error relative to the base's is smaller at the training {unit} in {percent(numbers['membership']['auc'])} of pairs; 50% is chance."
        )
    if numbers["copies"] is not None:
        out.append(f"{numbers['copies']['generated']} of its samples are copies of training {unit}s.")
    if numbers["looked"]:
        first = numbers["looked"][0]
        named = f" ({first['caption']})" if first["caption"] else ""
        out.append(
            f"At {first['image']}{named} it has lost {first['lost']:.0f} of the {first['free']:.0f} dimensions that its base has there."
        )
    return out


def _levels(numbers: Numbers) -> Table:
    unit, held_out = numbers["unit"], bool(numbers["held_out"])
    columns = [Column("t", ".3g"), Column("base", "z.1f"), Column("fine-tuned", "z.1f"), Column("lost (%)", "z.0f")]
    if held_out:
        columns += [Column("lost, held-out (%)", "z.0f"), Column("net (%)", "z.0f"), Column("AUC", ".2f")]
    rows: list[list[Cell]] = []
    for row in numbers["levels"]:
        freedom = row["freedom"][TRAINING]
        cells: list[Cell] = [row["t"], freedom["base"], freedom[MODEL], hundred(row["lost_training"])]
        if held_out:
            cells += [hundred(row["lost_held_out"]), hundred(row["lost"]), row["auc"]]
        rows.append(cells)
    net = (
        f"; then at held-out {unit}s, and the difference. AUC: how often the training {unit} of a pair has the smaller error"
        if held_out
        else ""
    )
    return Table(
        "levels",
        columns,
        rows,
        f"Mean degrees of freedom of base and fine-tuned model at training {unit}s by noise variance, and the share lost{net}.",
    )


def _looked(records: Mapping[str, xr.Dataset], numbers: Numbers, note: str, shape: tuple[int, ...]) -> Section:
    unit, found = numbers["unit"], records[LOOKED]
    heading = f"What was lost at single {unit}s"
    if not numbers["looked"]:
        return Section(heading, [f"No {unit} was looked at closely: the time did not suffice. Raise --budget."])
    t = float(found.attrs["t"])
    pictures = []
    if image_shape(shape) is not None:
        pictures.append(
            Picture(
                "looked",
                figures.looked_images(found, shape, note),
                f"At t = {t:.3g}, from the {unit} known best: the {unit}, the same with noise, what the base makes of it and how many dimensions it "
                "has there, what the fine-tuned model makes of it and how many of them it has lost, where, and the directions lost most, each "
                "with its survival for the base and for the fine-tuned model.",
                f"Training {unit}s with what base and fine-tuned model make of them, and the directions lost.",
            )
        )
    table = Table(
        "looked",
        [Column(unit), Column("dimensions of the base", "z.0f"), Column("lost", "z.0f")],
        [[row["image"], row["free"], row["lost"]] for row in numbers["looked"]],
        "Directions with a survival above ½ for the base, and how many of them are below for the fine-tuned model, with one draw of noise.",
        shown=LISTED,
    )
    return Section(heading, (), pictures=pictures, tables=[table], open=True)


def _ranking(numbers: Numbers) -> Section:
    unit = numbers["unit"]
    table = Table(
        "ranking",
        [
            Column(f"training {unit}"),
            Column("caption"),
            Column("error left (%)", ".1f"),
            Column("degrees of freedom", "z.1f"),
            Column("of the base", "z.1f"),
        ],
        [
            [row["image"], row["caption"] or None, 100 * row["error_left"], row["freedom"], row["base_freedom"]]
            for row in numbers["ranking"]
        ],
        f"Every training {unit}, at t = {numbers['reference_t']:.3g}, by the share of its base's denoising error that the fine-tuned model has left: "
        "those it knows best come first.",
        shown=LISTED,
    )
    return Section(f"{unit.capitalize()}s that it knows best", tables=[table])


def _setting(numbers: Numbers) -> list[str]:
    unit, shape = numbers["unit"], "x".join(map(str, numbers["model"]["shape"]))
    return [
        f"Model: {numbers['model']['name']}, {numbers['model']['words']}, {numbers['model']['parameters']:,} parameters, points of {shape}.",
        f"{numbers['training']:,} training and {numbers['held_out']:,} held-out {unit}s, {numbers['pairs']} mirrored pairs of noise draws each, at "
        f"{len(numbers['levels'])} noise levels.",
        *numbers["data"]["notes"],
    ]
