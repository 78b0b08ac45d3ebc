"""Data on a linear manifold, with score, density and dimension in closed form (Sec. 5)."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from numpy.typing import ArrayLike
from torch import Tensor

from geomem.errors import InputError
from geomem.scores.gaussian import GaussianScore

__all__ = ["LinearManifold"]


class LinearManifold:
    """Gaussian data on a linear manifold, x_0 = F z with z ~ N(0, I_m): N(0, U diag(s) U^T) with d - m zeros in s.

    Args:
        variances: s_i >= 0 (d,), at least one above 0; the order is kept.
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
        """Subspaces given as (dimension, variance); all other directions of `dim` have variance 0 (Figs. 4-16)."""
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
