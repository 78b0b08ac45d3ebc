"""Data centred on the training rows, with their principal axes, as used for posteriors and spectra of data."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geomem.data.selection import Selection
from geomem.scores import principal_components
from geomem.scores.distances import Rows, Samples

__all__ = ["COORDINATES", "SMALL", "Prepared", "prepare", "smallest_time", "spanned"]

# Principal directions with a variance below this share of t are omitted from spectra; only their total is in the trace.
SMALL = 0.02
# Largest number of principal coordinates in spectra, number of rows for the axes in very high dimension, and in any.
COORDINATES, _FITTED, _MOST_FITTED = 384, 3200, 65_536
# Smallest relevant time relative to the largest variance: the widest direction is then a hundred times wider than the noise.
_SMALLEST = 1e-4
# Bytes of rows in float64 at once: copies of this size stay in the cache.
_BLOCK = 2**22


@dataclass(frozen=True)
class Prepared:
    """Data centred on the training rows' mean, and their principal components.

    Attributes:
        train: Training rows (n, d) in nested order, or where these are read.
        held_out: Held-out rows (m, d).
        mean: The subtracted mean (d,).
        variances: Variances of the training rows along `axes` (k,), descending, float64.
        axes: Principal axes (d, k).
        fitted: Number of training rows from which mean and axes are computed.
    """

    train: Tensor | Selection
    held_out: Tensor
    mean: Tensor
    variances: NDArray[np.float64]
    axes: Tensor
    fitted: int

    @property
    def dim(self) -> int:
        """d."""
        return int(self.train.shape[1])

    @property
    def block(self) -> int:
        """Rows to work on at once."""
        return max(1, _BLOCK // (8 * self.dim))

    def coordinates(self, rows: Tensor | Selection, count: int | None = None) -> Tensor:
        """The first principal coordinates (n, count) of rows; all by default."""
        axes = self.axes[:, :count].to(rows.dtype)
        out = torch.empty(rows.shape[0], axes.shape[1], dtype=rows.dtype)
        for start in range(0, rows.shape[0], self.block):
            torch.mm(rows[start : start + self.block], axes, out=out[start : start + self.block])
        return out

    def subset(self, rows: NDArray[np.int64]) -> Tensor | Selection:
        """Some of the training rows."""
        return self.train[torch.as_tensor(rows)] if isinstance(self.train, Tensor) else self.train.only(rows)

    def samples(self, rows: Tensor | Selection) -> Samples:
        """Rows prepared for distances from them."""
        return Samples.of(rows, block=_BLOCK)

    def means(self, rows: Tensor | Rows, log_weights: Callable[[slice], Tensor]) -> Tensor:
        """Weighted means (w, d) of rows, float64.

        Args:
            rows: (n, d).
            log_weights: Logarithms of the weights (w, b) of a block of the rows.
        """
        total: Tensor | float = 0.0
        for start in range(0, rows.shape[0], self.block):
            part = slice(start, min(start + self.block, rows.shape[0]))
            total = total + (log_weights(part).exp().to(rows.dtype) @ rows[part]).to(torch.float64)
        assert isinstance(total, Tensor)
        return total


def prepare(train: Tensor | Selection, held_out: Tensor) -> Prepared:
    """Centre the rows and find their principal axes.

    The axes are computed from the first 65,536 rows at most, in very high dimension from the first 3,200; the plug-in then has at most
    3,200 variances.
    """
    n = train.shape[0] if min(train.shape) <= _FITTED else _FITTED
    fitted = train[: min(n, _MOST_FITTED)] if isinstance(train, Tensor) else train.only(np.arange(min(n, _MOST_FITTED)))
    mean, variances, axes = principal_components(fitted)
    shift = mean.to(train.dtype)
    centred = train - shift if isinstance(train, Tensor) else train.less(shift)
    return Prepared(centred, held_out - shift, mean, variances.numpy(), axes, fitted.shape[0])


def spanned(variances: NDArray[np.float64], t: float) -> int:
    """Number of principal directions in spectra at t: those with variance not small against t, at most 384."""
    return int(np.clip(np.sum(variances > SMALL * t), 1, COORDINATES))


def smallest_time(data: Prepared) -> float:
    """A time below all relevant times."""
    return _SMALLEST * max(float(data.variances[0]), np.finfo(float).tiny)
