"""Duplicates: rows that are equal, and pairs that are much nearer to each other than neighbours usually are.

Both fake what an audit measures: a held-out image whose duplicate was trained on looks memorized, and a copied image
whose duplicate is in the data has two nearest neighbours at the same distance, which hides the copy.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from geomem.images import DataSet
from geomem.scores import principal_components

__all__ = ["NearDuplicates", "distinct_rows", "near_duplicates"]

# A pair is a near duplicate below this share of the median distance to the nearest neighbour, and of the distance to
# the tenth neighbour of one of the two: in a dense part of the data all rows are near each other.
_SHARE = 1 / 3
_AMONG = 10
# Rows whose nearest neighbour is looked up for that median.
_PROBED = 1000
# Leading principal coordinates that screen pairs, and rows from which they are estimated.
_COORDINATES, _FITTED = 48, 4000
_BLOCK = 1024


def distinct_rows(data: DataSet) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The first of every set of equal rows, and for each row of the data the first row that it equals."""
    seen: dict[bytes, int] = {}
    first = np.empty(len(data), dtype=np.int64)
    for start, block in data.blocks():
        for i, row in enumerate(np.ascontiguousarray(block)):
            first[start + i] = seen.setdefault(hashlib.blake2b(row, digest_size=16).digest(), start + i)
    return np.flatnonzero(first == np.arange(len(data))), first


@dataclass(frozen=True)
class NearDuplicates:
    """Pairs of rows much nearer than neighbours usually are.

    Attributes:
        pairs: Row numbers (k, 2), nearest pair first.
        distance: Their distances (k,), data units.
        group: For each row the smallest row that it is joined to by near duplicates.
        threshold: A third of `typical`.
        typical: Median distance of a row to its nearest neighbour, over up to 1,000 rows.
    """

    pairs: NDArray[np.int64]
    distance: NDArray[np.float64]
    group: NDArray[np.int64]
    threshold: float
    typical: float


def near_duplicates(rows: Tensor, *, seed: int = 0) -> NearDuplicates:
    """All pairs of rows (n, d) nearer than a third of the usual distance between nearest neighbours, n >= 3.

    And nearer than a third of the distance from one of the two to its tenth neighbour, so that a dense part of the data
    (the digit 1) is not called a heap of duplicates.

    Exact, without all distances in all d dimensions: an orthogonal projection onto leading principal axes never makes a
    distance larger, so pairs that are too far apart there are out, and the few left are measured in full.
    """
    n = rows.shape[0]
    rng = np.random.default_rng([seed, n])
    probed = rng.permutation(n)[:_PROBED]
    typical = float(np.median(_neighbour(rows, torch.as_tensor(probed), 1)))
    threshold = _SHARE * typical
    _, _, axes = principal_components(rows[torch.as_tensor(np.sort(rng.permutation(n)[:_FITTED]))])
    screen = (rows @ axes[:, :_COORDINATES].to(rows.dtype)).to(torch.float32)
    screen = screen - screen.mean(0)
    order = torch.argsort(screen[:, 0])
    screen = screen[order]
    norms = screen.square().sum(1)
    # float32's error in a squared distance, about eps times the largest norms, must not lose a pair.
    reach = threshold**2 + 64 * torch.finfo(torch.float32).eps * 4 * float(norms.max())
    pairs, distances = [], []
    for start in range(0, n, _BLOCK):
        block = slice(start, min(n, start + _BLOCK))
        # Rows are in the order of their first coordinate: beyond `threshold` along it no pair is near.
        end = int(torch.searchsorted(screen[:, 0].contiguous(), screen[block.stop - 1, 0] + reach**0.5, right=True))
        near = norms[start:end] - 2 * screen[block] @ screen[start:end].T + norms[block, None]
        i, j = torch.nonzero(near < reach, as_tuple=True)
        a, b = order[start + i[j > i]], order[start + j[j > i]]
        for p, q in zip(a.split(_BLOCK), b.split(_BLOCK), strict=True):
            distance = (rows[p].to(torch.float64) - rows[q].to(torch.float64)).norm(dim=1)
            kept = distance < threshold
            pairs.append(torch.stack([torch.minimum(p, q), torch.maximum(p, q)], 1)[kept].numpy())
            distances.append(distance[kept].numpy())
    found = np.concatenate([*pairs, np.empty((0, 2), np.int64)])
    distance = np.concatenate([*distances, np.empty(0)])
    if len(found):
        ends, place = np.unique(found, return_inverse=True)
        local = _neighbour(rows, torch.as_tensor(ends), min(_AMONG, n - 1))[place.reshape(-1, 2)].max(1)
        found, distance = found[distance < _SHARE * local], distance[distance < _SHARE * local]
    by_distance = np.argsort(distance, kind="stable")
    return NearDuplicates(found[by_distance], distance[by_distance], _groups(n, found), threshold, typical)


def _groups(n: int, pairs: NDArray[np.int64]) -> NDArray[np.int64]:
    graph = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    _, label = connected_components(graph, directed=False)
    _, first = np.unique(label, return_index=True)
    return np.asarray(first[label], dtype=np.int64)


def _neighbour(rows: Tensor, index: Tensor, k: int) -> NDArray[np.float64]:
    """Distance of the chosen rows to their k-th nearest other row."""
    centre = rows.mean(0, dtype=torch.float64).to(rows.dtype)
    out = []
    for chosen in index.split(_BLOCK):
        x = rows[chosen] - centre
        best = torch.full((chosen.numel(), k), torch.inf, dtype=rows.dtype)
        for start in range(0, rows.shape[0], 8 * _BLOCK):
            y = rows[start : start + 8 * _BLOCK] - centre
            squares = torch.addmm(y.square().sum(1), x, y.T, alpha=-2).add_(x.square().sum(1)[:, None])
            own = (chosen[:, None] == torch.arange(start, start + y.shape[0])).nonzero(as_tuple=True)
            squares[own] = torch.inf
            best = torch.cat([best, squares], 1).topk(k, 1, largest=False).values
        out.append(best.amax(1).clamp_min(0).sqrt().to(torch.float64))
    return np.asarray(torch.cat(out))
