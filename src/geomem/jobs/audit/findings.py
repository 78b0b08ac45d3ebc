"""An audit's numbers in sentences, for people who do not know the theory."""

import math
from collections.abc import Mapping
from typing import Any

from geomem.intervals import Interval, Rate
from geomem.jobs.audit.model_findings import model_findings, model_title, unit_of

__all__ = ["findings", "number", "samples_needed", "title"]

Summary = Mapping[str, Any]
# Sentences on a model that are among the short findings.
_SHORT = 3


def title(summary: Summary) -> str:
    """The finding in one sentence: the verdict on a model, else on samples, else on the data."""
    if summary["model"] is not None:
        return model_title(summary)
    copies, unit = summary["copies"], unit_of(summary)
    if copies is not None:
        generated: Rate = copies["generated"]
        if copies["identical"]:
            n = copies["identical"]
            return (
                f"This model reproduces training data: {n:,} of {generated.total:,} samples equal{'s' if n == 1 else ''} a training "
                f"{unit} value for value"
            )
        share = f"{generated} of the samples are copies of training {unit}s, against {copies['control']} of the control"
        return {
            "yes": f"This model memorizes: {share}",
            "likely": f"This model probably memorizes: {share}",
            "far": f"These samples cannot be judged, they lie too far from the data: {share}",
            "too few": f"Too few samples to tell: {share}",
            "no sign": f"No sign of copying: {share}",
        }[copies["verdict"]]
    dims = summary["dimensions"]
    last = dims["rows"][-1]
    where = f"at noise variance {summary['t']:.2g}"
    n = f"{last['size']:,} {unit}s"
    if dims["gaussian"] == 0:
        return f"These {n} vary in no direction by more than the noise {where}: ask for a smaller --t"
    told = "" if last["difference"].low > 0 else "; these points do not tell the two apart"
    return (
        f"A model that memorized these {n} perfectly would keep {last['held_out']} directions at a new {unit} and "
        f"{last['training']} at one it was trained on, {where}{told}"
    )


def findings(summary: Summary) -> dict[str, list[str]]:
    """Sentences by section of the page; "short" holds the most important one of each."""
    sections = {
        "model": [] if summary["model"] is None else model_findings(summary),
        "samples": _samples(summary),
        "data": _data(summary),
        "condensation": _condensation(summary),
        "dimensions": _dimensions(summary),
        "needed": _needed(summary),
    }
    short = [*sections["model"][:_SHORT], *sections["samples"]]
    if sections["model"]:
        return {"short": short, **sections}
    if not short:
        short.append(
            "This tells what memorizing these data would look like, not whether a model does it: give its samples with --samples "
            "to learn that."
        )
    if summary["duplicates"]["exact_rows"]:
        short.append(sections["data"].pop(1))
    short += [sections[name].pop(0) for name in ("condensation", "dimensions", "needed")]
    return {"short": short, **sections}


def number(value: float) -> str:
    """A count as people read it: three digits, millions and powers of ten when it is large."""
    if math.isnan(value):
        return "unknown"
    if math.isinf(value):
        return "unlimited"
    rounded = float(f"{value:.3g}")
    if rounded < 1e9:
        return f"{rounded:,.0f}"
    power = math.floor(math.log10(rounded))
    return f"{rounded / 10**power:.2g}×10^{power}"


def samples_needed(row: Mapping[str, Any], name: str, beyond: str) -> str:
    """A number of samples with its interval, `beyond` after it where it was carried on past what it was computed from."""
    interval: Interval = row[name]
    if row[f"{name}_at_most"]:
        return f"at most {number(interval.value)}"
    if math.isinf(interval.value):
        return f"more than a thousand times what was looked at [{number(interval.low)}, unlimited]"
    shown = f"{number(interval.value)} [{number(interval.low)}, {number(interval.high)}]"
    return shown + (beyond if row[f"{name}_beyond"] else "")


def _sigma(summary: Summary, t: float) -> str:
    """What a noise variance means where values are pixels."""
    if not summary["data"]["pixels"]:
        return f"noise of standard deviation {math.sqrt(t):.2g}"
    more = ", more than their whole range" if t > 4 else ""
    return f"noise of standard deviation {math.sqrt(t) * 127.5:.0f} on pixel values from 0 to 255{more}"


def _samples(summary: Summary) -> list[str]:
    copies, unit = summary["copies"], unit_of(summary)
    if copies is None:
        return []
    generated, control, nearer = copies["generated"], copies["control"], copies["nearer"]
    first = (
        f"{generated.count:,} of {generated.total:,} samples, {generated}, lie more than three times nearer to one training "
        f"{unit} than to any other; of {control.total:,} {copies['control_kind']}, {control} do (95% exact intervals; one-sided "
        f"Fisher test p = {copies['p']:.2g})."
    )
    whole = (
        f"Samples as a whole: in {100 * nearer.value:.0f}% [{100 * nearer.low:.0f}, {100 * nearer.high:.0f}] of pairs of a sample "
        f"and a control, the sample is the one that is relatively nearer to a single training {unit}; 50% without memorization."
    )
    meaning = {
        "identical": "A model that generalizes does not do that.",
        "yes": "The intervals do not meet: the model reproduces training data.",
        "likely": "One of the two is more than chance would make it in one audit out of twenty; draw more samples to be sure.",
        "far": f"Their nearest training {unit}s are more than three times as far as those of real {unit}s, in the median. Are both "
        "on one scale and prepared alike?",
        "too few": "One side has so few that one in ten more could be copies unseen; draw more samples.",
        "no sign": f"Samples are copies no more often than real {unit}s look like copies of each other. Copies that are moved, "
        "mirrored or recoloured are not found this way, and noisy ones only by the second number; embeddings of both sides find "
        "more.",
    }[copies["verdict"]]
    return [f"{first} {meaning}", whole, *copies["notes"]]


def _data(summary: Summary) -> list[str]:
    data, dup, unit = summary["data"], summary["duplicates"], unit_of(summary)
    shape = "x".join(str(k) for k in data["shape"])
    out = [
        f"{data['n']:,} {unit}s of {shape} values from {data['source']} ({data['kind']})"
        + (f", of which {data['used']:,} were used" if data["used"] != data["n"] else "")
        + f": {data['training']:,} for training, {data['held_out']:,} kept apart."
        + "".join(f" {note}" for note in data["notes"])
    ]
    if dup["exact_rows"]:
        out.append(
            f"Exact duplicates: {dup['exact_rows']:,} {unit}{'s repeat' if dup['exact_rows'] > 1 else ' repeats'} "
            f"{'others' if dup['exact_groups'] > 1 else 'another'} value for value ({dup['exact_groups']:,} different). Repeats are left "
            "out, for they would look like memorization; a model trained on them memorizes those first."
        )
    else:
        out.append("Exact duplicates: none.")
    near = (
        f"nearer than {dup['near_threshold']:.3g}, a third of the usual {dup['typical_distance']:.3g} to the tenth neighbour, and "
        "than a third of the distance to the next neighbour beyond"
    )
    if dup["near_pairs"]:
        clean = summary["condensation"]["half_without_near_duplicates"]
        pairs = "1 pair" if dup["near_pairs"] == 1 else f"{dup['near_pairs']:,} pairs"
        out.append(
            f"Near duplicates: {pairs} {near}, among {dup['near_rows']:,} {unit}s. They are kept, none of them apart; with one of "
            f"each group the condensation would be at t = {clean:.3g} instead of {summary['condensation']['half']:.3g}."
        )
    else:
        out.append(f"Near duplicates: no pairs {near}.")
    return out


def _condensation(summary: Summary) -> list[str]:
    c, m, unit = summary["condensation"], summary["memorized"], unit_of(summary)
    half: Interval = c["half"]
    if not math.isfinite(half.value):
        return ["The empirical score does not condense on the times that were looked at."]
    times = {name: g["t_c"].value for name, g in c["guesses"].items() if math.isfinite(g["t_c"].value)}
    half_told = f"{m['theory']:.3g}" if math.isfinite(m["theory"].high) else "a time beyond those that were looked at"
    chosen = c["guesses"].get("measured", c["guesses"]["none"])
    if math.isfinite(chosen["t_c"].value):
        corrected = (
            f"As a condensation time, the t at which Σw² is ½ (above) means t_c = {chosen['t_c']:.3g} if its finite-rank correction takes the rank as "
            f"{chosen['rank']:.3g}, the effective number of directions measured at 2t"
        )
    else:
        corrected = (
            f"As a condensation time, the t at which Σw² is ½ (above) cannot be corrected for the rank that is measured, {chosen['rank']:.3g} at 2t: the "
            "correction needs more than 2"
        )
    return [
        f"At {unit}s that it has not seen, a score that fits these data without limits stands on less than two {unit}s below "
        f"t = {half:.3g} (mean of Σw² over held-out points above ½; {_sigma(summary, half.value)}). No Gaussian is assumed.",
        f"{corrected}; other guesses of the rank give {min(times.values()):.3g} to {max(times.values()):.3g}. A Gaussian with "
        f"the data's covariance would condense at {c['plug_in']:.3g} (mean over held-out points).",
        f"At a training {unit}, that {unit} alone holds half of the weight up to t = {m['median']:.3g} (median of {m['ranked']:,}; "
        f"from {m['least']:.3g} for the least to {m['most']:.3g} for the most isolated); theory with that Gaussian says "
        f"{half_told}.",
    ]


def _dimensions(summary: Summary) -> list[str]:
    dims, unit = summary["dimensions"], unit_of(summary)
    first, last = dims["rows"][0], dims["rows"][-1]
    gap: Interval = last["difference"]
    sentence = (
        f"At t = {dims['t']:.3g} and N = {last['size']:,}, {last['held_out']} directions survive at a held-out {unit} and "
        f"{last['training']} at a training {unit} (survival above ½; 95% intervals over points). For comparison: the data vary by "
        f"more than t along {dims['gaussian']} directions."
    )
    if gap.low > 0:
        sentence += f" Training {unit}s have lost {gap} to memorization."
    else:
        sentence += f" No difference shows between the two ({gap})."
    fewer = (
        f"With N = {first['size']:,}, {first['held_out']} directions survive at held-out {unit}s. "
        if first is not last
        else ""
    )
    change = (
        f"{fewer}Theory with a Gaussian of the same covariance predicts {last['theory_held_out']} at held-out and "
        f"{last['theory_training']} at training {unit}s for N = {last['size']:,} (held-out: a heuristic)."
    )
    return [sentence, change]


def _needed(summary: Summary) -> list[str]:
    needed, unit = summary["needed"], unit_of(summary)
    last = needed["curve"][-1]
    if not math.isfinite(last["t"].value):
        return [f"At no noise variance that was looked at does one direction survive on average at held-out {unit}s."]
    out = [
        f"With all {last['size']:,} {unit}s one direction survives on average at a held-out {unit} down to t = {last['t']:.3g} "
        f"({_sigma(summary, last['t'].value)})."
    ]
    for row in needed["rows"]:
        reached = {"subsampling": "the data", "theory": "what it was computed for"}
        told = {name: samples_needed(row, name, f", extrapolated beyond {reached[name]},") for name in reached}
        out.append(
            f"For one to survive at t = {row['t']:.3g} ({_sigma(summary, row['t'])}), subsampling these data says "
            f"{told['subsampling']} would be needed; theory with a Gaussian of their covariance says {told['theory'].rstrip(',')}."
        )
    if len(out) > 1:
        out[0] = f"{out[0]} {out.pop(1)}"
    return out
