"""The verdict in words: in one sentence, why it is open, how sure it is, and what to do next."""

import math
from typing import Any

from geomem.intervals import Interval
from geomem.jobs.audit.numbers import Numbers
from geomem.measure.verdict import LEAST_IMAGES
from geomem.page import Box

__all__ = ["box_of", "percent"]


def percent(interval: Interval) -> str:
    """A share in percent, with its interval; a dash where it is not known.

    >>> percent(Interval(-0.001, -0.02, 0.31, 9))
    '0% [-2, 31]'
    """
    if not math.isfinite(interval.low):
        return "–"
    value, low, high = (f"{100 * v:z.0f}" for v in (interval.value, interval.low, interval.high))
    return f"{value}% [{low}, {high}]"


def box_of(numbers: Numbers) -> Box:
    """Verdict, how sure it is, and what to do next."""
    return Box(_verdict(numbers), _sure(numbers), _next(numbers))


def _verdict(numbers: Numbers) -> str:
    word, reason, unit = numbers["verdict"]["word"], numbers["verdict"]["reason"], numbers["unit"]
    if reason == "copies":
        copies = numbers["copies"]
        if copies["identical"]:
            return (
                f"This model is memorizing: {copies['identical']:,} of {copies['generated'].total:,} samples equal a training {unit} "
                "exactly"
            )
        return f"This model is memorizing: {copies['generated']} of its samples are copies of training {unit}s"
    if word == "undecided":
        return f"Undecided whether this model memorizes: {_why(numbers)}"
    share = numbers["lost"]["fraction"]
    if word == "generalizing":
        most = max(0.0, 100 * share.high)
        return f"This model is generalizing: at most {most:.0f}% of its degrees of freedom are lost at training {unit}s"
    if word == "overfitting":
        auc = numbers["membership"]["auc"]
        return f"This model has begun to overfit: its error tells training {unit}s from held-out ones in {percent(auc)} of pairs"
    return f"This model is {word}: at training {unit}s it has lost {percent(share)} of its degrees of freedom"


def _why(numbers: Numbers) -> str:
    unit, t = numbers["unit"], f"noise variance {numbers['reference_t']:.2g}"
    reason = numbers["verdict"]["reason"]
    if reason == "open":
        return f"at training {unit}s it has lost {percent(numbers['lost']['fraction'])} of its degrees of freedom"
    if reason == "rare":
        most = 100 * numbers["membership"]["rate"].high
        return f"little is lost on average, but it may know up to {most:.0f}% of its training {unit}s"
    if reason == "alone":
        return _alone(numbers)
    screening = numbers["screening"]
    return {
        "few": f"{screening['training']} training and {screening['held_out']} held-out {unit}s are too few; {2 * LEAST_IMAGES} of each are the least",
        "likely": f"little is lost at its training {unit}s, but its samples are probably copies",
        "unseen": f"there are no held-out {unit}s to compare with",
        "other": f"the held-out {unit}s are of another kind than its training {unit}s",
        "unfit": f"it does not denoise its own training {unit}s better than a linear filter",
        "flat": f"at {t} it has too few degrees of freedom even at held-out {unit}s to lose any",
    }[reason]


def _alone(numbers: Numbers) -> str:
    """What held-out images say without the training images."""
    unit, calibration = numbers["unit"], numbers["calibration"]
    if calibration is None:
        return f"there are too few held-out {unit}s; {LEAST_IMAGES} are the least"
    found = f"its calibration ratio at held-out {unit}s is {calibration['held_out']:.1f}"
    return {
        "too sure": f"but {found}, as that of models that memorize",
        "right": f"{found}, as that of models that generalize",
        "open": f"{found}; 1 would be that of a model that generalizes",
    }[numbers["confidence"]]


def _sure(numbers: Numbers) -> str:
    unit, word, reason = numbers["unit"], numbers["verdict"]["word"], numbers["verdict"]["reason"]
    screening, out = numbers["screening"], []
    copies = numbers["copies"]
    if reason == "copies":
        control = f"held-out {unit}s" if copies["held_out"] else f"training {unit}s"
        out.append(f"By chance, {copies['control']} of {control} look like copies of another.")
    if reason == "alone":
        out.append(
            f"{screening['held_out']:,} held-out {unit}s were screened. The ratio shows overconfidence, not its cause: a model that was "
            f"trained on other data than these {unit}s is overconfident too. Nor does it say which {unit}s were memorized."
        )
    elif numbers["lost"] is None:
        drawn = f"{copies['generated']} of its samples are copies" if copies is not None else "no samples were compared"
        if reason != "copies":
            out.append(f"Only copies can be found without held-out {unit}s; {drawn}, which decides nothing.")
    else:
        fraction, agreement = numbers["lost"]["fraction"], numbers["agreement"]
        said = word in ("losing dimensions", "generalizing") or (word, reason) in (
            ("memorizing", "lost"),
            ("undecided", "open"),
        )
        if not said and math.isfinite(fraction.low):
            out.append(f"Share of degrees of freedom lost: {percent(fraction)}, 95% interval.")
        levels = f"{screening['training']:,} training and {screening['held_out']:,} held-out {unit}s"
        if agreement is not None:
            levels += (
                f"; {agreement['count']} of the {agreement['of']} noise levels that can show memorization agree"
                if agreement["of"] > 1
                else "; one noise level can show memorization"
            )
        out.append(f"{levels}.")
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
    if word == "overfitting":
        return (
            f"You may use it, but do not train it longer on these {unit}s; an earlier checkpoint or more {unit}s generalize better."
            f"{_more(numbers)}"
        )
    if word == "generalizing":
        more = "; a larger --budget screens more" if _unscreened(numbers) else ""
        return f"No action is needed. The ranking lists the {unit}s that it knows best{more}."
    return _to_decide(numbers)


def _to_decide(numbers: Numbers) -> str:
    unit = numbers["unit"]
    return {
        "few": f"Give {2 * LEAST_IMAGES} or more {unit}s of each kind that are no near copies of each other.",
        "open": (
            f"Screen more {unit}s: raise --budget.{_more(numbers)}"
            if _unscreened(numbers)
            else f"Give more held-out {unit}s.{_more(numbers)}"
        ),
        "rare": f"Look at the {unit}s that it knows best, in the ranking, and screen more.{_more(numbers)}",
        "likely": "Draw more samples with --draws.",
        "unseen": f"Give {unit}s that it was not trained on with --held-out.",
        "alone": "Give its training data with --trained-on: they show what is memorized.",
        "other": f"Give held-out {unit}s that were taken and prepared like the training {unit}s.",
        "unfit": "Check that it was trained on these data, on their scale, to the end, and that its scheduler is the right one.",
        "flat": "Choose smaller noise variances with --times.",
    }[numbers["verdict"]["reason"]]


def _more(numbers: Numbers) -> str:
    """How many images would decide."""
    needed: Any = numbers["verdict"]["images_needed"]
    if not needed:
        return ""
    return f" About {needed:,} {numbers['unit']}s of each kind would probably decide."


def _unscreened(numbers: Numbers) -> bool:
    """Whether the budget left images out."""
    found = numbers["screening"]
    return bool(
        found["training"] < found["all"]["training"]
        or found["held_out"] + found["near_copies"] < found["all"]["held_out"]
    )
