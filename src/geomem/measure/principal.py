"""Data centred on the training rows, with their principal axes: what posteriors and spectra of data are computed from."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from geomem.scores import principal_components

__all__ = ["COORDINATES", "SMALL", "Prepared", "prepare", "smallest_time", "spanned"]

# Principal directions with less than this share of t are left out of spectra: together they are in the trace.
SMALL = 0.02
# Principal coordinates that spectra are computed in at most, and rows from which axes are found in very high dimension.
COORDINATES, _FITTED = 384, 3200
# Smallest time that matters, as a share of the largest variance: the widest direction is a hundred times wider than the noise.
_SMALLEST = 1e-4


@dataclass(frozen=True)
class Prepared:
    """Data centred on the training rows' mean, and their principal components.

    Attributes:
        train: Training rows (n, d) in nested order.
        held_out: Held-out rows (m, d).
        mean: What was subtracted (d,).
        variances: Of the training rows along `axes` (k,), descending, float64.
        axes: Principal axes (d, k).
        fitted: Training rows that mean and axes come from.
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

    In very high dimension the axes come from the first 3,200 rows; the plug-in then has at most as many variances.
    """
    fitted = train if min(train.shape) <= _FITTED else train[:_FITTED]
    mean, variances, axes = principal_components(fitted)
    shift = mean.to(train.dtype)
    return Prepared(train - shift, held_out - shift, mean, variances.numpy(), axes, fitted.shape[0])


def spanned(variances: NDArray[np.float64], t: float) -> int:
    """Number of principal directions that spectra at t are computed in: those not small against t, 384 at most."""
    return int(np.clip(np.sum(variances > SMALL * t), 1, COORDINATES))


def smallest_time(data: Prepared) -> float:
    """A time below those that matter."""
    return _SMALLEST * max(float(data.variances[0]), np.finfo(float).tiny)
