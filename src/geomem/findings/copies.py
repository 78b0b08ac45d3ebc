"""Whether generated samples copy training data: numbers, findings, tables and the section of a page, from the record `copies`."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from geomem.figures.copies import closest_pairs
from geomem.findings.finding import Finding, Findings
from geomem.intervals import Rate
from geomem.measure.copies import RATIO, rate_of_copies, ratios, verdict
from geomem.page import Box, Cell, Column, Picture, Section, Table

__all__ = [
    "SECTION",
    "closest_table",
    "copies_box",
    "copies_findings",
    "copies_numbers",
    "copies_section",
    "rates_table",
]

SECTION = "copies"
# Samples that summary.json and the page list; the CSV file has all.
_LISTED = 10
_COPY = f"{RATIO:.2f}"

Numbers = Mapping[str, Any]


def copies_numbers(copies: xr.Dataset) -> dict[str, Any]:
    """What the record says, as numbers.

    Returns:
        "verdict" (see `measure.copies.Verdict`), rates "generated" and "control", "p" of Fisher's test, "nearer" (share of pairs
        in which the sample is relatively nearer), "identical", "held_out" (name of the control, "" for rows of the data),
        "notes", and the "closest" samples.
    """
    distance, control = copies["distance"].values, copies["control"].values
    found = verdict(distance, control)
    return {
        "generated": rate_of_copies(distance),
        "control": rate_of_copies(control),
        "held_out": str(copies.attrs["control_name"]),
        "verdict": found.copies,
        "p": found.p,
        "nearer": found.nearer,
        "identical": found.identical,
        "notes": [str(note) for note in np.atleast_1d(copies.attrs["notes"]) if note],
        "closest": [
            {
                "sample": str(copies["sample_label"].values[i]),
                "training": str(copies["neighbour_label"].values[i]),
                "distance": float(distance[i, 0]),
                "ratio": float(copies["ratio"].values[i]),
            }
            for i in np.argsort(copies["ratio"].values, kind="stable")[:_LISTED]
        ],
    }


def copies_findings(numbers: Numbers, unit: str) -> list[Finding]:
    """The numbers in sentences; `unit` is what one datum is called.

    Keys: "copies.rate", "copies.control", "copies.nearer", "copies.meaning", "copies.test", and where there are any
    "copies.identical" and "copies.note.0" and on.
    """
    generated, control, nearer = numbers["generated"], numbers["control"], numbers["nearer"]
    held_out = numbers["held_out"]
    real = f"held-out {unit}s ({held_out})" if held_out else f"training {unit}s, each compared with all others,"
    texts: list[tuple[str, str, Any]] = [
        (
            "rate",
            f"{generated} of {generated.total:,} samples are copies: more than three times nearer to one training {unit} than to "
            "any other.",
            generated,
        ),
        ("control", f"By chance, {control} of {control.total:,} {real} look like copies.", control),
        (
            "nearer",
            f"In {100 * nearer.value:.0f}% [{100 * nearer.low:.0f}, {100 * nearer.high:.0f}] of pairs of a sample and a real {unit}, the "
            "sample is relatively nearer; 50% without memorization.",
            nearer,
        ),
        ("meaning", _meaning(numbers, unit), None),
        ("test", f"One-sided Fisher test of the two shares: p = {numbers['p']:.2g}.", numbers["p"]),
    ]
    if identical := numbers["identical"]:
        equal = "sample equals a training" if identical == 1 else "samples equal training"
        texts.insert(
            0, ("identical", f"{identical:,} {equal} {unit}{'s' if identical > 1 else ''} exactly.", float(identical))
        )
    texts += [(f"note.{i}", note, None) for i, note in enumerate(numbers["notes"])]
    return [Finding(f"copies.{key}", SECTION, text, value) for key, text, value in texts]


def copies_box(numbers: Numbers, unit: str) -> Box:
    """Verdict on samples, how sure it is, and what to do next."""
    generated: Rate = numbers["generated"]
    control: Rate = numbers["control"]
    n, word = numbers["identical"], numbers["verdict"]
    share = f"{generated} of the samples copy training {unit}s"
    verdicts = {
        "identical": f"The model that made these samples reproduces training data: {n:,} of {generated.total:,} samples equal{'s' if n == 1 else ''} a "
        f"training {unit} exactly",
        "yes": f"The model that made these samples memorizes: {share}",
        "likely": f"The model that made these samples probably memorizes: {share}",
        "far": "These samples cannot be judged: they lie too far from the data",
        "too few": f"Too few samples to tell: {share}",
        "no sign": f"No sign of copying: {share}",
    }
    against = (
        f"{control.total:,} {'held-out' if numbers['held_out'] else 'training'} {unit}s look like copies by chance"
    )
    sure = f"{generated.total:,} samples; {control} of {against}. {_certainty(word)}"
    return Box(verdicts[word], sure, _next(numbers, unit))


def copies_section(
    copies: xr.Dataset, numbers: Numbers, shape: tuple[int, ...] | None, note: str, unit: str
) -> Section:
    """What folds under "Copies among the samples"; `shape` of one datum where it can be shown, else None."""
    found = copies_findings(numbers, unit)
    pictures = []
    if shape is not None:
        shown = copies.sizes["pair"]
        pictures.append(
            Picture(
                "closest_pairs",
                closest_pairs(copies, shape, note),
                f"The {shown} samples relatively closest to one training image, and that image. The number is d₁/d₂, the distance to "
                f"the nearest training image over that to the second nearest; below {_COPY} counts as a copy.",
                f"{shown} generated samples, each above the training image nearest to it. {Findings(found)['copies.rate'].text}",
            )
        )
    text = [
        f"A sample is called a copy if it lies more than three times nearer to one training {unit} than to any other (d₁/d₂ below "
        f"{_COPY}). The control says how often real {unit}s do that by chance. Copies that were moved, mirrored or recolored are "
        "not found this way; embeddings of both sides find more."
    ]
    return Section(
        "Copies among the samples",
        text,
        [f.text for f in found],
        pictures,
        [rates_table(copies, numbers), closest_table(copies, unit)],
    )


def rates_table(copies: xr.Dataset, numbers: Numbers) -> Table:
    """Samples and control side by side: how many are copies, and how near they lie to the training data."""
    rows: list[list[Cell]] = []
    for name, rate, side in (
        ("generated samples", numbers["generated"], copies["distance"].values),
        (
            "held-out data" if numbers["held_out"] else "training data (control)",
            numbers["control"],
            copies["control"].values,
        ),
    ):
        rows.append([name, rate.total, rate.count, rate, float(np.median(ratios(side))), float(np.median(side[:, 0]))])
    columns = [
        Column(""),
        Column("number", ""),
        Column("copies", ""),
        Column("share of copies"),
        Column("median d₁/d₂", ".2f"),
        Column("median d₁", ".3g"),
    ]
    return Table(
        "copy_rates", columns, rows, "Copies among samples and, by chance, among real data, with exact 95% intervals."
    )


def closest_table(copies: xr.Dataset, unit: str) -> Table:
    """Every sample with its nearest training datum, the relatively closest first."""
    order = np.argsort(copies["ratio"].values, kind="stable")
    rows: list[list[Cell]] = [
        [
            str(copies["sample_label"].values[i]),
            str(copies["neighbour_label"].values[i]),
            float(copies["ratio"].values[i]),
            float(copies["distance"].values[i, 0]),
        ]
        for i in order
    ]
    columns = [
        Column("sample"),
        Column(f"nearest training {unit}"),
        Column("d₁/d₂", ".3f"),
        Column("distance d₁", ".3g"),
    ]
    caption = f"Samples by d₁/d₂, the relatively closest first; below {_COPY} counts as a copy."
    return Table("closest_samples", columns, rows, caption, shown=_LISTED)


def _meaning(numbers: Numbers, unit: str) -> str:
    return {
        "identical": "A model that generalizes does not do that.",
        "yes": "The two intervals do not overlap: the model copies training data.",
        "likely": "Chance alone would do this in fewer than one audit of twenty; draw more samples to be sure.",
        "far": f"The samples lie more than three times farther from the training data than real {unit}s do (medians). Either they are "
        "on another scale or prepared differently, or they are simply bad.",
        "too few": "With so few on one side, a rate of copies ten percentage points higher could go unseen.",
        "no sign": f"Samples are copies no more often than real {unit}s look like copies of each other.",
    }[numbers["verdict"]]


def _certainty(word: str) -> str:
    return {
        "identical": "Equal samples do not arise by chance.",
        "yes": "The 95% intervals do not overlap.",
        "likely": "The 95% intervals overlap, but chance alone is unlikely.",
        "far": "Distances to the data say nothing about copies here.",
        "too few": "One in ten more could be copies that went unseen.",
        "no sign": "Moved, mirrored or recolored copies are not found this way.",
    }[word]


def _next(numbers: Numbers, unit: str) -> str:
    duplicates = (
        f"Remove duplicates from the training data, train on more {unit}s or for fewer steps, and compare again."
    )
    return {
        "identical": duplicates,
        "yes": duplicates,
        "likely": "Draw more samples and compare again.",
        "far": "Check that samples and data have one scale and the same preparation; if they do, train the model longer.",
        "too few": "Draw more samples: some hundred on each side.",
        "no sign": "Audit the model itself with geomem audit: memorization shows in its dimensions before it shows in copies.",
    }[numbers["verdict"]]
