r"""Products of A = I + t J with vectors, one vector a point, many points at once; A is the Jacobian of the denoiser x + t s(x, t).

    transposed   A^T v    of a torch module: backward mode with the graph kept, about 1.1 evaluations a vector
    plain        A v      of any score: central differences along v, two evaluations; in closed form where J is known
    rough        A v      of a torch module: a one-sided difference, one evaluation; enough to choose a direction

J need not be symmetric: that of a trained network is not. Where J is symmetric by its form, both products are the same.
"""

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from geomem.precision import full_precision
from geomem.scores.base import Score
from geomem.scores.conditioned import at_points
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
        transposes: Whether `transposed` is A^T v, and not A v in its place.
    """

    evaluations: int
    transposes: bool

    def transposed(self, v: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """A^T v, float64; A v where A is symmetric, or where only that can be had."""
        ...

    def plain(self, v: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """A v, float64."""
        ...

    def rough(self, v: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """A v at the least cost, with an error of first order in the step of differences."""
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
        points = rows.to(torch.float64).reshape(rows.shape[0], *score.shape)
        return _Closed(score.products_at(points, times))
    leaf = rows.detach().reshape(rows.shape[0], *score.shape).clone().requires_grad_(True)
    with torch.enable_grad(), full_precision():
        out = score(leaf, times)
    finite(out.detach(), times)
    if out.requires_grad and _reached(out, leaf):
        return _Backward(score, rows, times, leaf, out)
    found = _Differences(score, rows, times)
    found.evaluations = 1
    return found


def _reached(out: Tensor, leaf: Tensor) -> bool:
    """Whether gradients of the score reach its points, and not only its parameters."""
    if out.grad_fn is None:
        return False
    with torch.enable_grad():  # the caller may have disabled it
        (probe,) = torch.autograd.grad(out.flatten()[:1].sum(), leaf, retain_graph=True, allow_unused=True)
    return probe is not None


class _Closed:
    """Of a score whose Jacobian is known, which is symmetric."""

    transposes = True

    def __init__(self, each: list[Callable[[Tensor], Tensor]]) -> None:
        self._each, self.evaluations = each, 0

    def transposed(self, v: Tensor) -> Tensor:
        self.evaluations += 1
        return torch.stack([product(row) for product, row in zip(self._each, v, strict=True)])

    plain = rough = transposed

    def kept(self, points: Tensor) -> "_Closed":
        return _Closed([self._each[i] for i in points.tolist()])


class _Differences:
    """Of any score, by central differences."""

    transposes = False

    def __init__(self, score: Score, x: Tensor, t: Tensor) -> None:
        self._score, self._x, self._t, self.evaluations = score, x.detach(), t, 0
        self._step = _STEP * (t * x.shape[1]).sqrt()[:, None]

    @torch.no_grad()
    def plain(self, v: Tensor) -> Tensor:
        self.evaluations += 2
        reach = self._reach(v)
        return self._moved(v, (self._at(reach * v) - self._at(-reach * v)) / (2 * reach))

    def transposed(self, v: Tensor) -> Tensor:
        return self.plain(v)

    def rough(self, v: Tensor) -> Tensor:
        return self.plain(v)

    def kept(self, points: Tensor) -> "_Differences":
        return _Differences(at_points(self._score, points.tolist()), self._x[points], self._t[points])

    def _reach(self, v: Tensor) -> Tensor:
        reach: Tensor = self._step / v.norm(dim=1, keepdim=True).clamp_min(torch.finfo(torch.float64).tiny)
        return reach

    def _at(self, step: Tensor) -> Tensor:
        rows = (self._x.to(torch.float64) + step).to(self._x.dtype)
        with full_precision():
            out = self._score(rows.reshape(rows.shape[0], *self._score.shape), self._t).reshape(rows.shape)
        finite(out, self._t)
        return out.to(torch.float64)

    def _moved(self, v: Tensor, rise: Tensor) -> Tensor:
        moved: Tensor = v + self._t[:, None] * rise
        return moved


class _Backward(_Differences):
    """Of a score that propagates gradients: its graph is built once and kept for all vectors."""

    transposes = True

    def __init__(self, score: Score, x: Tensor, t: Tensor, leaf: Tensor, out: Tensor) -> None:
        super().__init__(score, x, t)
        self._leaf, self._out = leaf, out
        # That of the graph, and the backward pass that showed that there is one.
        self.evaluations = 2

    def transposed(self, v: Tensor) -> Tensor:
        self.evaluations += 1
        cotangent = v.reshape(self._out.shape).to(self._out)
        with full_precision():
            (out,) = torch.autograd.grad(self._out, self._leaf, cotangent, retain_graph=True)
        finite(out, self._t)
        return self._moved(v, out.reshape(v.shape).to(torch.float64))

    @torch.no_grad()
    def rough(self, v: Tensor) -> Tensor:
        self.evaluations += 1
        reach, here = self._reach(v), self._out.detach().reshape(v.shape).to(torch.float64)
        return self._moved(v, (self._at(reach * v) - here) / reach)

    def kept(self, points: Tensor) -> "_Backward":
        x, t, score = self._x[points], self._t[points], at_points(self._score, points.tolist())
        leaf = x.reshape(x.shape[0], *score.shape).clone().requires_grad_(True)
        with torch.enable_grad(), full_precision():
            out = score(leaf, t)
        found = _Backward(score, x, t, leaf, out)
        found.evaluations = 1
        return found
