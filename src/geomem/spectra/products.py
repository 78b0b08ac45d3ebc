r"""Products of A = I + t J with vectors, one vector a point, many points at once; A is the Jacobian of the denoiser x + t s(x, t).

    transposed   A^T v    of a torch module: backward mode with the graph kept, about 1.1 evaluations a vector
    plain        A v      of any score: central differences along v, two evaluations; in closed form where J is known

J need not be symmetric: that of a trained network is not. Where J is symmetric by its form, both products are the same.
"""

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from geomem.precision import full_precision
from geomem.scores.base import Score
from geomem.scores.network import dtype_of
from geomem.spectra.exact import finite
from geomem.spectra.probes import checked

__all__ = ["Products", "products"]

# Length of a central difference along a unit vector, in units of sqrt(t d), the length of the noise. Shorter ones lose float32's digits.
_STEP = 0.01


@runtime_checkable
class Products(Protocol):
    """Products with A = I + t J at fixed points x (n, d) and times (n).

    Attributes:
        evaluations: Forward and backward passes per point so far; products in closed form count as one.
    """

    evaluations: int

    def transposed(self, v: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """A^T v, float64; A v where A is symmetric, or where only that can be had."""
        ...

    def plain(self, v: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """A v, float64."""
        ...

    def kept(self, points: Tensor) -> "Products":
        """The same for some of the points, by their places; it counts its own evaluations."""
        ...


@runtime_checkable
class Known(Protocol):
    """A score whose products with I + t J are known in closed form."""

    shape: tuple[int, ...]

    def products_at(self, x: Tensor, t: Tensor | float) -> list[Callable[[Tensor], Tensor]]:
        """v -> (I + t J) v, float64, at each of the points (n, *shape), for v (d)."""
        ...


def products(score: Score, x: Tensor, t: Tensor | float) -> Products:
    """Products of A = I + t J(x, t) with vectors, at points as they are given.

    Args:
        score: Any score: empirical and Gaussian scores give products in closed form, one that propagates gradients backward products, any
            other central differences.
        x: Points (n, *shape).
        t: Noise variance, () or (n), data units squared.

    Raises:
        InputError: As `spectrum`.

    >>> from geomem.scores import GaussianScore
    >>> a = products(GaussianScore(torch.tensor([1.0, 0.0])), torch.zeros(1, 2), 1.0)
    >>> a.transposed(torch.ones(1, 2))
    tensor([[0.5000, 0.0000]], dtype=torch.float64)
    """
    rows, times, _, _ = checked(score, x, t, None)
    if isinstance(score, Known):
        return _Closed(score, rows, times)
    probe = rows[:1].detach().reshape(1, *score.shape).to(dtype_of(score)).requires_grad_(True)
    with torch.enable_grad(), full_precision():
        differentiable = score(probe, times[:1]).requires_grad
    return _Backward(score, rows, times) if differentiable else _Differences(score, rows, times)


class _Closed:
    """Of a score whose Jacobian is known, which is symmetric."""

    def __init__(self, score: Known, x: Tensor, t: Tensor) -> None:
        points = x.to(torch.float64).reshape(x.shape[0], *score.shape)
        self._each, self.evaluations = score.products_at(points, t), 0

    def transposed(self, v: Tensor) -> Tensor:
        self.evaluations += 1
        return torch.stack([product(row) for product, row in zip(self._each, v, strict=True)])

    plain = transposed

    def kept(self, points: Tensor) -> "_Closed":
        out = object.__new__(_Closed)
        out._each, out.evaluations = [self._each[i] for i in points.tolist()], 0
        return out


class _Differences:
    """Of any score, by central differences."""

    def __init__(self, score: Score, x: Tensor, t: Tensor) -> None:
        self._score, self._x, self._t, self.evaluations = score, x.detach(), t, 0
        self._step = _STEP * (t * x.shape[1]).sqrt()[:, None]

    @torch.no_grad()
    def plain(self, v: Tensor) -> Tensor:
        self.evaluations += 2
        here, dtype = self._x.to(torch.float64), self._x.dtype
        reach = self._step / v.norm(dim=1, keepdim=True).clamp_min(torch.finfo(torch.float64).tiny)
        with full_precision():
            plus, minus = (self._at((here + sign * reach * v).to(dtype)) for sign in (1, -1))
        rise: Tensor = (plus - minus) / (2 * reach)
        return v + self._t[:, None] * rise

    def transposed(self, v: Tensor) -> Tensor:
        return self.plain(v)

    def kept(self, points: Tensor) -> "_Differences":
        return _Differences(self._score, self._x[points], self._t[points])

    def _at(self, rows: Tensor) -> Tensor:
        out = self._score(rows.reshape(rows.shape[0], *self._score.shape), self._t).reshape(rows.shape)
        finite(out, self._t)
        return out.to(torch.float64)


class _Backward(_Differences):
    """Of a score that propagates gradients: its graph is built once and kept for all vectors."""

    def __init__(self, score: Score, x: Tensor, t: Tensor) -> None:
        super().__init__(score, x, t)
        self._leaf = self._x.reshape(x.shape[0], *score.shape).clone().requires_grad_(True)
        with torch.enable_grad(), full_precision():
            self._out = score(self._leaf, t)
        self.evaluations += 1
        finite(self._out.detach(), t)

    def transposed(self, v: Tensor) -> Tensor:
        self.evaluations += 1
        cotangent = v.reshape(self._out.shape).to(self._out)
        with full_precision():
            (out,) = torch.autograd.grad(self._out, self._leaf, cotangent, retain_graph=True)
        return v + self._t[:, None] * out.reshape(v.shape).to(torch.float64)

    def kept(self, points: Tensor) -> "_Backward":
        return _Backward(self._score, self._x[points], self._t[points])
