"""How the shape of a sample reads as an image."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["as_images", "image_shape"]


def image_shape(shape: tuple[int, ...]) -> tuple[int, ...] | None:
    """(height, width) or (height, width, 3) of samples that can be shown, with channels last or first; else None.

    >>> image_shape((28, 28)), image_shape((3, 32, 32)), image_shape((64,))
    ((28, 28), (32, 32, 3), None)
    """
    if len(shape) == 3 and shape[2] in (1, 3):
        return shape if shape[2] == 3 else shape[:2]
    if len(shape) == 3 and shape[0] in (1, 3):
        return (*shape[1:], 3) if shape[0] == 3 else shape[1:]
    return shape if len(shape) == 2 else None


def as_images(rows: NDArray[np.float64], shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Flat samples (n, d) of `shape`, which must read as an image, as (n, height, width[, 3])."""
    target = image_shape(shape)
    assert target is not None
    if len(shape) == 3 and shape[0] == 3 and shape[2] != 3:
        return rows.reshape(-1, *shape).transpose(0, 2, 3, 1)
    return rows.reshape(-1, *target)
