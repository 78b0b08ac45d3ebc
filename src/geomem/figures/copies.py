"""Samples beside the training images that they lie closest to."""

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from geomem.data.layout import as_images
from geomem.figures.pictures import Tile, board, limits_of

__all__ = ["closest_pairs"]


def closest_pairs(copies: xr.Dataset, shape: tuple[int, ...], note: str) -> Figure:
    """Samples relatively closest to one training image, each above it."""
    samples, originals = (as_images(copies[name].values, shape) for name in ("picture", "original"))
    ratios = copies["ratio"].values[copies["closest"].values]
    limits = limits_of(np.concatenate([samples, originals]))
    above = [Tile(image, limits, f"{ratio:.2f}") for image, ratio in zip(samples, ratios, strict=True)]
    return board([("samples", above), ("nearest training images", [Tile(image, limits) for image in originals])], note)
