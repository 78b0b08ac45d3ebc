"""The demo's report: verdict, figures, tables and captions, from its records and settings."""

from collections.abc import Mapping
from itertools import groupby
from typing import Any

import xarray as xr

from geomem.figures import demo as figures
from geomem.figures.pictures import local_directions
from geomem.findings.finding import Findings
from geomem.jobs.demo.findings import findings, listed, short, verdict
from geomem.jobs.demo.measure import NETWORK, SCORES
from geomem.jobs.demo.numbers import READ, CaseNumbers, Numbers, numbers, numbers_as_plain
from geomem.jobs.demo.tables import all_readings, copies_table, origin_table, overview, scores_table
from geomem.jobs.job import Report
from geomem.measure.observe import HELD_OUT, TRAINING
from geomem.page import Box, Page, Picture, Section
from geomem.records import Run

__all__ = ["demo_report"]

Records = Mapping[str, xr.Dataset]
# "z": what rounds to 0 has no sign.
_SPEC = "z.1f"
_SIDE = 8
_LABEL = "resolved dimension"
_HOW_TO_READ = (
    "A score points from a noisy point to the data. Its Jacobian J says in which directions a noisy point may move on.",
    "The survival of a direction is the posterior's variance along it over the noise's: an eigenvalue of I + tJ. It is 0 where "
    "a direction is pinned, by the data's manifold or by memory, and 1 where it is free at the scale √t.",
    "The resolved dimension counts survivals above ½. Degrees of freedom are their sum.",
    "A network that has memorized a training point has lost dimensions there that it still has at a held-out point.",
    "A network that has hardly trained has lost nothing yet. Its dimension says nothing about the data.",
    "The empirical score is what a network of unlimited capacity would learn from the same samples. Theory predicts it from "
    "variances alone.",
)


def demo_report(run: Run, records: Records) -> Report:
    """Summary and page."""
    found = numbers(records, run.config)
    said = findings(found)
    title = verdict(found)
    table = overview(found)
    page = Page(
        Box(title, _sure(found, run.config), _next(found)),
        short(found, said),
        _sections(run, records, found, said),
        table=table,
        picture=_by_size("digits", found.digits, run.note()),
        lead=_lead(found, run.config),
    )
    summary = {"quick": run.config["quick"], "findings": said.plain(), **numbers_as_plain(found)}
    return Report(title, summary, page=page, table=table)


def _sure(found: Numbers, config: Mapping[str, Any]) -> str:
    case = found.digits
    count = f"One network for each N, one seed. Intervals are 95% over up to {case.points} training and {case.points} held-out digits."
    if case.hardly_trained:
        return f"Training was too short to tell: {config['digits']['steps']:,} steps. {count}"
    return f"{count} Another seed gives other networks: try --seed {config['seed'] + 1}."


def _next(found: Numbers) -> str:
    own = "Measure your own: geomem data DATA for images, geomem audit MODEL --trained-on DATA for a model."
    return f"Run geomem demo without --quick. {own}" if found.digits.hardly_trained else own


def _lead(found: Numbers, config: Mapping[str, Any]) -> str:
    trained = [
        f"{config[name]['steps']:,} steps on {listed(config[name]['sizes'])} {what}"
        for name, what in (
            ("digits", f"handwritten digits ({_SIDE}×{_SIDE} pixels)"),
            ("manifold", "points of a manifold"),
        )
    ]
    return (
        f"Small networks were trained for {trained[0]} and for {trained[1]}. The reference noise variance is "
        f"t = {found.digits.t:g}. Intervals are over points, not over networks."
    )


def _sections(run: Run, records: Records, found: Numbers, said: Findings) -> list[Section]:
    note = run.note()
    return [
        _digits(records, found.digits, said, note),
        _memorized(records, found, said, note),
        _manifold(records, found, said, note),
        _readings(records, found),
        _training(records, note),
        Section("How to read this page", text=_HOW_TO_READ),
    ]


def _digits(records: Records, case: CaseNumbers, said: Findings, note: str) -> Section:
    points = records["digits_points"]
    return Section(
        "Digits: which dimensions remain, by number of digits and noise variance",
        text=[
            "Theory takes the digits for a Gaussian with their mean and covariance; at held-out digits it is a heuristic."
        ],
        findings=[f.text for f in (*said.section("digits"), *said.section("digits.theory"))],
        pictures=[_by_time("digits", points, note), _survival("digits", points, case, note)],
        tables=[scores_table("digits_scores", case, "digits")],
    )


def _memorized(records: Records, found: Numbers, said: Findings, note: str) -> Section:
    """What the networks copy, what they have memorized, and which directions they have lost."""
    drawn, points, shown = (records[f"digits_{name}"] for name in ("samples", "points", "directions"))
    case, width = found.digits, _SIDE
    sizes = [int(size) for size in shown["size"].values]
    images = Picture(
        "digits_images",
        figures.generated_images(drawn, width, note),
        "The drawn digits of each network that are closest to one training digit, relative to the second closest.",
        "Rows of drawn digits with the nearest training digit under each.",
    )
    memorized = Picture(
        "digits_memorized",
        figures.memorized_images(points, drawn, case.t, width, note),
        f"Training digits of the network trained on {min(sizes):,}, the most memorized first. The numbers are the degrees of "
        f"freedom left there at t = {case.t:g}, of one network, without interval.",
        "Training digits of the smallest network in the order of the degrees of freedom left at them.",
    )
    directions = [
        Picture(
            f"digits_directions_{size}",
            local_directions(shown.sel(size=size), (width, width), note),
            f"The network trained on {size:,} digits at t = {case.t:g}. Each row: a digit, the network's denoised digit E[y|x], the "
            "directions that survive most, and the lost ones along which digits vary most. Numbers are survivals.",
            f"Directions kept and lost by the network trained on {size:,} digits, at one training and two held-out digits.",
        )
        for size in dict.fromkeys((min(sizes), max(sizes)))
    ]
    return Section(
        "Digits: copies, and directions lost",
        findings=[f.text for f in said.section("copies")],
        pictures=[images, memorized, *directions],
        tables=[copies_table(found.copies)],
    )


def _manifold(records: Records, found: Numbers, said: Findings, note: str) -> Section:
    points, origin, case = records["manifold_points"], records["manifold_origin"], found.manifold
    singular = Picture(
        "manifold_singular_values",
        figures.singular_values(origin, found.origin.size, note),
        f"Ordered singular values of tJ, smoothed over √t (Eq. 5), at the origin, N = {found.origin.size:,}: closed form, median of "
        "the correlated theory, median over independent data sets, and the trained network. The white line marks the "
        f"condensation time, t = {found.origin.condensation_time:.3g}.",
        "Four panels of ordered singular values, coloured by noise variance.",
    )
    return Section(
        "The paper's linear manifold, where theory's Gaussian is the truth",
        text=[f"Gaussian data in {case.dim} dimensions with variance {_variances(points)}, and none in the others."],
        findings=[f.text for name in ("manifold", "manifold.theory", "origin") for f in said.section(name)],
        pictures=[_by_size("manifold", case, note), _by_time("manifold", points, note), singular],
        tables=[scores_table("manifold_scores", case, "points"), origin_table(found.origin)],
    )


def _variances(points: xr.Dataset) -> str:
    """Variances with their multiplicities in words, as "1 in 2 directions, 0.3 in 5 directions"."""
    groups = [(value, len(list(same))) for value, same in groupby(points["variance"].values) if value > 0]
    return " and ".join(f"{value:g} in {count} directions" for value, count in groups)


def _readings(records: Records, found: Numbers) -> Section:
    """Every reading of every score."""
    return Section(
        "Every reading",
        tables=[
            all_readings("digits", records["digits_points"], found.digits.t),
            all_readings("manifold", records["manifold_points"], found.manifold.t),
        ],
    )


def _training(records: Records, note: str) -> Section:
    """Loss curves of all networks."""
    curves = [(name.split("_")[0], held["loss"]) for name, held in records.items() if "loss" in held]
    last = {(name, int(n)): curve.sel(size=n)[-1].item() for name, curve in curves for n in curve["size"].values}
    words = ", ".join(f"{loss:.2f} for {size:,} {name}" for (name, size), loss in last.items() if name == "digits")
    picture = Picture(
        "losses",
        figures.loss_curves(curves, note),
        f"Weighted squared error of the predicted noise, mean over the steps since the last value. It ends at {words}.",
        "Loss of each network against training steps.",
    )
    return Section("Training", pictures=[picture])


def _by_size(name: str, case: CaseNumbers, note: str) -> Picture:
    kept = {
        score: {TRAINING: [r.training for r in case.of(score)], HELD_OUT: [r.held_out for r in case.of(score)]}
        for score in SCORES
    }
    sizes = [row.size for row in case.of(NETWORK)]
    ends = ", ".join(f"{row.held_out.value:{_SPEC}} at N = {row.size:,}" for row in case.of(NETWORK))
    what = "a Gaussian with the digits' mean and covariance" if name == "digits" else "the true Gaussian"
    return Picture(
        f"{name}_dimension_by_size",
        figures.dimension_by_size(sizes, kept, f"{_LABEL} at t = {case.t:g}", note),
        f"Directions with survival above ½ at t = {case.t:g}, with 95% intervals over points. Left: trained networks. Middle: the "
        f"empirical score's exact Jacobian. Right: theory for {what}.",
        f"Resolved dimension against the number of training samples. Networks at held-out points: {ends}.",
    )


def _by_time(name: str, points: xr.Dataset, note: str) -> Picture:
    return Picture(
        f"{name}_dimension_by_time",
        figures.dimension_by_time(points["dimension"].sel(reading=READ), _LABEL, note),
        "Resolved dimension against the noise variance t, mean over points.",
        "Resolved dimension against the noise variance for each training-set size.",
    )


def _survival(name: str, points: xr.Dataset, case: CaseNumbers, note: str) -> Picture:
    return Picture(
        f"{name}_survival",
        figures.survival_spectra(points["survival"], case.t, note),
        f"Survival of the ordered directions at t = {case.t:g}, median over points. The dotted line is the threshold of the "
        "resolved dimension.",
        "Ordered survival spectra at training and held-out points for network, empirical score and theory.",
    )
