"""What theory says of Gaussian data over noise variances, as labelled arrays."""

from collections.abc import Sequence

import numpy as np
import xarray as xr

from geomem import theory
from geomem.errors import InputError
from geomem.seeds import derived_seed

__all__ = ["FORMS", "METHODS", "predictions"]

METHODS = ("rem", "annealed", "finite")
FORMS = ("exact", "row", "column", "eq19", "eq43")


# Most dimensions in which singular values are ordered one by one.
_ORDERED = 10_000


def predictions(
    variances: Sequence[float], n_samples: float, times: Sequence[float], *, draws: int = 400, seed: int = 0
) -> xr.Dataset:
    """Condensation, effective samples and Jacobian spectra at the origin, over times.

    Returns:
        `effective_samples` (estimator, t); `singular_values` (form, t, level), J units, one level for each distinct
        variance; `ordered` (t, direction), the median over draws of the correlated theory's ordered singular values
        (absent where it does not apply: rank below 3 or above 90, d above 10,000); `condensation_time`, `expansion` (Eq. 15) and
        `half_weight_time`; `axis_condensation_time` (level), self-consistent along e_j sqrt t (see
        `condensation_time_along`).

    Raises:
        InputError: For all-zero variances, N < 2, times that are not positive, or a negative seed.
    """
    s, t, n = np.asarray(variances, dtype=np.float64), np.asarray(times, dtype=np.float64), float(n_samples)
    t_c = theory.condensation_time(s, n)
    if not np.any(s > 0):
        raise InputError("variances: all are 0, so there is no manifold; give at least one above 0.")
    if n < 2:
        raise InputError(f"n_samples: got {n:g}; a single sample is condensed at every t, so at least 2 are needed.")
    if seed < 0:
        raise InputError(f"seed: must not be negative, got {seed}.")
    rank = int(np.sum(s > 0))
    methods = [m for m in METHODS if m != "finite" or rank > 2]
    levels, first = np.unique(s, return_index=True)
    levels, first = levels[::-1], first[::-1]
    values = [theory.exact_singular_values(s, t)[:, first]]
    values += [theory.jacobian_singular_values(s, n, t, form=form)[:, first] for form in FORMS[1:]]
    time = {"units": "data units squared"}
    arrays = xr.Dataset(
        {
            "effective_samples": (
                ("estimator", "t"),
                np.stack([theory.effective_samples(s, n, t, method=m) for m in methods]),
                {"units": "samples"},
            ),
            "singular_values": (("form", "t", "level"), np.stack(values), {"units": "1 / data units squared"}),
            "condensation_time": ((), t_c, time),
            "expansion": ((), theory.condensation_time(s, n, method="expansion"), time),
            "half_weight_time": ((), theory.half_weight_time(s, n), time),
            "axis_condensation_time": (
                "level",
                theory.condensation_time_along(s, n, first[:, None] == np.arange(s.size)),
                time,
            ),
        },
        coords={"estimator": methods, "form": list(FORMS), "t": ("t", t, time), "level": ("level", levels, time)},
        attrs={"dim": s.size, "rank": rank, "n_samples": n},
    )
    if not 2 < rank <= 90 or s.size > _ORDERED:
        return arrays
    ordered = []
    for i, u in enumerate(t):
        law = theory.correlated_jacobian(s, n, float(u), form="shrunk")
        rng = np.random.default_rng(derived_seed(seed, "correlated", i))
        ordered.append(np.median(law.singular_values(draws, rng=rng), axis=0))
    direction = np.arange(1, s.size + 1)
    return arrays.assign(
        ordered=(("t", "direction"), np.stack(ordered), {"units": "1 / data units squared"})
    ).assign_coords(direction=direction)
