"""The audit's page: the finding first, then pictures, tables, settings."""

import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import xarray as xr

from geomem.figures import audit as figures
from geomem.figures.pictures import local_directions
from geomem.jobs.audit.findings import samples_needed
from geomem.jobs.audit.model_findings import unit_of
from geomem.jobs.audit.model_page import model_sections
from geomem.page.page import Picture, Section, Table, write_page
from geomem.records import Run

__all__ = ["audit_page"]

_PAGE = "index.html"
# Principal directions in the table at each end of their order.
_ENDS = 8
# Options of the command that repeats a run, and the settings that they come from.
_OPTIONS = ("samples", "control", "size", "mode", "array", "limit", "t")


def audit_page(run: Run, arrays: Mapping[str, xr.Dataset], summary: Mapping[str, Any]) -> Path:
    """Write the figures and index.html into the run's folder; the page's path.

    Args:
        run: A complete run of the audit.
        arrays: Its arrays by name.
        summary: What `audit.summary.summarise` made of them.

    Raises:
        OutputError: If the folder cannot be written.
    """
    config, environment = run.config, run.environment()
    note = f"geomem {environment['geomem']} audit {Path(config['data']).name}, commit {environment['commit']}, seed {config['seed']}"
    found, unit = summary["findings"], unit_of(summary)
    of_data = [
        _data(arrays, found["data"]),
        _condensation(arrays, summary, note),
        _dimensions(arrays, summary, note, unit),
        _needed(arrays, summary, note),
        _isolated(arrays, summary, note, unit),
    ]
    if summary["model"] is not None:
        # What follows speaks of a model without limits, not of this one.
        of_data = [replace(s, heading=f"Of the data alone: {s.heading[0].lower()}{s.heading[1:]}") for s in of_data]
    sections = [*model_sections(arrays, summary, note), *_samples(arrays, summary, note), *of_data]
    write_page(
        run,
        _PAGE,
        title=summary["title"],
        lead=_lead(summary, config, unit),
        short=found["short"],
        sections=[s for s in sections if s.findings or s.pictures or s.tables],
        again=_again(run),
        method="audit",
    )
    return run.path / _PAGE


def _lead(summary: Mapping[str, Any], config: Mapping[str, Any], unit: str) -> str:
    data = summary["data"]
    subsets = "one random subset" if config["repeats"] == 1 else f"{config['repeats']} random subsets"
    scale = "pixels scaled to [−1, 1]" if data["pixels"] else "values as they are"
    return (
        f"{data['source']}: {data['training']:,} {unit}s as training data, {data['held_out']:,} kept apart, {scale}. The "
        "empirical score, which a model without limits would learn from these data, was examined at up to "
        f"{config['points']} training and {config['points']} held-out points ({config['spectra']} of each for spectra) and, for "
        f"fewer samples, in {subsets} of each size. Intervals are 95%: over points and subsets, by "
        "resampling, unless another is named; all of the data are one data set, so there they are over points alone. Numbers "
        "of rows, variances and distances describe these very data and have no interval; ranks, survivals in pictures (of single "
        "points) and curves drawn without bands are estimates without one."
        + (
            f" Principal axes and the plug-in covariance come from the first {data['fitted']:,} training {unit}s."
            if data["fitted"] < data["training"]
            else ""
        )
    )


def _samples(arrays: Mapping[str, xr.Dataset], summary: Mapping[str, Any], note: str) -> list[Section]:
    copies = summary["copies"]
    if copies is None:
        return []
    unit = unit_of(summary)
    pictures = []
    if summary["data"]["pictures"]:
        pictures.append(
            Picture(
                "closest_pairs",
                figures.closest_pairs(arrays["copies"], _shape(summary), note),
                "The samples that are relatively closest to one training image (above), and that image (below); the number is the "
                "distance to it over the distance to the second nearest. Below 0.33 counts as a copy.",
                "Ten generated samples, each above the training image nearest to it. "
                + summary["findings"]["samples"][0],
            )
        )
    rows = [
        [pair["sample"], f"{pair['ratio']:.3f}", pair["training"], f"{pair['distance']:.3g}"]
        for pair in copies["closest"]
    ]
    table = Table(["sample", "d₁/d₂ (below 0.33: copy)", f"nearest training {unit}", "distance d₁"], rows)
    return [Section("Copies among the samples", (), pictures, [table])]


def _data(arrays: Mapping[str, xr.Dataset], found: Sequence[str]) -> Section:
    """The data in sentences, and the first duplicates by name."""
    duplicates = arrays["duplicates"]
    rows = [
        [str(a), "equals", str(b), "0"]
        for a, b in zip(duplicates["repeated_label"].values, duplicates["original_label"].values, strict=True)
    ]
    rows += [
        [str(a), "is near", str(b), f"{d:.3g}"]
        for (a, b), d in zip(duplicates["pair_label"].values, duplicates["distance"].values, strict=False)
    ]
    head = ["duplicate", "", "of", "distance"]
    return Section("The data", found, tables=[Table(head, rows)] if rows else [])


def _condensation(arrays: Mapping[str, xr.Dataset], summary: Mapping[str, Any], note: str) -> Section:
    c = summary["condensation"]
    picture = Picture(
        "effective_samples",
        figures.effective_samples(arrays["posterior"], arrays["theory"], c["half"].value, note),
        "Left: how many samples the score at a held-out point stands on (1 over the mean of Σw²); the dotted line is where that "
        "is 2 for all of the data. Right: the weight of a training point at itself, measured and predicted with a Gaussian "
        "of the same covariance.",
        "Effective samples at held-out points and own weight at training points against noise variance, by number of samples. "
        + summary["findings"]["condensation"][0],
    )
    names = {"none": "no correction (infinite rank)", "plug-in": "Σ (s/(s+t))² of the covariance"}
    rows = [
        [
            names.get(name, f"Σκ² at 2t, {name}"),
            "∞" if math.isinf(g["rank"]) else f"{g['rank']:.3g}",
            "none: needs a rank above 2" if math.isnan(g["t_c"].value) else f"{g['t_c']:.3g}",
        ]
        for name, g in c["guesses"].items()
    ]
    return Section(
        "When a score condenses onto single samples",
        summary["findings"]["condensation"],
        [picture],
        [Table(["rank taken as", "rank", "condensation time t_c"], rows)],
    )


def _dimensions(arrays: Mapping[str, xr.Dataset], summary: Mapping[str, Any], note: str, unit: str) -> Section:
    dims, cells = summary["dimensions"], arrays["posterior"]
    found = summary["findings"]["dimensions"]
    outside = float(cells["outside"].sel(size=cells["size"].max()).max())
    pictures = [
        Picture(
            "dimension_by_size",
            figures.dimension_by_size(dims["rows"], dims["t"], note),
            f"Directions with survival above ½ at t = {dims['t']:.3g}, with 95% intervals.",
            "Resolved dimension against the number of training samples. " + found[0],
        ),
        Picture(
            "dimension_by_time",
            figures.dimension_by_time(cells, arrays["theory"], arrays["data"]["variance"].values, note),
            "Mean resolved dimension against the noise variance: solid measured, dashed predicted. Dotted: directions in which the "
            "data vary by more than t, which a Gaussian of their covariance would keep.",
            "Resolved dimension against noise variance for three numbers of samples, at training and held-out points.",
        ),
        Picture(
            "survival",
            figures.survival_spectra(cells, dims["t"], note),
            "Survival of the ordered directions (eigenvalues of I + tJ), median over points. Above ½ a direction counts as "
            "resolved; above 1 the point lies between several groups of samples.",
            "Ordered survival spectra at three noise variances, for the fewest and the most samples.",
        ),
    ]
    if summary["data"]["pictures"]:
        pictures.append(
            Picture(
                "local_directions",
                local_directions(arrays["directions"], _shape(summary), note),
                f"At t = {dims['t']:.3g}, in each row: a point, what the score makes of it (E[y|x]), the directions that survive there "
                "most, and those lost along which the data vary most, each with its survival. Empty places: no more such.",
                "One training and four held-out points with directions kept and lost there, as images.",
            )
        )
    if summary["directions"]:
        pictures.append(
            Picture(
                "directions",
                figures.directions(arrays["data"], summary["directions"], _shape(summary), note),
                f"Principal directions of the data in which they vary by more than t = {dims['t']:.3g}: above, those that survive "
                f"at the most held-out {unit}s; below, those that survive at the fewest. A Gaussian would keep all of them.",
                "Directions shown as images: " + _shares(summary["directions"]),
            )
        )
    pictures.append(
        Picture(
            "predictions",
            figures.predictions(arrays["theory"], note),
            "Predicted by theory with a Gaussian of the data's covariance, up to 64 times more samples than there are "
            f"(mean of {arrays['theory'].sizes['draw']} drawn spectra; a heuristic).",
            "Predicted resolved dimension at held-out points against noise variance, one line for each number of samples.",
        )
    )
    head = ["N", "training", "held-out", "held-out less training", "theory, training", "theory, held-out"]
    keys = ("training", "held_out", "difference", "theory_training", "theory_held_out")
    rows = [[f"{row['size']:,}", *(f"{row[k]:.2f}" for k in keys)] for row in dims["rows"]]
    note_outside = (
        f"Spectra were computed in the leading principal coordinates; what lies outside holds up to {outside:.2g} degrees of "
        "freedom at a point, spread over many directions, and is not counted as resolved."
    )
    return Section(
        "Dimensions kept and lost", [*found, note_outside], pictures, [Table(head, rows), *_directions(summary)]
    )


def _directions(summary: Mapping[str, Any]) -> list[Table]:
    """The principal directions of the picture with intervals: those that survive at most points, then at fewest."""
    rows = summary["directions"]
    shown = rows if len(rows) <= 2 * _ENDS else [*rows[:_ENDS], *rows[-_ENDS:]]
    cells = [
        [str(row["direction"]), f"{row['variance']:.3g}", str(row["held_out"]), str(row["training"])] for row in shown
    ]
    head = ["principal direction", "variance", "survives at held-out points", "at training points"]
    return [Table(head, cells)] if cells else []


def _needed(arrays: Mapping[str, xr.Dataset], summary: Mapping[str, Any], note: str) -> Section:
    needed = summary["needed"]
    picture = Picture(
        "samples_needed",
        figures.samples_needed(needed, arrays["posterior"], arrays["theory"], summary["condensation"]["by_size"], note),
        "Left: samples for which one direction survives on average at a held-out point. Right: samples for which the score at "
        "held-out points condenses at t; the green line, ln N less the weights' entropy, needs no subsampling but is right only "
        "far below the dotted line, which is all of the data.",
        "Number of samples against noise variance, by subsampling and by theory. "
        + " ".join(summary["findings"]["needed"]),
    )
    head = ["t", "by subsampling", "by theory (Gaussian)"]
    rows = [
        [f"{row['t']:.3g}", *(samples_needed(row, name, " *") for name in ("subsampling", "theory"))]
        for row in needed["rows"]
    ]
    notes = [
        "* extrapolated, in logarithms, by the slope of the (at most three) largest sizes: beyond the data, or what theory looked at."
    ]
    notes = notes if any(cell.endswith("*") for row in rows for cell in row) else []
    return Section(
        "How many samples would be needed", [*summary["findings"]["needed"], *notes], [picture], [Table(head, rows)]
    )


def _isolated(arrays: Mapping[str, xr.Dataset], summary: Mapping[str, Any], note: str, unit: str) -> Section:
    memorized = arrays["memorized"]
    pictures = []
    if summary["data"]["pictures"]:
        pictures.append(
            Picture(
                "isolated",
                figures.isolated(memorized, _shape(summary), note),
                "Training images by the noise variance up to which they hold half of the weight at themselves: a model without "
                "limits returns the isolated ones even from much noise.",
                "The most and the least isolated training images, each with its nearest training image below.",
            )
        )
    times = memorized["half_weight_time"].values[memorized["end"].values]
    labels = memorized["label"].values
    half = len(times) // 2
    rows = [
        [str(labels[i]), f"{times[i]:.3g}", str(labels[half + i]), f"{times[half + i]:.3g}"]
        for i in range(min(half, 10))
    ]
    found = [
        f"Of {summary['memorized']['ranked']:,} training {unit}s that were ranked, these hold half of the weight at themselves the "
        "longest and the shortest. The times are exact for these data and have no interval."
    ]
    return Section(
        f"Which {unit}s are memorized first and last",
        found,
        pictures,
        [Table(["most isolated", "up to t", "least isolated", "up to t"], rows)],
    )


def _shares(rows: Sequence[Mapping[str, Any]]) -> str:
    """The first and the last direction with their shares and intervals."""
    parts = [f"no. {row['direction']} survives at {row['held_out']} of held-out points" for row in (rows[0], rows[-1])]
    return "; ".join(dict.fromkeys(parts)) + "."


def _shape(summary: Mapping[str, Any]) -> tuple[int, ...]:
    return tuple(summary["data"]["shape"])


def _again(run: Run) -> str:
    """The command that repeats the run."""
    config = run.config
    words = ["geomem", "audit", str(config["data"])]
    for option in _OPTIONS:
        if config[option] is not None:
            words += [f"--{option}", str(config[option])]
    if config["split"] != "train":
        words += ["--split", str(config["split"])]
    if config["model"] is not None:
        words += _of_model(config["model"])
    if config["sizes"]:
        words += ["--sizes", ",".join(map(str, config["sizes"]))]
    if config["held_out"] is not None:
        words += ["--held-out", str(config["held_out"])]
    words += ["--seed", str(config["seed"])]
    words += ["--quick"] if config["quick"] else []
    return shlex.join([*words, "--out", run.path.name])


def _of_model(asked: Mapping[str, Any]) -> list[str]:
    """The options of a model."""
    words = ["--model", asked["path"]]
    for option in ("scheduler", "label", "points", "preset", "directions"):
        if asked[option] is not None:
            words += [f"--{option}", str(asked[option])]
    words += ["--times", ",".join(repr(t) for t in asked["times"])] if asked["times"] else []
    words += ["--probe", asked["probe"]] if asked["probe"] != "orthonormal" else []
    return [*words, "--draws", str(asked["draws"])]
