r"""Condensation of the empirical score, from the positional Random Energy Model (Sec. 5.3, Supp. C).

Notation: d dimensions, variances s_i = sigma_i^2 (zeros allowed), N = exp(alpha d) samples, t the variance of the added
noise, x a position in the eigenbasis of the data. The energies E_mu = |y_mu|^2/2 - x.y_mu (Eq. 24 without a constant)
have the cumulant

    zeta(l) = (1/d) sum_i [ -1/2 ln(1 + l s_i/t) + l^2 x_i^2 s_i / (2 t^2 (1 + l s_i/t)) ]                       (27)

and the empirical score condenses onto few samples below the time t_c where alpha + zeta(1) - zeta'(1) = 0. That
condition says that the posterior p(y|x;t) and the prior p_0(y) differ by ln N nats:

    h(t) = zeta'(1) - zeta(1) = KL(p(y|x;t) || p_0) / d
         = (1/2d) sum_{s_i>0} [ ln(1 + s_i/t) - s_i/(t+s_i) + x_i^2 s_i/(t+s_i)^2 ] = alpha.

h falls strictly from infinity to 0, so the root exists and is unique. It is sought in u = ln t, where nothing
overflows. With z_i = ln s_i - u and r_i = s_i/(t+s_i) = 1/(1 + e^{-z_i}), the first two terms are
ln(1 + e^{z_i}) - r_i = sum_{k>=2} r_i^k / k.
"""

import warnings
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import elementwise
from scipy.special import expit

from geomem.errors import InputError, NumericalWarning
from geomem.theory.arguments import Array, choice, load, positions, times, variances_of

__all__ = [
    "condensation_time",
    "condensation_time_along",
    "cumulant",
    "cumulant_derivative",
    "decreasing_root",
    "information",
    "required_samples",
]

# Below this r the closed form ln(1+s/t) - r loses digits to cancellation; the series needs 16 terms there.
_SERIES_BELOW = 0.1
_SERIES = 1.0 / np.arange(17, 1, -1)
# Rows of positions solved at once: bounds the working memory at a few times 16 MB.
_BLOCK = 2**21
Index = NDArray[np.int64]
_METHODS = ("exact", "expansion")


def cumulant(variances: ArrayLike, t: ArrayLike, lam: ArrayLike = 1.0, x: ArrayLike | None = None) -> Array:
    """Cumulant zeta(lambda) of the energies, Eq. 27, per dimension.

    Args:
        variances: s_i = sigma_i^2 (d,), zeros allowed.
        t: Diffusion time, any shape.
        lam: lambda, broadcast against `t`.
        x: Position (..., d) in the eigenbasis; None is the origin.

    Returns:
        zeta, in nats per dimension, with the shape that t, lambda and x broadcast to.

    Raises:
        InputError: For negative variances, times that are not positive, or positions of another dimension.
    """
    s, tt, ll, x2 = _cumulant_arguments(variances, t, lam, x)
    a = ll * s / tt
    terms = -0.5 * np.log1p(a) + ll**2 * x2 * s / (2 * tt**2 * (1 + a))
    return np.asarray(terms.sum(-1) / s.size)


def cumulant_derivative(variances: ArrayLike, t: ArrayLike, lam: ArrayLike = 1.0, x: ArrayLike | None = None) -> Array:
    """Derivative zeta'(lambda) of the cumulant, Eq. 28, per dimension.

    Arguments, shapes and errors are those of `cumulant`.
    """
    s, tt, ll, x2 = _cumulant_arguments(variances, t, lam, x)
    g = s / (tt * (1 + ll * s / tt))
    terms = -0.5 * g + ll * x2 * g / tt - 0.5 * ll**2 * x2 * g**2 / tt
    return np.asarray(terms.sum(-1) / s.size)


def information(variances: ArrayLike, t: ArrayLike, x: ArrayLike | None = None) -> Array:
    """Information h(t) = KL(p(y|x;t) || p_0) / d that a noisy position carries about the clean point, nats per dimension.

    It equals zeta'(1) - zeta(1), computed without cancellation. The score condenses where it equals alpha = ln N / d.

    Args:
        variances: s_i (d,), zeros allowed.
        t: Diffusion time, any shape.
        x: Position (..., d) in the eigenbasis; None is the origin.

    Returns:
        h, with the shape that t and x[..., 0] broadcast to.

    Raises:
        InputError: For negative variances, times that are not positive, or positions of another dimension.
    """
    s = variances_of(variances)
    support = s > 0
    x2 = None if x is None else positions(x, s.size)[..., support] ** 2
    return _information(np.log(s[support]), np.log(times(t)), x2) / s.size


def required_samples(variances: ArrayLike, t: ArrayLike, x: ArrayLike | None = None) -> Array:
    """Samples N = exp(d h(t)) at which the empirical score at x condenses at t: with more, t_c(x) < t.

    Arguments, shapes and errors are those of `information`. Numbers beyond the range of float64 are returned as infinity,
    with a `NumericalWarning`.

    >>> float(required_samples([1.0, 0.3], t=0.1).round(3))
    2.894
    """
    nats = information(variances, t, x) * np.size(variances)
    with np.errstate(over="ignore"):
        n = np.asarray(np.exp(nats))
    if not np.all(np.isfinite(n)):
        warnings.warn(
            "required_samples: more than 1e308 samples; returned as infinity.", NumericalWarning, stacklevel=2
        )
    return n


def condensation_time(
    variances: ArrayLike,
    n_samples: ArrayLike | None = None,
    x: ArrayLike | None = None,
    *,
    alpha: ArrayLike | None = None,
    method: str = "exact",
) -> Array:
    """Condensation time t_c(x) of the empirical score at position x, for data N(0, diag(variances)).

    Below t_c the score at x averages over few samples. "exact" solves alpha + zeta(1) - zeta'(1) = 0 (Supp. C) to
    rounding; "expansion" is Eq. 15, t_c = sqrt((r_4/2 + omega^2(x)) / 2 alpha), which is right as alpha -> 0
    and always an upper bound. Both assume that x is independent of the samples; for a training point use `training_point`.

    Args:
        variances: s_i = sigma_i^2 (d,), zeros allowed.
        n_samples: Number of samples N, any shape; or give `alpha`.
        x: Position (..., d) in the eigenbasis; None is the origin. Parts outside the support do not matter.
        alpha: Load ln N / d, any shape.
        method: "exact" or "expansion".

    Returns:
        t_c, with the shape that alpha and x[..., 0] broadcast to. Infinity where alpha <= 0 (one sample is always
        condensed), 0 where all variances are 0. Times below the range of float64 are returned as 0 with a
        `NumericalWarning`.

    Raises:
        InputError: For negative variances, an unknown method, positions of another dimension, or both or none of
            n_samples and alpha.

    >>> t_c = condensation_time([1.0] * 2 + [0.3] * 5 + [0.0] * 23, n_samples=1000)
    >>> print(f"{t_c:.6f}")
    0.024478
    """
    choice("method", method, _METHODS)
    s = variances_of(variances)
    a = load(n_samples, alpha, s.size)
    x2 = None if x is None else positions(x, s.size) ** 2
    shape = a.shape if x2 is None else np.broadcast_shapes(a.shape, x2.shape[:-1])
    support = s > 0
    if not support.any():
        return np.zeros(shape)
    if x2 is not None:
        x2 = np.broadcast_to(x2[..., support], (*shape, support.sum())).reshape(-1, support.sum())
    return _solve(s[support], np.broadcast_to(a, shape), s.size, x2, exact=method == "exact")


def _solve(s: Array, alpha: Array, dim: int, x2: Array | None, *, exact: bool) -> Array:
    """t_c for s > 0 (m,), alpha of any shape, and squared positions (alpha.size, m)."""
    flat = alpha.reshape(-1)
    out = np.full(flat.shape, np.inf)
    rows = np.flatnonzero(flat > 0)
    step = max(1, _BLOCK // s.size)
    for start in range(0, rows.size, step):
        block = rows[start : start + step]
        y2 = None if x2 is None else x2[block]
        nats = flat[block] * dim
        r4 = 0.5 * np.sum(s**2) + (0.0 if y2 is None else y2 @ s)
        upper = np.sqrt(r4 / (2 * nats))
        out[block] = _exact(s, nats, y2, upper) if exact else upper
    return out.reshape(alpha.shape)


def _exact(s: Array, nats: Array, x2: Array | None, upper: Array) -> Array:
    log_s = np.log(s)
    # With r = s/(t+s): h >= (s^2/2 + x^2 s) / (t + s_max)^2, and h >= ln(s/t) - 1 term by term.
    with np.errstate(divide="ignore"):
        lower = np.maximum(np.log(np.maximum(upper - s.max(), 0)), log_s.mean() - 1 - 2 * nats / s.size)

    def excess(u: Array, i: Index) -> Array:
        return np.asarray(_information(log_s, u, None if x2 is None else x2[i]) - nats[i])

    return decreasing_root(excess, lower, np.log(upper))


def condensation_time_along(
    variances: ArrayLike,
    n_samples: ArrayLike | None = None,
    direction: ArrayLike | None = None,
    *,
    alpha: ArrayLike | None = None,
) -> Array:
    """Self-consistent condensation time along x = sqrt(t) v: the largest t with h(t, sqrt(t) v) = alpha.

    A perturbation of the size of the noise depends on t. So its condensation time is where the curve t_c(sqrt(t) v) of Eq. 18
    crosses t. As t falls from infinity, condensation sets in at the largest root, which is returned. The root is unique if
    every v_i^2 <= 3 + 2 sqrt(2). Otherwise, roots are resolved if they differ by more than half a percent.

    Args:
        variances: s_i (d,), zeros allowed.
        n_samples: N, any shape; or give `alpha`.
        direction: v (..., d) in the eigenbasis, of any length; e_j for the smoothed Jacobian's column j (Eq. 5).
        alpha: Load ln N / d, any shape.

    Returns:
        Time, with the shape that alpha and v[..., 0] broadcast to; infinity where alpha <= 0, 0 where all variances
        are 0.

    Raises:
        InputError: As in `condensation_time`.
    """
    s = variances_of(variances)
    a = load(n_samples, alpha, s.size)
    v = positions(np.zeros(s.size) if direction is None else direction, s.size, "direction")
    shape = np.broadcast_shapes(a.shape, v.shape[:-1])
    support = s > 0
    if not support.any():
        return np.zeros(shape)
    s, v2 = s[support], np.broadcast_to(v[..., support], (*shape, support.sum())).reshape(-1, support.sum()) ** 2
    log_s, nats = np.log(s), np.broadcast_to(a, shape).reshape(-1) * np.size(variances)
    out = np.full(nats.shape, np.inf)
    rows = np.flatnonzero(nats > 0)

    def excess(u: Array, i: Index) -> Array:
        r = expit(log_s - u[..., None])
        return np.asarray(_information(log_s, u, None) + 0.5 * np.sum(v2[i] * r * (1 - r), -1) - nats[i])

    # h <= (sum s^2/2) / 2t^2 + (sum v^2 s) / 2t gives a quadratic for the upper end; the lower end is `_exact`'s.
    fourth, second = np.sum(s**2) / 4, v2[rows] @ s / 2
    upper = np.log((second + np.sqrt(second**2 + 4 * nats[rows] * fourth)) / (2 * nats[rows]))
    lower = log_s.mean() - 1 - 2 * nats[rows] / s.size
    # Below s/v^2 every term falls with t again, so only the range above it can hide a second crossing.
    floor = np.maximum(lower, np.log(s.min() / np.maximum(v2[rows].max(-1), 1)) - 1)
    high, low = _last_crossing(lambda u: excess(u, rows), floor, upper)
    low = np.where(low > floor, low, lower)
    out[rows] = decreasing_root(lambda u, i: excess(u, rows[i]), low, high)
    return out.reshape(shape)


def _last_crossing(f: Callable[[Array], Array], lower: Array, upper: Array) -> tuple[Array, Array]:
    """Neighbouring points (high, low) of a grid in u = ln t, between which f crosses 0 first on the way down."""
    count = int(np.ceil(np.max(upper - lower, initial=0.005) / 0.005))
    high, low = upper.copy(), lower.copy()
    waiting = np.ones(upper.shape, dtype=bool)
    for k in range(1, count + 1):
        u = upper - (upper - lower) * (k / count)
        crossed = waiting & (f(u) >= 0)
        low[crossed] = u[crossed]
        waiting &= ~crossed
        if not waiting.any():
            break
        high[waiting] = u[waiting]
    return high, low


def decreasing_root(
    f: Callable[[Array, Index], Array], lower: Array, upper: Array, *, tolerance: float = 1e-16
) -> Array:
    """exp of the root of f(u, i), element i falling in u from positive at `lower[i]` to negative at `upper[i]`.

    The bracket is widened slightly, so that its ends may be roots. Roots below the range of float64 are returned as 0, with a
    `NumericalWarning`. `tolerance` is the tolerance of u.
    """
    if lower.size == 0:
        return np.zeros(0)
    result = elementwise.find_root(
        f, (lower - 1e-9, upper + 1e-9), args=(np.arange(lower.size),), tolerances={"xatol": tolerance}
    )
    if not np.all(result.success):  # the brackets are proven, so this is a bug and not a user error
        raise ArithmeticError(f"no root between {lower[~result.success][0]} and {upper[~result.success][0]}")
    roots = np.exp(np.asarray(result.x))
    if np.any(roots == 0):
        warnings.warn("a time lies below 1e-308 and is returned as 0.", NumericalWarning, stacklevel=3)
    return np.asarray(roots)


def _information(log_s: Array, log_t: Array, x2: Array | None) -> Array:
    """d h at log-times (...), for the logarithms of the positive variances (m,) and squared positions (..., m)."""
    z = log_s - log_t[..., None]
    r = expit(z)
    # Where r is small the two terms of ln(1+s/t) - r cancel; clipping keeps the unused branch in range.
    series = np.polyval(np.append(_SERIES, [0.0, 0.0]), np.minimum(r, _SERIES_BELOW))
    terms = np.where(r < _SERIES_BELOW, series, np.logaddexp(0.0, z) - r)
    if x2 is not None:
        terms = terms + x2 * r**2 * np.exp(-log_s)
    return np.asarray(0.5 * terms.sum(-1))


def _cumulant_arguments(
    variances: ArrayLike, t: ArrayLike, lam: ArrayLike, x: ArrayLike | None
) -> tuple[Array, Array, Array, Array]:
    s = variances_of(variances)
    x2 = np.zeros(s.size) if x is None else positions(x, s.size) ** 2
    ll = np.asarray(lam, dtype=np.float64)
    if not np.all(np.isfinite(ll) & (ll >= 0)):
        raise InputError("lam: must be finite and not negative.")
    return s, times(t)[..., None], ll[..., None], x2
