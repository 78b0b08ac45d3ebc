r"""A fine-tuned model against its base: what it has lost at the images that it was fine-tuned on.

The base has not seen these images, so at the same image under the same noise it is the control that a model trained from scratch lacks.
With q the degrees of freedom (`measure.screening`) of the model and of its base at image i, the fraction lost at a noise variance is

    L = 1 - sum_i q_i(model)/sum_i q_i(base).

Its interval is the jackknife's: with L_i the fraction without image i, the variance is (n - 1)/n sum_i (L_i - mean L_i)^2, with n - 1
degrees of freedom. A fine-tuned model may lose dimensions at any image. Where there are held-out
images, their loss is taken off, L(training) - L(held-out), and the squares of both errors add.

The noise variance at which most is lost is chosen among k. All intervals are simultaneous, by Bonferroni at 1 - .05/k, so that the choice
cannot flatter the result even where ten images are all there are.

    memorizing          samples are copies, or the whole interval of the fraction lost is above a half
    losing dimensions   it is above a quarter
    overfitting         it is above a twentieth, or that of the AUC above .55
    keeping its base's dimensions    it is below a tenth
    undecided           all other cases
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from geomem.intervals import Interval
from geomem.measure.membership import auc
from geomem.measure.verdict import BEGUN, LITTLE, MUCH, SOME, TELLING

__all__ = ["LEAST_TUNED", "TunedJudgement", "fraction_lost_against", "judged_against", "net", "recognized"]

# Fewest images for a decision.
LEAST_TUNED = 4
_CONFIDENCE = 0.95

Array = NDArray[np.float64]


def fraction_lost_against(model: Array, base: Array, *, choices: int = 1) -> Interval:
    """Fraction L of its base's degrees of freedom that a model has lost, over images.

    Args:
        model: Degrees of freedom (n) of the model.
        base: Those of its base at the same images, under the same noise.
        choices: Number of noise variances among which this one was chosen.

    >>> print(f"{fraction_lost_against(np.array([4.0, 5.0, 6.0]), np.array([8.0, 10.0, 12.5])):.2f}")
    0.51 [0.47, 0.54]
    """
    n, mean = len(base), float(np.mean(base))
    if n < 2 or not mean > 0:
        return Interval(np.nan, -np.inf, np.inf, n)
    value = 1 - float(np.mean(model)) / mean
    without = 1 - (np.sum(model) - model) / (np.sum(base) - base)
    half = float(stdtrit(n - 1, 1 - _tail(choices)) * np.sqrt((n - 1) * np.var(without)))
    return Interval(value, value - half, value + half, n)


def net(training: Interval, held_out: Interval) -> Interval:
    """What is lost at training images beyond what is lost at held-out ones.

    >>> print(f"{net(Interval(0.5, 0.4, 0.6, 9), Interval(0.1, 0.05, 0.15, 30)):.2f}")
    0.40 [0.29, 0.51]
    """
    value = training.value - held_out.value
    low, high = (
        float(np.hypot(a - b, c - d))
        for a, b, c, d in (
            (training.value, training.low, held_out.high, held_out.value),
            (training.high, training.value, held_out.value, held_out.low),
        )
    )
    return Interval(value, value - low, value + high, training.n)


def recognized(training: Array, held_out: Array, *, choices: int = 1) -> Interval:
    """How often the denoising error, relative to the base's, is smaller at a training image than at a held-out one (AUC).

    Args:
        training: Ratio (m) of the model's error to its base's at training images.
        held_out: The same (n) at held-out images.
        choices: As `fraction_lost_against`.
    """
    return auc(training, held_out, confidence=1 - 2 * _tail(choices))


def _tail(choices: int) -> float:
    return (1 - _CONFIDENCE) / 2 / choices


@dataclass(frozen=True)
class TunedJudgement:
    """A verdict in a word, with its reason.

    Attributes:
        word: "memorizing", "losing dimensions", "overfitting", "keeping" or "undecided".
        reason: "copies", "lost", "few" (too few images), "open" (the interval holds more than one answer), "likely" (little is lost, but
            samples are probably copies) or "flat" (the base has nothing to lose at any of these noise levels).
    """

    word: str
    reason: str


def judged_against(lost: Interval, told: Interval | None, *, copies: str | None) -> TunedJudgement:
    """The verdict from what is lost against the base, from how well training images are recognized, and from samples.

    Args:
        lost: Fraction lost, without what is lost at held-out images where there are some.
        told: AUC; None without held-out images.
        copies: Verdict on samples (`measure.copies`); None for no samples.

    >>> judged_against(Interval(0.7, 0.6, 0.8, 10), None, copies="no sign")
    TunedJudgement(word='memorizing', reason='lost')
    """
    if copies in ("identical", "yes"):
        return TunedJudgement("memorizing", "copies")
    if lost.n < LEAST_TUNED:
        return TunedJudgement("undecided", "few")
    if not np.isfinite(lost.low):
        return TunedJudgement("undecided", "flat")
    for word, level in (("memorizing", MUCH), ("losing dimensions", SOME), ("overfitting", BEGUN)):
        if lost.low > level:
            return TunedJudgement(word, "lost")
    if told is not None and told.low > TELLING:
        return TunedJudgement("overfitting", "lost")
    if lost.high < LITTLE:
        return TunedJudgement("undecided", "likely") if copies == "likely" else TunedJudgement("keeping", "lost")
    return TunedJudgement("undecided", "open")
