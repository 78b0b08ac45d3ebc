r"""Singular values of the score's Jacobian: exact (Eqs. 7-9) and empirical (18, 19, 43), in units of J (1/variance).

For data N(0, diag(s)) the exact Jacobian is diag(-1/(t+s_i)). Eq. 18 adds to the smoothed Jacobian (Eq. 5, at x = 0)
independent Gaussian entries,

    var J_ij = s_i/(t (t+s_i)) [phi(t,0) + phi(t, e_j sqrt t)],   phi(t,x) = max(1/N, 1 - t/t_c(x)) / t,

with the floor in the right units; t_c is exact by default. Closed forms for the singular values follow by adding the power
of the noise to that of the mean: of column j in "column" (Eqs. 19 and 43 with variances that are not squared), or of row i in
"row", where the noise actually is. The printed forms are "eq19" and "eq43". All four are heuristics: they assume independent
entries, and sum the noise over all d columns although d - m columns have none. The correlated theory in `correlated` is closer
to simulation at every t.
"""

import numpy as np
from numpy.typing import ArrayLike

from geomem.errors import InputError
from geomem.theory.arguments import Array, choice, one, samples, times, variances_of
from geomem.theory.rem import condensation_time

__all__ = [
    "exact_singular_values",
    "jacobian_samples",
    "jacobian_singular_values",
    "random_projection_gap",
    "spectral_gaps",
]

_FORMS = ("row", "column", "eq19", "eq43")
_CONDENSATION = ("exact", "expansion")


def exact_singular_values(variances: ArrayLike, t: ArrayLike) -> Array:
    """Singular values 1/(t + s_i) of the exact score's Jacobian (Eq. 8), J units, in the order of `variances`.

    Eq. 8 as printed has t J on its left side; this is J itself. Shape (*t.shape, d).
    """
    return np.asarray(1 / (times(t)[..., None] + variances_of(variances)))


def spectral_gaps(variances: ArrayLike, t: ArrayLike) -> tuple[np.ndarray, Array]:
    """Gaps between consecutive distinct singular values of the exact Jacobian (Eq. 7), J units.

    In descending order of the singular values, a gap lies after the first k. The total gap (k = d - m), between the
    directions outside the manifold and inside, grows as 1/t; intermediate gaps 1/(t+s_{k+1}) - 1/(t+s_k) tend to
    1/s_{k+1} - 1/s_k.

    Args:
        variances: s_i (d,), zeros allowed.
        t: Diffusion time, any shape.

    Returns:
        k (g,), the number of singular values before each gap, and the gaps' sizes (*t.shape, g).

    Raises:
        InputError: For negative variances or times that are not positive.

    >>> k, size = spectral_gaps([1.0, 1.0, 0.3, 0.0], t=1e-3)
    >>> print(k, size.round(2))
    [1 2] [996.68   2.32]
    """
    levels, counts = np.unique(variances_of(variances), return_counts=True)
    values = exact_singular_values(levels, t)
    return np.cumsum(counts)[:-1], np.asarray(values[..., :-1] - values[..., 1:])


def random_projection_gap(
    variance: ArrayLike, rank_ratio: ArrayLike, t: ArrayLike, *, form: str = "corrected"
) -> Array:
    """Total gap of t J for data x = F z with F_ij ~ N(0, sigma^2/m) (Eq. 9), without units.

    The gap lies above the lower edge of the Marchenko-Pastur bulk of F F^T, lambda = sigma^2 (alpha_m^{-1/2} - 1)^2:
    it is lambda/(t + lambda). The printed equation (form "eq9") has the upper edge, the full spread of the spectrum.
    For orthogonal columns of norm sigma the gap is exactly sigma^2/(t + sigma^2): `spectral_gaps` times t.

    Args:
        variance: sigma^2, any shape.
        rank_ratio: alpha_m = m/d in (0, 1], any shape.
        t: Diffusion time, any shape.
        form: "corrected" or "eq9".

    Returns:
        Gap, with the broadcast shape of the three.

    Raises:
        InputError: For values out of range or an unknown form.
    """
    sign = -1.0 if choice("form", form, ("corrected", "eq9")) == "corrected" else 1.0
    ratio, sigma2 = np.asarray(rank_ratio, dtype=np.float64), np.asarray(variance, dtype=np.float64)
    if not np.all((ratio > 0) & (ratio <= 1)):
        raise InputError("rank_ratio: must lie in (0, 1]; it is the rank m over the dimension d.")
    if not np.all(np.isfinite(sigma2) & (sigma2 > 0)):
        raise InputError("variance: must be finite and above 0.")
    edge = sigma2 * (ratio**-0.5 + sign) ** 2
    return np.asarray(edge / (times(t) + edge))


def jacobian_singular_values(
    variances: ArrayLike,
    n_samples: float,
    t: ArrayLike,
    *,
    form: str = "row",
    condensation: str = "exact",
) -> Array:
    """Closed-form singular values of the smoothed empirical Jacobian at the origin, in J units.

    With S_j = phi(t,0) + phi(t, e_j sqrt t), phi as at the head of this module:

    - "row":    s_i^2 = 1/(t+s_i)^2 + s_i/(t (t+s_i)) sum_j S_j
    - "column": s_j^2 = 1/(t+s_j)^2 + sum_i s_i/(t (t+s_i)) S_j
    - "eq19":   s_j^2 = 1/(t+s_j)^2 + sum_i s_i/(t^2 (t+s_i)^2) S_j^2, with phi = max(1/N, 1/t - 1/t_c)
    - "eq43":   s_j^2 = 1/(t+s_j)^2 + sum_i s_i^2/(t^2 (t+s_i)^2) S_j^2, with phi = max(0, 1/t - 1/t_c)

    Args:
        variances: s_i (d,), zeros allowed.
        n_samples: Number of samples N >= 2.
        t: Diffusion time, any shape.
        form: "row", "column", or the printed "eq19", "eq43".
        condensation: "exact" or "expansion" (Eq. 15) for t_c, in every form.

    Returns:
        Singular values (*t.shape, d), in the order of `variances`.

    Raises:
        InputError: For values out of range or unknown options.

    >>> s = [1.0] * 2 + [0.3] * 5 + [0.0] * 23
    >>> print(jacobian_singular_values(s, 1000, 0.1)[[0, 2, 7]].round(4))
    [ 2.5062  3.2787 10.    ]
    """
    choice("form", form, _FORMS)
    n_samples = one("n_samples", n_samples)
    s, tt = variances_of(variances), times(t)[..., None]
    if form in ("row", "column"):
        noise = _noise_share(s, n_samples, t, condensation, floor=1 / float(samples(n_samples)) / tt)
        rates = s / (tt * (tt + s))
        power = rates * noise.sum(-1, keepdims=True) if form == "row" else rates.sum(-1, keepdims=True) * noise
    else:
        printed_floor = np.full_like(tt, 1 / float(samples(n_samples)) if form == "eq19" else 0.0)
        noise = _noise_share(s, n_samples, t, condensation, floor=printed_floor)
        numerator = s if form == "eq19" else s**2
        power = np.sum(numerator / (tt * (tt + s)) ** 2, -1, keepdims=True) * noise**2
    return np.asarray(np.sqrt(1 / (tt + s) ** 2 + power))


def jacobian_samples(
    variances: ArrayLike,
    n_samples: float,
    t: float,
    n_draws: int,
    *,
    rng: np.random.Generator,
    form: str = "corrected",
    condensation: str = "exact",
) -> Array:
    """Draws of the random matrix of Eq. 18 (J units), for its singular values or anything else.

    Args:
        variances: s_i (d,), zeros allowed.
        n_samples: Number of samples N >= 2.
        t: One diffusion time.
        n_draws: Number of matrices.
        rng: Source of randomness.
        form: "corrected"; "eq18" for the printed floor 1/N, which is dimensionless and should have units of 1/t; "eq41"
            for the asymptotic phi without a floor.
        condensation: "exact" or "expansion" (Eq. 15) for t_c.

    Returns:
        Matrices (n_draws, d, d).

    Raises:
        InputError: For values out of range or unknown options.
    """
    choice("form", form, ("corrected", "eq18", "eq41"))
    n_samples = one("n_samples", n_samples)
    s, tt = variances_of(variances), times(one("t", t))
    floor = {"corrected": 1 / float(tt), "eq18": 1.0, "eq41": 0.0}[form] / float(samples(n_samples))
    noise = _noise_share(s, n_samples, tt, condensation, floor=np.full((1,), floor))
    scale = np.sqrt((s / (tt * (tt + s)))[:, None] * noise)
    draws = rng.standard_normal((n_draws, s.size, s.size)) * scale
    draws[:, np.arange(s.size), np.arange(s.size)] -= 1 / (tt + s)
    return np.asarray(draws)


def _noise_share(s: Array, n_samples: float, t: ArrayLike, condensation: str, floor: Array) -> Array:
    """phi(t,0) + phi(t, e_j sqrt t) for every axis j, (*t.shape, d), with phi = max(floor, 1/t - 1/t_c)."""
    choice("condensation", condensation, _CONDENSATION)
    n, tt = samples(n_samples, least=2), times(t)[..., None]
    # e_j sqrt t has the same condensation time for all axes of one variance.
    levels, first, inverse = np.unique(s, return_index=True, return_inverse=True)
    axes = (first[:, None] == np.arange(s.size)) * np.sqrt(tt)[..., None]
    origin = condensation_time(s, n, method=condensation)
    perturbed = condensation_time(s, n, axes, method=condensation)
    with np.errstate(divide="ignore"):  # all variances 0: t_c = 0, and the floor applies
        at_origin = np.maximum(floor, 1 / tt - 1 / origin)
        at_axes = np.maximum(floor, 1 / tt - 1 / perturbed)
    assert at_axes.shape[-1] == levels.size
    return np.asarray(at_origin + at_axes[..., inverse])
