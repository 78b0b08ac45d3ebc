"""The verdict on a model: degrees of freedom lost at training images against held-out ones, and copies among its samples.

Every image is screened (`measure.screening`). The fraction lost is

    1 - mean(q at training images)/mean(q at held-out images),    q the degrees of freedom tr A^T A,

at the reference t: the noise level at which most is lost, by the lower end of its interval. How well the denoising error tells training
images from held-out ones (AUC) is taken at the level where it tells most. Both levels are chosen on one half of the images, and everything
is stated of the other half (`measure.membership`), so that the choice flatters nothing.

    memorizing          samples are copies, or the whole interval of the fraction lost is above a half
    losing dimensions   the whole interval of the fraction lost is above a quarter
    overfitting         the whole interval of the fraction lost is above a twentieth, or that of the AUC above .55: the model knows its
                        training images, but has not lost much there
    generalizing        the whole interval of the fraction lost is below a tenth; and fewer than a tenth of the training images have a
                        smaller error than all but the first 1% of held-out images, by the upper end of an exact interval. The
                        second condition is needed because a mean hides a few memorized images
    undecided           all other cases

Without held-out images nothing can be compared. With held-out images alone there is the calibration ratio, error over degrees of
freedom: it shows overconfidence, but not of which images it comes.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta

from geomem.intervals import Interval, Rate, quotient

__all__ = [
    "BEGUN",
    "LEAST_IMAGES",
    "LITTLE",
    "MUCH",
    "SOME",
    "TELLING",
    "Evidence",
    "Judgement",
    "judged",
    "share_lost",
]

# Fewest images of each kind for a decision; thresholds of the fraction lost, and of the AUC; most images that are ever recommended.
LEAST_IMAGES, MUCH, SOME, LITTLE, BEGUN, TELLING, _MOST = 8, 0.5, 0.25, 0.1, 0.05, 0.55, 1_000_000
# Images are planned for a power of 80%: the half-width of the interval, 1.96 standard errors, becomes 1.96 + 0.84.
_POWER = ((1.96 + 0.84) / 1.96) ** 2


@dataclass(frozen=True)
class Evidence:
    """What the screening says at one noise level.

    Attributes:
        share: Fraction of the degrees of freedom lost at training images.
        auc: How well the denoising error tells training images from held-out ones.
        rate: Share of training images with a smaller error than all but the first 1% of held-out images.
    """

    share: Interval
    auc: Interval
    rate: Rate

    @property
    def overfits(self) -> bool:
        """Whether the model is known to know its training images."""
        return self.share.low > BEGUN or self.auc.low > TELLING


def share_lost(training: NDArray[np.float64], held_out: NDArray[np.float64]) -> Interval:
    """Fraction lost at training images, from the degrees of freedom at single images; Fieller's interval for two groups.

    >>> print(f"{share_lost(np.array([1.0, 1.2, 0.8, 1.0]), np.array([2.0, 2.1, 1.9, 2.0])):.2f}")
    0.50 [0.36, 0.63]
    """
    kept = quotient(training, held_out)
    return Interval(1 - kept.value, 1 - kept.high, 1 - kept.low, kept.n)


@dataclass(frozen=True)
class Judgement:
    """A verdict in one word, with its reason.

    Attributes:
        word: "memorizing", "losing dimensions", "overfitting", "generalizing" or "undecided".
        reason: "copies", "lost", "few" (too few images), "open" (the interval holds more than one answer), "rare" (little is lost on
            average, but more than a tenth of the images may be known), "likely" (little is lost, but samples are probably copies),
            "unseen" (there are no held-out images), "alone" (there are no training images), "other" (held-out images are of another
            kind), "unfit" (the model does not denoise) or "flat" (nothing to lose at this noise level).
        images: Number of images of each kind that would decide; None if more do not help, or if the verdict is final.
    """

    word: str
    reason: str
    images: int | None = None


def judged(found: Evidence | None, *, copies: str | None, fits: bool, alike: bool = True) -> Judgement:
    """The verdict from what was lost and from the verdict on the model's samples.

    Args:
        found: What the screening says; None without held-out images.
        copies: `copies` of the verdict on samples of the model (`measure.copies`); None for no samples.
        fits: Whether the model denoises its training images better than a linear filter.
        alike: Whether held-out images are of the same kind as training images.

    >>> some = Evidence(Interval(0.12, 0.09, 0.15, 60), Interval(0.77, 0.69, 0.84, 60), Rate.of(6, 60))
    >>> judged(some, copies="no sign", fits=True)
    Judgement(word='overfitting', reason='lost', images=None)
    """
    if copies in ("identical", "yes"):
        return Judgement("memorizing", "copies")
    if not fits or found is None:
        return Judgement("undecided", "unseen" if fits else "unfit")
    share = found.share
    if share.n < LEAST_IMAGES:
        return Judgement("undecided", "few", LEAST_IMAGES)
    if not alike:
        return Judgement("undecided", "other")
    if not math.isfinite(share.low):
        return Judgement("undecided", "flat")
    if share.low > MUCH:
        return Judgement("memorizing", "lost")
    if share.low > SOME:
        return Judgement("losing dimensions", "lost", _needed(share, MUCH))
    if found.overfits:
        return Judgement("overfitting", "lost", _needed(share, SOME))
    if share.high < -LITTLE:  # less freedom at held-out images, so these are simpler
        return Judgement("undecided", "other")
    if share.high < LITTLE:
        if found.rate.high >= LITTLE:
            return Judgement("undecided", "rare", _ruling_out(found.rate))
        return Judgement("undecided", "likely") if copies == "likely" else Judgement("generalizing", "lost")
    return Judgement("undecided", "open", _planned(share, max(share.value - BEGUN, LITTLE - share.value)))


def _needed(share: Interval, level: float) -> int | None:
    """Number of images that would separate the share from a level within its interval; None where it does not lie there."""
    return _planned(share, abs(share.value - level)) if share.low <= level < share.high else None


def _planned(share: Interval, margin: float) -> int:
    """Number of images for an interval within `margin` of the value, as it narrows with their square root; to two digits."""
    half = max(share.high - share.value, share.value - share.low)
    images = min(_MOST, _POWER * share.n * (half / max(margin, 1e-9)) ** 2)
    step = int(10 ** max(0, math.floor(math.log10(max(images, 1))) - 1))
    return max(share.n + 1, LEAST_IMAGES, math.ceil(images / step) * step)


def _ruling_out(rate: Rate) -> int | None:
    """Number of images that would show the same share of known images to be below a tenth; None if it is not below."""
    images = np.arange(rate.total + 1, 40 * rate.total + 400)
    count = np.round(rate.value * images)
    enough = np.asarray(beta.ppf(0.975, count + 1, images - count)) < LITTLE  # Clopper-Pearson upper bound
    return int(images[np.argmax(enough)]) if enough.any() else None
