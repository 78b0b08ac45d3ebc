"""A growing orthonormal basis of a matrix A, its compression to that basis, and Ritz values."""

import torch
from torch import Tensor

__all__ = ["Basis"]

# Shorter remainders of a unit vector are rounding.
_ROUNDING = 1e-8


class Basis:
    """Orthonormal vectors of one point as rows Q (k, d), with W = Q A, whose rows are A^T q, and H = Q A Q^T."""

    def __init__(self, d: int, device: torch.device) -> None:
        self.k, self.d = 0, d
        self._q, self._w, self._h = (torch.empty(0, n, dtype=torch.float64, device=device) for n in (d, d, 0))

    @property
    def full(self) -> bool:
        """Whether it spans the whole space."""
        return self.k == self.d

    @property
    def q(self) -> Tensor:
        """Its vectors (k, d)."""
        return self._q[: self.k]

    @property
    def w(self) -> Tensor:
        """A^T of each (k, d)."""
        return self._w[: self.k]

    def remainder(self, v: Tensor) -> Tensor | None:
        """The unit vector of what of v is orthogonal to the basis; None if that is rounding."""
        v = v / v.norm().clamp_min(torch.finfo(v.dtype).tiny)
        for _ in range(2):
            v = v - self.q.T @ (self.q @ v)
        left = v.norm()
        if left < _ROUNDING:
            return None
        v = v / left
        return v - self.q.T @ (self.q @ v) if left < 0.1 else v

    def add(self, q: Tensor, w: Tensor) -> None:
        """Append q with w = A^T q."""
        if self.k == len(self._q):
            self._grow()
        k = self.k
        self._q[k], self._w[k] = q, w
        self._h[: k + 1, k] = self._q[: k + 1] @ w
        self._h[k, :k] = self._w[:k] @ q
        self.k += 1

    def ritz(self) -> tuple[Tensor, Tensor]:
        """Ritz values of sym(A), descending, and their vectors (k, k) as columns in the basis."""
        values, vectors = torch.linalg.eigh(self.compressed(0))
        return values.flip(0), vectors.flip(1)

    def compressed(self, first: int) -> Tensor:
        """The symmetric part of H (k', k') without the first vectors."""
        h = self._h[first : self.k, first : self.k]
        return (h + h.T) / 2

    def _grow(self) -> None:
        size = min(self.d, max(64, 2 * self.k))
        for name, width in (("_q", self.d), ("_w", self.d), ("_h", size)):
            old = getattr(self, name)
            new = torch.zeros(size, width, dtype=old.dtype, device=old.device)
            new[: self.k, : old.shape[1]] = old[: self.k]
            setattr(self, name, new)
