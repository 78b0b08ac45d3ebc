"""Equal rows."""

import numpy as np
from numpy.typing import NDArray

from geomem.data.dataset import DataSet

__all__ = ["distinct_rows"]


def distinct_rows(data: DataSet) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The first row of every set of equal rows, and for each row the first row that it equals."""
    n = len(data)
    sums = np.empty(n, dtype=np.uint64)
    for start, block in data.blocks():
        words = _words(block)
        sums[start : start + len(words)] = words.astype(np.uint64) @ _factors(words.shape[1])
    first = np.arange(n)
    by_sum = np.argsort(sums, kind="stable")
    again = np.concatenate([[False], sums[by_sum][1:] == sums[by_sum][:-1], [False]])
    # Rows of equal sums are almost always equal; their values decide.
    seen: dict[bytes, int] = {}
    for place in np.flatnonzero(again[:-1] | again[1:]):
        row = by_sum[place]
        if not again[place]:  # the first row of another sum
            seen.clear()
        first[row] = seen.setdefault(_words(data.values[row : row + 1]).tobytes(), row)
    return np.flatnonzero(first == np.arange(n)), first


def _words(block: NDArray[np.generic]) -> NDArray[np.uint32]:
    """The bytes of rows as numbers (n, w); equal rows have equal ones."""
    # Adding 0 turns -0.0 into the equal 0.0.
    plain = np.add(block, block.dtype.type(0)) if block.dtype.kind == "f" else block
    row = np.ascontiguousarray(plain).reshape(len(block), -1).view(np.uint8)
    return np.pad(row, ((0, 0), (0, -row.shape[1] % 4))).view(np.uint32)


def _factors(count: int) -> NDArray[np.uint64]:
    """Random factors: sums of products with these are equal for different rows with a chance of 2^-33 or less."""
    return np.random.default_rng(0).integers(0, 2**64, count, dtype=np.uint64)
