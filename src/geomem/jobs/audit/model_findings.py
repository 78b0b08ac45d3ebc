"""The verdict on a model in sentences, for its owner."""

import math
from collections.abc import Mapping
from typing import Any

from geomem.intervals import Interval
from geomem.measure.verdict import LEAST_PAIRS

__all__ = ["model_findings", "model_title", "rule_cell", "share", "unit_of"]

Summary = Mapping[str, Any]


def unit_of(summary: Summary) -> str:
    """What one datum is called."""
    return "image" if summary["data"]["pictures"] else "sample"


def share(interval: Interval) -> str:
    """A share lost in percent, with its interval; a dash where there was nothing to lose."""
    if not math.isfinite(interval.low):
        return "—"
    value, low, high = (f"{100 * v:.0f}" for v in (interval.value, interval.low, interval.high))
    return f"{value}% [{low}, {high}]"


def rule_cell(found: Mapping[str, Any]) -> str:
    """A rule's mean dimension over the points where it found one, and at how many that was."""
    rate, mean = found["found"], found["mean"]
    where = "" if rate.count == rate.total else f" at {rate.count} of {rate.total}"
    return f"{mean:.1f}{where}" if mean is not None else f"none{where}"


def model_title(summary: Summary) -> str:
    """The verdict in one sentence."""
    m, unit = summary["model"], unit_of(summary)
    word, reason, t = m["word"], m["reason"], f"noise variance {m['t']:.2g}"
    loss = m["loss"]["model"]
    if reason == "copies":
        copies = summary["copies"]
        made = f"{copies['generated']} of its samples are copies of training {unit}s, against {copies['control']} of the control"
        if copies["identical"]:
            made = f"{copies['identical']:,} of {copies['generated'].total:,} samples equal a training {unit} value for value"
        told = m["held_out"] and math.isfinite(loss["share"].low)
        tail = f"; at its training {unit}s it has lost {share(loss['share'])} of its dimensions" if told else ""
        return f"This model is memorizing: {made}{tail}"
    if word in ("memorizing", "losing dimensions"):
        lost, other = loss["lost"], loss["other"]
        return (
            f"This model is {word}: at its training {unit}s it has lost {lost.value:.1f} of the {other.value:.1f} dimensions "
            f"({share(loss['share'])}) that it has at new ones, at {t}"
        )
    if word == "generalizing":
        return (
            f"This model is generalizing: at its training {unit}s it has {loss['training']:.1f} dimensions and at new ones "
            f"{loss['other']:.1f}, so that no more than {max(0.0, 100 * loss['share'].high):.0f}% are lost, at {t}"
        )
    why = {
        "few": f"{m['pairs']} pairs of {unit}s are too few; {LEAST_PAIRS} are the least, 32 the usual",
        "open": f"at its training {unit}s it has lost {share(loss['share'])} of its dimensions, at {t}{_more(m, unit)}",
        "rare": f"little is lost on average, but up to {100 * m['halved'].high:.0f}% of its training {unit}s may have lost more than half"
        + _more(m, unit),
        "likely": f"little is lost at its training {unit}s, but its samples are probably copies",
        "unseen": f"no {unit} is known that it has not seen, to compare with (--control)",
        "other": f"the {unit}s of --control are of another kind than its training {unit}s",
        "unfit": f"it does not denoise its own training {unit}s better than a linear filter, so its dimensions are not those of the data",
        "flat": f"at {t} it keeps so few dimensions even at new {unit}s that none can be seen to be lost",
    }[reason]
    return f"Undecided whether this model memorizes: {why}"


def model_findings(summary: Summary) -> list[str]:
    """Sentences on the model: what decided, what else was seen."""
    m, unit = summary["model"], unit_of(summary)
    loss, ideal = m["loss"]["model"], m["loss"]["empirical"]
    reading = (
        "dimensions are directions with survival above ½ (resolved)"
        if m["reading"] == "resolved"
        else f"dimensions are sums of survival (degrees of freedom) from random directions, with a standard error of {m['error']:.2g} at most"
    )
    perfect = "a model that memorized the data perfectly (the empirical score, by the same probe)"
    if m["held_out"]:
        out = [
            f"At t = {m['t']:.3g} it has {loss['training']:.1f} dimensions at training {unit}s and {loss['other']:.1f} at new ones: "
            f"{loss['lost']:.1f} lost, {share(loss['share'])}, over {m['pairs']} pairs of a training {unit} and a new one, as alike as those "
            f"drawn allow; {reading}. {perfect.capitalize()} would have {ideal['training']:.1f} and {ideal['other']:.1f}, "
            f"{share(ideal['share'])} lost; the t is the one of those looked at where that is most."
        ]
    else:
        out = [
            f"At t = {m['t']:.3g} it keeps {loss['training']:.1f} dimensions at {m['pairs']} of its training {unit}s; {perfect} would keep "
            f"{ideal['training']:.1f}, and one that memorized all {unit}s but the one it is asked at {ideal['other']:.1f} ({reading}). How "
            f"many it should keep only {unit}s that it was not trained on can tell: give some with --control."
        ]
    out += [_meaning(m, unit, drawn=summary["copies"] is not None), *_one_by_one(m, unit)]
    fit = m["denoising"]
    new = f" and at new ones {fit['held_out']:.3g}" if fit["held_out"] is not None else ""
    out.append(
        f"Its denoised {unit}s err by {fit['training']:.3g} at training {unit}s{new} (squared, summed over values); a linear filter, fitted "
        f"to some training {unit}s and judged at others, by {fit['linear']:.3g}."
    )
    size = f", {m['parameters']:,} parameters" if m["parameters"] else ""
    out.append(f"The model: {m['name']} ({m['words']}{size}).")
    return out


def _one_by_one(m: Mapping[str, Any], unit: str) -> list[str]:
    """What single images have lost."""
    if not m["held_out"]:
        return []
    n, halved = len(m["images"]), m["halved"]
    flagged = [row for row in m["images"] if row["lost"].low > 0]
    which = f", most of all {flagged[0]['image']} ({flagged[0]['lost']:.1f} lost)" if flagged else ""
    out = [
        f"One by one, {len(flagged)} of {n} training {unit}s have lost more than two new {unit}s that are neighbours differ by{which}; "
        f"{0.025 * n:.1f} would by chance. {halved.count} of {n} have less than half of their partner's dimensions: at most "
        f"{100 * halved.high:.0f}% of all training {unit}s do (exact one-sided bound, 95%)."
    ]
    if m["near_copies"]:
        out.append(
            f"{m['near_copies']:,} {unit}s of --control were passed over: training {unit}s lie as near to them as near duplicates do to "
            "each other."
        )
    return out


def _meaning(m: Mapping[str, Any], unit: str, *, drawn: bool) -> str:
    """What the verdict means, and what would change it."""
    if m["reason"] == "copies":
        return "Samples that copy training data settle it, whatever the dimensions say."
    if m["word"] == "memorizing":
        return f"More than half is lost by the whole interval: around its training {unit}s the model knows little but these {unit}s."
    if m["word"] == "generalizing":
        return (
            f"A tenth at most is lost by the whole interval, and hardly any {unit} has lost much: it treats its training {unit}s as it "
            f"treats new ones. Single {unit}s that were not looked at may be memorized all the same."
        )
    if m["word"] == "losing dimensions":
        needed = m["pairs_needed"]
        tail = (
            f" About {needed:,} {unit}s of each kind would tell whether it is more than half{_exist(m)}."
            if needed
            else ""
        )
        return (
            f"Something is lost by the whole interval, but not more than half by it: memorization has set in, or has reached some {unit}s."
            f"{tail}"
        )
    return {
        "few": f"Ask for at least {LEAST_PAIRS} with --points, and give as many in --control.",
        "open": "The interval holds both nothing and more than a tenth; more points narrow it (--points).",
        "rare": f"A mean does not see a few {unit}s that are memorized; more points do (--points).",
        "likely": "The two disagree; more samples settle it (--draws).",
        "unseen": f"Copies among its samples would have settled it; {'their absence does not' if drawn else 'none were drawn'}.",
        "other": _kind(m, unit),
        "unfit": "Was it trained on these data, on their scale, and to the end? Is its scheduler the right one?",
        "flat": "Ask at another t with --times: smaller, where the data vary less than the noise.",
    }[m["reason"]]


def _more(m: Mapping[str, Any], unit: str) -> str:
    """How many pairs would decide."""
    needed = m["pairs_needed"]
    return f"; about {needed:,} {unit}s of each kind would probably decide{_exist(m)}" if needed else ""


def _exist(m: Mapping[str, Any]) -> str:
    """That there are fewer than are needed."""
    return f", but there are only {m['available']:,}" if m["pairs_needed"] > m["available"] else ""


def _kind(m: Mapping[str, Any], unit: str) -> str:
    """In what the images never seen differ from the training images."""
    words = {"nearest": f"from the nearest training {unit}", "centre": f"from the mean training {unit}"}
    parts = [
        f"farther {words[name]} in {100 * k.value:.0f}% [{100 * k.low:.0f}, {100 * k.high:.0f}]"
        for name, k in (m["kinds"] or {}).items()
    ]
    return (
        f"Of pairs of a new and a training {unit}, the new one lies {' and '.join(parts)}; 50% are to be expected. At new ones the model has "
        f"{m['loss']['model']['other']:.1f} dimensions, at training {unit}s {m['loss']['model']['training']:.1f}. Were both taken and "
        "prepared alike?"
    )
