r"""A screen for close rows: lower bounds of distances, from a few leading principal coordinates.

An orthogonal projection onto axes never increases a distance. So rows that are too far apart in the projection are excluded, and only
the few remaining distances are computed in full. Rows are sorted into cells of equal size, by halving them repeatedly along the coordinate in
which they vary most. The box around a cell bounds the distances of all its rows at once.

How many coordinates pay depends on the data. Images need 16 to 96. White noise needs more, since each coordinate holds little of a distance.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["Axes", "Rows", "Screen", "Smallest", "leading_axes", "rounding", "sorted_into_cells"]

# Rows of a cell.
_CELL = 256
# Numbers of coordinates to choose from.
_COORDINATES = (16, 32, 48, 64, 96, 128, 192, 256, 384)
# Seconds of one core, measured: a pair of rows in the screen, each of its coordinates, and a distance in full.
_PAIR, _COORDINATE, _FULL = 3e-10, 2e-11, 3e-6
# Share of a memory budget that a block of rows or of pairs takes, and that the coordinates may take.
_BLOCK_SHARE, _COORDINATES_SHARE = 1 / 32, 1 / 4
# Most bytes of a block: beyond the cache, reading and projecting rows takes six times as long.
_CACHED = 2**22


@dataclass(frozen=True)
class Rows:
    """Rows that are read block by block.

    Attributes:
        count: Their number n.
        dim: d.
        read: The rows (k, d) at some places, as floating-point numbers.
        memory: Memory budget in bytes. It changes how much is read at once, and no result.
    """

    count: int
    dim: int
    read: Callable[[NDArray[np.int64]], Tensor]
    memory: int

    @property
    def block(self) -> int:
        """Bytes of a block."""
        return min(_CACHED, int(self.memory * _BLOCK_SHARE))

    @property
    def step(self) -> int:
        """Rows of a block, of which there may be several copies in float64."""
        return max(1, self.block // (8 * self.dim))

    @property
    def most_axes(self) -> int:
        """Most coordinates that the budget allows."""
        return max(1, int(self.memory * _COORDINATES_SHARE) // (8 * self.count))

    def blocks(self) -> Iterator[tuple[NDArray[np.int64], Tensor]]:
        """All rows in order: their places, and the rows."""
        for start in range(0, self.count, self.step):
            places = np.arange(start, min(self.count, start + self.step))
            yield places, self.read(places)

    def distances(self, a: NDArray[np.int64], b: NDArray[np.int64]) -> NDArray[np.float64]:
        """Distances (k,) of pairs of rows, from differences in float64."""
        out = np.empty(len(a))
        for some in range(0, len(a), self.step):
            part = slice(some, some + self.step)
            difference = self.read(a[part]).to(torch.float64).sub_(self.read(b[part]))
            out[part] = difference.square_().sum(1).sqrt_().numpy()
        return out


@dataclass(frozen=True)
class Axes:
    """Where rows are projected.

    Attributes:
        mean: Subtracted first (d,), float64.
        columns: Orthonormal axes (d, k), float64.
    """

    mean: Tensor
    columns: Tensor

    def coordinates(self, rows: Tensor) -> Tensor:
        """Coordinates (n, k) of rows (n, d), float64."""
        return (rows.to(torch.float64) - self.mean) @ self.columns


def leading_axes(sample: Tensor, n: int, threshold: float, *, most: int) -> Axes:
    """The leading principal axes of rows, as many as make the search fastest.

    Args:
        sample: Some of the rows (m, d), in random order.
        n: Number of rows that are searched.
        threshold: Distance below which pairs are looked for.
        most: Most axes.
    """
    rows = sample.to(torch.float64)
    mean = rows.mean(0)
    rows = rows - mean
    m, d = rows.shape
    if m < d:
        axes = rows.T @ torch.linalg.eigh(rows @ rows.T)[1].flip(1)
    else:
        axes = torch.linalg.eigh(rows.T @ rows)[1].flip(1)
    # Without this, axes along which the sample does not vary would not be orthonormal.
    axes = torch.linalg.qr(axes[:, : min(most, _COORDINATES[-1])]).Q
    z = rows @ axes
    choices = [k for k in _COORDINATES if k < z.shape[1]] + [z.shape[1]]
    squares, costs = torch.zeros(m // 2, m - m // 2, dtype=torch.float64), []
    for first, last in zip([0, *choices], choices, strict=False):
        squares += torch.cdist(z[: m // 2, first:last], z[m // 2 :, first:last]).square_()
        left = n * float((squares < threshold**2).to(torch.float64).mean())
        costs.append(n * (_PAIR + last * _COORDINATE) + min(left, _CELL) * _FULL)
    return Axes(mean, axes[:, : choices[int(np.argmin(costs))]].contiguous())


def sorted_into_cells(z: NDArray[np.floating]) -> NDArray[np.int64]:
    """An order of rows (n, k) in which each _CELL of them lie close together."""
    order, waiting = np.arange(len(z)), [(0, len(z))]
    while waiting:
        first, last = waiting.pop()
        cells = -(-(last - first) // _CELL)
        if cells > 1:
            middle = first + cells // 2 * _CELL
            some = order[first:last]
            values = z[some]
            order[first:last] = some[np.argpartition(values[:, values.var(0).argmax()], middle - first)]
            waiting += [(first, middle), (middle, last)]
    return order


def rounding(k: int, dtype: torch.dtype) -> float:
    """Bound on the error of squared distances in k coordinates, by products of rounded coordinates; relative to the largest norm squared."""
    return (4 * k + 64) * torch.finfo(dtype).eps


class Smallest:
    """The smallest entries in each row of a matrix whose columns come in pieces.

    Args:
        below: Only entries below these count (m,).
        count: How many are wanted.

    Attributes:
        values: They (m, count), ascending; `below` where there are no more.
        columns: Numbers of their columns; -1 where there are no more.
    """

    def __init__(self, below: Tensor, count: int) -> None:
        self._below = below[:, None]
        self.values = self._below.repeat(1, count)
        self.columns = torch.full(self.values.shape, -1)

    def add(self, values: Tensor, columns: Tensor) -> None:
        """More columns, and their numbers."""
        count = self.values.shape[1]
        hit = torch.nonzero(values.amin(1) < self.values[:, -1]).flatten()
        if len(hit):
            some, place = values[hit].topk(min(count, len(columns)), 1, largest=False)
            numbers = torch.where(some < self._below[hit], columns[place], -1)
            self.values[hit], first = torch.cat([self.values[hit], some], 1).topk(count, 1, largest=False)
            self.columns[hit] = torch.cat([self.columns[hit], numbers], 1).gather(1, first)


class Screen:
    """Finds the rows that may be near others.

    Args:
        rows: The rows.
        axes: Where they are projected.
        threshold: Squared distances must be resolved against its square.
        order: Their places, sorted into cells; None sorts them.

    Attributes:
        order: Place of each sorted row. All other numbers of rows here are numbers of sorted rows.
    """

    def __init__(self, rows: Rows, axes: Axes, threshold: float, order: NDArray[np.int64] | None = None) -> None:
        self._cells = max(1, rows.block // (4 * _CELL**2))
        k = axes.columns.shape[1]
        for dtype in (torch.float32, torch.float64):
            z = torch.empty(rows.count, k, dtype=dtype)
            largest = 0.0
            for places, block in rows.blocks():
                coordinates = axes.coordinates(block)
                largest = max(largest, float(coordinates.square().sum(1).max()))
                z[torch.as_tensor(places)] = coordinates.to(dtype)
                self._slack = rounding(k, dtype) * largest
            if self._slack < 0.1 * threshold**2:
                break
        self.order = sorted_into_cells(z.numpy()) if order is None else order
        self._z = z[torch.as_tensor(self.order)]
        self._norms = self._z.square().sum(1)
        cells = self._z.split(_CELL)
        self._low = torch.stack([cell.amin(0) for cell in cells])
        self._high = torch.stack([cell.amax(0) for cell in cells])

    def cells(self, places: range) -> Iterator[range]:
        """Some of the sorted rows, cell by cell."""
        for start in range(places.start, places.stop, _CELL):
            yield range(start, min(start + _CELL, places.stop))

    def nearest(
        self, of: NDArray[np.int64], within: NDArray[np.float64], count: int
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Lower bounds (m, count) of the distances to other rows, the smallest ones, ascending, and those rows.

        Args:
            of: Numbers of rows (m,), close to each other.
            within: For each, how far other rows may be; places that no such row fills hold infinity.
            count: Number of other rows.
        """
        mine = torch.as_tensor(of)
        reach = torch.as_tensor(within).square() + self._slack
        norms = self._norms[mine]
        best = Smallest((reach - norms).to(self._z.dtype), count)
        for others, products in self._products(mine, float(reach.max())):
            best.add(products, others)
        bounds = (best.values.to(torch.float64) + norms[:, None] - self._slack).clamp_min_(0).sqrt_()
        bounds[best.columns < 0] = torch.inf
        return bounds.numpy(), best.columns.numpy()

    def within(self, of: NDArray[np.int64], within: NDArray[np.float64]) -> NDArray[np.int64]:
        """Numbers of all rows that may be within a distance of one of some rows, ascending; these may be among them."""
        mine = torch.as_tensor(of)
        reach = torch.as_tensor(within).square() + self._slack
        limit = (reach - self._norms[mine])[:, None]
        found = [others[(products < limit).any(0)] for others, products in self._products(mine, float(reach.max()))]
        return torch.cat(found).numpy()

    def _products(self, mine: Tensor, reach: float) -> Iterator[tuple[Tensor, Tensor]]:
        """Rows in cells that some rows may reach, and |b|^2 - 2 a.b of these; infinite from a row to itself."""
        z = self._z[mine]
        gap = torch.maximum(self._low - z.amax(0), z.amin(0) - self._high).clamp_min_(0)
        near = torch.nonzero(gap.square().sum(1) < reach).flatten()
        for cells in near.split(self._cells):
            others = (cells[:, None] * _CELL + torch.arange(_CELL)).flatten()
            others = others[others < len(self._z)]
            products = torch.addmm(self._norms[others], z, self._z[others].T, alpha=-2)
            own = torch.searchsorted(others, mine).clamp_max_(len(others) - 1)
            same = torch.nonzero(others[own] == mine).flatten()
            products[same, own[same]] = torch.inf
            yield others, products
