"""The page of an audited model: the verdict, what supports it, and what folds."""

from collections.abc import Mapping

import xarray as xr

from geomem.data.layout import image_shape
from geomem.figures import audit as figures
from geomem.findings.copies import copies_section
from geomem.findings.finding import Findings
from geomem.jobs.audit import findings as findings_module
from geomem.jobs.audit.closer import CLOSER
from geomem.jobs.audit.findings import SCREENING, SETTING, short_of
from geomem.jobs.audit.numbers import Numbers
from geomem.jobs.audit.probed_page import LISTED, hundred, probed_sections
from geomem.jobs.audit.words import box_of
from geomem.jobs.data.request import DataRequest
from geomem.jobs.reading import Reading
from geomem.jobs.request import options
from geomem.page import Cell, Column, Page, Picture, Section, Table
from geomem.records import Run

__all__ = ["page_of"]

_HOW = (
    "Noise of variance t is added to an image, and a diffusion model estimates where the image came from. Survival, the eigenvalues of "
    "I + tJ with J the Jacobian of its score, is the variance of what the model still finds possible, over that of the noise. It is 0 "
    "for a direction that is pinned, by the data's manifold or by memory, and 1 for one that is free.",
    "Degrees of freedom are the sum of squared survival. Mirrored noise measures them: how far the denoised image moves when the noise "
    "changes its sign. A model that generalizes has as many at images that it was trained on as at others. One that memorizes has "
    "fewer: around a training image it knows that image alone. The empirical score is what perfect memorization of the same images "
    "would be. The resolved dimension counts survivals above ½, at few images.",
    "The verdict is taken at the reference t, the noise level at which most is lost, by the lower end of its interval. One half of the "
    "images chooses it, and everything is stated of the other half.",
    "Memorizing: samples copy training images, or more than half of the degrees of freedom is lost, by the whole 95% interval. Losing "
    "dimensions: more than a quarter. Overfitting: more than a twentieth, or the error tells training images (AUC above .55), by the "
    "whole interval. Generalizing: less than a tenth is lost, and a tenth of the images at most are known. Undecided: anything else.",
    "Intervals are 95% over images, not over trainings. The thresholds are conventions, tried on small models whose copies were counted "
    "(docs/audit.md). The degrees of freedom of single images are noisy; trust their mean more than their order.",
)


def page_of(run: Run, records: Mapping[str, xr.Dataset], numbers: Numbers, findings: Findings) -> Page:
    """The page of a finished run."""
    unit, note = numbers["unit"], run.note()
    base = "trained on" if numbers["trained_on"] else "audited on held-out data alone,"
    sections = [
        _screening(numbers, findings),
        _closer(records, numbers, findings, note),
        *_copies(records, numbers, note),
        *(probed_sections(records, numbers, findings, note) if numbers["probed"] is not None else []),
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
        f"{numbers['model']['name']}, {base} {numbers['data']['n']:,} {unit}s from {numbers['data']['source']}. Intervals are 95%, over "
        f"{unit}s. t is the variance of the added noise, in data units squared.",
    )


def _levels_table(numbers: Numbers) -> Table:
    """By noise variance: degrees of freedom, what is lost, what perfect memorization would lose, AUC, calibration."""
    unit = numbers["unit"]
    columns = [
        Column("t", ".3g"),
        Column("training", "z.1f"),
        Column("held-out", "z.1f"),
        Column("lost (%)", "z.0f"),
        Column("empirical score (%)", "z.0f"),
        Column("AUC", ".2f"),
        Column("calibration ratio", ".2f"),
    ]
    rows: list[list[Cell]] = []
    for row in numbers["levels"]:
        fractions = [row["fraction"], None if row["empirical"] is None else row["empirical"]["lost"]]
        shown = [None if f is None else hundred(f) for f in fractions]
        rows.append([row["t"], row["training"], row["compared"], *shown, row["auc"], row["calibration"]])
    there = [any(row[i] is not None for row in rows) for i in range(len(columns))]
    columns = [column for column, here in zip(columns, there, strict=True) if here]
    rows = [[cell for cell, here in zip(row, there, strict=True) if here] for row in rows]
    if numbers["lost"] is None:
        caption = f"Mean degrees of freedom of the model by noise variance, over {unit}s."
    else:
        caption = (
            f"Mean degrees of freedom of the model at training and held-out {unit}s by noise variance, and the share lost; then what perfect "
            f"memorization (the empirical score) would lose. AUC: how often the training {unit} of a pair has the smaller error. Calibration "
            f"ratio: error over trace at held-out {unit}s, 1 for a model that generalizes. The verdict is taken at t = "
            f"{numbers['reference_t']:.3g}, on half of the {unit}s; these are all."
        )
    return Table("levels", columns, rows, caption)


def _dimension_picture(numbers: Numbers, findings: Findings, note: str) -> Picture:
    unit, compared = numbers["unit"], numbers["lost"] is not None
    right = (
        f"Right: the share of its degrees of freedom at held-out {unit}s that it has lost at training {unit}s; dotted at a tenth, a "
        "quarter and a half, which separate the verdicts. "
        if compared
        else ""
    )
    left = "Left: degrees" if compared else "Degrees"
    empirical = " and of the empirical score (dashed)" if numbers["empirical"] is not None else ""
    return Picture(
        "dimension",
        figures.freedom_against_time(numbers["levels"], numbers["reference_t"], compared, note),
        f"{left} of freedom of the model (solid, with 95% bands){empirical}. {right}The vertical line is the reference t.",
        "Degrees of freedom and share lost against noise variance. " + findings["screened"].text,
    )


def _screening(numbers: Numbers, findings: Findings) -> Section:
    """What single evaluations say of every image that was screened."""
    found, unit = numbers["screening"], numbers["unit"]
    averages: list[list[Cell]] = []
    for row in found["levels"]:
        freedom, error = row["freedom"], row["error"]
        gap, lost = error.get("gap"), freedom.get("lost")
        averages.append(
            [
                row["t"],
                error["training"],
                error["held_out"],
                gap,
                freedom["training"],
                freedom["held_out"],
                None if lost is None else hundred(lost),
            ]
        )
    columns = [
        Column("t", ".3g"),
        Column("error, training", ".3g"),
        Column("error, held-out", ".3g"),
        Column("difference", "z.3g"),
        Column("trace, training", "z.1f"),
        Column("trace, held-out", "z.1f"),
        Column("lost (%)", "z.0f"),
    ]
    means = Table(
        "screening",
        columns,
        averages,
        f"Means over the {unit}s that were screened. Error: squared denoising error, summed over values, over t. Trace: the sum of survival, "
        "not squared; a little noise left in many directions adds to it everywhere.",
    )
    tables = [means]
    if found["ranking"]:
        tables.append(
            Table(
                "screened",
                [
                    Column(f"training {unit}"),
                    Column("error", ".3g"),
                    Column("degrees of freedom", "z.1f"),
                    Column("held-out as small (%)", ".1f"),
                ],
                [[r["image"], r["error"], r["freedom"], 100 * r["held_out_as_small"]] for r in found["ranking"]],
                f"Every training {unit} that was screened, by its error at t = {numbers['reference_t']:.3g}, the smallest first: these the model "
                f"knows best, or they are the simplest. Last, the share of held-out {unit}s with an error as small.",
                shown=LISTED,
            )
        )
    text = [
        "Noise is added to a clean image and the model removes it. One evaluation gives the error that is left, and, by Stein's lemma, "
        "the trace: how much the model's answer moves with the noise. For an ideal model both have the same mean. One that has "
        "memorized is surer at held-out images than it is right, so its error there is several times its trace."
    ]
    return Section(f"{unit.capitalize()}s screened", text, [f.text for f in findings.section(SCREENING)], tables=tables)


def _closer(records: Mapping[str, xr.Dataset], numbers: Numbers, findings: Findings, note: str) -> Section:
    """Few images looked at closely."""
    unit, closer, shape = numbers["unit"], numbers["closer"], tuple(numbers["model"]["image_shape"])
    paired = bool(closer["pairs"])
    pictures = []
    if image_shape(shape) is not None and closer["images"]:
        partner = f", its held-out {unit}" if paired else ""
        pictures.append(
            Picture(
                "images",
                figures.closer_images(records[CLOSER], closer["images"], shape, note),
                f"At t = {closer['t']:.3g}, in each row: {'a training' if numbers['trained_on'] else 'a held-out'} {unit} with its resolved "
                f"dimension, the same with noise, the denoised {unit} E[y|x]{partner}, directions that the model keeps there, and directions "
                "in which the data vary and that it has lost, each with its survival.",
                f"{unit.capitalize()}s with directions that the model keeps and has lost there.",
            )
        )
    columns = [Column(unit), Column("chosen"), Column("dimension", "z.0f")]
    rows: list[list[Cell]] = [[r["image"], r["why"], r["dimension"]] for r in closer["images"]]
    if paired:
        columns += [Column(f"held-out {unit}"), Column("its dimension", "z.0f")]
        rows = [[*row, r["partner"], r["compared"]] for row, r in zip(rows, closer["images"], strict=True)]
    table = Table(
        "images",
        columns,
        rows,
        f"Resolved dimension, the number of survivals above ½, with one draw of noise. Random {unit}s are paired within equal random sets, the "
        f"{unit}s known best and least with the nearest held-out one.",
        shown=LISTED,
    )
    return Section(
        f"Few {unit}s, closely", (), [f.text for f in findings.section(findings_module.CLOSER)], pictures, [table]
    )


def _copies(records: Mapping[str, xr.Dataset], numbers: Numbers, note: str) -> list[Section]:
    if numbers["copies"] is None:
        return []
    shape = tuple(numbers["data"]["shape"])
    shown = shape if image_shape(shape) is not None else None
    return [copies_section(records["copies"], numbers["copies"], shown, note, numbers["unit"])]


def _of_data(run: Run, numbers: Numbers) -> list[str]:
    """The command that says what the data alone tell."""
    how = {name: run.config[name] for name in options(Reading)}
    source = run.config["trained_on"] if numbers["trained_on"] else run.config["held_out"]
    command = DataRequest(data=str(source), **how).command_line("geomem data")
    return [
        f"Duplicates, which {numbers['unit']}s a model memorizes first, and how many would be needed: these follow from the data alone. "
        "The command is",
        command,
    ]
