"""The numbers in sentences, by key, for people who do not know the theory."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from geomem.findings.copies import copies_findings
from geomem.findings.finding import Finding, Findings
from geomem.intervals import Interval
from geomem.jobs.data.words import plural, samples_needed, sigma

__all__ = ["findings_of"]

Numbers = Mapping[str, Any]


def findings_of(numbers: Numbers) -> Findings:
    """Sections "copies" (where there are samples), "data", "condensation", "dimensions", "needed" and "memorized"."""
    found = Findings()
    if numbers["copies"] is not None:
        for finding in copies_findings(numbers["copies"], numbers["unit"]):
            found.add(finding)
    for section in (_data, _condensation, _dimensions, _needed, _memorized):
        for finding in section(numbers):
            found.add(finding)
    return found


def _data(numbers: Numbers) -> Iterator[Finding]:
    data, dup, unit = numbers["data"], numbers["duplicates"], numbers["unit"]
    shape = "x".join(str(k) for k in data["shape"])
    used = "all are" if data["used"] == data["n"] else f"{data['used']:,} are"
    yield Finding(
        "data.rows",
        "data",
        f"{data['source']} holds {plural(data['n'], unit)} of {shape} values ({data['kind']}); {used} used.",
        data["used"],
    )
    yield Finding(
        "data.split",
        "data",
        f"{data['training']:,} serve as training data, {data['held_out']:,} are held out.",
        data["held_out"],
    )
    for i, note in enumerate(data["notes"]):
        yield Finding(f"data.note.{i}", "data", note)
    exact, near = dup["exact_rows"], dup["near_pairs"]
    if exact:
        text = (
            f"{plural(exact, unit)} repeat{'s' if exact == 1 else ''} an earlier one exactly; the repeats are left out here. A model "
            "trained on them memorizes those first."
        )
    else:
        text = "There are no exact duplicates."
    yield Finding("duplicates.exact", "data", text, exact)
    if not near:
        yield Finding("duplicates.near", "data", "There are no near duplicates.", near)
        return
    pairs = "1 pair of near duplicates was" if near == 1 else f"{near:,} pairs of near duplicates were"
    yield Finding("duplicates.near", "data", f"{pairs} found; none of these {unit}s is held out.", near)
    clean = numbers["condensation"]["half_without_near_duplicates"]
    yield Finding(
        "duplicates.half",
        "data",
        f"With one {unit} of each group of near duplicates, half of the weight would fall on one {unit} at t = {clean:.3g}.",
        clean,
    )


def _condensation(numbers: Numbers) -> Iterator[Finding]:
    c, unit, section = numbers["condensation"], numbers["unit"], "condensation"
    half: Interval = c["half"]
    strong = sigma(half.value, bool(numbers["data"]["pixels"]))
    yield Finding(
        "condensation.half",
        section,
        f"Below noise variance t = {half:.3g} ({strong}), a model that memorized these data gives back single {unit}s: it averages over fewer than two.",
        half,
    )
    chosen = c["guesses"].get("measured", c["guesses"]["none"])
    if math.isfinite(chosen["t_c"].value):
        text = f"Corrected for a finite rank of {chosen['rank']:.3g}, this is a condensation time of t_c = {chosen['t_c']:.3g}."
    else:
        text = f"This has no correction for the measured rank of {chosen['rank']:.3g}, which must exceed 2."
    yield Finding("condensation.time", section, text, chosen["t_c"])
    yield Finding(
        "condensation.gaussian",
        section,
        f"A Gaussian of the same covariance would condense at t_c = {c['plug_in']:.3g}, in the mean over held-out {unit}s.",
        c["plug_in"],
    )


def _dimensions(numbers: Numbers) -> Iterator[Finding]:
    dims, unit, section = numbers["dimensions"], numbers["unit"], "dimensions"
    first, last = dims["rows"][0], dims["rows"][-1]
    gap: Interval = last["difference"]
    yield Finding(
        "dimensions.held_out",
        section,
        f"At t = {dims['t']:.3g}, memorizing all {last['size']:,} {unit}s leaves {last['held_out']} resolved dimensions at a held-out "
        f"{unit}.",
        last["held_out"],
    )
    yield Finding(
        "dimensions.training", section, f"At a training {unit} it leaves {last['training']}.", last["training"]
    )
    if gap.low > 0:
        text = f"Training {unit}s lose {gap:z.1f} dimensions to memorization at t = {dims['t']:.3g}."
    else:
        text = f"No difference between held-out and training {unit}s shows: {gap:z.1f} dimensions."
    yield Finding("dimensions.lost", section, text, gap)
    yield Finding(
        "dimensions.variances",
        section,
        f"For comparison, the data have variance above t along {dims['gaussian']} directions.",
        dims["gaussian"],
    )
    if first is not last:
        yield Finding(
            "dimensions.few",
            section,
            f"With {first['size']:,} training {unit}s, {first['held_out']} dimensions are resolved at held-out {unit}s.",
            first["held_out"],
        )
    yield Finding(
        "dimensions.theory",
        section,
        f"Theory for a Gaussian of the same covariance predicts {last['theory_held_out']} at held-out {unit}s (a heuristic).",
        last["theory_held_out"],
    )


def _needed(numbers: Numbers) -> Iterator[Finding]:
    needed, unit, section = numbers["needed"], numbers["unit"], "needed"
    last = needed["curve"][-1]
    pixels = bool(numbers["data"]["pixels"])
    if not math.isfinite(last["t"].value):
        text = f"At no noise variance that was measured does one dimension survive on average at held-out {unit}s."
        yield Finding("needed.now", section, text)
        return
    yield Finding(
        "needed.now",
        section,
        f"With all {last['size']:,} {unit}s, one dimension survives at a held-out {unit} down to t = {last['t']:.3g} "
        f"({sigma(last['t'].value, pixels)}).",
        last["t"],
    )
    for i, row in enumerate(needed["rows"]):
        many = samples_needed(row, "subsampling", " (extrapolated)")
        yield Finding(
            f"needed.subsampling.{i}",
            section,
            f"For one to survive at t = {row['t']:.3g}, subsampling says {many} {unit}s would be needed.",
            row["subsampling"],
        )
        many = samples_needed(row, "theory", " (extrapolated)")
        text = f"For the same, theory for a Gaussian of the same covariance says {many}."
        yield Finding(f"needed.theory.{i}", section, text, row["theory"])


def _memorized(numbers: Numbers) -> Iterator[Finding]:
    m, unit, section = numbers["memorized"], numbers["unit"], "memorized"
    yield Finding(
        "memorized.median",
        section,
        f"A training {unit} holds half of the weight at itself up to t = {m['median']:.3g} (median of {m['ranked']:,}).",
        m["median"],
    )
    yield Finding(
        "memorized.first",
        section,
        f"Memorized first: {m['first']}, at t = {m['most']:.3g}. Memorized last: {m['last']}, at t = {m['least']:.3g}.",
        m["most"],
    )
    told = f"t = {m['theory']:.3g}" if math.isfinite(m["theory"].high) else "a t beyond those that were measured"
    text = f"Theory for a Gaussian of the same covariance predicts {told} for the median."
    yield Finding("memorized.theory", section, text, m["theory"])
