"""Running sums over samples for many queries at once. They are rescaled when a larger logit occurs, so they merge in any order."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

__all__ = ["LOG2E", "Sums"]

LOG2E = math.log2(math.e)
"""Logits are taken to base 2."""


@dataclass
class Sums:
    """Running sums over samples, one row per query, all relative to 2^top; float64 except for `shift`.

    They are sums of weights (`weight`), of squared weights (`square`), of weighted differences (`shift`), and of weighted squared
    lengths of these (`spread`, only around a point).
    """

    top: Tensor
    weight: Tensor
    square: Tensor
    shift: Tensor
    spread: Tensor
    settled: Tensor | None = None
    """Shift of earlier tiles, float64, because thousands of additions in float32 would lose accuracy."""

    @classmethod
    def empty(cls, rows: int, dim: int, like: Tensor, dtype: torch.dtype = torch.float64) -> "Sums":
        """No samples yet, on the device of `like`."""

        def zeros(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
            return torch.zeros(shape, dtype=dtype, device=like.device)

        return cls(zeros(rows) - math.inf, zeros(rows), zeros(rows), zeros(rows, dim, dtype=dtype), zeros(rows))

    def mass(self) -> Float[Tensor, " k"]:
        """Base-2 logarithm of the weight so far; at least the largest logit, also after sums were reset."""
        return self.top + self.weight.clamp_min(1).log2()

    def rescale(self, top: Tensor) -> None:
        """Make all sums relative to a new largest logit."""
        factor = torch.where(self.top == top, 1.0, torch.exp2(self.top - top))  # -inf - -inf before the first sample
        self.weight *= factor
        self.square *= factor**2
        self.spread *= factor
        self.shift *= factor[:, None].to(self.shift.dtype)
        if self.settled is not None:
            self.settled *= factor[:, None]
        self.top = top

    def settle(self) -> None:
        """Move the shift so far into float64."""
        self.settled = self.shift.to(torch.float64) if self.settled is None else self.settled.add_(self.shift)
        self.shift.zero_()

    def close(self) -> "Sums":
        """These sums, with the settled shift added to `shift`."""
        if self.settled is not None:
            self.shift, self.settled = (self.settled + self.shift).to(self.shift.dtype), None
        return self

    def replace(self, rows: Int[Tensor, " r"], by: "Sums") -> None:
        """Replace the sums of some queries."""
        for mine, theirs in (
            (self.top, by.top),
            (self.weight, by.weight),
            (self.square, by.square),
            (self.spread, by.spread),
            (self.shift, by.shift),
        ):
            mine[rows] = theirs.to(mine.dtype)

    def add(self, share: Float[Tensor, "k n"], z: Float[Tensor, "n d"], squares: Float[Tensor, " n"]) -> None:
        """Add samples at z, with squared lengths `squares` and weights `share` relative to 2^top; overwrites `share`."""
        self.weight += share.sum(1)
        self.spread += share @ squares.to(share.dtype)
        self.shift.addmm_(share, z)
        self.square += share.square_().sum(1)
