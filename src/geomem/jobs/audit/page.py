"""The page of an audited model: the verdict, what supports it, and what folds."""

from collections.abc import Mapping
from typing import Any

import xarray as xr

from geomem.data.layout import image_shape
from geomem.figures import audit as figures
from geomem.findings.copies import copies_section
from geomem.findings.finding import Findings
from geomem.findings.readings import readings_table
from geomem.jobs.audit.findings import DIMENSIONS, IMAGES, SCREENING, SETTING, short_of
from geomem.jobs.audit.numbers import Numbers
from geomem.jobs.audit.words import box_of
from geomem.jobs.data.request import DataRequest
from geomem.jobs.reading import Reading
from geomem.jobs.request import options
from geomem.measure.verdict import EMPIRICAL, LEFT_OUT, MODEL
from geomem.page import Cell, Column, Page, Picture, Section, Table
from geomem.records import Run

__all__ = ["page_of"]

# Training images that the page lists; the CSV file has all.
_LISTED = 10
_HOW = (
    "Noise of variance t is added to an image, and a diffusion model estimates where the image came from. Survival, the eigenvalues of "
    "I + tJ with J the Jacobian of its score, is the variance of what the model still finds possible, over that of the noise. It is 0 "
    "for a direction that is pinned, by the data's manifold or by memory, and 1 for one that is free.",
    "The resolved dimension counts survivals above ½. A model that generalizes has as many dimensions at images that it was trained on "
    "as at others. One that memorizes has fewer: around a training image it knows that image alone. The empirical score is what "
    "perfect memorization of the same images would be.",
    "Training and held-out images are compared in pairs that look alike. The share lost is the mean difference within pairs over the "
    "held-out mean. It is judged at one noise level, the reference t, at which the empirical score loses most; that follows from the "
    "data alone.",
    "Memorizing: samples copy training images, or more than half is lost, by the whole 95% interval. Generalizing: a tenth is lost at "
    "most, by the whole interval, and a tenth of the images at most have less than half of their partner's dimensions. Losing dimensions: "
    "something is lost, by the whole interval. Undecided: anything else.",
    "Intervals are 95% over images, not over trainings. A tenth and a half are conventions. Dimensions of single images are noisy; trust "
    "their mean more than their order.",
)


def page_of(run: Run, records: Mapping[str, xr.Dataset], numbers: Numbers, findings: Findings) -> Page:
    """The page of a finished run."""
    unit, note = numbers["unit"], run.note()
    sections = [
        *_screening(numbers, findings),
        _images(records, numbers, findings, note),
        _dimensions(records, numbers, findings, note),
        *_copies(records, numbers, note),
        _readings(records, numbers),
        Section("The data alone", _of_data(run, numbers)),
        Section("How to read this page", _HOW),
        Section("What was measured", findings=[f.text for f in findings.section(SETTING)]),
    ]
    return Page(
        box_of(numbers),
        short_of(findings),
        sections,
        _levels_table(numbers),
        _dimension_picture(numbers, findings, note),
        f"{numbers['model']['name']}, trained on {numbers['data']['n']:,} {unit}s from {numbers['data']['source']}. Intervals are 95%, over "
        f"{unit}s. t is the variance of the added noise, in data units squared.",
    )


def _compared(numbers: Numbers) -> str:
    """What training images are compared with."""
    return "held-out" if numbers["held_out"] else f"without the {numbers['unit']}"


def _levels_table(numbers: Numbers) -> Table:
    """By noise variance: dimensions of the model, what it has lost, and what perfect memorization would lose."""
    unit, other = numbers["unit"], _compared(numbers)
    columns = [
        Column("t", ".3g"),
        Column("training", "z.1f"),
        Column(other, "z.1f"),
        Column("lost", "z.1f"),
        Column("lost (%)", "z.0f"),
        Column("empirical score (%)", "z.0f"),
    ]
    rows: list[list[Cell]] = []
    for row in numbers["levels"]:
        m = row["model"]
        fractions = [_hundred(row[source]["fraction"]) for source in (MODEL, EMPIRICAL)]
        rows.append([row["t"], m["training"], m["compared"], m["dimensions"], *fractions])
    if not numbers["held_out"]:
        columns, rows = columns[:3], [row[:3] for row in rows]
    caption = (
        f"Mean dimension of the model at training and held-out {unit}s by noise variance, and what is lost; last, what perfect memorization "
        f"(the empirical score) would lose. The verdict is taken at t = {numbers['reference_t']:.3g}. Negative: more at training {unit}s."
    )
    if not numbers["held_out"]:
        caption = (
            f"Mean dimension of the model at training {unit}s by noise variance, beside that of the empirical score without the {unit} it "
            "is evaluated at."
        )
    return Table("levels", columns, rows, caption)


def _denoising_table(numbers: Numbers) -> Table:
    columns = [
        Column("t", ".3g"),
        Column("training", ".3g"),
        Column("held-out", ".3g"),
        Column("held-out less training, in pairs", "z.3g"),
        Column("linear filter", ".3g"),
    ]
    rows: list[list[Cell]] = []
    for row in numbers["levels"]:
        fit = row["denoising"]
        rows.append([row["t"], fit["training"], fit["held_out"], fit["gap"], fit["linear"]])
    caption = f"Squared denoising error by noise variance: summed over values, mean over {numbers['unit']}s."
    return Table("denoising", columns, rows, caption)


def _hundred(share: Any) -> Any:
    """A share with its interval, in percent; None where it is not known."""
    if share.low == float("-inf"):
        return None
    return type(share)(100 * share.value, 100 * share.low, 100 * share.high, share.n)


def _dimension_picture(numbers: Numbers, findings: Findings, note: str) -> Picture:
    unit = numbers["unit"]
    right = (
        f"Right: the share of its dimensions at held-out {unit}s that each has lost at training {unit}s; dotted at a tenth and a half, "
        "which separate the verdicts. "
        if numbers["held_out"]
        else ""
    )
    left = "Left: mean" if numbers["held_out"] else "Mean"
    return Picture(
        "dimension",
        figures.dimension_against_time(
            numbers["levels"], numbers["reference_t"], numbers["reading"].replace("_", " "), numbers["held_out"], note
        ),
        f"{left} dimension of the model (solid) and of the empirical score (dashed), with 95% bands. {right}The vertical line is the "
        "reference t.",
        "Dimension and share lost against noise variance. " + findings["training"].text,
    )


def _screening(numbers: Numbers, findings: Findings) -> list[Section]:
    """What single evaluations say of every image that was screened."""
    found, unit = numbers["screening"], numbers["unit"]
    if found is None:
        return []
    told: list[list[Cell]] = []
    means: list[list[Cell]] = []
    for row in found["levels"]:
        freedom, error = row["freedom"], row["error"]
        told.append([row["t"], row["auc"], row["empirical_auc"], _hundred(freedom["lost"]), row["calibration"]])
        means.append(
            [row["t"], error["training"], error["held_out"], error["gap"], freedom["training"], freedom["held_out"]]
        )
    levels = Table(
        "screening",
        [
            Column("t", ".3g"),
            Column("AUC", ".2f"),
            Column("AUC, empirical score", ".2f"),
            Column("degrees of freedom lost (%)", "z.0f"),
            Column("error over freedom, held-out", ".2f"),
        ],
        told,
        f"By noise variance, AUC: how often the training {unit} of a pair has the smaller error. The largest of several flatters; the finding "
        f"above was chosen on one half of the {unit}s and is stated of the other.",
    )
    averages = Table(
        "screening_means",
        [
            Column("t", ".3g"),
            Column("error, training", ".3g"),
            Column("error, held-out", ".3g"),
            Column("difference", "z.3g"),
            Column("degrees of freedom, training", "z.1f"),
            Column("held-out", "z.1f"),
        ],
        means,
        f"Means over the {unit}s that were screened. Error: squared denoising error, summed over values, over t.",
    )
    ranking = Table(
        "screened",
        [
            Column(f"training {unit}"),
            Column("error", ".3g"),
            Column("degrees of freedom", "z.1f"),
            Column("held-out as small (%)", ".1f"),
        ],
        [[r["image"], r["error"], r["freedom"], 100 * r["held_out_as_small"]] for r in found["ranking"]],
        f"Every training {unit} that was screened, by its error at t = {found['membership']['t']:.3g}, the smallest first: these the model "
        f"knows best, or they are the simplest. Last, the share of held-out {unit}s with an error as small.",
        shown=_LISTED,
    )
    text = [
        "Noise is added to a clean image and the model removes it. One evaluation gives the error that is left, and, by Stein's lemma, "
        "the degrees of freedom: how much the model's answer moves with the noise. For an ideal model both have the same mean. One that has "
        "memorized is surer at held-out images than it is right, so its error there is several times its degrees of freedom."
    ]
    return [
        Section(
            f"Every {unit} screened",
            text,
            [f.text for f in findings.section(SCREENING)],
            tables=[levels, averages, ranking],
        )
    ]


def _images(records: Mapping[str, xr.Dataset], numbers: Numbers, findings: Findings, note: str) -> Section:
    """Which training images have lost most."""
    unit, images, shape = numbers["unit"], numbers["images"], tuple(numbers["model"]["shape"])
    pictures = []
    if image_shape(shape) is not None and "kept" in records[MODEL]:
        shown = f"At t = {numbers['reference_t']:.3g}, in each row: a training image with its dimension, the denoised image E[y|x], "
        partner = "its held-out partner, " if numbers["held_out"] else ""
        pictures.append(
            Picture(
                "images",
                figures.lost_images(records["points"], records[MODEL], images, shape, note),
                f"{shown}{partner}and directions that the model keeps there and has lost, each with its survival.",
                "Training images where most and least is lost, with directions kept and lost there.",
            )
        )
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
    table = Table("images", columns, rows, caption, shown=_LISTED)
    return Section(
        f"Which {unit}s have lost dimensions" if numbers["held_out"] else f"Dimensions at single {unit}s",
        (),
        [f.text for f in findings.section(IMAGES)],
        pictures,
        [table],
    )


def _dimensions(records: Mapping[str, xr.Dataset], numbers: Numbers, findings: Findings, note: str) -> Section:
    pictures = []
    if numbers["reading"] == "resolved":
        pictures.append(
            Picture(
                "spectra",
                figures.model_spectra([records[MODEL], records[EMPIRICAL]], note),
                f"Survival of the ordered directions, median over {numbers['unit']}s: solid the model, dashed the empirical score. A "
                "direction counts above the dotted line.",
                "Ordered survival of the model and of the empirical score at each noise variance.",
            )
        )
    found = [f.text for f in findings.section(DIMENSIONS)]
    return Section("Dimensions kept and lost", (), found, pictures, [_denoising_table(numbers)])


def _copies(records: Mapping[str, xr.Dataset], numbers: Numbers, note: str) -> list[Section]:
    if numbers["copies"] is None:
        return []
    shape = tuple(numbers["data"]["shape"])
    shown = shape if image_shape(shape) is not None else None
    return [copies_section(records["copies"], numbers["copies"], shown, note, numbers["unit"])]


def _readings(records: Mapping[str, xr.Dataset], numbers: Numbers) -> Section:
    """Every reading of every score."""
    found = xr.concat([records[name].drop_attrs(deep=False) for name in (MODEL, EMPIRICAL)], "score", join="outer")
    text = [
        "Gap rules (largest gap, second difference, normal bundle) look for a drop in the singular values. Where the data have no gap, they "
        "answer seldom or with nearly all dimensions; the column “found” says at how many points they answered."
    ]
    if numbers["preset_t"] is not None:
        text.append(f"The preset reads Alg. 3 at t = {numbers['preset_t']:.3g}.")
    if LEFT_OUT in found["score"].values:
        text.append(f"left-out: the empirical score without the {numbers['unit']} that it is evaluated at.")
    return Section("Every reading of the dimension", text, tables=[readings_table(found)])


def _of_data(run: Run, numbers: Numbers) -> list[str]:
    """The command that says what the data alone tell."""
    how = {name: run.config[name] for name in options(Reading)}
    command = DataRequest(data=str(run.config["trained_on"]), **how).command_line("geomem data")
    return [
        f"Duplicates, which {numbers['unit']}s a model memorizes first, and how many would be needed: these follow from the data alone. "
        "The command is",
        command,
    ]
