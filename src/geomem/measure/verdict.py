"""The verdict on a model: dimensions lost at its training images against images that it never saw, paired, with intervals.

A dimension is lost where the model has it at new images and not at those that it was trained on. The share lost,

    mean(held-out - training)/mean(held-out)    over pairs,

is judged at one noise level: where a model that memorized the data perfectly, the empirical score, would lose most. That
level is chosen from the data alone, before the model is asked, so that it cannot be picked to please.

    memorizing          its samples are copies, or it has lost more than half, by the whole interval
    generalizing        it has lost a tenth at most, by the whole interval, and no more than a tenth of its images have lost
                        more than half of their dimensions, by the upper end of an exact one-sided interval: a mean does not
                        see the few that are memorized, and eight pairs cannot
    losing dimensions   it has lost some, by the whole interval
    undecided           anything else

Where no image was held out, nothing can be called lost. The empirical score of all images but the one it is asked at is no
stand-in for what a generalizing model would have there: between far samples it has directions that the truth has not.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta
from scipy.stats import t as student

from geomem.intervals import Interval, mean, ratio
from geomem.measure.copies import Rate

__all__ = ["LEAST_PAIRS", "Judgement", "Loss", "judged", "lost", "lost_by_image", "most_telling"]

# Fewest pairs that can decide anything, shares that separate the words, and most pairs that are ever asked for.
LEAST_PAIRS, _MUCH, _LITTLE, _MOST = 8, 0.5, 0.1, 1_000_000
# Pairs are planned so that four audits in five would decide: the interval's half, 1.96 errors, becomes 1.96 + 0.84.
_POWER = ((1.96 + 0.84) / 1.96) ** 2

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Loss:
    """What is lost at training images, at one noise level; K pairs.

    Attributes:
        training: Mean dimension at training images.
        held_out: Mean dimension at images never seen.
        dimensions: Mean difference within pairs, held-out less training.
        share: That difference as a share of the held-out mean (Fieller's interval).
        halved: Share of training images with less than half of their partner's dimension, with the exact interval whose
            upper end holds at 95% by itself.
    """

    training: Interval
    held_out: Interval
    dimensions: Interval
    share: Interval
    halved: Rate

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
    halved = Rate.of(int(np.sum(training < held_out / 2)), training.size, confidence=0.9)
    return Loss(mean(training, bounds=bounds), mean(held_out, bounds=bounds), mean(held_out - training), share, halved)


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
        reason: "copies", "lost", "few" (too few pairs), "open" (the interval holds more than one answer), "rare" (little is lost on
            average, but more than a tenth of the images may have lost more than half), "likely" (little is lost, but samples
            are probably copies), "unseen" (no image that was never seen), "other" (the images never seen are of another
            kind), "unfit" (the model does not denoise) or "flat" (nothing to lose at this noise level).
        pairs: Number of pairs that would decide, or would tell losing from memorizing; None where more do not help, or the
            word is final.
    """

    word: str
    reason: str
    pairs: int | None


def judged(loss: Loss, *, copies: str | None, fits: bool, held_out: bool = True, alike: bool = True) -> Judgement:
    """The verdict from what was lost and from the verdict on the model's samples.

    Args:
        loss: What was lost.
        copies: Word of `copying.verdict` on samples of the model; None for no samples.
        fits: Whether the model denoises its training images better than a linear filter.
        held_out: Whether the loss is against images never seen.
        alike: Whether those are of the training images' kind.

    >>> few = lost(np.array([0.0, 1, 0]), np.array([4.0, 5, 3]))
    >>> judged(few, copies="no sign", fits=True)
    Judgement(word='undecided', reason='few', pairs=8)
    """
    share, halved = loss.share, loss.halved
    if copies in ("identical", "yes"):
        return Judgement("memorizing", "copies", None)
    if not (fits and held_out):
        return Judgement("undecided", "unseen" if fits else "unfit", None)
    if loss.pairs < LEAST_PAIRS:
        return Judgement("undecided", "few", LEAST_PAIRS)
    if not alike:
        return Judgement("undecided", "other", None)
    if not math.isfinite(share.low):
        return Judgement("undecided", "flat", None)
    if share.low > _MUCH:
        return Judgement("memorizing", "lost", None)
    if share.high < _LITTLE:
        if share.high < -_LITTLE:  # fewer dimensions at new images: they are simpler ones
            return Judgement("undecided", "other", None)
        if halved.high >= _LITTLE:
            return Judgement("undecided", "rare", _ruling_out(halved))
        return Judgement("undecided", "likely", None) if copies == "likely" else Judgement("generalizing", "lost", None)
    if share.low > 0:
        open_ = share.high > _MUCH
        return Judgement("losing dimensions", "lost", _needed(share, abs(share.value - _MUCH)) if open_ else None)
    return Judgement("undecided", "open", _needed(share, max(share.value, _LITTLE - share.value)))


def _needed(share: Interval, margin: float) -> int:
    """Pairs with which the interval, narrowing as their root, would stay within `margin` of the value; two digits."""
    half = max(share.high - share.value, share.value - share.low)
    pairs = min(_MOST, _POWER * share.n * (half / max(margin, 1e-9)) ** 2)
    step = int(10 ** max(0, math.floor(math.log10(max(pairs, 1))) - 1))
    return max(share.n + 1, LEAST_PAIRS, math.ceil(pairs / step) * step)


def _ruling_out(halved: Rate) -> int | None:
    """Pairs with which the same share of halved images would be shown to be below a tenth; None if it is not below."""
    pairs = np.arange(halved.total + 1, 40 * halved.total + 400)
    count = np.round(halved.value * pairs)
    enough = np.asarray(beta.ppf(0.95, count + 1, pairs - count)) < _LITTLE  # Clopper and Pearson's upper end
    return int(pairs[np.argmax(enough)]) if enough.any() else None
