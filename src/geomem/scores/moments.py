"""Weighted mean and covariance of the few samples that have weight, about a nearby point, so that no digits are lost."""

import math
from collections.abc import Iterator

import torch
from jaxtyping import Float, Int
from torch import Tensor

__all__ = ["NEGLIGIBLE", "moments", "scatter", "survival_of", "variances"]

# Samples that together hold less than this share of the weight are omitted from moments: it is below float64's rounding.
NEGLIGIBLE = 2e-19
# Bytes of float64 copies of samples in memory at once, so few that they stay in the cache.
_BLOCK = 2**23


def survival_of(
    rows: Float[Tensor, "n k"],
    log_w: Float[Tensor, " n"],
    t: Tensor | float,
    *,
    origin: Float[Tensor, " k"] | None = None,
    negligible: float = NEGLIGIBLE,
) -> Float[Tensor, " k"]:
    """Eigenvalues of Cov_w(rows)/t, descending, float64; if few samples have weight, no k x k matrix is formed."""
    out = torch.zeros(rows.shape[1], dtype=torch.float64, device=rows.device)
    samples, weights, shift = moments(rows, log_w, origin=origin, negligible=negligible)
    if samples.numel() < rows.shape[1]:
        root = _rooted(rows[samples], weights / t, origin, shift)
        matrix = root @ root.T  # its eigenvalues are the nonzero ones of the k x k matrix
    else:
        matrix = scatter(rows, samples, weights / t, origin, shift)
    values = torch.linalg.eigvalsh(matrix).flip(0).clamp_min(0)
    out[: values.numel()] = values
    return out


def moments(
    rows: Float[Tensor, "n k"],
    log_w: Float[Tensor, " n"],
    *,
    origin: Float[Tensor, " k"] | None = None,
    negligible: float = NEGLIGIBLE,
) -> tuple[Int[Tensor, " a"], Float[Tensor, " a"], Float[Tensor, " k"]]:
    """The samples with weight, their weights, and their mean relative to `origin`; the two are never added, which would round."""
    cut = math.log(rows.shape[0]) - math.log(negligible)
    samples = torch.nonzero(log_w > log_w.max() - cut).flatten()
    weights = log_w[samples].exp()
    shift = torch.zeros(rows.shape[1], dtype=torch.float64, device=rows.device)
    for index, w in _pairs(rows, samples, weights):
        shift += w @ _relative(rows[index], origin)
    return samples, weights, shift


def scatter(
    rows: Float[Tensor, "n k"],
    samples: Int[Tensor, " a"],
    weights: Float[Tensor, " a"],
    origin: Float[Tensor, " k"] | None,
    shift: Float[Tensor, " k"],
) -> Float[Tensor, "k k"]:
    """Weighted second moments of samples about origin + shift."""
    out = torch.zeros(shift.numel(), shift.numel(), dtype=torch.float64, device=shift.device)
    for index, w in _pairs(rows, samples, weights):
        root = _rooted(rows[index], w, origin, shift)
        out.addmm_(root.T, root)
    return out


def variances(
    rows: Float[Tensor, "n k"],
    samples: Int[Tensor, " a"],
    weights: Float[Tensor, " a"],
    shift: Float[Tensor, " k"],
) -> Float[Tensor, " k"]:
    """Weighted second moments of each coordinate of samples about `shift`."""
    out = torch.zeros(rows.shape[1], dtype=torch.float64, device=rows.device)
    for index, w in _pairs(rows, samples, weights):
        out += w @ _relative(rows[index], shift).square()
    return out


def _rooted(rows: Tensor, weights: Tensor, origin: Tensor | None, shift: Tensor) -> Tensor:
    return _relative(rows, origin).sub(shift).mul_(weights.sqrt()[:, None])


def _relative(rows: Tensor, origin: Tensor | None) -> Tensor:
    return rows.to(torch.float64) if origin is None else rows.to(torch.float64) - origin


def _pairs(rows: Tensor, samples: Tensor, weights: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    step = max(1, _BLOCK // (8 * rows.shape[1]))
    return zip(samples.split(step), weights.split(step), strict=True)
