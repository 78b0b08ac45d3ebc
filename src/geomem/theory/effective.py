r"""Effective number of samples N~_t(x) = 1 / sum_mu w_mu^2 behind the empirical score, and the score's fluctuations.

Three predictions of N~, all for x independent of the samples:

- "rem": the paper's min(N, 1/(1 - t/t_c)) below t_c and N above (Eq. 16 with its misprint corrected), the limit d -> inf;
- "annealed": 1 + (N-1)/R_0 with R_0 = E[L^2]/E[L]^2 = exp(d [zeta(2) - 2 zeta(1)]), L a sample's likelihood. It is close
  to simulation for t above about 2 t_c, where "rem" already gives N;
- "finite": annealed + min(1, t/t_P), which treats the few nearest samples of a rank-m Gaussian separately (m > 2):
  t_P = 1/(a c^{1/a} Gamma(2 - 1/a)), a = m/2, c = N exp(-sum x^2/2s) / (Gamma(a+1) prod sqrt(s)).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import gammaln

from geomem.errors import InputError
from geomem.theory.arguments import Array, choice, positions, samples, times, variances_of
from geomem.theory.rem import condensation_time

__all__ = ["ScoreDistribution", "effective_samples", "log_moment_ratio", "rank_correction", "score_distribution"]

_METHODS = ("rem", "annealed", "finite")


def log_moment_ratio(variances: ArrayLike, t: ArrayLike, x: ArrayLike | None = None) -> Array:
    """ln R_0 = ln E[L^2] - 2 ln E[L], L = p(x|y) a sample's likelihood; R_0/N is a mean's squared relative noise."""
    # d [zeta(2) - 2 zeta(1)]; its terms of order x^2/t cancel and are combined.
    s, tt = variances_of(variances), times(t)[..., None]
    x2 = 0.0 if x is None else positions(x, s.size) ** 2
    terms = np.log1p(s / tt) - 0.5 * np.log1p(2 * s / tt) + x2 * s / ((tt + s) * (tt + 2 * s))
    return np.asarray(terms.sum(-1))


def effective_samples(
    variances: ArrayLike, n_samples: ArrayLike, t: ArrayLike, x: ArrayLike | None = None, *, method: str = "rem"
) -> Array:
    """Effective number of samples N~_t(x) for data N(0, diag(variances)), at an x independent of the samples.

    Args:
        variances: s_i (d,), zeros allowed.
        n_samples: Number of samples N, any shape.
        t: Diffusion time, any shape.
        x: Position (..., d) in the eigenbasis; None is the origin.
        method: "rem" (Eq. 16), "annealed" or "finite"; see the head of this module.

    Returns:
        N~ between 1 and N, with the shape that n_samples, t and x[..., 0] broadcast to.

    Raises:
        InputError: For values out of range, an unknown method, or "finite" with a rank of 2 or less.

    >>> s = [1.0] * 2 + [0.3] * 5 + [0.0] * 23
    >>> float(effective_samples(s, 1000, 0.01).round(6))
    1.690702
    >>> float(effective_samples(s, 1000, 0.1, method="annealed").round(6))
    22.950507
    """
    choice("method", method, _METHODS)
    s, n, tt = variances_of(variances), samples(n_samples), times(t)
    if method == "rem":
        t_c = condensation_time(s, n, x)
        with np.errstate(divide="ignore"):
            condensed = np.where(tt < t_c, 1 / (1 - np.minimum(tt / t_c, 1)), np.inf)
        return np.asarray(np.minimum(n, condensed))
    annealed = 1 + (n - 1) * np.exp(-log_moment_ratio(s, tt, x))
    if method == "annealed":
        return np.asarray(annealed)
    return np.asarray(np.minimum(n, annealed + np.minimum(1, tt / _nearest_sample_time(s, n, x))))


def _nearest_sample_time(s: Array, n: Array, x: ArrayLike | None) -> Array:
    """t_P, the time at which the second-nearest of N samples begins to contribute."""
    support = s > 0
    rank = int(support.sum())
    if rank <= 2:
        raise InputError(f"method: 'finite' needs more than two positive variances, got {rank}; use 'annealed'.")
    a = rank / 2
    shift = 0.0 if x is None else 0.5 * np.sum(positions(x, s.size)[..., support] ** 2 / s[support], -1)
    log_c = np.log(n) - shift - gammaln(a + 1) - 0.5 * np.log(s[support]).sum()
    with np.errstate(over="ignore"):  # far from the data no second sample ever contributes: infinity
        return np.asarray(np.exp(-np.log(a) - log_c / a - gammaln(2 - 1 / a)))


def rank_correction(rank: ArrayLike) -> Array:
    """C = e Gamma(a+1)^{1/a} / (a Gamma(2 - 1/a)), a = rank/2: the finite-rank correction of Eqs. 36 and 37.

    Below t_c, simulations give t/(1 - E[sum w^2]) = C t_c; C -> 1 only as the rank grows. For data with different variances,
    the effective rank is sum_i (s_i/(s_i + t_c))^2.

    Args:
        rank: Effective rank above 2, any shape.

    Returns:
        C, of the same shape.

    Raises:
        InputError: For a rank of 2 or less, where the constant diverges.

    >>> print(rank_correction([7.0, 60.0, 1e5]).round(3))
    [1.718 1.106 1.   ]
    """
    a = np.asarray(rank, dtype=np.float64) / 2
    if not np.all(a > 1):
        raise InputError("rank: the finite-rank correction needs an effective rank above 2.")
    return np.asarray(np.exp(1 + gammaln(a + 1) / a - np.log(a) - gammaln(2 - 1 / a)))


@dataclass(frozen=True)
class ScoreDistribution:
    """Gaussian law of the empirical score over data sets: mean (..., d) and variances per axis (..., d)."""

    mean: Array
    variance: Array


def score_distribution(
    variances: ArrayLike, n_samples: ArrayLike, t: ArrayLike, x: ArrayLike | None = None, *, method: str = "rem"
) -> ScoreDistribution:
    """Mean and (diagonal) covariance of the empirical score at x over data sets, Eqs. 38-39 corrected.

    The score averages (y - x)/t over N~ active samples of the posterior p(y|x;t*) with t* = max(t, t_c(x)): below t_c
    the posterior is frozen at t_c, which the printed Eq. 39 misses. With the posterior's mean x_i s_i/(s_i+t*) and
    variance s_i t*/(s_i+t*),

        mean_i = -x_i t* / (t (s_i + t*)),    variance_i = s_i t* / ((s_i + t*) t^2 N~).

    Args:
        variances: s_i (d,), zeros allowed.
        n_samples: Number of samples N, any shape.
        t: Diffusion time, any shape.
        x: Position (..., d) in the eigenbasis; None is the origin.
        method: Prediction of N~, see `effective_samples`. At finite N, "finite" agrees best with simulations (sets A and B
            of the tests): its variances are within a factor of 2. Above t_c they are about (2s+t)/(s+t) times too
            large, because Eq. 17 assumes equal weights of active samples; below t_c they are 0.7 to 0.8 of the
            simulated ones. Means are 0.7 to 0.85 of the simulated ones up to t_c, and within 4% above 2 t_c. The
            variance of "rem", the paper's method, is up to 500 times too small between t_c and 2 t_c.

    Returns:
        Mean and variance, (..., d) with the broadcast shape of n_samples, t and x[..., 0].

    Raises:
        InputError: As `effective_samples`.
    """
    s, n, tt = variances_of(variances), samples(n_samples), times(t)
    active = effective_samples(s, n, tt, x, method=method)
    frozen = np.maximum(tt, condensation_time(s, n, x))[..., None]
    if not np.all(np.isfinite(frozen)):
        raise InputError("n_samples: one sample has no condensation time; at least 2 samples are needed.")
    y = np.zeros(s.size) if x is None else positions(x, s.size)
    shape = (*active.shape, s.size)
    mean = -y * frozen / (tt[..., None] * (s + frozen))
    variance = s * frozen / ((s + frozen) * tt[..., None] ** 2 * active[..., None])
    return ScoreDistribution(np.broadcast_to(mean, shape).copy(), np.broadcast_to(variance, shape).copy())
