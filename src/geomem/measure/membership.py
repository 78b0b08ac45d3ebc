r"""How well a statistic tells training images from held-out images: AUC, and the true positive rate at 1% false positives.

The area under the ROC curve is the probability that a training image has the smaller value, ties counted half,

    AUC = mean over pairs of [x < y] + [x = y]/2,

with the variance of DeLong et al. (1988): with V(x) and V(y) the shares of the other group that are on the right side of each image,
Var AUC = Var V(x)/m + Var V(y)/n. Its interval is symmetric on the logit scale, so it stays within 0 and 1.

The noise variance at which a model tells most is chosen on one half of the images and the rate is stated on the other, so that the
choice cannot flatter it.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri
from scipy.stats import rankdata

from geomem.errors import InputError
from geomem.intervals import Interval, Rate
from geomem.seeds import derived_generator

__all__ = ["Membership", "auc", "halves", "known", "membership"]

Array = NDArray[np.float64]
_FALSE_POSITIVES = 0.01


@dataclass(frozen=True)
class Membership:
    """How well the error at one noise variance tells training images from held-out ones, on images that did not choose it.

    Attributes:
        column: Place of the noise variance that was chosen.
        auc: Area under the ROC curve.
        rate: Share of training images whose value is no larger than that of the first held-out images: 1% of them, or one of fewer
            than 100. Its interval is that of a share of training images; it takes the held-out images as given.
        false_positives: That share of the held-out images.
    """

    column: int
    auc: Interval
    rate: Rate
    false_positives: float


def auc(training: Array, held_out: Array, *, confidence: float = 0.95) -> Interval:
    """Probability that a training image has a smaller value than a held-out image, with DeLong's interval.

    Where all values of the one group are below all of the other there is no spread. The interval is then the exact one of a rate
    of all or none among the images of the smaller group.

    Raises:
        InputError: For fewer than two images in a group.

    >>> print(f"{auc(np.array([0.0, 1.0, 2.0]), np.array([1.5, 3.0, 4.0])).value:.3f}")
    0.889
    """
    m, n = len(training), len(held_out)
    if min(m, n) < 2:
        raise InputError(f"training, held_out: an AUC needs at least two images of each, got {m} and {n}.")
    ranks = rankdata(np.concatenate([training, held_out]))
    above = 1 - (ranks[:m] - rankdata(training)) / n  # share of held-out images above each training image
    below = (ranks[m:] - rankdata(held_out)) / m
    value = float(above.mean())
    variance = above.var(ddof=1) / m + below.var(ddof=1) / n
    if variance == 0:
        if 0 < value < 1:  # all values are equal, or nearly
            return Interval(value, 0.0, 1.0, min(m, n))
        exact = Rate.of(round(value * min(m, n)), min(m, n), confidence=confidence)
        return Interval(value, exact.low, exact.high, min(m, n))
    reach = float(ndtri(0.5 + confidence / 2)) * math.sqrt(variance) / (value * (1 - value))
    logit = math.log(value / (1 - value))
    low, high = (1 / (1 + math.exp(-(logit + sign * reach))) for sign in (-1, 1))
    return Interval(value, min(low, value), max(high, value), min(m, n))


def membership(training: Array, held_out: Array, *, seed: int = 0) -> Membership:
    """AUC and true positive rate of the best column, chosen on one half of the images and stated on the other.

    Args:
        training: Values (m, k) of training images, small where they are known.
        held_out: Values (n, k) of held-out images.
        seed: Seed of the halves.

    Raises:
        InputError: For fewer than four images of a kind.
    """
    if min(len(training), len(held_out)) < 4:
        raise InputError(
            f"training, held_out: halves need at least four images of each, got {len(training)} and {len(held_out)}."
        )
    choosing, stating = halves(len(training), len(held_out), seed=seed)
    found = [auc(training[choosing[0], j], held_out[choosing[1], j]).value for j in range(training.shape[1])]
    column = int(np.argmax(found))
    x, y = training[stating[0], column], held_out[stating[1], column]
    return Membership(column, auc(x, y), *known(x, y))


def known(training: Array, held_out: Array) -> tuple[Rate, float]:
    """Share of training images whose value is no larger than that of the first 1% of held-out images, and that share of these.

    Of fewer than 100 held-out images it is one.
    """
    allowed = max(1, int(len(held_out) * _FALSE_POSITIVES))
    count = int(np.sum(training <= np.sort(held_out)[allowed - 1]))
    return Rate.of(count, len(training)), allowed / len(held_out)


def halves(
    training: int, held_out: int, *, seed: int = 0
) -> tuple[tuple[NDArray[np.int64], NDArray[np.int64]], tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Places of the training and of the held-out images that choose, and of those that state."""
    rng = np.random.default_rng(derived_generator(seed, "membership").initial_seed())
    (a, b), (c, d) = (_halves(count, rng) for count in (training, held_out))
    return (a, c), (b, d)


def _halves(count: int, rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    order = rng.permutation(count)
    return order[: count // 2], order[count // 2 :]
