"""Near duplicates: pairs of rows that are much nearer to each other than typical neighbours; see also `data.distinct`.

Duplicates bias an audit. A held-out image whose duplicate is in the training data looks memorized. A copy of an image that has
a duplicate in the data has two nearest neighbours at the same distance, which hides the copy.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from geomem.data.dataset import DataSet
from geomem.data.screen import Axes, Rows, Screen, Smallest, leading_axes, rounding
from geomem.scores.distances import nearest

__all__ = [
    "MEMORY",
    "NearDuplicates",
    "Pairs",
    "Scale",
    "Search",
    "joined",
    "near_duplicates",
    "scale_of_search",
]

# Memory budget by default, in bytes.
MEMORY = 2**31
# Near duplicates are nearer than this fraction of two distances. The first is the typical distance to the tenth neighbour,
# which a few duplicates do not change. The second is the distance to the next neighbour outside their group, since in a dense
# region all rows are near each other.
_SHARE = 1 / 3
_USUAL = 10
# Largest group that is distinguished from a dense region of the data.
_LARGEST = 100
# Candidates beyond the tenth neighbour, of which float32 finds all but in rare cases.
_SPARE = 22
# Rows whose neighbours are looked up for the median, and rows from which principal axes are computed.
_PROBED, _FITTED = 1000, 2000
# Candidates of a row whose distances are computed at first: the largest group, the row after it, and some more.
_CANDIDATES = 128
# Where the next neighbour is beyond this multiple of the last one's distance, a group has ended.
_REACH = (1 + 1e-6) / _SHARE


@dataclass(frozen=True)
class NearDuplicates:
    """Near duplicates, see `near_duplicates`.

    Attributes:
        pairs: Row numbers (k, 2), nearest pair first.
        distance: Their distances (k,), data units.
        group: For each row, the smallest row number in its group of near duplicates.
        threshold: A third of `typical`; no pair is farther apart.
        typical: Median distance of a row to its tenth neighbour, over up to 1,000 rows.
    """

    pairs: NDArray[np.int64]
    distance: NDArray[np.float64]
    group: NDArray[np.int64]
    threshold: float
    typical: float


@dataclass(frozen=True)
class Scale:
    """What a search for near duplicates begins with.

    Attributes:
        typical: As in `NearDuplicates`.
        axes: Where rows are projected.
        order: Row numbers in an order in which near rows lie together.
    """

    typical: float
    axes: Axes
    order: NDArray[np.int64]

    @property
    def threshold(self) -> float:
        """As in `NearDuplicates`."""
        return _SHARE * self.typical


@dataclass(frozen=True)
class Pairs:
    """Rows with their near duplicates.

    Attributes:
        rows: Row numbers (k, 2).
        distance: Their distances (k,).
    """

    rows: NDArray[np.int64]
    distance: NDArray[np.float64]


def near_duplicates(
    data: DataSet, kept: NDArray[np.int64] | None = None, *, seed: int = 0, memory: int = MEMORY
) -> NearDuplicates:
    """All pairs of rows that are much nearer to each other than typical neighbours.

    The first k neighbours of a row are its near duplicates if two conditions hold. The k-th is nearer than a third of the
    typical distance to the tenth neighbour, and the next one is more than three times farther than the k-th. The largest such
    k up to 100 counts. So a dense region of the data (the digit 1) does not count as duplicates. In few dimensions, some pairs
    of random rows satisfy both conditions by chance.

    The search is exact, but does not compute all distances in all d dimensions, see `data.screen`. `scale_of_search`, the
    parts of a `Search` and `Search.joined` are its steps.

    Args:
        data: The data.
        kept: Rows that are compared, at least 3, all distinct; all by default. Row numbers in the result are places among these.
        seed: Of the rows that are probed.
        memory: Memory budget in bytes. Results do not depend on it.
    """
    kept = np.arange(len(data)) if kept is None else kept
    scale = scale_of_search(data, kept, seed=seed, memory=memory)
    search = Search(data, kept, scale, memory=memory)
    return joined(scale, [search.part(range(kept.size))])


def scale_of_search(data: DataSet, kept: NDArray[np.int64], *, seed: int, memory: int = MEMORY) -> Scale:
    """Typical distance of rows, principal axes, and an order; arguments as of `near_duplicates`."""
    rows = _rows(data, kept, memory)
    n = rows.count
    rng = np.random.default_rng([seed, n])
    probed = rng.permutation(n)[:_PROBED]
    typical = float(np.median(_distances_to(rows, probed, max(1, min(_USUAL, (n - 1) // 2)))))
    axes = leading_axes(rows.read(rng.permutation(n)[:_FITTED]), n, _SHARE * typical, most=rows.most_axes)
    return Scale(typical, axes, Screen(rows, axes, _SHARE * typical).order)


def joined(scale: Scale, parts: Sequence[Pairs]) -> NearDuplicates:
    """The near duplicates of all parts of a search."""
    n = scale.order.size
    rows = np.sort(np.concatenate([part.rows for part in parts]), 1)
    distance = np.concatenate([part.distance for part in parts])
    # Most pairs were found from both of their ends.
    _, once = np.unique(rows[:, 0] * n + rows[:, 1], return_index=True)
    once = once[np.argsort(distance[once], kind="stable")]
    pairs = rows[once]
    return NearDuplicates(pairs, distance[once], _groups(n, pairs), scale.threshold, scale.typical)


class Search:
    """A search for near duplicates, of which any part can be carried out by itself.

    Args:
        data: The data.
        kept: Rows that are compared.
        scale: Of these.
        memory: Memory budget in bytes.
    """

    def __init__(self, data: DataSet, kept: NDArray[np.int64], scale: Scale, *, memory: int = MEMORY) -> None:
        self._rows, self._threshold, self._order = _rows(data, kept, memory), scale.threshold, scale.order
        self._screen = Screen(self._rows, scale.axes, scale.threshold, scale.order)

    def part(self, places: range) -> Pairs:
        """The rows at some places of the order, with their near duplicates."""
        found = [pairs for cell in self._screen.cells(places) for pairs in self._cell(cell)]
        rows = np.concatenate([np.empty((0, 2), np.int64), *(pairs.rows for pairs in found)])
        return Pairs(self._order[rows], np.concatenate([np.empty(0), *(pairs.distance for pairs in found)]))

    def _cell(self, places: range) -> list[Pairs]:
        near = self._nearest(np.arange(places.start, places.stop), np.full(len(places), self._threshold))
        # Where there are more candidates than were compared, any of the others may be nearer.
        unknown = near.beyond < self._threshold
        ends = unknown | (near.distance[:, 0] < self._threshold)
        if not ends.any():
            return []
        near, unknown = near.of(ends), unknown[ends]
        most = np.where(unknown, _LARGEST, (near.distance[:, :_LARGEST] < self._threshold).sum(1))
        reach = _REACH * np.minimum(near.distance[np.arange(most.size), most - 1], self._threshold)
        near = self._nearest(near.rows, reach)
        size, sure = near.groups(self._threshold, most)
        found = [near.of(sure).pairs(size[sure])]
        if not sure.all():
            near = self._all_compared(near.of(~sure), reach[~sure])
            found.append(near.pairs(near.groups(self._threshold, most[~sure])[0]))
        return found

    def _nearest(self, places: NDArray[np.int64], reach: NDArray[np.float64]) -> "_Neighbours":
        """Neighbours of rows that lie close together, from the nearest candidates within reach."""
        bounds, other = self._screen.nearest(places, reach, _CANDIDATES + 1)
        beyond, bounds, other = np.minimum(bounds[:, -1], reach), bounds[:, :-1], other[:, :-1]
        row, column = np.nonzero(np.isfinite(bounds))
        distance = np.full(bounds.shape, np.inf)
        distance[row, column] = self._rows.distances(self._order[places[row]], self._order[other[row, column]])
        ranked = np.argsort(distance, 1, kind="stable")
        return _Neighbours(
            places, np.take_along_axis(distance, ranked, 1), np.take_along_axis(other, ranked, 1), beyond
        )

    def _all_compared(self, near: "_Neighbours", reach: NDArray[np.float64]) -> "_Neighbours":
        """The same for rows of which the candidates are too many to say: their nearest among all rows within reach."""
        wanted = _LARGEST + 1
        bound = np.minimum(reach, near.distance[:, wanted - 1] * (1 + 1e-9))
        x = self._rows.read(self._order[near.rows])
        distance, other = np.full((len(x), wanted), np.inf), np.zeros((len(x), wanted), np.int64)
        candidates = self._screen.within(near.rows, bound)
        for some in np.split(candidates, range(self._rows.step, candidates.size, self._rows.step)):
            # One more, since the row itself may be among them.
            found, which = nearest(x, self._rows.read(self._order[some]), min(wanted + 1, some.size))
            distance, other = (
                np.concatenate([distance, found.numpy()], 1),
                np.concatenate([other, some[which.numpy()]], 1),
            )
            distance[other == near.rows[:, None]] = np.inf
            ranked = np.argsort(distance, 1, kind="stable")[:, :wanted]
            distance, other = np.take_along_axis(distance, ranked, 1), np.take_along_axis(other, ranked, 1)
        return _Neighbours(near.rows, distance, other, np.minimum(reach, distance[:, -1]))


@dataclass(frozen=True)
class _Neighbours:
    """Neighbours of rows.

    Attributes:
        rows: Rows (m,).
        distance: Distances of other rows (m, k), ascending, infinite where there are none.
        other: These (m, k).
        beyond: All rows that are not among these are at least so far (m,).
    """

    rows: NDArray[np.int64]
    distance: NDArray[np.float64]
    other: NDArray[np.int64]
    beyond: NDArray[np.float64]

    def of(self, chosen: NDArray[np.bool_]) -> "_Neighbours":
        """Some of the rows."""
        return _Neighbours(self.rows[chosen], self.distance[chosen], self.other[chosen], self.beyond[chosen])

    def groups(self, threshold: float, most: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """How many of the first neighbours are near duplicates, which are at most `most`, and whether that is sure."""
        own, after = (self.distance[:, i : i + _LARGEST] for i in (0, 1))
        # The distances of the k-th neighbour and of the next lie between those to rows that were compared, and `beyond`.
        beyond = self.beyond[:, None]
        nearest_own, nearest_after = np.minimum(own, beyond), np.minimum(after, beyond)
        certain = (own <= beyond) & (own < threshold) & (own < _SHARE * nearest_after)
        possible = (nearest_own < threshold) & (nearest_own < _SHARE * after) & (np.arange(_LARGEST) < most[:, None])
        size = np.where(certain.any(1), own.shape[1] - certain[:, ::-1].argmax(1), 0)
        return size, (certain == possible).all(1)

    def pairs(self, size: NDArray[np.int64]) -> Pairs:
        """The rows with their first neighbours."""
        row, rank = np.nonzero(np.arange(self.distance.shape[1]) < size[:, None])
        return Pairs(np.stack([self.rows[row], self.other[row, rank]], 1), self.distance[row, rank])


def _rows(data: DataSet, kept: NDArray[np.int64], memory: int) -> Rows:
    return Rows(kept.size, data.dim, lambda places: data.rows(kept[places]), memory)


def _distances_to(rows: Rows, probed: NDArray[np.int64], count: int) -> NDArray[np.float64]:
    """Distances of some rows to their neighbour of that rank."""
    x = rows.read(probed)
    centre = x.mean(0)
    z = (x - centre).to(torch.float32)
    norms = z.square().sum(1)
    best, largest = Smallest(torch.full_like(norms, torch.inf), count + _SPARE), float(norms.max())
    for places, block in rows.blocks():
        y = (block - centre).to(torch.float32)
        lengths = y.square().sum(1)
        largest = max(largest, float(lengths.max()))
        products = torch.addmm(lengths, z, y.T, alpha=-2)
        own = np.flatnonzero((probed >= places[0]) & (probed <= places[-1]))
        products[own, probed[own] - places[0]] = torch.inf
        best.add(products, torch.as_tensor(places))
    row, column = np.nonzero(best.columns.numpy() >= 0)
    distance = np.full(best.values.shape, np.inf)
    distance[row, column] = rows.distances(probed[row], best.columns.numpy()[row, column])
    found = np.sort(distance, 1)[:, count - 1]
    # Where rounding could hide a nearer row, distances are computed in float64.
    least = (best.values[:, -1] + norms).to(torch.float64).numpy() - rounding(rows.dim, torch.float32) * largest
    unsure = np.flatnonzero(found**2 > least)
    if unsure.size:
        found[unsure] = _distances_in_float64(rows, probed[unsure], count)
    return found


def _distances_in_float64(rows: Rows, probed: NDArray[np.int64], count: int) -> NDArray[np.float64]:
    x, best = rows.read(probed), np.empty((len(probed), 0))
    for places, block in rows.blocks():
        # One more, since the row itself may be among them.
        found, which = (a.numpy() for a in nearest(x, block, min(count + 1, len(places))))
        found[places[which] == probed[:, None]] = np.inf
        best = np.sort(np.concatenate([best, found], 1), 1)[:, :count]
    return np.asarray(best[:, -1])


def _groups(n: int, pairs: NDArray[np.int64]) -> NDArray[np.int64]:
    graph = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    _, label = connected_components(graph, directed=False)
    _, first = np.unique(label, return_index=True)
    return np.asarray(first[label], dtype=np.int64)
