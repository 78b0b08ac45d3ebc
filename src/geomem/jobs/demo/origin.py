"""Smoothed Jacobians (Eq. 5) at the origin of the linear manifold: closed forms, data sets, and a trained network."""

import numpy as np
import torch
import xarray as xr

from geomem import theory
from geomem.jobs.demo.cases import manifold
from geomem.jobs.demo.measure import Trained
from geomem.scores import EmpiricalScore
from geomem.seeds import derived_generator, derived_seed
from geomem.spectra import spectrum

__all__ = ["origin"]

# Noise variances, data units squared.
_GRID = (-3.0, 1.0, 17)
_DRAWS = 200


def origin(trained: Trained) -> xr.Dataset:
    """Singular values at the origin, descending, J units.

    Variables over (t, direction): `exact` (Eq. 8), `row` (corrected Eq. 18 in closed form), `correlated` (median of draws
    of the correlated theory), `empirical` (median over independent data sets) with `empirical_low` and `empirical_high`
    (quartiles), `network`. And `condensation_time` and `half_weight_time`.
    """
    source, size, seed = manifold(), trained.size, trained.seed
    index = trained.case.settings.sizes.index(size)
    s, when = source.variances.numpy(), torch.logspace(*_GRID, dtype=torch.float64)
    t, at_origin = when.numpy(), torch.zeros(len(when), source.dim, dtype=torch.float64)
    rng = np.random.default_rng(derived_seed(seed, "correlated", index))
    laws = [theory.correlated_jacobian(s, size, float(u), form="shrunk") for u in t]
    runs = []
    for k in range(trained.scale.datasets):
        data = source.sample(size, generator=derived_generator(seed, "dataset", [index, k]))
        runs.append(spectrum(EmpiricalScore(data), at_origin, when, probe="smoothed").values.numpy())
    low, median, high = np.quantile(np.stack(runs), [0.25, 0.5, 0.75], axis=0)
    values = {
        "exact": np.sort(theory.exact_singular_values(s, t), -1)[..., ::-1],
        "row": np.sort(theory.jacobian_singular_values(s, size, t), -1)[..., ::-1],
        "correlated": np.stack([np.median(law.singular_values(_DRAWS, rng=rng), axis=0) for law in laws]),
        "empirical_low": low,
        "empirical": median,
        "empirical_high": high,
        "network": spectrum(trained.score, at_origin.float(), when, probe="smoothed").values.numpy(),
    }
    jacobian, time = {"units": "1 / data units squared"}, {"units": "data units squared"}
    return xr.Dataset(
        {name: (("t", "direction"), v, jacobian) for name, v in values.items()}
        | {
            "condensation_time": ((), theory.condensation_time(s, size), time),
            "half_weight_time": ((), theory.half_weight_time(s, size), time),
        },
        coords={"t": ("t", t, time), "direction": np.arange(1, source.dim + 1)},
    )
