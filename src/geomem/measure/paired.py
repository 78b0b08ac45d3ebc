"""Dimensions at training points, and at what they are compared with.

Training points are compared with their held-out partners. If there are no held-out images, they are compared with the
empirical score of all other images at the same point.
"""

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from geomem.measure.observe import HELD_OUT, TRAINING

__all__ = ["EMPIRICAL", "LEFT_OUT", "MODEL", "main_reading", "sides"]

# Names of scores in records: the model, its training data, and its training data without the image at which it is evaluated.
MODEL, EMPIRICAL, LEFT_OUT = "model", "empirical", "left-out"
# The reading used for the verdict, if all directions were measured and if only some were.
_ALL, _SOME = "resolved", "degrees_of_freedom"

Array = NDArray[np.float64]


def main_reading(found: xr.Dataset) -> str:
    """The reading used for the verdict: resolved, or degrees of freedom if only random directions were measured."""
    return _ALL if bool(np.isfinite(found["dimension"].sel(reading=_ALL)).any()) else _SOME


def sides(found: xr.Dataset, partner: NDArray[np.int64]) -> tuple[Array, Array]:
    """Dimension (K, t) at training points and at what they are compared with, for the first score of a record.

    Args:
        found: Result of `measure.observe`.
        partner: For each training point, the index of its held-out partner.
    """
    values = found["dimension"].sel(reading=main_reading(found)).transpose("score", "set", "point", "t")
    training = values.isel(score=0).sel(set=TRAINING).values
    if HELD_OUT in values["set"].values:
        return training, values.isel(score=0).sel(set=HELD_OUT).values[partner]
    return training, values.sel(score=LEFT_OUT, set=TRAINING).values
