"""Records of latents, as pictures: what a page shows of a model with an autoencoder."""

import math

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray

from geomem.models import Model

__all__ = ["direction_pictures", "pictured", "pictures"]

_IMAGES, _DIRECTIONS = ("picture", "noisy", "guess"), ("kept", "lost")


def pictures(model: Model, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points (n, d) as images (n, values)."""
    rows = torch.from_numpy(points).reshape(-1, *model.shape).to(model.dtype)
    return np.asarray(model.decode(rows).flatten(1).to(torch.float64).numpy())


def direction_pictures(
    model: Model, at: NDArray[np.float64], vectors: NDArray[np.float64], t: float
) -> NDArray[np.float64]:
    """Unit directions (n, k, d) at points (n, d), as changes of the image (n, k, values).

    A latent direction is a change of the decoded image: half the difference of the images a standard deviation of the noise to either
    side. Missing directions stay NaN.
    """
    if model.codec is None:
        return vectors
    n, k, d = vectors.shape
    step = math.sqrt(t) * np.nan_to_num(vectors)
    sides = [pictures(model, (at[:, None] + sign * step).reshape(n * k, d)) for sign in (1, -1)]
    change = (sides[0] - sides[1]).reshape(n, k, -1) / 2
    change[~np.isfinite(vectors).all(-1)] = np.nan
    return np.asarray(change)


def pictured(model: Model, found: xr.Dataset, t: float) -> xr.Dataset:
    """What `measure.closer.look` returned, with images in place of latents; as it is, for a model of pixels."""
    if model.codec is None:
        return found
    guess = found["guess"].values
    out = found.drop_vars([*_IMAGES, *_DIRECTIONS])
    for name in _IMAGES:
        out[name] = (("point", "value"), pictures(model, found[name].values), found[name].attrs)
    for name in _DIRECTIONS:
        shown = direction_pictures(model, guess, found[name].values, t)
        out[name] = (("point", "shown", "value"), shown, {"units": "data units"})
    return out
