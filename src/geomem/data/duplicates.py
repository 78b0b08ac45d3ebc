"""Duplicates: equal rows, and near duplicates, pairs that are much nearer to each other than typical neighbours.

Both bias an audit. A held-out image whose duplicate is in the training data looks memorized. A copy of an image that has
a duplicate in the data has two nearest neighbours at the same distance, which hides the copy.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from geomem.data import DataSet
from geomem.scores import principal_components
from geomem.scores.distances import nearest

__all__ = ["NearDuplicates", "distinct_rows", "near_duplicates"]

# Near duplicates are nearer than this fraction of two distances. The first is the typical distance to the tenth neighbour,
# which a few duplicates do not change. The second is the distance to the next neighbour outside their group, since in a dense
# region all rows are near each other.
_SHARE = 1 / 3
_USUAL = 10
# Largest group that is distinguished from a dense region of the data.
_LARGEST = 100
# Rows whose nearest neighbour is looked up for the median.
_PROBED = 1000
# Leading principal coordinates that screen pairs, and rows from which they are estimated.
_COORDINATES, _FITTED = 48, 4000
_BLOCK = 1024


def distinct_rows(data: DataSet) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The first row of every set of equal rows, and for each row the first row that it equals."""
    seen: dict[bytes, int] = {}
    first = np.empty(len(data), dtype=np.int64)
    for start, block in data.blocks():
        # Rows are compared by their bytes; adding 0 turns -0.0 into the equal 0.0.
        plain = np.add(block, block.dtype.type(0)) if block.dtype.kind == "f" else block
        for i, row in enumerate(np.ascontiguousarray(plain)):
            first[start + i] = seen.setdefault(hashlib.blake2b(row, digest_size=16).digest(), start + i)
    return np.flatnonzero(first == np.arange(len(data))), first


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


def near_duplicates(rows: Tensor, *, seed: int = 0) -> NearDuplicates:
    """All pairs of rows (n, d), n >= 3, that are much nearer to each other than typical neighbours.

    The first k neighbours of a row are its near duplicates if two conditions hold. The k-th is nearer than a third of the
    typical distance to the tenth neighbour, and the next one is more than three times farther than the k-th. The largest such
    k up to 100 counts. So a dense region of the data (the digit 1) does not count as duplicates. In few dimensions, some pairs
    of random rows satisfy both conditions by chance.

    The search is exact, but does not compute all distances in all d dimensions. An orthogonal projection onto leading
    principal axes never increases a distance. So pairs that are too far apart in the projection are excluded, and only the
    few remaining distances are computed in full.
    """
    n = rows.shape[0]
    rng = np.random.default_rng([seed, n])
    usual = max(1, min(_USUAL, (n - 1) // 2))
    probed = torch.as_tensor(rng.permutation(n)[:_PROBED])
    typical = float(np.median(nearest(rows[probed], rows, usual, own=probed)[0][:, -1]))
    threshold = _SHARE * typical
    found, distance = _close_pairs(rows, threshold, torch.as_tensor(np.sort(rng.permutation(n)[:_FITTED])))
    if len(found):
        ends, place = np.unique(found, return_inverse=True)
        # All neighbours within the threshold are among the pairs; one more gives the next distance.
        wanted = min(_LARGEST, int(np.bincount(place.ravel()).max())) + 1
        chosen = torch.as_tensor(ends)
        near = nearest(rows[chosen], rows, min(wanted, n - 1), own=chosen)[0].numpy()
        reach = np.concatenate([near[:, 1:], np.full((len(ends), 1), np.inf if near.shape[1] == n - 1 else 0.0)], 1)
        jump = (near < threshold) & (near < _SHARE * reach)
        # Distance to the last neighbour in each row's group; -1, below any distance, if there is none.
        last = np.where(jump.any(1), near[np.arange(len(ends)), near.shape[1] - 1 - jump[:, ::-1].argmax(1)], -1.0)
        kept = distance <= last[place.reshape(-1, 2)].max(1) * (1 + 1e-12)
        found, distance = found[kept], distance[kept]
    by_distance = np.argsort(distance, kind="stable")
    return NearDuplicates(found[by_distance], distance[by_distance], _groups(n, found), threshold, typical)


def _close_pairs(rows: Tensor, threshold: float, fitted: Tensor) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """All pairs nearer than the threshold, smaller row first, and their distances."""
    n = rows.shape[0]
    mean, _, axes = principal_components(rows[fitted])
    blocks = rows.split(8 * _BLOCK)
    screen = torch.cat([(b.to(torch.float64) - mean) @ axes[:, :_COORDINATES] for b in blocks])
    order = torch.argsort(screen[:, 0])
    screen = screen[order]
    # The error of a squared distance, about eps times the largest norms, must not lose a pair; float32 is used if it is small enough.
    largest = float(screen.square().sum(1).max())
    slack = {t: 256 * torch.finfo(t).eps * largest for t in (torch.float32, torch.float64)}
    dtype = torch.float32 if slack[torch.float32] < 0.1 * threshold**2 else torch.float64
    screen, reach = screen.to(dtype), threshold**2 + slack[dtype]
    norms, first = screen.square().sum(1), screen[:, 0].contiguous()
    pairs, distances = [], []
    for start in range(0, n, _BLOCK):
        block = slice(start, min(n, start + _BLOCK))
        # Rows are sorted by their first coordinate, so no pair that differs by more than `reach` in it is near.
        end = int(torch.searchsorted(first, first[block.stop - 1] + reach**0.5, right=True))
        near = norms[start:end] - 2 * screen[block] @ screen[start:end].T + norms[block, None]
        i, j = torch.nonzero(near < reach, as_tuple=True)
        a, b = order[start + i[j > i]], order[start + j[j > i]]
        for p, q in zip(a.split(_BLOCK), b.split(_BLOCK), strict=True):
            distance = (rows[p].to(torch.float64) - rows[q].to(torch.float64)).norm(dim=1)
            kept = distance < threshold
            pairs.append(torch.stack([torch.minimum(p, q), torch.maximum(p, q)], 1)[kept].numpy())
            distances.append(distance[kept].numpy())
    return np.concatenate([*pairs, np.empty((0, 2), np.int64)]), np.concatenate([*distances, np.empty(0)])


def _groups(n: int, pairs: NDArray[np.int64]) -> NDArray[np.int64]:
    graph = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    _, label = connected_components(graph, directed=False)
    _, first = np.unique(label, return_index=True)
    return np.asarray(first[label], dtype=np.int64)
