"""The verdict on a model: dimensions lost at its training images against images that it never saw, paired, with intervals.

A dimension is lost where the model has it at new images and not at those that it was trained on. The share lost,

    mean(held-out - training)/mean(held-out)    over pairs of images that look alike,

is judged at one noise level: where a model that memorized the data perfectly, the empirical score, would lose most. That
level is chosen from the data alone, before the model is asked, so that it cannot be picked to please.

    memorizing          its samples are copies, or it has lost more than half, by the whole interval
    generalizing        it has lost a tenth at most, by the whole interval
    losing dimensions   it has lost some, by the whole interval
    undecided           anything else: too few pairs, none held out, or a model that does not denoise

Where no image was held out, the empirical score of all images but one stands in for what was never seen, at that very image.
Such a score knows only the other images; a model that generalizes keeps more dimensions than it does, so that "memorizing"
can be concluded, where the model has less than half of even those, and nothing else.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from geomem.intervals import Interval, mean, ratio

__all__ = ["LEAST_PAIRS", "Judgement", "Loss", "judged", "lost", "lost_by_image", "most_telling"]

# Fewest pairs that can decide anything, shares that separate the words, and most pairs that are ever asked for.
LEAST_PAIRS, _MUCH, _LITTLE, _MOST = 8, 0.5, 0.1, 1_000_000

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Loss:
    """What is lost at training images, at one noise level; K pairs.

    Attributes:
        training: Mean dimension at training images.
        held_out: Mean dimension at images never seen.
        dimensions: Mean difference within pairs, held-out less training.
        share: That difference as a share of the held-out mean (Fieller's interval).
    """

    training: Interval
    held_out: Interval
    dimensions: Interval
    share: Interval

    @property
    def pairs(self) -> int:
        """K."""
        return self.dimensions.n


def lost(training: Array, held_out: Array) -> Loss:
    """Dimensions lost, from the dimensions (K,) of the two points of each pair, K at least 2.

    Where all training images have the same dimension the share does not scatter; its interval is then what the share of
    images that did not lose theirs could be without one of them being among K.

    >>> found = lost(np.array([0.0, 1, 0, 0, 1, 0, 0, 0]), np.array([4.0, 5, 3, 4, 4, 5, 3, 4]))
    >>> print(f"{found.dimensions:.2f}, {found.share:.2f}")
    3.75 [3.16, 4.34], 0.94 [0.85, 1.04]
    """
    share = ratio(held_out - training, held_out)
    if np.all(training == training[0]):
        missed = 1 - 0.025 ** (1 / training.size)
        share = Interval(share.value, min(share.low, share.value - missed), max(share.high, share.value), share.n)
    bounds = (0.0, math.inf)
    return Loss(mean(training, bounds=bounds), mean(held_out, bounds=bounds), mean(held_out - training), share)


def lost_by_image(training: Array, held_out: Array, twins: Array) -> list[Interval]:
    """Dimensions lost at each training image, with an interval from what two new images that look alike differ by.

    Args:
        training: Dimension (K,) at training images.
        held_out: Dimension (K,) at their partners.
        twins: Dimension (K, 2) at each held-out image and at the held-out image nearest to it.
    """
    k = len(twins)
    spread = math.sqrt(float(np.mean((twins[:, 0] - twins[:, 1]) ** 2)))
    reach = float(student.ppf(0.975, k - 1)) * spread
    return [Interval(float(d), float(d - reach), float(d + reach), 1) for d in held_out - training]


def most_telling(training: Array, held_out: Array) -> int:
    """The column of (K, t) at which the empirical score loses most, on average over pairs."""
    return int(np.argmax((held_out - training).mean(0)))


@dataclass(frozen=True)
class Judgement:
    """A verdict in a word.

    Attributes:
        word: "memorizing", "losing dimensions", "generalizing" or "undecided".
        reason: "copies", "lost", "few" (too few pairs), "open" (the interval holds more than one answer), "unseen" (no image
            that was never seen), "unfit" (the model does not denoise) or "flat" (nothing to lose at this noise level).
        pairs: Number of pairs that would decide, or would tell losing from memorizing; None where more do not help, or the
            word is final.
    """

    word: str
    reason: str
    pairs: int | None


def judged(loss: Loss, *, copies: str | None, fits: bool, held_out: bool = True) -> Judgement:
    """The verdict from what was lost and from the verdict on the model's samples.

    Args:
        loss: What was lost.
        copies: Word of `copying.verdict` on samples of the model; None for no samples.
        fits: Whether the model denoises its training images better than a linear filter.
        held_out: Whether the loss is against images never seen; else against a score that memorized all images but the one
            it is asked at, which has no more dimensions there than a model that generalizes: only "memorizing" follows.

    >>> few = lost(np.array([0.0, 1, 0]), np.array([4.0, 5, 3]))
    >>> judged(few, copies="no sign", fits=True)
    Judgement(word='undecided', reason='few', pairs=8)
    """
    if copies in ("identical", "yes"):
        return Judgement("memorizing", "copies", None)
    if not fits:
        return Judgement("undecided", "unfit", None)
    if loss.pairs < LEAST_PAIRS:
        return Judgement("undecided", "few", LEAST_PAIRS)
    share = loss.share
    if not math.isfinite(share.low):
        return Judgement("undecided", "flat", None)
    if share.low > _MUCH:
        return Judgement("memorizing", "lost", None)
    if not held_out:
        return Judgement("undecided", "unseen", None)
    if share.high < _LITTLE:
        return Judgement("generalizing", "lost", None)
    if share.low > 0:
        undecided = share.high > _MUCH
        return Judgement("losing dimensions", "lost", _needed(share, abs(share.value - _MUCH)) if undecided else None)
    return Judgement("undecided", "open", _needed(share, max(share.value, _LITTLE - share.value)))


def _needed(share: Interval, margin: float) -> int:
    """Pairs with which the interval, narrowing as their root, would stay within `margin` of the value; two digits."""
    half = max(share.high - share.value, share.value - share.low)
    pairs = min(_MOST, share.n * (half / max(margin, 1e-9)) ** 2)
    step = int(10 ** max(0, math.floor(math.log10(max(pairs, 1))) - 1))
    return max(share.n + 1, LEAST_PAIRS, math.ceil(pairs / step) * step)
