"""Dimensions lost at training images, from pairs of a training image and a held-out image that look alike.

A dimension is lost if the model has it at the held-out image of a pair, but not at the training image. The fraction lost is

    mean(held-out - training)/mean(held-out)    over pairs.
"""

import math
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.stats import t as student

from geomem.intervals import Interval, Rate, mean, ratio
from geomem.measure.observe import HELD_OUT, TRAINING

__all__ = ["EMPIRICAL", "LEFT_OUT", "MODEL", "Loss", "at_training", "lost", "lost_by_image", "main_reading", "sides"]

# Names of scores in records: of the model, of its training data, and of those without the image that it is evaluated at.
MODEL, EMPIRICAL, LEFT_OUT = "model", "empirical", "left-out"
# The reading of comparisons where all directions were measured, and where some were.
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


def main_reading(found: xr.Dataset) -> str:
    """The reading of comparisons: resolved, or degrees of freedom where random directions were measured."""
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
