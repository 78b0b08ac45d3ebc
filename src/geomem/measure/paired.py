"""Dimensions at training points beside those that they are compared with: held-out partners, or the score without the point.

Where nothing is held out, training points are compared with what the empirical score of all other images has there.
"""

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from geomem.measure.observe import HELD_OUT, TRAINING

__all__ = ["EMPIRICAL", "LEFT_OUT", "MODEL", "at_training", "main_reading", "sides"]

# Names of scores in records: of the model, of its training data, and of those without the image that it is evaluated at.
MODEL, EMPIRICAL, LEFT_OUT = "model", "empirical", "left-out"
# The reading of the verdict where all directions were measured, and where some were.
_ALL, _SOME = "resolved", "degrees_of_freedom"

Array = NDArray[np.float64]


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
