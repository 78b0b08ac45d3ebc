"""Which directions a score still has at a point and which it has lost, as vectors of the data's space, to be looked at."""

from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

__all__ = ["Directions", "example", "kept_and_lost"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Directions:
    """Directions at one point, unit vectors; NaN rows where there are fewer than asked for.

    Attributes:
        kept: Those that survive most (count, d), most surviving first.
        lost: Of those that do not survive, the ones in which the data vary most (count, d).
        kept_survival: Survival of the kept ones (count,), above the threshold.
        lost_survival: Survival of the lost ones (count,), below it.
    """

    kept: Array
    lost: Array
    kept_survival: Array
    lost_survival: Array


def kept_and_lost(survival: Array, variances: Array, axes: Array, count: int, *, threshold: float = 0.5) -> Directions:
    """Split the directions in which data vary into those that survive at a point and those that are lost.

    The symmetric matrix I + t J, restricted to some principal axes of the data (those with more variance than t, say),
    has eigenvectors with survival above the threshold, which are kept. The others span what is lost; as many of their
    survivals may be equal, 0 as a rule, that space is shown by its own principal axes: the directions in it along which
    the data vary most.

    Args:
        survival: I + t J in the coordinates of the axes (k, k).
        variances: Of the data along the axes (k,).
        axes: Orthonormal columns (d, k).
        count: Directions of each kind.
        threshold: Least survival of a kept direction.

    >>> found = kept_and_lost(np.diag([0.9, 0.0, 0.1]), np.array([3.0, 2.0, 1.0]), np.eye(3), 1)
    >>> print(abs(found.kept), abs(found.lost), found.kept_survival, found.lost_survival)
    [[1. 0. 0.]] [[0. 1. 0.]] [0.9] [0.]
    """
    values, vectors = np.linalg.eigh((survival + survival.T) / 2)
    values, vectors = values[::-1], vectors[:, ::-1]
    alive = values > threshold
    rest = vectors[:, ~alive]
    _, inner = np.linalg.eigh(rest.T @ (variances[:, None] * rest))
    lost = rest @ inner[:, ::-1]
    lost_survival = np.einsum("ki,kl,li->i", lost, survival, lost)
    return Directions(
        _some((axes @ vectors[:, alive]).T, count),
        _some((axes @ lost).T, count),
        _some(values[alive], count),
        _some(lost_survival, count),
    )


def example(name: str, picture: Array, guess: Array, found: Directions) -> xr.Dataset:
    """One point as labelled arrays: `set`, `picture` and `guess` (value), directions (rank, value), survivals (rank)."""
    units = {"units": "data units"}
    return xr.Dataset(
        {
            "set": ((), name),
            "picture": ("value", picture, units),
            "guess": ("value", guess, units | {"long_name": "posterior mean E[y|x]"}),
            "kept": (("rank", "value"), found.kept, {"units": "1"}),
            "lost": (("rank", "value"), found.lost, {"units": "1"}),
            "kept_survival": ("rank", found.kept_survival, {"units": "1"}),
            "lost_survival": ("rank", found.lost_survival, {"units": "1"}),
        }
    )


def _some(values: Array, count: int) -> Array:
    """The first `count` entries, filled up with NaN."""
    out = np.full((count, *values.shape[1:]), np.nan)
    out[: len(values)] = values[:count]
    return out
