"""A closer look at few images: the leading survivals of a model there, and the directions that it keeps and has lost."""

import math
from collections.abc import Sequence

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor

from geomem.measure.directions import Axes, lost_axes
from geomem.precision import full_precision
from geomem.scores.base import Score
from geomem.scores.conditioned import at_points
from geomem.scores.network import dtype_of
from geomem.seeds import derived_generator
from geomem.spectra import leading
from geomem.spectra.products import products

__all__ = ["expected_evaluations", "expected_memory", "look"]

# Survivals that are recorded, and directions of each kind.
_RANKS, _SHOWN = 64, 3


def expected_evaluations(survivals: float, dim: int) -> float:
    """About how many evaluations a point with so many survivals takes: 6 for each and 60, or a complete basis."""
    return min(6 * survivals + 60, 1.2 * dim) + _SHOWN + 3


def expected_memory(survivals: float, dim: int) -> float:
    """About how many bytes the basis of such a point takes, with its images under the Jacobian and their products."""
    columns = 4 * survivals + 60
    return 24.0 * dim * (dim if 3 * columns > dim else columns)


def look(
    score: Score,
    images: Tensor,
    t: float,
    axes: Axes,
    *,
    draws: Sequence[int],
    seed: int = 0,
    together: int = 16,
    device: str = "cpu",
) -> xr.Dataset:
    """Resolved dimension, leading survivals, and directions kept and lost, at images plus noise.

    Kept directions are the eigenvectors of the largest survivals. Lost ones are those orthogonal to all that survive in which the data
    vary most: the principal axes of the data's covariance there.

    Args:
        score: Any score; with conditions, one for each image.
        images: Clean images (n, *shape).
        t: Noise variance, data units squared.
        axes: Principal axes of the data.
        draws: Number of the noise draw of each image; images that are compared share theirs.
        seed: Seed of the noise.
        together: Number of points in lockstep.
        device: Device of the score.

    Returns:
        Over point: `dimension` (number of survivals above 1/2), `survival` (rank; NaN beyond a point's own), `noisy` and `guess`
        (value; the point and the denoised image), `kept` and `lost` (shown, value), `kept_survival` and `lost_survival` (shown),
        `evaluations`.
    """
    clean = images.to(device).to(dtype_of(score))
    noise = [torch.randn(score.shape, generator=derived_generator(seed, "closer", i)) for i in draws]
    x = clean + math.sqrt(t) * torch.stack(noise).to(clean)
    found = leading(score, x, t, together=together, seed=seed)
    d, n = x[0].numel(), len(x)
    kept = _first(found.vectors.cpu().numpy(), n, d)
    kept_survival = _first(found.values.cpu().numpy()[..., None], n, 1)[..., 0]
    kept[~np.isfinite(kept_survival)] = np.nan
    gone = [lost_axes(found.vectors[i, : int(found.count[i])].cpu().numpy(), axes, _SHOWN) for i in range(n)]
    lost = np.stack([np.concatenate([one, np.full((_SHOWN - len(one), d), np.nan)]) for one in gone])
    survival = _first(found.values.cpu().numpy()[..., None], n, 1, _RANKS)[..., 0]
    lost_survival, spent = np.full((n, _SHOWN), np.nan), 0
    for start in range(0, n, together):
        some = slice(start, min(n, start + together))
        at = products(at_points(score, range(n)[some]), x[some], t)
        for rank in range(_SHOWN):
            v = torch.from_numpy(np.nan_to_num(lost[some, rank])).to(device)
            moved = (v * at.transposed(v)).sum(1).cpu().numpy()
            lost_survival[some, rank] = np.where(np.isfinite(lost[some, rank]).all(1), moved, np.nan)
        spent = at.evaluations
    with torch.no_grad(), full_precision():
        starts = range(0, n, together)
        parts = [
            rows + t * at_points(score, range(n)[start : start + together])(rows, t)
            for start, rows in zip(starts, x.split(together), strict=True)
        ]
    guess = torch.cat(parts).flatten(1).to(torch.float64).cpu().numpy()
    units = {"units": "data units"}
    return xr.Dataset(
        {
            "dimension": ("point", found.count.cpu().numpy().astype(float), {"units": "dimensions"}),
            "survival": (("point", "rank"), survival, {"units": "1"}),
            "picture": (("point", "value"), clean.flatten(1).to(torch.float64).cpu().numpy(), units),
            "noisy": (("point", "value"), x.flatten(1).to(torch.float64).cpu().numpy(), units),
            "guess": (("point", "value"), guess, {**units, "long_name": "denoised image E[y|x]"}),
            "kept": (("point", "shown", "value"), kept, {"units": "1"}),
            "lost": (("point", "shown", "value"), lost, {"units": "1"}),
            "kept_survival": (("point", "shown"), kept_survival, {"units": "1"}),
            "lost_survival": (("point", "shown"), lost_survival, {"units": "1"}),
            "evaluations": ("point", found.evaluations.cpu().numpy() + spent + 1, {"units": "evaluations"}),
        }
    )


def _first(values: NDArray[np.float64], n: int, width: int, count: int = _SHOWN) -> NDArray[np.float64]:
    """The first `count` entries (n, count, width) of values (n, m, width), NaN where there are fewer."""
    out = np.full((n, count, width), np.nan)
    some = values[:, :count]
    out[:, : some.shape[1]] = some
    return out
