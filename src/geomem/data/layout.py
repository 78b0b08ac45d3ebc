"""Interpret the shape of a sample as an image."""

import math

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from geomem.errors import InputError

__all__ = ["as_images", "channels_first", "image_shape"]


def image_shape(shape: tuple[int, ...]) -> tuple[int, ...] | None:
    """(height, width) or (height, width, 3) of samples that are images, with channels last or first; otherwise None.

    >>> image_shape((28, 28)), image_shape((3, 32, 32)), image_shape((64,))
    ((28, 28), (32, 32, 3), None)
    """
    if len(shape) == 3 and shape[2] in (1, 3):
        return shape if shape[2] == 3 else shape[:2]
    if len(shape) == 3 and shape[0] in (1, 3):
        return (*shape[1:], 3) if shape[0] == 3 else shape[1:]
    return shape if len(shape) == 2 else None


def as_images(rows: NDArray[np.floating], shape: tuple[int, ...]) -> NDArray[np.floating]:
    """Flat samples (n, d) of an image `shape`, as (n, height, width[, 3])."""
    target = image_shape(shape)
    assert target is not None
    if len(shape) == 3 and shape[0] == 3 and shape[2] != 3:
        return rows.reshape(-1, *shape).transpose(0, 2, 3, 1)
    return rows.reshape(-1, *target)


def channels_first(rows: Tensor, shape: tuple[int, ...], wanted: tuple[int, ...]) -> Tensor:
    """Flat samples (n, d) of `shape` as (n, *wanted): channels are moved first, and a single channel is added if missing.

    Raises:
        InputError: If samples of `shape` cannot be such events.

    >>> import torch
    >>> channels_first(torch.zeros(5, 64), (8, 8), (1, 8, 8)).shape
    torch.Size([5, 1, 8, 8])
    """
    if shape == wanted or (len(wanted) == 1 and math.prod(shape) == wanted[0]):
        return rows.reshape(-1, *wanted)
    found = image_shape(shape)
    if len(wanted) == 3 and found == (wanted if wanted[0] != 1 else wanted[1:]):
        return rows.reshape(-1, *wanted)
    if len(wanted) == 3 and found == (*wanted[1:], wanted[0]):
        return rows.reshape(-1, *found).permute(0, 3, 1, 2).contiguous()
    raise InputError(f"samples: have shape {shape}, but must be events of shape {wanted}.")
