"""The exact score of a Gaussian: the ground truth for the paper's linear manifold, and the plug-in for real data."""

import math
from collections.abc import Callable
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from geomem.errors import InputError
from geomem.scores.base import events
from geomem.scores.distances import Rows

__all__ = ["GaussianScore", "principal_components"]

# Rows that are added to a triangular factor at once, in multiples of their dimension.
_TALL = 4


class GaussianScore:
    """Score of data N(mean, U diag(s) U^T) plus noise of variance t: s(x, t) = -U diag(1/(s+t)) U^T (x - mean).

    Its Jacobian does not depend on x (Eq. 8): eigenvalues -1/(t+s_i), survival s_i/(s_i+t).

    Args:
        variances: s_i >= 0 (d,), zeros allowed; kept as float64.
        mean: Mean, of the event's shape; None is 0.
        basis: Orthogonal U (d, d), columns the eigenvectors; None is the identity.
        shape: Event shape with d entries; None is the mean's, or (d,).

    Raises:
        InputError: For negative variances, a basis that is not orthogonal, or shapes that do not fit.
    """

    def __init__(
        self,
        variances: Float[Tensor, " d"],
        *,
        mean: Tensor | None = None,
        basis: Float[Tensor, "d d"] | None = None,
        shape: tuple[int, ...] | None = None,
    ) -> None:
        s = variances.to(torch.float64)
        if s.ndim != 1 or not bool(torch.all(torch.isfinite(s) & (s >= 0))):
            raise InputError("variances: must be a vector of finite numbers that are not negative.")
        self.shape = tuple(shape or (mean.shape if mean is not None else s.shape))
        if math.prod(self.shape) != s.numel():
            raise InputError(f"shape: {self.shape} does not hold the {s.numel()} entries of variances.")
        self.variances = s
        self.mean = torch.zeros_like(s) if mean is None else mean.reshape(-1).to(torch.float64)
        self.basis = None if basis is None else basis.to(torch.float64)
        if self.mean.shape != s.shape:
            raise InputError(f"mean: has {self.mean.numel()} entries, variances {s.numel()}.")
        if self.basis is not None:
            eye = torch.eye(s.numel(), dtype=torch.float64, device=s.device)
            if self.basis.shape != eye.shape or not torch.allclose(self.basis.T @ self.basis, eye, atol=1e-8):
                raise InputError(f"basis: must be an orthogonal matrix of {s.numel()} x {s.numel()}.")

    @classmethod
    def fit(cls, data: Float[Tensor, "n *shape"]) -> "GaussianScore":
        """The Gaussian plug-in: mean and covariance (divided by n) of samples, eigenvalues descending.

        Eigenvalues that are 0 up to rounding are set to 0, so directions without variance stay exact.
        """
        mean, s, axes = principal_components(data, complete=True)
        full = torch.zeros(axes.shape[0], dtype=torch.float64, device=data.device)
        full[: s.numel()] = s
        return cls(full, mean=mean, basis=axes, shape=tuple(data.shape[1:]))

    def coordinates(self, x: Float[Tensor, "*b_shape"]) -> Tensor:
        """U^T (x - mean) for x (*b, *shape): coordinates (*b, d) in the eigenbasis, float64."""
        rows = x.reshape(*x.shape[: x.ndim - len(self.shape)], self.variances.numel()).to(torch.float64) - self.mean.to(
            x.device
        )
        return rows if self.basis is None else rows @ self.basis.to(x.device)

    def __call__(self, x: Tensor, t: Tensor | float) -> Tensor:
        """Score (*b, *shape) at x (*b, *shape) and t, () or (*b)."""
        rows, times, _ = events(x, t, self.shape)
        z = self._rows(rows)
        pull = z / (self.variances.to(x.device) + times[:, None])
        out = -pull if self.basis is None else -pull @ self.basis.to(x.device).T
        return out.reshape(x.shape).to(x.dtype)

    def log_density(self, x: Tensor, t: Tensor | float) -> Tensor:
        """ln p_t(x) in nats, (*b)."""
        rows, times, batch = events(x, t, self.shape)
        total = self.variances.to(x.device) + times[:, None]
        z = self._rows(rows)
        nats = -0.5 * torch.sum(torch.log(2 * math.pi * total) + z**2 / total, -1)
        return nats.reshape(batch).to(x.dtype)

    def jacobian(self, x: Tensor, t: Tensor | float) -> Tensor:
        """J = -U diag(1/(s+t)) U^T (Eq. 8), (*b, d, d)."""
        _, times, batch = events(x, t, self.shape)
        rates = -1 / (self.variances.to(x.device) + times[:, None])
        dense = torch.diag_embed(rates)
        if self.basis is not None:
            u = self.basis.to(x.device)
            dense = (u * rates[:, None, :]) @ u.T
        return dense.reshape(*batch, *dense.shape[1:]).to(x.dtype)

    def survival(self, x: Tensor, t: Tensor | float) -> Tensor:
        """Eigenvalues s/(s+t) of I + t J, descending (*b, d)."""
        _, times, batch = events(x, t, self.shape)
        s = self.variances.to(x.device).sort(descending=True).values
        return (s / (s + times[:, None])).reshape(*batch, s.numel()).to(x.dtype)

    def products_at(self, x: Tensor, t: Tensor | float) -> list[Callable[[Tensor], Tensor]]:
        """v -> (I + t J) v = U diag(s/(s+t)) U^T v in float64 at each of the points (n), for v (d)."""
        _, times, _ = events(x, t, self.shape)
        s, u = self.variances.to(x.device), None if self.basis is None else self.basis.to(x.device)
        return [partial(_product, s / (s + time), u) for time in times]

    def _rows(self, rows: Tensor) -> Tensor:
        z = rows.to(torch.float64) - self.mean.to(rows.device)
        return z if self.basis is None else z @ self.basis.to(rows.device)


def _product(survival: Tensor, u: Tensor | None, v: Tensor) -> Tensor:
    """U diag(survival) U^T v."""
    return survival * v if u is None else u @ (survival * (u.T @ v))


def principal_components(
    data: Float[Tensor, "n *shape"] | Rows, *, complete: bool = False
) -> tuple[Float[Tensor, " d"], Float[Tensor, " k"], Float[Tensor, "d m"]]:
    """Mean, variances (descending, divided by n) and axes of samples, float64.

    Variances that are 0 up to rounding are set to 0, so directions without variance stay exact.

    Args:
        data: Samples (n, *shape), n >= 2.
        complete: Whether to return all d axes, and not only the k = min(n, d) axes that the samples span.

    Raises:
        InputError: For fewer than 2 samples.
    """
    if data.shape[0] < 2:
        raise InputError(f"data: a covariance needs at least 2 samples, got {data.shape[0]}.")
    rows = data.reshape(data.shape[0], -1) if isinstance(data, Tensor) else data
    n, d = rows.shape
    step = max(1, min(n, _TALL * d))
    mean = torch.zeros(d, dtype=torch.float64, device=rows.device)
    for block in rows.split(step):
        mean += block.sum(0, dtype=torch.float64)
    mean /= n
    # The triangular factor of all rows has their singular values and axes, without an n x n basis or a copy of them.
    factor = torch.empty(0, d, dtype=torch.float64, device=rows.device)
    for block in rows.split(step):
        factor = torch.cat([factor, (block.to(torch.float64) - mean).div_(math.sqrt(n))])
        if factor.shape[0] > d:
            factor = torch.linalg.qr(factor, mode="r").R
    _, root, axes = torch.linalg.svd(factor, full_matrices=complete)
    return mean, torch.where(root > 1e-12 * root[0], root**2, 0.0), axes.T
