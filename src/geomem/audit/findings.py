"""An audit's numbers in sentences, for people who do not know the theory."""

import math
from collections.abc import Mapping
from typing import Any

from geomem.audit.copying import Rate
from geomem.audit.intervals import Interval

__all__ = ["findings", "number", "title"]

Summary = Mapping[str, Any]


def title(summary: Summary) -> str:
    """The finding in one sentence: the verdict on samples where there are any, else on the data."""
    copies, unit = summary["copies"], _unit(summary)
    if copies is not None:
        generated: Rate = copies["generated"]
        share = f"{generated} of the samples are copies of training {unit}s, against {copies['control']} of the control"
        return {
            "yes": f"This model memorizes: {share}",
            "likely": f"This model probably memorizes: {share}",
            "no sign": f"No sign of copying: {share}",
            "too few": f"Too few samples to tell: {share}",
        }[copies["verdict"]]
    last = summary["dimensions"]["rows"][-1]
    held_out, gap = last["held_out"], last["difference"]
    where = f"at noise variance {summary['t']:.2g}"
    n = f"{last['size']:,} {unit}s"
    if gap.low > 0:
        return (
            f"A model that fits these {n} without limits keeps {held_out} of {summary['dimensions']['gaussian']} directions at a "
            f"new {unit} and {last['training']} at one it was trained on, {where}"
        )
    return (
        f"A model that fits these {n} without limits keeps {held_out} of {summary['dimensions']['gaussian']} directions at a new "
        f"{unit}, no more than at one it was trained on, {where}"
    )


def findings(summary: Summary) -> dict[str, list[str]]:
    """Sentences by section of the page; "short" holds the most important one of each."""
    sections = {
        "samples": _samples(summary),
        "data": _data(summary),
        "condensation": _condensation(summary),
        "dimensions": _dimensions(summary),
        "needed": _needed(summary),
    }
    short = [*sections["samples"]]
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


def _unit(summary: Summary) -> str:
    return "image" if summary["data"]["pictures"] else "sample"


def _sigma(summary: Summary, t: float) -> str:
    """What a noise variance means where values are pixels."""
    if not summary["data"]["pixels"]:
        return f"noise of standard deviation {math.sqrt(t):.2g}"
    return f"noise of standard deviation {math.sqrt(t) * 127.5:.0f} on pixel values from 0 to 255"


def _samples(summary: Summary) -> list[str]:
    copies, unit = summary["copies"], _unit(summary)
    if copies is None:
        return []
    generated, control = copies["generated"], copies["control"]
    first = (
        f"{generated.count:,} of {generated.total:,} samples, {generated}, lie more than three times nearer to one training "
        f"{unit} than to any other; of {control.total:,} {copies['control_kind']}, {control} do (95% exact intervals; one-sided "
        f"Fisher test p = {copies['p']:.2g})."
    )
    meaning = {
        "yes": "The intervals do not meet: the model reproduces training data.",
        "likely": "The difference is larger than chance would make it in one audit out of twenty; draw more samples to be sure.",
        "no sign": f"Samples are copies no more often than real {unit}s look like copies of each other. Copies that are changed "
        "more than a little (moved, mirrored, recoloured) are not counted, so give embeddings of both sides to look for those.",
        "too few": f"With so few samples, up to {generated.high:.0%} could be copies unseen; draw more.",
    }[copies["verdict"]]
    return [first, meaning]


def _data(summary: Summary) -> list[str]:
    data, dup, unit = summary["data"], summary["duplicates"], _unit(summary)
    shape = "x".join(str(k) for k in data["shape"])
    out = [
        f"{data['n']:,} {unit}s of {shape} values from {data['source']} ({data['kind']})"
        + (f", of which {data['used']:,} were used" if data["used"] != data["n"] else "")
        + f": {data['training']:,} for training, {data['held_out']:,} kept apart."
    ]
    if dup["exact_rows"]:
        out.append(
            f"Exact duplicates: {dup['exact_rows']:,} {unit}s repeat one of {dup['exact_groups']:,} others. "
            "They are left out of all that follows, for they would fake it; a model trained on them memorizes those first."
        )
    else:
        out.append("Exact duplicates: none.")
    near = (
        f"pairs nearer than {dup['near_threshold']:.3g}, a third of the usual {dup['typical_distance']:.3g} between nearest "
        "neighbours, and than a third of the distance to the next neighbour beyond"
    )
    if dup["near_pairs"]:
        half = summary["condensation"]["half"].value
        clean = summary["condensation"]["half_without_near_duplicates"]
        out.append(
            f"Near duplicates: {dup['near_pairs']:,} {near}, among {dup['near_rows']:,} {unit}s. They are kept; without them the "
            f"condensation below would be at t = {clean:.3g} instead of {half:.3g}."
        )
    else:
        out.append(f"Near duplicates: no {near}.")
    return out


def _condensation(summary: Summary) -> list[str]:
    c, m, unit = summary["condensation"], summary["memorized"], _unit(summary)
    half: Interval = c["half"]
    if not math.isfinite(half.value):
        return ["The empirical score does not condense on the times that were looked at."]
    times = {name: g["t_c"].value for name, g in c["guesses"].items() if math.isfinite(g["t_c"].value)}
    chosen = c["guesses"].get("measured", c["guesses"]["none"])
    if math.isfinite(chosen["t_c"].value):
        corrected = (
            f"As a condensation time this is t_c = {chosen['t_c']:.3g} if its finite-rank correction takes the rank as "
            f"{chosen['rank']:.3g}, the effective number of directions measured at 2t"
        )
    else:
        corrected = (
            f"As a condensation time this cannot be corrected for the rank that is measured, {chosen['rank']:.3g} at 2t: the "
            "correction needs more than 2"
        )
    return [
        f"At {unit}s that it has not seen, a score that fits these data without limits stands on less than two {unit}s below "
        f"t = {half:.3g} (mean of Σw² over held-out points above ½; {_sigma(summary, half.value)}). No Gaussian is assumed.",
        f"{corrected}; other guesses of the rank give {min(times.values()):.3g} to {max(times.values()):.3g}. A Gaussian with "
        f"the data's covariance would condense at {c['plug_in']:.3g} (mean over held-out points).",
        f"At a training {unit}, that {unit} alone holds half of the weight up to t = {m['median']:.3g} (median of {m['ranked']:,}; "
        f"from {m['least']:.3g} for the least to {m['most']:.3g} for the most isolated); theory with that Gaussian says "
        f"{m['theory']:.3g}.",
    ]


def _dimensions(summary: Summary) -> list[str]:
    dims, unit = summary["dimensions"], _unit(summary)
    first, last = dims["rows"][0], dims["rows"][-1]
    gap: Interval = last["difference"]
    sentence = (
        f"At t = {dims['t']:.3g} and N = {last['size']:,}, {last['held_out']} directions survive at a held-out {unit} and "
        f"{last['training']} at a training {unit} (survival above ½; 95% intervals over points), of the {dims['gaussian']} in which "
        "the data vary by more than t."
    )
    if gap.low > 0:
        sentence += f" Training {unit}s have lost {gap} of them to memorization."
    else:
        sentence += f" No difference shows between the two ({gap})."
    change = (
        f"With N = {first['size']:,} it was {first['held_out']} at held-out {unit}s. "
        f"Theory with a Gaussian of the same covariance predicts {last['theory_held_out']} at held-out and "
        f"{last['theory_training']} at training {unit}s for N = {last['size']:,} (held-out: a heuristic)."
    )
    return [sentence, change]


def _needed(summary: Summary) -> list[str]:
    needed, unit = summary["needed"], _unit(summary)
    last = needed["curve"][-1]
    if not math.isfinite(last["t"].value):
        return [f"At no noise variance that was looked at does one direction survive on average at held-out {unit}s."]
    out = [
        f"With all {last['size']:,} {unit}s one direction survives on average at a held-out {unit} down to t = {last['t']:.3g} "
        f"({_sigma(summary, last['t'].value)})."
    ]
    for row in needed["rows"]:
        by_data, theory = row["subsampling"], row["theory"]
        if row["at_most"]:
            told = f"at most {number(by_data.value)}"
        elif math.isinf(by_data.value):
            told = f"more than a thousand times the {last['size']:,} at hand"
        else:
            reach = ", carried on beyond the data," if row["beyond"] else ""
            told = f"{number(by_data.value)} [{number(by_data.low)}, {number(by_data.high)}]{reach}"
        said = (
            f"{number(theory.value)} [{number(theory.low)}, {number(theory.high)}]"
            if math.isfinite(theory.value)
            else "more than it was computed for"
        )
        out.append(
            f"For one to survive at t = {row['t']:.3g} ({_sigma(summary, row['t'])}), subsampling these data says {told} would be "
            f"needed; theory with a Gaussian of their covariance says {said}."
        )
    if len(out) > 1:
        out[0] = f"{out[0]} {out.pop(1)}"
    return out
