"""Arrays that stay in their files.

Rows are read by position when they are asked for. A memory map would do the same with less code, but where a mapped file is cut
short, touching it ends the process by a signal; here it is an error with a message.
"""

import math
import operator
from collections.abc import Callable, Sequence
from copy import copy
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from geomem.errors import InputError
from geomem.files import Descriptor, printable

__all__ = ["StoredArray"]

_Step = Callable[[NDArray[np.generic]], NDArray[np.generic]]
# Values of one column of an array in Fortran order that are read at a time, in bytes.
_COLUMN = 2**24


class StoredArray:
    """An array (n, *shape) in a file, of which rows are read as NumPy arrays: `array[3]`, `array[10:20]`, `array[[7, 2]]`.

    The file is checked to be large enough now, and again with every row that is read.

    Args:
        path: The file.
        dtype: Type of the values, with their byte order.
        shape: (n, *shape).
        start: Bytes before the first row.
        fortran: Whether the first index of the array varies fastest.
        skip: Bytes at the head of each row that are no values.

    Raises:
        InputError: If the file cannot be opened, or is too small; when rows are read: if it was cut short.
    """

    def __init__(
        self,
        path: Path,
        dtype: DTypeLike,
        shape: tuple[int, ...],
        *,
        start: int = 0,
        fortran: bool = False,
        skip: int = 0,
    ) -> None:
        self.dtype, self.shape = np.dtype(dtype), shape
        self._held, self._fortran, self._start, self._skip = shape[1:], fortran, start, skip
        self._file = Descriptor(path)
        self._width = math.prod(self._held)
        self._stride = skip + self._width * self.dtype.itemsize
        self._steps: tuple[_Step, ...] = ()
        # No numbers in the message, which may be too long to be written.
        if len(shape) > 0 and start + shape[0] * self._stride > self._file.size:
            raise InputError(
                f"{printable(path)}: holds fewer values than its header says ({self._file.size:,} bytes in all); it is cut short or "
                "damaged."
            )

    def __repr__(self) -> str:
        return f"StoredArray({printable(self._file.path)!r}, {self.dtype.str!r}, {self.shape})"

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    def __getitem__(self, index: int | np.integer | slice | Sequence[int] | NDArray[np.integer]) -> NDArray[Any]:
        """Rows, read from the file."""
        if isinstance(index, slice):
            return self._rows(np.arange(*index.indices(len(self))))
        if isinstance(index, int | np.integer):
            one: NDArray[Any] = self._rows(np.array([operator.index(index)]))[0]
            return one
        return self._rows(np.asarray(index, dtype=np.int64))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        if copy is False:
            raise ValueError("the array is in a file, which cannot be read without a copy")
        return np.asarray(self[:], dtype=dtype)

    def transpose(self, *axes: int) -> "StoredArray":
        """The array with the axes of its rows in another order; the first axis stays first."""
        assert axes[0] == 0
        return self._then(lambda rows: rows.transpose(*axes))

    def reshape(self, *shape: int) -> "StoredArray":
        """The array with rows of another shape; the number of rows, or -1, stays first."""
        assert shape[0] in (-1, len(self))
        return self._then(lambda rows: rows.reshape(len(rows), *shape[1:]))

    def _then(self, step: _Step) -> "StoredArray":
        one = step(np.broadcast_to(np.zeros((), self.dtype), (1, *self.shape[1:])))
        other = copy(self)
        other.shape, other._steps = (len(self), *one.shape[1:]), (*self._steps, step)
        return other

    def _rows(self, places: NDArray[np.int64]) -> NDArray[Any]:
        if places.size and not -len(self) <= places.min() <= places.max() < len(self):
            raise IndexError(f"rows from {places.min()} to {places.max()} of {len(self)}")
        places = places % max(1, len(self))
        found = self._in_columns(places) if self._fortran else self._in_rows(places)
        for step in self._steps:
            found = step(found)
        return found

    def _in_rows(self, places: NDArray[np.int64]) -> NDArray[Any]:
        """Rows that lie whole in the file, those in a sequence by one reading."""
        raw = np.empty((places.size, self._stride), dtype=np.uint8)
        ends = np.flatnonzero(np.diff(places) != 1) + 1
        for first, last in zip([0, *ends], [*ends, places.size], strict=True):
            if first < last:
                self._file.read_into(raw[first:last].data.cast("B"), self._start + int(places[first]) * self._stride)
        values = raw[:, self._skip :] if self._skip else raw
        return values.view(self.dtype).reshape(places.size, *self._held)

    def _in_columns(self, places: NDArray[np.int64]) -> NDArray[Any]:
        """Rows whose values lie apart, each in a column of its own."""
        out = np.empty((self._width, places.size), dtype=self.dtype)
        step = max(1, _COLUMN // self.dtype.itemsize)
        low, high = (int(places.min()), int(places.max()) + 1) if places.size else (0, 0)
        for first in range(low, high, step):
            part = np.empty(min(step, high - first), dtype=self.dtype)
            within = np.flatnonzero((places >= first) & (places < first + part.size))
            for column in range(self._width):
                place = self._start + (column * len(self) + first) * self.dtype.itemsize
                self._file.read_into(part.view(np.uint8).data, place)
                out[column, within] = part[places[within] - first]
        return out.reshape(*reversed(self._held), places.size).transpose()
