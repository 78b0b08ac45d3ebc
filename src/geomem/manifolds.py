"""Manifolds: data whose truth is known (Sec. 5), and the latent manifold of any score (Eq. 3)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from numpy.typing import ArrayLike
from torch import Tensor

from geomem.errors import InputError
from geomem.scores.base import DensityScore, Score, events
from geomem.scores.gaussian import GaussianScore

__all__ = ["FixedPoints", "LinearManifold", "fixed_points", "random_frame", "random_rotation"]


class LinearManifold:
    """Gaussian data on a linear manifold, x_0 = F z with z ~ N(0, I_m): N(0, U diag(s) U^T) with d - m zeros in s.

    Args:
        variances: s_i >= 0 (d,), one at least above 0; the order is kept.
        rotation: Orthogonal U (d, d); None leaves the manifold aligned with the axes.

    Attributes:
        variances: s (d,), float64.
        score: The exact `GaussianScore`, with `log_density`, `jacobian` and `survival`.

    Raises:
        InputError: For negative or all-zero variances, or a rotation that is not orthogonal.

    >>> manifold = LinearManifold.subspaces(30, [(2, 1.0), (5, 0.3)])
    >>> manifold.dim, manifold.rank
    (30, 7)
    """

    def __init__(self, variances: ArrayLike | Tensor, *, rotation: Float[Tensor, "d d"] | None = None) -> None:
        s = torch.as_tensor(variances, dtype=torch.float64)
        self.score = GaussianScore(s, basis=rotation)
        self.variances = self.score.variances
        if self.rank == 0:
            raise InputError("variances: all are 0, so the data would be a single point; give one at least above 0.")

    @classmethod
    def from_matrix(cls, matrix: Float[Tensor, "d m"]) -> "LinearManifold":
        """The manifold of x_0 = F z for a projection matrix F (d, m); variances are F's squared singular values."""
        u, root, _ = torch.linalg.svd(matrix.to(torch.float64), full_matrices=True)
        s = torch.zeros(u.shape[0], dtype=torch.float64)
        s[: root.numel()] = torch.where(root > 1e-14 * root.max(), root**2, 0.0)
        return cls(s, rotation=u)

    @classmethod
    def subspaces(
        cls, dim: int, parts: Sequence[tuple[int, float]], *, rotation: Float[Tensor, "d d"] | None = None
    ) -> "LinearManifold":
        """Subspaces of (dimension, variance) each, the rest of `dim` without variance (Figs. 4-16)."""
        rank = sum(m for m, _ in parts)
        if any(m < 1 for m, _ in parts) or rank > dim:
            raise InputError(f"parts: dimensions {[m for m, _ in parts]} must each be at least 1 and fit into {dim}.")
        s = torch.cat([torch.full((m,), float(v), dtype=torch.float64) for m, v in parts])
        return cls(torch.nn.functional.pad(s, (0, dim - rank)), rotation=rotation)

    @classmethod
    def uniform(
        cls,
        dim: int,
        rank: int,
        *,
        low: float = 0.0,
        high: float = 1.0,
        generator: torch.Generator,
        rotation: Float[Tensor, "d d"] | None = None,
    ) -> "LinearManifold":
        """`rank` variances drawn uniformly from [low, high), sorted descending (Fig. 15)."""
        if not 1 <= rank <= dim or not 0 <= low < high:
            raise InputError("rank, low, high: need 1 <= rank <= dim and 0 <= low < high.")
        s = low + (high - low) * torch.rand(rank, generator=generator, dtype=torch.float64)
        return cls(torch.nn.functional.pad(s.sort(descending=True).values, (0, dim - rank)), rotation=rotation)

    @property
    def dim(self) -> int:
        """Ambient dimension d."""
        return self.variances.numel()

    @property
    def rank(self) -> int:
        """Dimension m of the manifold."""
        return int((self.variances > 0).sum())

    def sample(self, n: int, *, generator: torch.Generator, dtype: torch.dtype = torch.float64) -> Tensor:
        """`n` samples (n, d) from the CPU generator; directions without variance are exactly 0 in the eigenbasis."""
        if n < 1:
            raise InputError(f"n: at least 1 sample is needed, got {n}.")
        support = self.variances > 0
        z = torch.randn(n, self.rank, generator=generator, dtype=torch.float64) * self.variances[support].sqrt()
        if self.score.basis is None:
            out = torch.zeros(n, self.dim, dtype=torch.float64)
            out[:, support] = z
        else:
            out = z @ self.score.basis[:, support].T
        return out.to(dtype)


def random_rotation(dim: int, *, generator: torch.Generator) -> Float[Tensor, "d d"]:
    """A Haar-distributed orthogonal matrix (dim, dim), float64."""
    return random_frame(dim, dim, generator=generator)


def random_frame(dim: int, count: int, *, generator: torch.Generator) -> Float[Tensor, "d k"]:
    """`count` random orthonormal columns (dim, count), float64: those of a Haar-distributed orthogonal matrix."""
    q, r = torch.linalg.qr(torch.randn(dim, count, generator=generator, dtype=torch.float64) / math.sqrt(dim))
    return torch.mul(q, torch.sign(torch.diagonal(r)))


@dataclass(frozen=True)
class FixedPoints:
    """Where the score vanishes, as found from n starts (Eq. 3).

    Attributes:
        points: Last positions (n, *shape).
        pull: sqrt(t) |s| at them (n,), without units; 0 at a fixed point.
        survival: Eigenvalues (n, d) of the symmetric part of I + t J there, descending.
        converged: Whether `pull` is within the tolerance (n,).
        stable: Whether J is negative semi-definite, no survival above 1 (n,): the point lies on the latent manifold.
    """

    points: Float[Tensor, "n *shape"]
    pull: Float[Tensor, " n"]
    survival: Float[Tensor, "n d"]
    converged: Bool[Tensor, " n"]
    stable: Bool[Tensor, " n"]


@torch.no_grad()
def fixed_points(
    score: Score,
    t: float,
    starts: Float[Tensor, "n *shape"],
    *,
    tolerance: float = 1e-7,
    steps: int = 300,
) -> FixedPoints:
    """Climb from every start to a point of the latent manifold M_t = {x : s(x, t) = 0, J negative semi-definite} (Eq. 3).

    Newton's method with the curvatures' absolute values: along a direction of survival kappa the step is
    t s / |1 - kappa|, so that it climbs towards a ridge and away from a saddle, and never longer than sqrt t, the scale
    on which J is valid. Directions without curvature (kappa = 1), along which a manifold of fixed points extends, are
    left alone, so starts spread over the manifold stay spread.

    Args:
        score: Any score; its Jacobian is taken in closed form or by automatic differentiation, d x d for each start.
        t: Diffusion time.
        starts: Positions to climb from (n, *shape); float64 unless the score is a network of lower precision, whose
            round-off `tolerance` must then exceed.
        tolerance: Of `pull` for convergence; the negative semi-definite test allows ten times as much.
        steps: Most steps from a start.

    Returns:
        `FixedPoints`, in the order of the starts; look at `converged` and `stable`.

    Raises:
        InputError: For starts or a time that do not fit the score, or a tolerance or number of steps not above 0.

    >>> from geomem.scores import EmpiricalScore
    >>> two = EmpiricalScore(torch.tensor([[-1.0], [1.0]], dtype=torch.float64))
    >>> found = fixed_points(two, 0.1, torch.tensor([[-0.6], [0.0], [0.6]], dtype=torch.float64))
    >>> found.points.flatten().round(decimals=3).tolist(), found.stable.tolist()
    ([-1.0, 0.0, 1.0], [True, False, True])
    """
    from geomem.spectra.exact import differentiated_jacobian  # which itself needs `random_rotation`

    if not tolerance > 0 or steps < 1:
        raise InputError("tolerance, steps: must be above 0.")
    x, times, batch = events(starts, t, tuple(score.shape))
    if len(batch) != 1:
        raise InputError(f"starts: has shape {tuple(starts.shape)}; give rows (n, *shape), one for each start.")
    x, reach = x.clone(), t**0.5
    eye = torch.eye(x.shape[1], dtype=torch.float64, device=x.device)

    def at(rows: Tensor, when: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Shifts t s (n, d), survivals ascending (n, d) and their directions as columns (n, d, d)."""
        where = rows.reshape(-1, *score.shape)
        shift = when[:, None] * score(where, when).reshape(rows.shape).to(torch.float64)
        if isinstance(score, DensityScore):
            j = score.jacobian(where, when).to(torch.float64)
        else:
            j = differentiated_jacobian(score, where, when).to(torch.float64)
        return shift, *torch.linalg.eigh(eye + t * (j + j.mT) / 2)

    moving = torch.arange(x.shape[0], device=x.device)
    for _ in range(steps):
        shift, kappa, axes = at(x[moving], times[moving])
        far = shift.norm(dim=1) > tolerance * reach
        moving, shift, kappa, axes = moving[far], shift[far], kappa[far], axes[far]
        if moving.numel() == 0:
            break
        along = (axes.mT @ shift[..., None])[..., 0]
        curvature = (1 - kappa).abs()
        along = torch.where(curvature > tolerance, along / curvature.clamp_min(tolerance), along)
        step = (axes @ along[..., None])[..., 0]
        step *= (reach / step.norm(dim=1).clamp_min(reach))[:, None]
        x[moving] += step.to(x.dtype)
    shift, kappa, _ = at(x, times)
    pull = shift.norm(dim=1) / reach
    stable = kappa[:, -1] <= 1 + 10 * tolerance
    return FixedPoints(x.reshape(starts.shape), pull, kappa.flip(-1), pull <= tolerance, stable)
