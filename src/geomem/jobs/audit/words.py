"""The verdict in words: in one sentence, why it is open, how sure it is, and what to do next."""

import math
from typing import Any

from geomem.intervals import Interval
from geomem.jobs.audit.numbers import Numbers
from geomem.measure.verdict import LEAST_PAIRS
from geomem.page import Box

__all__ = ["box_of", "overfits", "percent"]


def percent(interval: Interval) -> str:
    """A share in percent, with its interval; a dash where it is not known.

    >>> percent(Interval(-0.001, -0.02, 0.31, 9))
    '0% [-2, 31]'
    """
    if not math.isfinite(interval.low):
        return "–"
    value, low, high = (f"{100 * v:z.0f}" for v in (interval.value, interval.low, interval.high))
    return f"{value}% [{low}, {high}]"


def overfits(numbers: Numbers) -> bool:
    """Whether the denoising error at held-out images is significantly above that at training images, at any noise level.

    With a screening: whether the error tells training images from held-out ones, where the noise level was chosen on others.
    """
    if numbers["membership"] is not None:
        return bool(numbers["membership"]["auc"].low > 0.5)
    gaps = [row["denoising"]["gap"] for row in numbers["levels"]]
    return any(gap is not None and gap.low > 0 for gap in gaps)


def box_of(numbers: Numbers) -> Box:
    """Verdict, how sure it is, and what to do next."""
    return Box(_verdict(numbers), _sure(numbers), _next(numbers))


def _verdict(numbers: Numbers) -> str:
    word, reason = numbers["verdict"]["word"], numbers["verdict"]["reason"]
    unit, share = numbers["unit"], numbers["lost"]["fraction"]
    if reason == "copies":
        copies = numbers["copies"]
        if copies["identical"]:
            return (
                f"This model is memorizing: {copies['identical']:,} of {copies['generated'].total:,} samples equal a training {unit} "
                "exactly"
            )
        return f"This model is memorizing: {copies['generated']} of its samples are copies of training {unit}s"
    if word == "generalizing":
        most = max(0.0, 100 * share.high)
        return f"This model is generalizing: at most {most:.0f}% of its dimensions are lost at training {unit}s"
    if word != "undecided":
        return f"This model is {word}: at training {unit}s it has lost {percent(share)} of its dimensions"
    return f"Undecided whether this model memorizes: {_why(numbers)}"


def _why(numbers: Numbers) -> str:
    unit, loss, t = numbers["unit"], numbers["lost"], f"noise variance {numbers['reference_t']:.2g}"
    return {
        "few": f"{numbers['pairs']['count']} pairs of {unit}s are too few; {LEAST_PAIRS} are the least",
        "open": f"at training {unit}s it has lost {percent(loss['fraction'])} of its dimensions",
        "rare": f"little is lost on average, but up to {100 * loss['halved'].high:.0f}% of its training {unit}s may have lost half",
        "likely": f"little is lost at its training {unit}s, but its samples are probably copies",
        "unseen": f"there are no held-out {unit}s to compare with",
        "other": f"the held-out {unit}s are of another kind than its training {unit}s",
        "unfit": f"it does not denoise its own training {unit}s better than a linear filter",
        "flat": f"at {t} it has too few dimensions even at held-out {unit}s to lose any",
    }[numbers["verdict"]["reason"]]


def _sure(numbers: Numbers) -> str:
    unit, pairs = numbers["unit"], numbers["pairs"]
    out = []
    copies = numbers["copies"]
    if numbers["verdict"]["reason"] == "copies":
        control = f"held-out {unit}s" if copies["held_out"] else f"training {unit}s"
        out.append(f"By chance, {copies['control']} of {control} look like copies of another.")
    if numbers["held_out"]:
        agreement = numbers["agreement"]
        levels = f"{numbers['pairs']['count']} pairs of a training and a held-out {unit}"
        if numbers["verdict"]["word"] != "undecided" and numbers["verdict"]["reason"] != "copies":
            levels += (
                f"; {agreement['count']} of the {agreement['of']} noise levels that can show memorization agree"
                if agreement["of"] > 1
                else "; one noise level can show memorization"
            )
        fraction = numbers["lost"]["fraction"]
        told = (
            ""
            if numbers["verdict"]["word"] == "losing dimensions" or not math.isfinite(fraction.low)
            else (f"Share of dimensions lost: {percent(fraction)}, 95% interval. ")
        )
        out.append(f"{told}{levels}.")
        if not pairs["alike"]:
            out.append("The pairs are badly matched, so the interval is wide.")
        if numbers["verdict"]["word"] in ("generalizing", "undecided") and overfits(numbers):
            out.append(f"But it denoises its training {unit}s significantly better than held-out ones.")
    elif not out:
        drawn = "none of its samples is a copy" if copies is not None else "no samples were compared"
        out.append(f"Only copies can be found without held-out {unit}s; {drawn}, which decides nothing.")
    return " ".join(out)


def _next(numbers: Numbers) -> str:
    word, unit = numbers["verdict"]["word"], numbers["unit"]
    if word == "memorizing":
        return (
            f"Remove duplicates from the training data, train on more {unit}s or for fewer steps, and audit again. The section “The "
            "data alone” names the command that finds duplicates."
        )
    if word == "losing dimensions":
        return f"Train on more {unit}s or for fewer steps, or use an earlier checkpoint.{_more(numbers)}"
    if word == "generalizing":
        if overfits(numbers):
            return f"You may use it, but do not train it longer on these {unit}s: it has begun to overfit. Raise --points to look for rare cases."
        return f"No action is needed. Single {unit}s that were not measured may still be memorized: raise --points to look for them."
    return _to_decide(numbers)


def _to_decide(numbers: Numbers) -> str:
    unit = numbers["unit"]
    return {
        "few": f"Measure at {LEAST_PAIRS} or more with --points, and give as many held-out {unit}s.",
        "open": f"Measure at more {unit}s with --points.{_more(numbers)}",
        "rare": f"Measure at more {unit}s with --points: a mean does not show a few memorized ones.{_more(numbers)}",
        "likely": "Draw more samples with --draws.",
        "unseen": f"Give {unit}s that it was not trained on with --held-out.",
        "other": f"Give held-out {unit}s that were taken and prepared like the training {unit}s.",
        "unfit": "Check that it was trained on these data, on their scale, to the end, and that its scheduler is the right one.",
        "flat": "Choose smaller noise variances with --times.",
    }[numbers["verdict"]["reason"]]


def _more(numbers: Numbers) -> str:
    """How many pairs would decide."""
    needed: Any = numbers["verdict"]["pairs_needed"]
    if not needed:
        return ""
    available = numbers["pairs"]["available"]
    few = f"; there are only {available:,}" if needed > available else ""
    return f" About {needed:,} {numbers['unit']}s of each kind would probably decide{few}."
