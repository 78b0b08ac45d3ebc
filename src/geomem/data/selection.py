"""Rows of a data set that are read block by block as they are needed, so that no copy of all of them is held."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geomem.data.dataset import DataSet

__all__ = ["Selection"]


@dataclass(frozen=True)
class Selection:
    """Some rows of a data set in some order, as floating-point numbers: a `scores.distances.Rows`.

    Attributes:
        data: The data set.
        index: Its rows (n,).
        shift: Subtracted from each row (d,), or None.
    """

    data: DataSet
    index: NDArray[np.int64]
    shift: Tensor | None = None
    requires_grad = False

    @property
    def shape(self) -> tuple[int, int]:
        """(n, d)."""
        return self.index.size, self.data.dim

    @property
    def dtype(self) -> torch.dtype:
        """Of the rows as they are read."""
        return self.data.rows(slice(0, 1)).dtype

    @property
    def device(self) -> torch.device:
        """The processor."""
        return torch.device("cpu")

    def __getitem__(self, index: Any) -> Tensor:
        rows = self.data.rows(self.index[index.numpy() if isinstance(index, Tensor) else index])
        return rows if self.shift is None else rows.sub_(self.shift)

    def split(self, size: int) -> Iterator[Tensor]:
        """All rows, in blocks."""
        for start in range(0, self.index.size, size):
            yield self[start : start + size]

    def less(self, shift: Tensor) -> "Selection":
        """The rows less a vector."""
        return replace(self, shift=shift)

    def only(self, rows: NDArray[np.int64]) -> "Selection":
        """Some of the rows."""
        return replace(self, index=self.index[rows])
