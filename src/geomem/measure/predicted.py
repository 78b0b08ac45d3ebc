"""Theory's predictions for data, treated as a Gaussian with their covariance (the plug-in)."""

from collections.abc import Sequence

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray

from geomem import theory
from geomem.measure.principal import SMALL, Prepared
from geomem.seeds import derived_seed
from geomem.spectra.dimension import RESOLVED

__all__ = ["information_needed", "predicted", "predicted_sizes"]

_T = {"units": "data units squared", "long_name": "noise variance"}
# Number of held-out points at which random spectra of theory are drawn.
_DRAWN = 48
# Sizes beyond the data for which theory predicts: factors of the largest size.
_BEYOND = (4, 16, 64)


def predicted_sizes(sizes: Sequence[int]) -> list[int]:
    """Numbers of samples for which theory predicts: those of the data, and larger ones.

    >>> predicted_sizes([25, 100])
    [25, 100, 400, 1600, 6400]
    """
    return [*sorted(sizes), *(factor * max(sizes) for factor in _BEYOND)]


def predicted(data: Prepared, size: int, times: NDArray[np.float64], points: int, seed: int) -> xr.Dataset:
    """Resolved dimension and own weight by theory, for one data set of some size.

    Variables over (size, t): `training` (and point), resolved dimension at training points; `held_out` (and draw), random
    spectra at held-out points (a heuristic, see `theory.held_out_survival`); `own_weight` (and point).
    """
    s = data.variances
    where = [data.coordinates(rows[:points]).to(torch.float64).numpy() for rows in (data.train, data.held_out)]
    planted = theory.training_point(s, size, times[:, None], where[0])
    rng = np.random.default_rng(derived_seed(seed, "held-out theory", size))
    drawn = np.stack([_drawn(s, size, float(t), where[1][:_DRAWN], rng) for t in times])
    return xr.Dataset(
        {
            "training": (("t", "point"), planted.resolved(RESOLVED), {"units": "dimensions"}),
            "own_weight": (("t", "point"), planted.own_weight, {"units": "1"}),
            "held_out": (("t", "draw"), drawn, {"units": "dimensions"}),
        },
        coords={"t": ("t", times, _T)},
    ).expand_dims(size=[size])


def information_needed(data: Prepared, times: NDArray[np.float64], points: int) -> xr.DataArray:
    """d h(t, x) at held-out points over (t, point), in nats; its exp is the number of samples for which t_c(x) = t (Gaussian)."""
    where = data.coordinates(data.held_out[:points]).to(torch.float64).numpy()
    nats = theory.information(data.variances, times[:, None], where) * data.variances.size
    return xr.DataArray(nats, dims=("t", "point"), coords={"t": ("t", times, _T)}, attrs={"units": "nats"})


def _drawn(
    s: NDArray[np.float64], n: float, t: float, where: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.float64]:
    """Resolved dimension of one drawn spectrum at each position, in the directions with variance not small against t."""
    kept = max(1, int(np.sum(s > SMALL * t)))
    kappa = theory.held_out_survival(s[:kept], n, t, where[:, :kept], n_draws=1, rng=rng)[0]
    return np.asarray((kappa > RESOLVED).sum(-1), dtype=np.float64)
