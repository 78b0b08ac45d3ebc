"""Dimensions at training points beside those that they are compared with: held-out partners, or the score without the point.

Where nothing is held out, training points are compared with what the empirical score of all other images has there.
"""

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from geomem.measure.observe import HELD_OUT, TRAINING

__all__ = ["EMPIRICAL", "LEFT_OUT", "MODEL", "main_reading", "sides"]

# Names of scores in records: of the model, of its training data, and of those without the image that it is evaluated at.
MODEL, EMPIRICAL, LEFT_OUT = "model", "empirical", "left-out"
# The reading of the verdict where all directions were measured, and where some were.
_ALL, _SOME = "resolved", "degrees_of_freedom"

Array = NDArray[np.float64]


def main_reading(found: xr.Dataset) -> str:
    """The reading of the verdict: resolved, or degrees of freedom where random directions were measured."""
    return _ALL if bool(np.isfinite(found["dimension"].sel(reading=_ALL)).any()) else _SOME


def sides(found: xr.Dataset, partner: NDArray[np.int64]) -> tuple[Array, Array]:
    """Dimension (K, t) at training points, and of what they are compared with, by the one score of a record, or the first.

    Args:
        found: What `measure.observe` returned.
        partner: For each training point, the place of its held-out partner.
    """
    values = found["dimension"].sel(reading=main_reading(found)).transpose("score", "set", "point", "t")
    training = values.isel(score=0).sel(set=TRAINING).values
    if HELD_OUT in values["set"].values:
        return training, values.isel(score=0).sel(set=HELD_OUT).values[partner]
    return training, values.sel(score=LEFT_OUT, set=TRAINING).values
