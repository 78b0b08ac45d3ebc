"""The page: what memorizing the data would mean, or whether samples copy them, and what supports it."""

import shlex
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import xarray as xr

from geomem.findings.copies import copies_box, copies_section
from geomem.findings.finding import Findings
from geomem.jobs.data.dimensions import dimensions_picture, dimensions_table
from geomem.jobs.data.material import Material
from geomem.jobs.data.sections import how_to_read, sections_of
from geomem.jobs.data.words import plural
from geomem.jobs.reading import Reading
from geomem.jobs.request import options
from geomem.page import Box, Page
from geomem.records import Run

__all__ = ["page_of"]

Numbers = Mapping[str, Any]


def page_of(run: Run, records: Mapping[str, xr.Dataset], numbers: Numbers, findings: Findings) -> Page:
    """The page of a finished run."""
    material = Material(records, numbers, findings, run.note())
    sections, lead = [*sections_of(material), how_to_read()], _lead(numbers, run.config["extent"])
    if numbers["copies"] is None:
        table = dimensions_table(material)
        source = shlex.quote(str(run.config["data"]))
        reading = Reading(**{name: run.config[name] for name in options(Reading)})
        box = _box(numbers, source, reading.command_line(""), bool(run.config["quick"]))
        return Page(box, _short(findings), sections, table, dimensions_picture(material), lead)
    shape = material.shape if material.pictures else None
    copies = copies_section(records["copies"], numbers["copies"], shape, material.note, material.unit)
    rates, *tables = copies.tables
    return Page(
        copies_box(numbers["copies"], material.unit),
        _short(findings),
        [replace(copies, pictures=(), tables=tables), *sections],
        rates,
        next(iter(copies.pictures), None),
        lead,
    )


def _box(numbers: Numbers, source: str, reading: str, quick: bool) -> Box:
    """What memorizing the data would leave of their dimensions."""
    dims, unit = numbers["dimensions"], numbers["unit"]
    last, extent = dims["rows"][-1], numbers["data"]
    t, many = f"noise variance {dims['t']:.2g}", plural(last["size"], unit)
    if dims["gaussian"] == 0:
        return Box(
            f"These {many} vary along no direction by more than the noise at {t}",
            f"{extent['dim']:,} principal variances were compared with it.",
            "Choose a smaller noise variance with --t.",
        )
    told = "" if last["difference"].low > 0 else "; the difference is not significant"
    verdict = (
        f"Memorizing these {many} leaves {last['training']} dimensions at a training {unit} and {last['held_out']} at a new one, at "
        f"{t}{told}"
    )
    sure = (
        f"95% intervals over {last['held_out'].n} {unit}s of each kind; no Gaussian is assumed. This describes the data, not a "
        "trained model."
    )
    more = " Leave --quick out for narrower intervals." if quick else ""
    return Box(verdict, sure, _next(numbers, source, f" {reading}" if reading else "") + more)


def _next(numbers: Numbers, source: str, reading: str) -> str:
    exact, unit = numbers["duplicates"]["exact_rows"], numbers["unit"]
    audit = (
        f"Audit a model trained on them: geomem audit MODEL --trained-on {source} --held-out DATA{reading}. Or compare its samples with the "
        f"data: geomem data {source} --samples SAMPLES{reading}."
    )
    if not exact:
        return audit
    return (
        f"Remove the {plural(exact, f'exact duplicate {unit}')} before training; a model memorizes them first. {audit}"
    )


def _short(findings: Findings) -> list[str]:
    """The most important sentences: of samples where there are any, then of the data."""
    keys = ("copies.control", "copies.nearer", "copies.meaning", "condensation.half", "dimensions.lost")
    if keys[0] not in findings:
        keys = ("condensation.half", "dimensions.lost", "needed.now", "needed.subsampling.0", "duplicates.exact")
    return [findings[key].text for key in keys if key in findings]


def _lead(numbers: Numbers, extent: Mapping[str, Any]) -> str:
    data, unit = numbers["data"], numbers["unit"]
    subsets = "one random subset" if extent["repeats"] == 1 else f"{extent['repeats']} random subsets"
    scale = "pixels scaled to [−1, 1]" if data["pixels"] else "values as they are"
    axes = ""
    if data["fitted"] < data["training"]:
        axes = f" Principal axes and covariance come from the first {data['fitted']:,} training {unit}s."
    return (
        f"{data['source']}: {data['training']:,} training {unit}s, {data['held_out']:,} held out, {scale}. The empirical score was "
        f"measured at up to {extent['points']} training and {extent['points']} held-out {unit}s ({extent['spectra']} of each for "
        f"spectra); for fewer samples, in {subsets} of each size. Intervals are 95%, by resampling points and subsets unless another is "
        "named. All of the data are one data set, so there intervals are over points alone. Numbers of rows, variances and distances "
        f"are exact.{axes}"
    )
