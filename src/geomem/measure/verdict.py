"""The verdict on a model: dimensions lost at training images compared with held-out images, in pairs, with intervals.

A dimension is lost if the model has it at held-out images but not at training images. The fraction lost,

    mean(held-out - training)/mean(held-out)    over pairs,

is judged at the reference t. This is the noise level at which a model that memorized the data perfectly, the empirical score,
would lose most. It is chosen from the data alone, before the model is evaluated, so the choice cannot favour a verdict.

    memorizing          samples are copies, or the whole interval of the fraction lost is above a half
    generalizing        the whole interval of the fraction lost is below a tenth; and fewer than a tenth of the images have lost
                        more than half of their dimensions, by the upper end of an exact one-sided interval. The second
                        condition is needed because a mean hides a few memorized images; eight pairs cannot satisfy it
    losing dimensions   the whole interval of the fraction lost is above 0
    undecided           all other cases

Without held-out images, no loss can be measured. The empirical score of all images except the one where it is evaluated cannot
replace a generalizing model there: between distant samples it has directions that the true score does not have.
"""

import math
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.stats import beta
from scipy.stats import t as student

from geomem.intervals import Interval, mean, ratio
from geomem.measure.copies import Rate
from geomem.measure.observe import HELD_OUT, TRAINING

__all__ = [
    "EMPIRICAL",
    "LEAST_PAIRS",
    "LEFT_OUT",
    "MODEL",
    "Judgement",
    "Loss",
    "at_training",
    "judged",
    "lost",
    "lost_by_image",
    "main_reading",
    "most_telling",
    "sides",
]

# Fewest pairs for a decision, thresholds of the fraction lost, and largest number of pairs that is ever recommended.
LEAST_PAIRS, _MUCH, _LITTLE, _MOST = 8, 0.5, 0.1, 1_000_000
# Pairs are planned for a power of 80%: the half-width of the interval, 1.96 standard errors, becomes 1.96 + 0.84.
_POWER = ((1.96 + 0.84) / 1.96) ** 2

# Names of scores in records: of the model, of its training data, and of those without the image that it is evaluated at.
MODEL, EMPIRICAL, LEFT_OUT = "model", "empirical", "left-out"
# The reading of the verdict where all directions were measured, and where some were.
_ALL, _SOME = "resolved", "degrees_of_freedom"

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Loss:
    """Dimensions lost at training images, at one noise level, from K pairs.

    Attributes:
        training: Mean dimension at training images.
        held_out: Mean dimension at held-out images.
        dimensions: Mean difference within pairs, held-out minus training.
        share: That difference divided by the held-out mean (Fieller's interval).
        halved: Fraction of training images with less than half of their partner's dimension, with an exact interval whose
            upper end is a one-sided 95% bound.
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

    If all training images have the same dimension, their spread gives no interval. Then the interval allows for the largest
    fraction of images without a loss that could be missing among the K images.

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
    """Dimensions lost at each training image, with an interval from the differences between similar held-out images.

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
    """A verdict in one word, with its reason.

    Attributes:
        word: "memorizing", "losing dimensions", "generalizing" or "undecided".
        reason: "copies", "lost", "few" (too few pairs), "open" (the interval holds more than one answer), "rare" (little is lost on
            average, but more than a tenth of the images may have lost more than half), "likely" (little is lost, but samples
            are probably copies), "unseen" (there are no held-out images), "other" (held-out images are of another kind),
            "unfit" (the model does not denoise) or "flat" (nothing to lose at this noise level).
        pairs: Number of pairs that would decide, or would separate losing from memorizing; None if more pairs do not help, or
            if the verdict is final.
    """

    word: str
    reason: str
    pairs: int | None


def judged(loss: Loss, *, copies: str | None, fits: bool, held_out: bool = True, alike: bool = True) -> Judgement:
    """The verdict from the dimensions lost and from the verdict on the model's samples.

    Args:
        loss: The dimensions lost.
        copies: `copies` of the verdict on samples of the model (`measure.copies`); None for no samples.
        fits: Whether the model denoises its training images better than a linear filter.
        held_out: Whether the loss is relative to held-out images.
        alike: Whether held-out images are of the same kind as training images.

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
        if share.high < -_LITTLE:  # fewer dimensions at held-out images, so these are simpler
            return Judgement("undecided", "other", None)
        if halved.high >= _LITTLE:
            return Judgement("undecided", "rare", _ruling_out(halved))
        return Judgement("undecided", "likely", None) if copies == "likely" else Judgement("generalizing", "lost", None)
    if share.low > 0:
        open_ = share.high > _MUCH
        return Judgement("losing dimensions", "lost", _needed(share, abs(share.value - _MUCH)) if open_ else None)
    return Judgement("undecided", "open", _needed(share, max(share.value, _LITTLE - share.value)))


def _needed(share: Interval, margin: float) -> int:
    """Number of pairs for an interval within `margin` of the value, as it narrows with their square root; to two digits."""
    half = max(share.high - share.value, share.value - share.low)
    pairs = min(_MOST, _POWER * share.n * (half / max(margin, 1e-9)) ** 2)
    step = int(10 ** max(0, math.floor(math.log10(max(pairs, 1))) - 1))
    return max(share.n + 1, LEAST_PAIRS, math.ceil(pairs / step) * step)


def _ruling_out(halved: Rate) -> int | None:
    """Number of pairs that would show the same share of halved images to be below a tenth; None if it is not below."""
    pairs = np.arange(halved.total + 1, 40 * halved.total + 400)
    count = np.round(halved.value * pairs)
    enough = np.asarray(beta.ppf(0.95, count + 1, pairs - count)) < _LITTLE  # Clopper-Pearson upper bound
    return int(pairs[np.argmax(enough)]) if enough.any() else None


def main_reading(found: xr.Dataset) -> str:
    """The reading of the verdict: resolved, or degrees of freedom where random directions were measured."""
    return _ALL if bool(np.isfinite(found["dimension"].sel(reading=_ALL)).any()) else _SOME


def at_training(found: xr.Dataset) -> Array:
    """Dimension (K, t) at training points, of the first score of a record."""
    return np.asarray(_main(found).isel(score=0).sel(set=TRAINING).values)


def sides(found: xr.Dataset, partner: NDArray[np.int64]) -> tuple[Array, Array]:
    """Dimension (K, t) at training points, and of what they are compared with.

    Args:
        found: What `measure.observe` returned.
        partner: For each training point, the place of its held-out partner.
    """
    values = _main(found)
    if HELD_OUT in values["set"].values:
        return at_training(found), values.isel(score=0).sel(set=HELD_OUT).values[partner]
    return at_training(found), values.sel(score=LEFT_OUT, set=TRAINING).values


def _main(found: xr.Dataset) -> xr.DataArray:
    return found["dimension"].sel(reading=main_reading(found)).transpose("score", "set", "point", "t")
