"""Data sets: rows of numbers on a known scale, with the shape of one event and a name for each row."""

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geomem.data.layout import image_shape
from geomem.data.stored import StoredArray
from geomem.errors import InputError

__all__ = ["DataSet"]

# Memory budget, in bytes, of one block of rows.
_BLOCK = 2**26


@dataclass(frozen=True)
class DataSet:
    """Samples in memory or on disk, and how to read them.

    Bytes (uint8) are pixels and are read as v/127.5 - 1, in [-1, 1], the range that diffusion models are trained on.
    Floating-point values are not rescaled, so t is the variance of the noise in squared data units.

    Attributes:
        name: Name given by the user.
        kind: Description of the detected format.
        values: (n, *shape), uint8 or floating point; read from the file by rows if it allows.
        files: A name for each row, or () if rows have none.
        notes: Conversions and omissions while reading, as sentences.
        captions: What each image shows, as a text or the number of a class, or () if that is not known.
    """

    name: str
    kind: str
    values: NDArray[np.generic] | StoredArray
    files: Sequence[str] = field(default=(), repr=False)
    notes: tuple[str, ...] = ()
    captions: Sequence[str] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        v = self.values
        if v.dtype.kind not in "uif" or v.dtype.itemsize > 8:
            raise InputError(
                f"{self.name}: holds values of type {v.dtype}, but must hold numbers: uint8 for pixels, other integers, or floating point."
            )
        if v.ndim < 2:
            raise InputError(
                f"{self.name}: has shape {v.shape}, but must be an array of samples (n, d) or images (n, height, width[, channels])."
            )
        if 0 in v.shape:
            what = "no samples" if v.shape[0] == 0 else "samples without any values (zero columns)"
            raise InputError(f"{self.name}: holds {what} (shape {v.shape}).")
        for start, block in self.blocks():
            fine = np.isfinite(block).reshape(block.shape[0], -1).all(1)
            if not fine.all():
                row = start + int(np.argmin(fine))
                raise InputError(
                    f"{self.name}: {self.label(row)} holds a value that is not finite (NaN or infinity); leave such rows out."
                )

    def __len__(self) -> int:
        return int(self.values.shape[0])

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one sample."""
        return tuple(int(k) for k in self.values.shape[1:])

    @property
    def dim(self) -> int:
        """Number of values of a sample, d."""
        return math.prod(self.shape)

    @property
    def pixels(self) -> bool:
        """Whether the values are bytes, scaled to [-1, 1]."""
        return self.values.dtype == np.uint8

    @property
    def image_shape(self) -> tuple[int, ...] | None:
        """(height, width) or (height, width, 3) if samples can be shown as images, otherwise None."""
        return image_shape(self.shape)

    def label(self, row: int) -> str:
        """A name for a row: its file, or its number."""
        return self.files[row] if len(self.files) else f"row {row}"

    def rows(self, index: Sequence[int] | NDArray[np.int64] | slice) -> Tensor:
        """The selected samples (k, d) on the data's scale: float64 if float32 would round the values, otherwise float32."""
        held = self.values.dtype
        wide = held.itemsize == 8 or (held.kind in "ui" and held.itemsize == 4)
        places = np.arange(len(self))[index]
        out = np.empty((places.size, self.dim), dtype=np.float64 if wide else np.float32)
        for start in range(0, places.size, self._step):  # rows in a file are never all held twice
            chosen = self.values[places[start : start + self._step]]
            out[start : start + self._step] = chosen.reshape(len(chosen), -1)
        flat = torch.from_numpy(out)
        return flat.div_(127.5).sub_(1) if self.pixels else flat

    def arranged(self, other: "DataSet") -> "DataSet":
        """This data set with the axes in the order of `other`, if both are images of the same `image_shape`."""
        if self.shape == other.shape or len(self.shape) != 3 or len(other.shape) != 3:
            return self if self.shape == other.shape else replace(self, values=self.values.reshape(-1, *other.shape))
        axes = (0, 3, 1, 2) if self.shape[2] in (1, 3) else (0, 2, 3, 1)
        return replace(self, values=self.values.transpose(*axes))

    def fingerprint(self) -> str:
        """A digest of shape, type and values, independent of where the data are stored."""
        digest = hashlib.blake2b(repr((self.values.shape, self.values.dtype.str)).encode(), digest_size=8)
        for _, block in self.blocks():
            digest.update(np.ascontiguousarray(block).data)
        for caption in self.captions:
            digest.update(repr(caption).encode())
        return digest.hexdigest()

    def blocks(self) -> Iterator[tuple[int, NDArray[np.generic]]]:
        """Blocks of rows, each with the index of its first row."""
        for start in range(0, len(self), self._step):
            yield start, self.values[start : start + self._step]

    @property
    def _step(self) -> int:
        """Rows of a block."""
        return max(1, _BLOCK // max(1, self.values.dtype.itemsize * self.dim))
