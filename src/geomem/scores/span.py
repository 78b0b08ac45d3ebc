r"""Data of few dimensions in a space of many: distances within their span, what lies outside in closed form.

With y_mu = c + Q a_mu for orthonormal columns Q (d, r), and x = c + Q b + e with Q^T e = 0,

    |x - y_mu|^2 = |b - a_mu|^2 + |e|^2,    s(x) = Q s_a(b) - e/t,

s_a the score of the coordinates a. The second distance is the same for all samples, so every product over samples takes r
multiplications instead of d.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from geomem.scores.kernel import LOG2E
from geomem.scores.sums import Sums

__all__ = ["Span", "span_of"]

_EPS = torch.finfo(torch.float64).eps
# Smaller data gain nothing from it.
_DIMENSIONS, _SAMPLES = 32, 1000
# Most dimensions of a span: it has to be found out at no cost worth the name for all other data.
_MOST = 64
# Singular values of a part of the samples that count as 0, relative to the largest.
_ZERO = 1e-13


@dataclass(frozen=True)
class Span:
    """An affine subspace that holds all samples, and their coordinates in it.

    Attributes:
        mean: c (d), float64.
        basis: Q (d, r).
        coordinates: a_mu (N, r), float64.
        error: Largest length by which c + Q a_mu misses y_mu, rounding included.
    """

    mean: Float[Tensor, " d"]
    basis: Float[Tensor, "d r"]
    coordinates: Float[Tensor, "n r"]
    error: float

    def divided(self, x: Float[Tensor, "k d"]) -> tuple[Float[Tensor, "k r"], Float[Tensor, "k d"]]:
        """Coordinates b and the part e outside."""
        z = x.to(torch.float64) - self.mean
        b = z @ self.basis
        return b, z - b @ self.basis.T

    def lifted(self, sums: Sums, outside: Float[Tensor, "k d"], t: Float[Tensor, " k"] | float) -> Sums:
        """Sums over coordinates, relative to b, as sums over the samples, relative to x."""
        top = sums.top - outside.square().sum(1) * (LOG2E / 2) / t
        shift = sums.shift.to(torch.float64) @ self.basis.T - sums.weight[:, None] * outside
        return Sums(top, sums.weight, sums.square, shift, sums.spread)


def span_of(rows: Float[Tensor, "n d"], mean: Float[Tensor, " d"], blocks: tuple[Tensor, ...]) -> Span | None:
    """The span of samples with this mean, if it has at most d/4 and 64 dimensions; None otherwise.

    A few samples tell whether it can be; then all are asked, block by block.
    """
    n, d = rows.shape
    few_enough = min(d // 4, _MOST)
    if d < _DIMENSIONS or n < _SAMPLES:
        return None
    few = rows[:: n // (few_enough + 1)][: few_enough + 1].to(torch.float64) - mean
    _, values, right = torch.linalg.svd(few, full_matrices=False)
    rank = int(torch.count_nonzero(values > _ZERO * values[0]))
    if not 0 < rank <= few_enough:
        return None
    basis = right[:rank].T.contiguous()
    coordinates, missed, longest = [], 0.0, 0.0
    for block in blocks:
        z = block.to(torch.float64) - mean
        a = z @ basis
        coordinates.append(a)
        missed = max(missed, float(torch.linalg.vector_norm(z - a @ basis.T, dim=1).max()))
        longest = max(longest, float(torch.linalg.vector_norm(a, dim=1).max()))
        if missed > 1e3 * _ZERO * longest:
            return None
    return Span(mean, basis, torch.cat(coordinates), missed + 8 * _EPS * longest)
