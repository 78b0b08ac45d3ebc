r"""The condensation time of the empirical score of real data, without a Gaussian assumption, and its uncertainty.

Let Y = sum_mu w_mu^2 = 1/N~ at held-out positions. The Random Energy Model predicts E[Y] = 1 - t/t_c below t_c (Eq. 36),
and at finite rank E[Y] = 1 - t/(C t_c), see `theory.rank_correction`. So the time at which the mean of Y is one half gives

    t_c = 2 t(Y = 1/2) / C(m_eff/2),

where m_eff is the number of directions over which the posterior spreads. For real data it is unknown. `geomem data`
states t(Y = 1/2), which does not need it, and t_c for several assumed values.

The accuracy was tested on linear manifolds (d = 30, rank 7 and 15, N = 1000). At the origin, with the rank of theory, this
t_c is 9% and 5% larger than the exact one, because E[Y] is no longer linear at Y = 1/2. With the rank measured at 2t it is
22 to 26% larger. Averaged over held-out points, as in `geomem data`, it is within 1% of the mean exact t_c.
"""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.stats import norm
from scipy.stats import t as student
from torch import Tensor

from geomem.errors import InputError
from geomem.measure.principal import Prepared, smallest_time, spanned
from geomem.scores import EmpiricalScore, Posterior
from geomem.theory import condensation_time, rank_correction

__all__ = [
    "condensation",
    "condensation_time_from_half",
    "crossing",
    "half_time",
    "half_time_at",
    "half_time_of",
    "resampled_means",
]

# Growth factor of a bracket, and largest number of growth steps.
_GROWTH, _TRIES = 4.0, 40
# Smallest time at which distances are exact, relative to the largest variance of an entry.
_SMALLEST = 1e-4
# Share of the weight that spectra may omit.
_NEGLIGIBLE = 1e-9
_T = {"units": "data units squared", "long_name": "noise variance"}


def half_time_at(train: Tensor, points: Tensor) -> float:
    """Noise variance at which the mean of sum w^2 at `points` (p, d) over rows `train` (n, d) is 1/2; NaN if there is none.

    >>> import torch
    >>> samples = torch.eye(9, dtype=torch.float64)
    >>> round(half_time_at(samples, 0.4 * samples), 4)
    0.1369
    """
    largest = float(train.to(torch.float64).var(0, correction=0).max())
    t_min = _SMALLEST * max(largest, np.finfo(float).tiny)
    return half_time_of(EmpiricalScore(train).posterior(points, t_min=t_min))


def half_time_of(posterior: Posterior) -> float:
    """As `half_time_at`, for a posterior with known distances."""
    nearest = posterior.squares.amin(1)
    start = float(nearest[nearest > 0].median()) if bool((nearest > 0).any()) else 1.0
    return half_time(lambda t: float((1 / posterior.effective_samples(t)).mean()), start / 10)


def half_time(mean_weight: Callable[[float], float], start: float) -> float:
    """Time at which a mean that decreases with t from 1 crosses 1/2; NaN if it never does.

    Args:
        mean_weight: The mean of Y over positions at time t.
        start: Initial time of the search, above 0.
    """

    def excess(u: float) -> float:
        return mean_weight(math.exp(u)) - 0.5

    low = high = math.log(start)
    step = math.log(_GROWTH)
    for _ in range(_TRIES):
        if excess(low) >= 0:
            break
        low -= step
    else:
        return math.nan
    for _ in range(_TRIES):
        if excess(high) <= 0:
            break
        high += step
    else:
        return math.nan
    return math.exp(low) if low == high else math.exp(brentq(excess, low, high, xtol=1e-10))


def condensation(data: Prepared, points: int, spectra: int, clean: NDArray[np.bool_] | None = None) -> xr.Dataset:
    """Time at which the mean of Y at held-out points is one half, and the resulting t_c for several assumed ranks.

    Variables: `half`; `clean` (point, around), Y at times around it, computed without near duplicates (the argument `clean`
    marks the rows to keep); `t_c` and `rank` over `guess`, the assumed ranks; `plug_in` (point), the Gaussian plug-in's t_c at
    each held-out point.
    """
    x = data.held_out[:points]
    posterior = Posterior.of(data.samples(data.train), x, t_min=smallest_time(data))
    half = half_time_of(posterior)
    cleaned = posterior
    if clean is not None and not clean.all():
        cleaned = replace(posterior, squares=posterior.squares[:, torch.as_tensor(clean)])
    around = (half if math.isfinite(half) else 1.0) * np.geomspace(0.1, 100, 37)
    weights = np.stack([(1 / cleaned.effective_samples(float(t))).numpy() for t in around], 1)
    n, s = data.train.shape[0], data.variances
    t_c = float(condensation_time(s, n))
    ranks = {"none": math.inf, "plug-in": float(np.sum((s / (s + max(t_c, np.finfo(float).tiny))) ** 2))}
    if math.isfinite(half):
        kept = data.coordinates(data.train, spanned(s, 2 * half))
        squared = [
            float(posterior.survival(i, 2 * half, rows=kept, negligible=_NEGLIGIBLE).square().sum())
            for i in range(min(spectra, x.shape[0]))
        ]
        quartiles = np.quantile(squared, [0.25, 0.75])
        ranks |= {"measured": float(np.mean(squared)), "measured, lower quartile": float(quartiles[0])}
        ranks |= {"measured, upper quartile": float(quartiles[1])}
    rank = np.array(list(ranks.values()))
    times = np.where(np.isinf(rank), 2 * half, condensation_time_from_half(half, np.where(np.isinf(rank), 3, rank)))
    where = data.coordinates(x).to(torch.float64).numpy()
    return xr.Dataset(
        {
            "half": ((), half, _T),
            "clean": (("point", "around"), weights, {"units": "1", "long_name": "sum of w^2 without near duplicates"}),
            "t_c": ("guess", times, _T),
            "rank": ("guess", rank, {"units": "directions"}),
            "plug_in": ("point", condensation_time(s, n, where), _T),
        },
        coords={"guess": list(ranks), "around": ("around", around, _T)},
        attrs={"n_samples": n},
    )


def condensation_time_from_half(half: ArrayLike, rank: ArrayLike) -> NDArray[np.float64]:
    """t_c = 2 t(Y = 1/2) / C(rank/2); NaN if the rank is 2 or less, where C does not exist.

    >>> print(condensation_time_from_half(1.0, [2.0, 7.0, 1e6]).round(3))
    [  nan 1.164 2.   ]
    """
    m = np.asarray(rank, dtype=np.float64)
    usable = m > 2
    correction = np.where(usable, rank_correction(np.where(usable, m, 3.0)), np.nan)
    return np.asarray(2 * np.asarray(half, dtype=np.float64) / correction)


def crossing(times: ArrayLike, curves: ArrayLike, level: float, *, rising: bool = False) -> NDArray[np.float64]:
    """First time at which curves (..., T) cross `level`, falling or rising, interpolated linearly in ln t.

    Infinity if a curve never crosses the level; the first grid time if it starts beyond the level.

    >>> float(crossing([1.0, 2.0, 4.0], [1.0, 0.6, 0.4], 0.5).round(3))
    2.828
    """
    u = np.log(np.asarray(times, dtype=np.float64))
    y = np.asarray(curves, dtype=np.float64)
    beyond = y >= level if rising else y <= level
    index = beyond.argmax(-1)
    before = np.maximum(index - 1, 0)
    y0, y1 = (np.take_along_axis(y, i[..., None], -1)[..., 0] for i in (before, index))
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.where(index > 0, (level - y0) / (y1 - y0), 0.0)
    return np.where(beyond.any(-1), np.exp(u[before] + share * (u[index] - u[before])), np.inf)


def resampled_means(values: NDArray[np.float64], n: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Bootstrap means (n, ...) of values (subset, point, ...), resampling both subsets and points.

    Deviations are widened for small numbers of points, as in Student's interval. For small numbers of subsets they are
    widened only by the degrees of freedom, so the interval is too short if few subsets differ much.

    Raises:
        InputError: For fewer than two points.
    """
    subsets, points = values.shape[:2]
    if points < 2:
        raise InputError(f"values: resampling needs at least two points, got {points}.")
    # Points are drawn first, so that the same seed draws the same points for any number of subsets.
    over_points = rng.multinomial(points, np.full(points, 1 / points), size=n) / points
    # The variance of resampled points is too small by (points - 1)/points; Student's factor corrects for the rest.
    wider = math.sqrt(points / (points - 1)) * student.ppf(0.975, points - 1) / norm.ppf(0.975)
    over_points = 1 / points + (over_points - 1 / points) * wider
    over_subsets = rng.multinomial(subsets, np.full(subsets, 1 / subsets), size=n) / subsets
    if subsets > 1:
        over_subsets = 1 / subsets + (over_subsets - 1 / subsets) * math.sqrt(subsets / (subsets - 1))
    return np.asarray(np.einsum("ns,np,sp...->n...", over_subsets, over_points, values, optimize=True))
