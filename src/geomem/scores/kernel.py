r"""The sums behind the empirical score, at the speed of matrix products, and accurate where low-precision products are not.

All perturbations of one centre x0 share most of the work. With x = x0 + p, z_mu = y_mu - x0 and D_mu = |z_mu|^2,

    -|y_mu - x|^2/2t = (-D_mu/2t + p.z_mu/t) - |p|^2/2t,

the last term is the same for all samples, so it does not change the softmax. The term that loses digits at small t is D. It is
computed once for all p and t, in float64, from direct differences. What remains for each pair is a product p.z/t of order
|z|/sqrt t.

**Units.** Logits are multiplied by log2 e, so that weights are powers of 2: exp2 needs no range reduction. Relative to the
largest logit they are clamped from below at 2^-60 in float32 (2^-505 in float64), because underflow makes exp and matrix
products ten to a hundred times slower. For N = 60,000, N samples at 2^-60 together have 5e-14 of the largest weight.

**Pruning.** Samples are added in the order of their distance from x0, until all others together are negligible; see `pruning`.

**Screening.** A product of two tiles in lower precision has an error of at most slack = c |p||z|/t. In bfloat16, c = 2^-6: both
factors and the result are each rounded to 2^-8. In float32, c = (d + 8) 2^-24. A sample is dropped before the accurate product if,
even with the slack added, it stays below omitted/N of each query's weight so far. All results are screened in bfloat16 where the
CPU supports it; float64 results are also screened in float32. If most samples pass a screen, it is skipped for the next tiles.

**Precision.** Float32 products have a typical error of e = 3 eps |p||z|/(t sqrt d). Where e > 3e-6, some products are recomputed in
float64: those of samples that may have, for any query, a share w of its largest weight with w e > 1e-7. These are few columns.

Each tile of samples is compared with all queries and added to running sums (the largest logit, and sums of weights, of squared
weights and of weighted differences). The sums are rescaled when a larger logit occurs. So memory does not grow with N, and sums
can be merged. A mirrored pair x0 +- p shares the products p.z, the expensive half of the work.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from geomem.precision import multiplies_bf16
from geomem.scores.distances import direct
from geomem.scores.pruning import FIRST, needed
from geomem.scores.sums import LOG2E, Sums

__all__ = ["Near", "accumulate", "near"]

_EPS32 = torch.finfo(torch.float32).eps
# Typical error of a float32 logit that is accepted, and otherwise the accepted error of a weight, relative to the largest weight.
_FINE, _TOLERATED = 3e-6, 1e-7
# Number of samples in a tile; the first tile, of the nearest samples, has FIRST.
_TILE = 1024
# Number of tiles after which float32 sums are moved to float64 and restart from 0.
_SETTLE = 128
# Share of passing samples above which a screen does not pay.
_MOST = 0.6


class Precision(NamedTuple):
    """Precision of results in one dtype: the share of the weight that may be omitted, and the lowest relative logit, base 2."""

    omitted: float
    floor: float


PRECISIONS = {torch.float32: Precision(1e-7, -60.0), torch.float64: Precision(1e-15, -505.0)}


@dataclass(frozen=True)
class Near:
    """Samples and their distances from a centre.

    Attributes:
        rows: y_mu (N, d), by reference.
        centre: x0 (d), float64.
        origin: x0 rounded to the samples' dtype (at least float32), so that differences need no float64 copy of the samples.
        squares: D_mu = |y_mu - x0|^2 (N), float64, in the samples' order.
        ordered: D, ascending.
        order: The samples' indices in that order.
        rounded: origin - x0 in float64; None if it is 0.
    """

    rows: Float[Tensor, "n d"]
    centre: Float[Tensor, " d"]
    origin: Float[Tensor, " d"]
    squares: Float[Tensor, " n"]
    ordered: Float[Tensor, " n"]
    order: Int[Tensor, " n"]
    rounded: Float[Tensor, " d"] | None


def near(rows: Float[Tensor, "n d"], centre: Float[Tensor, " d"]) -> Near:
    """Distances of all samples from a centre, in float64."""
    squares = direct(rows, centre)
    ordered, order = squares.sort()
    origin = centre.to(torch.promote_types(rows.dtype, torch.float32))
    rounded = origin.to(torch.float64) - centre
    return Near(rows, centre, origin, squares, ordered, order, rounded if bool(rounded.any()) else None)


def accumulate(
    data: Near,
    p: Float[Tensor, "k d"],
    t: float,
    *,
    signs: Sequence[int] = (1,),
    dtype: torch.dtype = torch.float64,
    chance: float = 0.0,
    prune: bool = True,
    skip: bool = True,
    tile: int = _TILE,
) -> list[Sums]:
    """Sums over all samples for the queries x0 + sign p, one for each sign.

    `top` is the largest logit, base 2, relative to -D/2t of the nearest sample; `shift` is the sum of share times (y - origin).

    Args:
        data: The samples.
        p: Perturbations, float64.
        t: One noise variance.
        signs: 1, or 1 and -1.
        dtype: Dtype of the results: float32 or float64.
        chance: Probability of omitting more than the precision allows, for directions that are independent of the data;
            0 gives a proof for every query.
        prune: False uses all samples.
        skip: False computes every product, without screens and column selection, for comparison.
        tile: Number of samples processed at once.
    """
    n = data.rows.shape[0]
    work = _Work(data, p, t, tuple(signs), dtype, chance)
    if not skip:
        work.screens, work.cut = [], -math.inf
    if prune:
        start, size, needed = 0, FIRST, n
        while start < needed:
            end = min(needed, start + size)
            work.add(data.rows[data.order[start:end]], data.ordered[start:end])
            if end <= tile:  # later tiles hardly change the largest logits
                needed = work.needed(end)
            if needed > n // 2:
                break
            start, size = end, min(tile, 2 * size)
        else:
            return [sums.close() for sums in work.sums]
        work.restart()
    for rows, squares in zip(data.rows.split(tile), data.squares.split(tile), strict=True):
        work.add(rows, squares)
    return [sums.close() for sums in work.sums]


@dataclass
class _Screen:
    """A precision in which samples are screened, and the error of products in units of |p||z|/t.

    If most samples of a tile pass, the next tiles are not screened: 1 tile, then 2, 4, ...
    """

    dtype: torch.dtype
    error: float
    queries: Tensor | None = None
    skipped: int = 0
    patience: int = 0

    def judge(self, passed: int, samples: int) -> None:
        self.patience = max(1, 2 * self.patience) if passed > _MOST * samples else 0
        self.skipped = self.patience


class _Work:
    """State of one call: the prepared queries, and their sums so far."""

    def __init__(
        self, data: Near, p: Tensor, t: float, signs: tuple[int, ...], dtype: torch.dtype, chance: float
    ) -> None:
        self.data, self.t, self.signs, self.dtype, self.chance = data, t, signs, dtype, chance
        self.omitted, self.floor = PRECISIONS[dtype]
        self.cut = math.log2(self.omitted / data.squares.numel())
        self.factor, self.tiles = LOG2E / t, 0
        self.rounded = 0.0 if data.rounded is None else float((p @ data.rounded).abs().max()) / t
        self.p, self.low = p, p.to(torch.float32).mul_(self.factor)
        self.length = float(torch.linalg.vector_norm(p, dim=1).max())
        self.sums = [Sums.empty(p.shape[0], p.shape[1], p, dtype) for _ in signs]
        self.screens = [_Screen(torch.bfloat16, 2**-6)] if not p.is_cuda and multiplies_bf16("cpu") else []
        if dtype == torch.float64:
            self.screens.append(_Screen(torch.float32, (p.shape[1] + 8) * 2**-24))

    def restart(self) -> None:
        """Reset all sums but the largest logits, which remain valid lower bounds."""
        for s in self.sums:
            s.weight.zero_()
            s.square.zero_()
            s.spread.zero_()
            s.shift.zero_()
            s.settled = None

    def needed(self, done: int) -> int:
        """Number of nearest samples that are needed, given the sums over the first `done`."""
        # Products here are with y - origin, but the bound is on those with y - x0.
        lowest = min(float(s.mass().min()) for s in self.sums) / LOG2E - self.rounded
        return needed(
            self.data.ordered,
            done,
            self.t,
            lowest=lowest,
            omitted=math.log(self.omitted),
            length=self.length,
            dim=self.p.shape[1],
            queries=len(self.sums) * self.p.shape[0],
            chance=self.chance,
        )

    def add(self, rows: Float[Tensor, "n d"], squares: Float[Tensor, " n"]) -> None:
        """Add samples with these distances from the centre."""
        base = (squares - self.data.ordered[0]) * (-self.factor / 2)
        z = rows.to(self.data.origin.dtype) - self.data.origin
        for screen in self.screens:
            if screen.skipped > 0:
                screen.skipped -= 1
            elif base.numel() > 4 * FIRST and not bool(torch.isinf(self.sums[0].top[0])):
                columns = self._passing(screen, z, base)
                screen.judge(columns.numel(), base.numel())
                rows, z, base = rows[columns], z[columns], base[columns]
        if base.numel() == 0:
            return
        if self.dtype == torch.float64:
            self._add_float64(self._wide(rows), base)
        else:
            self._add_float32(rows, z.to(torch.float32), base)
        self.tiles += 1
        if self.tiles % _SETTLE == 0:
            for sums in self.sums:
                sums.settle()

    def _passing(self, screen: _Screen, z: Tensor, base: Tensor) -> Int[Tensor, " c"]:
        """Samples that may have weight for some query, within the screen's error."""
        if screen.queries is None:
            screen.queries = self.low.to(screen.dtype)
        highest = self._highest((screen.queries @ z.to(screen.dtype).T).to(torch.float32), base)
        return torch.nonzero(highest + (screen.error * LOG2E) * self._sizes(z) > self.cut).flatten()

    def _highest(self, products: Float[Tensor, "k n"], base: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        """Largest logit that any query gives a sample, relative to the query's weight so far."""
        highest = torch.full_like(base, -math.inf)
        for sign, sums in zip(self.signs, self.sums, strict=True):
            mass = sums.mass().to(torch.float32)[:, None]
            over = (products - mass).amax(0) if sign > 0 else -(products + mass).amin(0)
            highest = torch.maximum(highest, over)
        return highest + base

    def _sizes(self, z: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        """Largest |p||z|/t of each sample."""
        sizes: Tensor = torch.linalg.vector_norm(z, dim=1) * (self.length / self.t)
        return sizes

    def _products(self, z: Tensor) -> Tensor:
        return (self.p @ z.T).mul_(self.factor)

    def _wide(self, rows: Tensor) -> Tensor:
        return rows.to(torch.float64) - self.data.origin.to(torch.float64)

    def _add_float32(self, rows: Tensor, z: Tensor, base: Tensor) -> None:
        products = self.low @ z.T
        refined = self._doubtful(products, base, z)
        again = self._products(self._wide(rows[refined])) if refined.numel() else None
        low = base.to(torch.float32)
        for i, (sign, sums) in enumerate(zip(self.signs, self.sums, strict=True)):
            # The last sign may overwrite the products.
            logits = torch.add(low, products, alpha=sign, out=products if i + 1 == len(self.signs) else None)
            if again is None:
                top = torch.maximum(sums.top, logits.amax(1))
                share = logits.sub_(top.to(torch.float32)[:, None])
            else:
                right = base[refined] + sign * again
                logits[:, refined] = -math.inf
                top = torch.maximum(torch.maximum(sums.top, logits.amax(1)), right.amax(1))
                share = logits.sub_(top.to(torch.float32)[:, None])
                share[:, refined] = (right - top[:, None]).to(torch.float32)
            sums.rescale(top)
            self._sum(sums, share, z, base)

    def _doubtful(self, products: Tensor, base: Tensor, z: Tensor) -> Int[Tensor, " c"]:
        """Columns whose float32 products are not accurate enough."""
        sizes = self._sizes(z)
        error = sizes * (3 * _EPS32 / math.sqrt(z.shape[1]))
        coarse = torch.nonzero(error > _FINE).flatten()
        if coarse.numel() == 0:
            return coarse
        margin = torch.log2(_TOLERATED / error.clamp(_TOLERATED, 1)) - ((z.shape[1] + 8) * 2**-24 * LOG2E) * sizes
        return coarse[self._highest(products[:, coarse], base[coarse]) > margin[coarse]]

    def _add_float64(self, z: Tensor, base: Tensor) -> None:
        products = self._products(z)
        for sign, sums in zip(self.signs, self.sums, strict=True):
            logits = torch.add(base, products, alpha=sign)
            top = torch.maximum(sums.top, logits.amax(1))
            sums.rescale(top)
            self._sum(sums, logits.sub_(top[:, None]), z, base)

    def _sum(self, sums: Sums, share: Tensor, z: Tensor, base: Tensor) -> None:
        share = share.clamp_min_(self.floor).exp2_()
        squares = base * (-2 / self.factor) + self.data.ordered[0]
        columns = torch.nonzero(share.amax(0) > 2**self.cut * float(sums.weight.min().clamp_min(1))).flatten()
        if columns.numel() < 0.8 * share.shape[1]:
            share, z, squares = share[:, columns], z[columns], squares[columns]
        sums.add(share, z, squares)
