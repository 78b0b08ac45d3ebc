"""Split the images of a data set into training and held-out images."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geomem.data import DataSet, nested_split
from geomem.data.distinct import distinct_rows
from geomem.data.layout import channels_first
from geomem.data.scale import scale_of
from geomem.errors import InputError

__all__ = ["divided", "shape_of", "stored", "tensor_of"]


def shape_of(data: DataSet) -> tuple[int, ...]:
    """(channels, height, width) of a data set's images.

    Raises:
        InputError: If its samples are not images, or not on [-1, 1].
    """
    shape = data.image_shape
    if shape is None:
        raise InputError(
            f"{data.name}: has samples of shape {data.shape}, which are not images; give (n, height, width[, channels])."
        )
    scale = scale_of(data)
    if scale not in (None, "-1 to 1"):
        raise InputError(
            f"{data.name}: its values look like pixels from {scale}, but diffusion models are trained on -1 to 1; rescale them, or save "
            "them as bytes (uint8), which are scaled as they are read."
        )
    return (1, *shape) if len(shape) == 2 else (shape[2], *shape[:2])


def divided(data: DataSet, size: int | None, held_out: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Training rows and held-out rows. Subsets of one seed are nested, and held-out rows are the same for all sizes.

    By default all rows are used. Otherwise only distinct rows are, so that no held-out image has a copy in the training set.

    Raises:
        InputError: If there are too few distinct images.
    """
    if size is None and held_out == 0:
        return np.arange(len(data)), np.arange(0)
    distinct = distinct_rows(data)[0]
    wanted = distinct.size - held_out if size is None else size
    if held_out < 0 or wanted < 1 or wanted + held_out > distinct.size:
        apart = f" and {held_out:,} held out (--hold-out)" if held_out else ""
        what = "1 training image" if size is None else f"{size:,} training images"
        raise InputError(
            f"{data.name}: has {distinct.size:,} distinct images, fewer than {what}{apart}; choose fewer, or give more data."
        )
    split = nested_split(distinct.size, (wanted,), held_out=held_out, seed=seed)
    return distinct[split.order], distinct[split.held_out]


def stored(data: DataSet, rows: NDArray[np.int64], shape: tuple[int, ...]) -> Tensor:
    """Images (n, channels, height, width) in the form used by training: bytes remain bytes, to save memory; others are float32."""
    if not data.pixels:
        return tensor_of(data, rows, shape)
    flat = torch.from_numpy(data.values[rows].reshape(rows.size, -1))
    return channels_first(flat, data.shape, shape)


def tensor_of(data: DataSet, rows: NDArray[np.int64], shape: tuple[int, ...]) -> Tensor:
    """Images (n, channels, height, width), float32."""
    return channels_first(data.rows(rows), data.shape, shape).float()
