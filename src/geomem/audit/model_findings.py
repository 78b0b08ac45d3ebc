"""The verdict on a model in sentences, for its owner."""

from collections.abc import Mapping
from typing import Any

from geomem.audit.loss import LEAST_PAIRS
from geomem.intervals import Interval

__all__ = ["model_findings", "model_title", "rule_cell", "share", "unit_of"]

Summary = Mapping[str, Any]


def unit_of(summary: Summary) -> str:
    """What one datum is called."""
    return "image" if summary["data"]["pictures"] else "sample"


def share(interval: Interval) -> str:
    """A share lost in percent, with its interval."""
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
        tail = (
            f"; at its training {unit}s it has lost {share(loss['share'])} of its dimensions" if loss["share"] else ""
        )
        return f"This model is memorizing: {made}{tail}"
    if word == "memorizing":
        where = (
            "that it has at new ones"
            if m["held_out"]
            else f"that a model which memorized all other {unit}s would have there"
        )
        return f"This model is memorizing: at its training {unit}s it has lost {_of_which(loss)} {where}, at {t}"
    if word == "losing dimensions":
        return f"This model is losing dimensions: at its training {unit}s it has lost {_of_which(loss)} that it has at new ones, at {t}"
    if word == "generalizing":
        return (
            f"This model is generalizing: at its training {unit}s it has {loss['training']:.1f} dimensions and at new ones "
            f"{loss['other']:.1f}, so that no more than {max(0.0, 100 * loss['share'].high):.0f}% are lost, at {t}"
        )
    why = {
        "few": f"{m['pairs']} pairs of {unit}s are too few; {LEAST_PAIRS} are the least, 32 the usual",
        "unseen": f"no {unit} is known that it has not seen, to compare with (--control)",
        "unfit": f"it does not denoise its own training {unit}s better than a linear filter, so its dimensions are not those of the data",
        "flat": f"at {t} it keeps so few dimensions even at new {unit}s that none can be seen to be lost",
    }
    if reason in why:
        return f"Undecided whether this model memorizes: {why[reason]}"
    more = f"; about {m['pairs_needed']:,} {unit}s of each kind would decide" if m["pairs_needed"] else ""
    return f"Undecided whether this model memorizes: at its training {unit}s it has lost {share(loss['share'])} of its dimensions, at {t}{more}"


def model_findings(summary: Summary) -> list[str]:
    """Sentences on the model: what decided, what else was seen."""
    m, unit = summary["model"], unit_of(summary)
    loss, ideal = m["loss"]["model"], m["loss"]["empirical"]
    reading = (
        "dimensions are directions with survival above ½ (resolved)"
        if m["reading"] == "resolved"
        else f"dimensions are sums of survival (degrees of freedom) from random directions, with a standard error of {m['error']:.2g} at most"
    )
    if not m["held_out"]:
        first = (
            f"At t = {m['t']:.3g} it keeps {loss['training']:.1f} dimensions at {m['pairs']} of its training {unit}s; a model that memorized the data "
            f"perfectly (the empirical score, by the same probe) would keep {ideal['training']:.1f}, and one that memorized all {unit}s but this one "
            f"{ideal['other']:.1f} there ({reading}). A model that generalizes keeps more than the latter; how much it should keep only {unit}s that it "
            "was not trained on can tell: give some with --control."
        )
    else:
        first = (
            f"At t = {m['t']:.3g} it has {loss['training']:.1f} dimensions at training {unit}s and {loss['other']:.1f} at new ones that look alike "
            f"({m['pairs']} pairs): {loss['lost']:.1f} lost, {share(loss['share'])}; {reading}. A model that memorized the data perfectly (the empirical score, "
            f"by the same probe) would have {ideal['training']:.1f} and {ideal['other']:.1f}, {share(ideal['share'])} lost; the t is the one of "
            "those looked at where that is most."
        )
    out = [first, _meaning(m, unit, drawn=summary["copies"] is not None)]
    flagged = [row for row in m["images"] if "lost" in row and row["lost"].low > 0]
    if m["held_out"]:
        n = len(m["images"])
        chance = max(1, round(0.025 * n))
        which = f", most of all {flagged[0]['image']} ({flagged[0]['lost']:.1f} lost)" if flagged else ""
        out.append(
            f"One by one, {len(flagged)} of {n} training {unit}s have lost more than two new {unit}s that look alike differ by{which}; "
            f"about {chance} would by chance."
        )
    fit = m["denoising"]
    new = f" and at new ones {fit['held_out']:.3g}" if fit["held_out"] is not None else ""
    out.append(
        f"Its denoised {unit}s err by {fit['training']:.3g} at training {unit}s{new} (squared, summed over values); the best linear filter "
        f"errs by {fit['linear']:.3g}."
    )
    size = f", {m['parameters']:,} parameters" if m["parameters"] else ""
    out.append(f"The model: {m['name']} ({m['words']}{size}).")
    return out


def _of_which(loss: Mapping[str, Any]) -> str:
    lost, other = loss["lost"], loss["other"]
    return f"{lost.value:.1f} of the {other.value:.1f} dimensions ({share(loss['share'])})"


def _meaning(m: Mapping[str, Any], unit: str, *, drawn: bool) -> str:
    """What the verdict means, and what would change it."""
    more = m["pairs_needed"]
    if m["reason"] == "copies":
        return "Samples that copy training data settle it, whatever the dimensions say."
    if m["word"] == "memorizing":
        if not m["held_out"]:
            return f"Even a model that knew nothing but the other {unit}s would keep more than twice as much, by the whole interval."
        return f"More than half is lost by the whole interval: around its training {unit}s the model knows little but these {unit}s."
    if m["word"] == "generalizing":
        return f"A tenth at most is lost by the whole interval: it treats its training {unit}s as it treats new ones."
    if m["word"] == "losing dimensions":
        tail = f" About {more:,} {unit}s of each kind would tell whether it is more than half." if more else ""
        return f"Something is lost by the whole interval, but not more than half by it: memorization has set in, or has reached some {unit}s.{tail}"
    return {
        "few": f"Ask for at least {LEAST_PAIRS} with --points, and give as many in --control.",
        "unseen": f"Copies among its samples would have settled it; {'their absence does not' if drawn else 'none were drawn'}.",
        "unfit": "Was it trained on these data, on their scale, and to the end? Is its scheduler the right one?",
        "flat": "Ask at a smaller t with --times.",
        "open": f"The interval holds both nothing and more than a tenth. With about {more or 0:,} {unit}s of each kind it would not (--points).",
    }[m["reason"]]
