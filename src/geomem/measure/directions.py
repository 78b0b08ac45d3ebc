"""The directions that a score keeps and has lost at a point, as vectors in data space."""

from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor

from geomem.scores import Score, principal_components
from geomem.spectra import Spectrum, restricted
from geomem.spectra.dimension import RESOLVED

__all__ = ["Axes", "Directions", "directions_at", "example", "kept_and_lost", "lost_axes"]

Array = NDArray[np.float64]
# Number of directions of each kind that are recorded.
_SHOWN = 3
# Principal axes that span the directions: those with a variance above this share of t, at most this number.
_SMALL, _AXES = 0.02, 384
# Share of the largest variance below which a direction is a rounding error.
_TINY = 1e-12


@dataclass(frozen=True)
class Axes:
    """Principal axes of the training images, along which directions are kept or lost.

    Attributes:
        mean: Their mean (d,).
        variances: Variances along the axes (k,), descending.
        columns: The axes (d, k).
    """

    mean: Tensor
    variances: NDArray[np.float64]
    columns: NDArray[np.float64]

    def above(self, variance: float, most: int) -> "Axes":
        """The leading axes with more than this variance, at least 1 and at most `most`."""
        k = int(np.clip(np.sum(self.variances > variance), 1, most))
        return Axes(self.mean, self.variances[:k], self.columns[:, :k])

    @classmethod
    def of(cls, images: Tensor) -> "Axes":
        """The principal axes of images (n, *shape)."""
        mean, variances, columns = principal_components(images.flatten(1))
        return cls(mean, variances.numpy(), columns.to(torch.float64).numpy())

    def linear_error(self, images: Tensor, t: float) -> float:
        """Mean squared error of the linear denoiser for this mean and covariance, at images (n, *shape) plus noise.

        Along an axis of variance s, for an image with coordinate z, the error has two parts: (t/(s + t))^2 z^2 from the image, and
        (s/(s + t))^2 t from the noise.
        """
        rows = (images.flatten(1).to(torch.float64) - self.mean).numpy()
        z = np.square(rows @ self.columns)
        rest = np.sum(np.square(rows), 1) - np.sum(z, 1)
        gain = self.variances / (self.variances + t)
        return float(np.mean(np.sum((1 - gain) ** 2 * z, 1) + rest) + t * np.sum(gain**2))


@dataclass(frozen=True)
class Directions:
    """Directions at one point, as unit vectors; missing ones are rows of NaN.

    Attributes:
        kept: Directions with the largest survival (count, d), in descending order.
        lost: Lost directions along which the data vary most (count, d).
        kept_survival: Survival of the kept directions (count,), above the threshold.
        lost_survival: Survival of the lost directions (count,), below it.
    """

    kept: Array
    lost: Array
    kept_survival: Array
    lost_survival: Array


def kept_and_lost(
    survival: Array, variances: Array, axes: Array, count: int, *, threshold: float = RESOLVED
) -> Directions:
    """Split the directions along which data vary into those that survive at a point and those that are lost.

    Take the symmetric matrix I + t J, restricted to some principal axes of the data (for example those with variance above
    t). Its eigenvectors with survival above the threshold are the kept directions. The others span the lost subspace. Many of
    their survivals may be equal, usually 0, so the eigenvectors are not unique. The lost subspace is therefore described by
    its own principal axes: the directions in it along which the data vary most.

    Args:
        survival: I + t J in the coordinates of the axes (k, k).
        variances: Variances of the data along the axes (k,).
        axes: Orthonormal columns (d, k).
        count: Number of directions of each kind.
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


def lost_axes(kept: Array, axes: Axes, count: int) -> Array:
    """The directions orthogonal to all that are kept in which the data vary most, at most `count`.

    Args:
        kept: Orthonormal directions (m, d).
        axes: Principal axes of the data.
        count: Number of directions.

    Returns:
        Unit vectors (k, d): eigenvectors of the data's covariance on the complement of `kept`, the largest variance first.

    >>> axes = Axes(torch.zeros(3), np.array([3.0, 2.0, 1.0]), np.eye(3))
    >>> abs(lost_axes(np.eye(3)[:1], axes, 2)).round(6)
    array([[0., 1., 0.],
           [0., 0., 1.]])
    """
    spread = axes.columns * np.sqrt(np.maximum(axes.variances, 0))
    rest = spread - kept.T @ (kept @ spread)
    # LAPACK's divide and conquer of `rest` itself does not converge where many of its singular values are rounding errors.
    squares, inner = np.linalg.eigh(rest.T @ rest)
    there = squares[::-1][:count] > _TINY * max(float(axes.variances.max(initial=0.0)), np.finfo(float).tiny)
    vectors = rest @ inner[:, ::-1][:, :count][:, there]
    return np.ascontiguousarray((vectors / np.linalg.norm(vectors, axis=0)).T)


def example(name: str, picture: Array, mean: Array, found: Directions) -> xr.Dataset:
    """One point as labelled arrays: `set`, `picture` and `guess` (value), directions (rank, value), survivals (rank)."""
    units = {"units": "data units"}
    return xr.Dataset(
        {
            "set": ((), name),
            "picture": ("value", picture, units),
            "guess": ("value", mean, units | {"long_name": "posterior mean E[y|x]"}),
            "kept": (("rank", "value"), found.kept, {"units": "1"}),
            "lost": (("rank", "value"), found.lost, {"units": "1"}),
            "kept_survival": ("rank", found.kept_survival, {"units": "1"}),
            "lost_survival": ("rank", found.lost_survival, {"units": "1"}),
        }
    )


def _some(values: Array, count: int) -> Array:
    """The first `count` entries, padded with NaN."""
    out = np.full((count, *values.shape[1:]), np.nan)
    out[: len(values)] = values[:count]
    return out


def directions_at(
    score: Score, x: Tensor, t: float, axes: Axes, *, seen: Spectrum | None = None, batch_size: int = 4096
) -> xr.Dataset:
    """Directions that a score keeps and has lost at one point x (*shape), see `example`.

    Args:
        score: The score.
        x: The point.
        t: Noise variance.
        axes: Principal axes of the data; those with a variance above 0.02 t are used, at most 384.
        seen: The spectrum at x with singular vectors; None measures the Jacobian along the axes.
        batch_size: Number of scores evaluated at once.
    """
    leading = axes.above(_SMALL * t, _AXES)
    if seen is not None and seen.left is not None and seen.right is not None:
        u, v = (side.cpu().numpy() @ leading.columns for side in (seen.left, seen.right))
        inner = (u.T * seen.values.cpu().numpy()) @ v
    else:
        basis = torch.as_tensor(leading.columns, device=x.device)
        inner = restricted(score, x, t, basis, batch_size=batch_size).cpu().numpy()
    found = kept_and_lost(np.eye(len(inner)) + t * inner, leading.variances, leading.columns, _SHOWN)
    with torch.no_grad():
        mean = (x + t * score(x, t)).flatten().to(torch.float64)
    return example("", x.flatten().to(torch.float64).cpu().numpy(), mean.cpu().numpy(), found).drop_vars("set")
