"""Counting of evaluations: what a measurement has really spent, forward and backward."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from geomem.scores.base import Score
from geomem.scores.conditioned import at_points
from geomem.scores.pair import Pair
from geomem.spectra.products import Known

__all__ = ["Tally", "counted"]


@dataclass
class Tally:
    """Number of evaluations so far.

    Attributes:
        evaluations: Forward and backward passes, of one point each. A guided score takes two; a product in closed form counts as one.
    """

    evaluations: int = 0


def counted(pair: Pair, tally: Tally) -> Pair:
    """The same pair, which adds what it evaluates to a tally.

    >>> from geomem.scores import GaussianScore
    >>> from geomem.scores.pair import pair
    >>> spent, score = Tally(), GaussianScore(torch.ones(2))
    >>> _ = counted(pair(score, score), spent)(torch.zeros(5, 2), 1.0)
    >>> spent.evaluations
    10
    """
    together = pair.together
    score, reference = _of(pair.score, tally), _of(pair.reference, tally)
    if together is None:
        return Pair(score, reference)
    known = together

    def both(x: Tensor, t: Tensor | float) -> tuple[Tensor, Tensor]:
        s, r = known(x, t)
        return score.noted(s), reference.noted(r)

    return Pair(score, reference, both)


def _of(score: Score, tally: Tally) -> "_Counted":
    return (_CountedProducts if isinstance(score, Known) else _Counted)(score, tally)


class _Counted:
    """A score that counts its evaluations, and their backward passes."""

    def __init__(self, score: Score, tally: Tally) -> None:
        self._score, self._tally, self.shape = score, tally, tuple(score.shape)
        self._each = 1 if getattr(score, "guidance", 1) == 1 else 2

    def __call__(self, x: Tensor, t: Tensor | float) -> Tensor:
        return self.noted(self._score(x, t))

    def select(self, places: Sequence[int]) -> "_Counted":
        return _of(at_points(self._score, places), self._tally)

    def noted(self, out: Tensor) -> Tensor:
        """The scores (*b, *shape), added to the tally."""
        number = self._each * (out.numel() // max(1, torch.Size(self.shape).numel()))
        self._tally.evaluations += number
        if not out.requires_grad:
            return out
        noted: Tensor = _Noted.apply(out, self._tally, number)  # type: ignore[no-untyped-call]
        return noted


class _CountedProducts(_Counted):
    """A score with products in closed form."""

    def products_at(self, x: Tensor, t: Tensor | float) -> list[Callable[[Tensor], Tensor]]:
        """v -> (I + t J) v at each of the points."""
        assert isinstance(self._score, Known)
        return [self._noting(product) for product in self._score.products_at(x, t)]

    def _noting(self, product: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        def noting(v: Tensor) -> Tensor:
            self._tally.evaluations += 1
            return product(v)

        return noting


class _Noted(torch.autograd.Function):
    """The identity, whose backward pass is counted."""

    @staticmethod
    def forward(ctx: Any, out: Tensor, tally: Tally, number: int) -> Tensor:
        ctx.tally, ctx.number = tally, number
        return out.view_as(out)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        ctx.tally.evaluations += ctx.number
        return grads[0], None, None
