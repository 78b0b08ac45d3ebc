"""Data centred on the training rows, with their principal axes, as used for posteriors and spectra of data."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from geomem.scores import principal_components

__all__ = ["COORDINATES", "SMALL", "Prepared", "prepare", "smallest_time", "spanned"]

# Principal directions with a variance below this share of t are omitted from spectra; only their total is in the trace.
SMALL = 0.02
# Largest number of principal coordinates in spectra, and number of rows for the axes in very high dimension.
COORDINATES, _FITTED = 384, 3200
# Smallest relevant time relative to the largest variance: the widest direction is then a hundred times wider than the noise.
_SMALLEST = 1e-4


@dataclass(frozen=True)
class Prepared:
    """Data centred on the training rows' mean, and their principal components.

    Attributes:
        train: Training rows (n, d) in nested order.
        held_out: Held-out rows (m, d).
        mean: The subtracted mean (d,).
        variances: Variances of the training rows along `axes` (k,), descending, float64.
        axes: Principal axes (d, k).
        fitted: Number of training rows from which mean and axes are computed.
    """

    train: Tensor
    held_out: Tensor
    mean: Tensor
    variances: NDArray[np.float64]
    axes: Tensor
    fitted: int

    @property
    def dim(self) -> int:
        """d."""
        return int(self.train.shape[1])

    def coordinates(self, rows: Tensor) -> Tensor:
        """Principal coordinates (n, k) of rows."""
        return rows @ self.axes.to(rows.dtype)


def prepare(train: Tensor, held_out: Tensor) -> Prepared:
    """Centre the rows and find their principal axes.

    In very high dimension the axes are computed from the first 3,200 rows; the plug-in then has at most 3,200 variances.
    """
    fitted = train if min(train.shape) <= _FITTED else train[:_FITTED]
    mean, variances, axes = principal_components(fitted)
    shift = mean.to(train.dtype)
    return Prepared(train - shift, held_out - shift, mean, variances.numpy(), axes, fitted.shape[0])


def spanned(variances: NDArray[np.float64], t: float) -> int:
    """Number of principal directions in spectra at t: those with variance not small against t, at most 384."""
    return int(np.clip(np.sum(variances > SMALL * t), 1, COORDINATES))


def smallest_time(data: Prepared) -> float:
    """A time below all relevant times."""
    return _SMALLEST * max(float(data.variances[0]), np.finfo(float).tiny)
