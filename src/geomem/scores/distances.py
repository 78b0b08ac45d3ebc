r"""Squared distances between points and samples: matrix products for speed, direct differences for accuracy.

Both forms are computed in float64. *Direct differences* sum (y - x)^2. They keep all digits, but need a pass over the samples for
each point. The *product form* around the samples' mean c,

    |x - y|^2 = |x - c|^2 - 2 (x - c).(y - c) + |y - c|^2,

is one matrix product for all points, but loses digits to cancellation. With the reach R = |x - c| + max |y - c|, its error is typically
4 eps R^2 and at most (d + 8) eps R^2. Where that error does not matter, products are used. Elsewhere they only select
candidates, whose distances are then computed from differences.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

__all__ = ["Rows", "Samples", "direct", "nearest"]

_EPS = torch.finfo(torch.float64).eps
# Bytes of float64 copies of samples in memory at once, and number of points whose neighbours are searched at once.
_BLOCK, _POINTS = 2**25, 1024
# Distances below this multiple of the product form's error are recomputed from differences, to a relative error of 1e-10.
_NEAR = 1e10
# Number of candidates beyond the k nearest. They usually prove that no other sample is nearer, despite rounding.
_SPARE = 4


@runtime_checkable
class Rows(Protocol):
    """Samples (N, d) that are read when they are needed; a tensor is one of these."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, d)."""
        ...

    @property
    def dtype(self) -> torch.dtype:
        """Of the rows as they are read."""
        ...

    @property
    def device(self) -> torch.device:
        """Where they are read to."""
        ...

    @property
    def requires_grad(self) -> bool:
        """Whether derivatives by them are asked for."""
        ...

    def split(self, size: int, /) -> Iterable[Tensor]:
        """All rows, in blocks."""
        ...

    def __getitem__(self, index: Any, /) -> Tensor:
        """Some of them."""
        ...


def direct(rows: Float[Tensor, "n d"] | Rows, point: Float[Tensor, " d"]) -> Float[Tensor, " n"]:
    """|y_mu - x|^2 from direct differences in float64, in one pass."""
    n, d = rows.shape
    tile = max(1, min(n, 2**18 // d))
    if torch.is_grad_enabled() and (rows.requires_grad or point.requires_grad):
        return torch.cat([(b.to(torch.float64) - point).square().sum(1) for b in rows.split(tile)])
    out = torch.empty(n, dtype=torch.float64, device=rows.device)
    work = torch.empty(tile, d, dtype=torch.float64, device=rows.device)
    for block, squares in zip(rows.split(tile), out.split(tile), strict=True):
        z = work[: block.shape[0]]
        torch.sum(z.copy_(block).sub_(point).square_(), 1, out=squares)  # copied first: mixed dtypes are slow
    return out


@dataclass(frozen=True)
class Samples:
    """Samples prepared for products.

    Attributes:
        rows: y_mu (N, d), by reference, or where they are read.
        centre: Their mean c (d), float64.
        norms: |y_mu - c|^2 (N), float64.
        tile: Number of samples processed at once.
    """

    rows: Float[Tensor, "n d"] | Rows
    centre: Float[Tensor, " d"]
    norms: Float[Tensor, " n"]
    tile: int

    @classmethod
    def of(cls, rows: Float[Tensor, "n d"] | Rows, *, block: int = _BLOCK) -> "Samples":
        """Two passes over the samples; `block` is the memory, in bytes, of a tile's float64 copy."""
        tile = min(rows.shape[0], max(1, block // (8 * rows.shape[1])))
        # A running sum, because a list of small results would keep the memory of the large copies from being released.
        centre = torch.zeros(rows.shape[1], dtype=torch.float64, device=rows.device)
        for some in rows.split(tile):
            centre += some.sum(0, dtype=torch.float64)
        centre /= rows.shape[0]
        return cls(rows, centre, direct(rows, centre), tile)

    def tiles(self) -> Iterator[tuple[slice, Float[Tensor, "m d"]]]:
        """Tiles of the samples: their slice, and y - c in float64."""
        for start in range(0, self.rows.shape[0], self.tile):
            part = slice(start, min(start + self.tile, self.rows.shape[0]))
            yield part, self.rows[part].to(torch.float64) - self.centre

    def reach(self, z: Float[Tensor, "p d"]) -> Float[Tensor, " p"]:
        """R^2 of points x = c + z."""
        reach: Tensor = torch.linalg.vector_norm(z, dim=1) + self.norms.max().sqrt()
        return reach.square()

    def slack(self, z: Float[Tensor, "p d"]) -> Float[Tensor, " p"]:
        """Bound on the error of products at points x = c + z."""
        return (z.shape[1] + 8) * _EPS * self.reach(z)

    def typical(self, z: Float[Tensor, "p d"]) -> Float[Tensor, " p"]:
        """Typical error of products at points x = c + z; the bound is some d/4 times larger."""
        return 4 * _EPS * self.reach(z)

    def products(self, z: Float[Tensor, "p d"], part: slice, y: Float[Tensor, "m d"]) -> Float[Tensor, "p m"]:
        """The product form at points x = c + z, for one tile; rounding may make it negative."""
        return torch.addmm(self.norms[part], z, y.T, alpha=-2).add_(z.square().sum(1)[:, None])

    def squares(self, x: Float[Tensor, "p d"], *, error: float) -> Float[Tensor, "p n"]:
        """Squared distances of all pairs, typically accurate to `error`; small ones to a relative error of 1e-10."""
        out = torch.empty(x.shape[0], self.rows.shape[0], dtype=torch.float64, device=x.device)
        x = x.to(torch.float64)
        z = x - self.centre
        typical = 0.0 if len(x) == 0 else float(self.typical(z).max())
        if typical > error:
            for point, squares in zip(x, out, strict=True):
                squares.copy_(direct(self.rows, point))
            return out
        for part, y in self.tiles():
            out[:, part] = self.products(z, part, y).clamp_min_(0)
        close = torch.nonzero(out < _NEAR * typical, as_tuple=True)
        for p, k in zip(*(i.split(self.tile) for i in close), strict=True):
            out[p, k] = (self.rows[k].to(torch.float64) - x[p]).square_().sum(1)
        return out


def nearest(
    x: Float[Tensor, "p d"], rows: Float[Tensor, "n d"], k: int, *, own: Int[Tensor, " p"] | None = None
) -> tuple[Float[Tensor, "p k"], Int[Tensor, "p k"]]:
    """Distances, ascending, and indices of the k samples nearest to each point.

    Products select a few more candidates than k, and differences give their distances. Where the products' error could hide a
    nearer sample beyond the last candidate, differences are computed for all samples.

    Args:
        x: Points (p, d).
        rows: Samples (N, d).
        k: Number of neighbours, at most N, or N - 1 with `own`.
        own: For points that are samples, their indices (p,), which are excluded.
    """
    samples, others = Samples.of(rows), rows.shape[0] - (own is not None)
    found = min(k + _SPARE, others)
    distances, numbers = [], []
    for points in torch.arange(x.shape[0], device=x.device).split(_POINTS):
        here, mine = x[points].to(torch.float64), None if own is None else own[points]
        z = here - samples.centre
        best, which = _candidates(samples, z, found, mine)
        exact = torch.stack([(rows[which[:, j]].to(torch.float64) - here).square().sum(1) for j in range(found)], 1)
        exact, order = exact.sort(dim=1, stable=True)
        exact, which = exact[:, :k], which.gather(1, order)[:, :k]
        if found < others:
            hidden = (best[:, -1] - samples.slack(z) < exact[:, -1]) & (exact[:, -1] > 0)
            for i in torch.nonzero(hidden).flatten().tolist():
                squares = direct(rows, here[i])
                if mine is not None:
                    squares[mine[i]] = torch.inf
                exact[i], which[i] = squares.topk(k, largest=False)
        distances.append(exact.sqrt())
        numbers.append(which)
    return torch.cat(distances), torch.cat(numbers)


def _candidates(samples: Samples, z: Tensor, count: int, own: Tensor | None) -> tuple[Tensor, Tensor]:
    """The nearest samples by products (p, count), ascending, and their indices."""
    best = torch.empty(len(z), 0, dtype=torch.float64, device=z.device)
    which = torch.empty(len(z), 0, dtype=torch.int64, device=z.device)
    for part, y in samples.tiles():
        squares = samples.products(z, part, y)
        if own is not None:
            inside = torch.nonzero((own >= part.start) & (own < part.stop)).flatten()
            squares[inside, own[inside] - part.start] = torch.inf
        values, place = squares.topk(min(count, squares.shape[1]), 1, largest=False)
        best, order = torch.cat([best, values], 1).sort(dim=1, stable=True)
        best, which = best[:, :count], torch.cat([which, place + part.start], 1).gather(1, order)[:, :count]
    return best, which
