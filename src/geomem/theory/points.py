r"""The posterior at a training point and at a held-out point, and the survival of directions there.

Survival is the spectrum of Cov(y|x)/t = I + t J: 0 for a pinned direction, 1 for a direction that is free on the scale
sqrt t. The condensation theory of `rem` assumes that x is independent of the samples. A training point is not: at x = y^1 the
sample y^1 is planted, and dominates up to much larger t. Its weight competes with the bulk of the others,

    w_1 = 1 / (1 + (N-1) L),   L = prod_i (1 + s_i/t)^{-1/2} exp(-sum_i x_i^2 / 2(s_i + t)),

and the posterior is a mixture of the sample and the bulk, of covariance (bulk mean x s/(s+t))

    (1 - w_1) diag(s t/(s+t)) + w_1 (1 - w_1) u u^T,   u_i = x_i t/(s_i + t).

It holds where N L >> 1 or w_1 is near 1. At a held-out point the bulk condenses at t_c(x) instead: N~ samples of the
posterior frozen at t* = max(t, t_c) have covariance (1 - 1/N~) diag(s t*/(s+t*)) on average over data sets.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike

from geomem.theory.arguments import Array, one, positions, samples, times, variances_of
from geomem.theory.effective import effective_samples, rank_correction
from geomem.theory.rem import Index, condensation_time, decreasing_root, information

__all__ = ["PointPosterior", "half_weight_time", "held_out_point", "held_out_survival", "training_point"]


@dataclass(frozen=True)
class PointPosterior:
    """Predicted posterior p(y|x;t) of the clean point, in the eigenbasis.

    Attributes:
        own_weight: Weight of the planted sample (...); 0 at a held-out point.
        t: Diffusion time, broadcast against (...).
        diagonal: Diagonal part of the covariance (..., d).
        spike: Vector (..., d) whose outer product is the rest of it.
    """

    own_weight: Array
    t: Array
    diagonal: Array
    spike: Array

    @property
    def covariance(self) -> Array:
        """Posterior covariance (..., d, d), in data units squared."""
        dense = self.spike[..., :, None] * self.spike[..., None, :]
        index = np.arange(self.diagonal.shape[-1])
        dense[..., index, index] += self.diagonal
        return np.asarray(dense)

    @cached_property
    def survival(self) -> Array:
        """Eigenvalues (..., d) of the covariance over t, descending: 0 is pinned, 1 free at the scale sqrt t."""
        values = np.linalg.eigvalsh(self.covariance) if np.any(self.spike) else np.sort(self.diagonal, -1)
        return np.asarray(np.maximum(values[..., ::-1], 0) / self.t[..., None])

    def resolved(self, threshold: float = 0.5) -> Array:
        """Number of survivals above `threshold` (...), by Sylvester's law of inertia instead of eigenvalues.

        diag(a) + u u^T has as many eigenvalues above c as there are a_i > c, and one more if 1 + sum u_i^2/(a_i - c) < 0.
        """
        # A level that no entry of the diagonal meets exactly; zeros of the spike do not matter there.
        level = threshold * np.asarray(self.t)[..., None]
        gap = self.diagonal - level
        gap = np.where(gap == 0, -np.finfo(float).tiny, gap)
        with np.errstate(over="ignore"):
            extra = 1 + np.sum(np.where(self.spike == 0, 0, self.spike**2 / gap), -1) < 0
        return np.asarray((gap > 0).sum(-1) + extra)


def training_point(variances: ArrayLike, n_samples: ArrayLike, t: ArrayLike, x: ArrayLike) -> PointPosterior:
    """Posterior of the empirical score at a training point x = y^1, the other N - 1 samples drawn from the Gaussian.

    Args:
        variances: s_i (d,), zeros allowed.
        n_samples: Number of samples N, the planted one included; any shape.
        t: Diffusion time, any shape.
        x: The training point (..., d), in the eigenbasis.

    Returns:
        Own weight, posterior covariance and survival, with the broadcast shape of n_samples, t and x[..., 0].

    Raises:
        InputError: For values out of range or a position of another dimension.

    >>> at = training_point([1.0] * 5 + [0.0] * 5, n_samples=50, t=[0.01, 100.0], x=[1.0] * 5 + [0.0] * 5)
    >>> print(at.own_weight.round(2))
    [1.   0.02]
    """
    s, n, tt, y = variances_of(variances), samples(n_samples), times(t), positions(x, np.size(variances))
    total = s + tt[..., None]
    log_bulk = -0.5 * np.sum(np.log1p(s / tt[..., None]) + y**2 / total, -1)
    with np.errstate(divide="ignore", over="ignore"):
        own = np.asarray(1 / (1 + np.exp(np.log(n - 1) + log_bulk)))
    shape = (*own.shape, s.size)
    diagonal = (1 - own)[..., None] * s * tt[..., None] / total
    spike = np.sqrt(own * (1 - own))[..., None] * y * tt[..., None] / total
    return PointPosterior(
        own, np.broadcast_to(tt, own.shape), np.broadcast_to(diagonal, shape), np.broadcast_to(spike, shape)
    )


def held_out_point(
    variances: ArrayLike, n_samples: ArrayLike, t: ArrayLike, x: ArrayLike, *, method: str = "rem"
) -> PointPosterior:
    """Posterior of the empirical score at a point x that is independent of the N samples, averaged over data sets.

    This is the mean covariance. Its trace is accurate to 5% above 2 t_c, and to 20% below (sets A and B of the tests, "rem").
    Below t_c the mean is not typical: rare points midway between two samples dominate it, and the median goes to 0. For the
    number of resolved directions use `held_out_survival`.

    Args:
        variances: s_i (d,), zeros allowed.
        n_samples: Number of samples N >= 2, any shape.
        t: Diffusion time, any shape.
        x: The held-out point (..., d), in the eigenbasis.
        method: How the number of active samples is predicted, see `effective_samples`.

    Returns:
        Posterior covariance and survival, with the broadcast shape of n_samples, t and x[..., 0].

    Raises:
        InputError: For values out of range, a position of another dimension, or fewer than 2 samples.
    """
    s, n, tt = variances_of(variances), samples(n_samples, least=2), times(t)
    y = positions(x, s.size)
    active = effective_samples(s, n, tt, y, method=method)
    frozen = np.maximum(tt, condensation_time(s, n, y))[..., None]
    diagonal = np.broadcast_to((1 - 1 / active)[..., None] * s * frozen / (s + frozen), (*active.shape, s.size))
    zero = np.zeros(active.shape)
    return PointPosterior(zero, np.broadcast_to(tt, zero.shape), diagonal, np.zeros_like(diagonal))


def held_out_survival(
    variances: ArrayLike,
    n_samples: float,
    t: ArrayLike,
    x: ArrayLike,
    *,
    n_draws: int,
    rng: np.random.Generator,
) -> Array:
    """Draws of the survival spectrum at held-out points, which give the number of resolved directions; the mean does not.

    Below t_c a few samples hold the weight: in the Random Energy Model their weights follow the Poisson-Dirichlet law
    with parameter E[1 - sum w^2] = t/t_c (Eq. 36), here t/(C t_c) for finite rank (see `rank_correction`), over points of
    the posterior frozen at t_c. Above t_c, 1 + N exp(-d h(t)) points of the posterior have equal weights: the number given by
    the entropy of the weights (see `information`), and the nearest sample.

    This is a heuristic. The count above t_c was chosen among four candidates, by comparison with simulations of sets A and B
    of the tests and of digits. On three other linear manifolds (d = 20, 50, 100; N = 50 to 3,000) the error of the resolved
    number is up to a third, in either direction. At t_c itself it is up to a half too small. With a Gaussian plug-in for
    digits it is two to three times too large near t = 1.

    Args:
        variances: s_i (d,), zeros allowed.
        n_samples: Number of samples N >= 2.
        t: Diffusion time, any shape.
        x: The held-out point (..., d), in the eigenbasis.
        n_draws: Number of draws for each t and x.
        rng: Source of randomness.

    Returns:
        Survival (n_draws, ..., d), descending, with the broadcast shape of t and x[..., 0].

    Raises:
        InputError: For values out of range, a position of another dimension, or fewer than 2 samples.
    """
    s, n, tt = variances_of(variances), float(samples(one("n_samples", n_samples), least=2)), times(t)
    y = positions(x, s.size)
    active = n * np.exp(-s.size * information(s, tt, y))
    t_c = np.broadcast_to(condensation_time(s, n, y), active.shape)
    rank = np.sum((s / (s + np.maximum(t_c, np.finfo(float).tiny)[..., None])) ** 2, -1)
    share = (
        tt / (rank_correction(np.maximum(rank, _SMALLEST_RANK)) * t_c) if np.all(t_c > 0) else np.full_like(active, 1)
    )
    tt = np.broadcast_to(tt, active.shape)
    s = s[s > 0]
    out = np.zeros((n_draws, *active.shape, np.size(variances)))
    for at in np.ndindex(active.shape):
        frozen = max(float(tt[at]), float(t_c[at]))
        spread = np.sqrt(s * frozen / (s + frozen))
        for draw in range(n_draws):
            if tt[at] < t_c[at]:
                weight = _poisson_dirichlet(float(share[at]), int(min(n, _ATOMS)), rng)
                values = _atoms_survival(weight, spread, rng)
            else:
                values = _equal_survival(round(min(n, 1 + float(active[at]))), spread, rng)
            out[(draw, *at, slice(0, s.size))] = values / tt[at]
    return np.maximum(out, 0)


# Number of largest weights that are drawn one by one.
_ATOMS = 200
# Share of the points' variance below which the weight that is not drawn one by one is omitted.
_LIGHT = 1e-3
# The finite-rank correction diverges at rank 2.
_SMALLEST_RANK = 2.1


def _poisson_dirichlet(alpha: float, count: int, rng: np.random.Generator) -> Array:
    """The first `count` weights, in size-biased order, of the Poisson-Dirichlet law PD(alpha, 0)."""
    alpha = min(max(alpha, 1e-9), 1 - 1e-9)
    part = rng.beta(1 - alpha, alpha * np.arange(1, count + 1))
    return np.asarray(part * np.concatenate([[1.0], np.cumprod(1 - part)[:-1]]))


def _atoms_survival(weight: Array, spread: Array, rng: np.random.Generator) -> Array:
    """Variances, descending, of weighted points of N(0, diag(spread^2)); the remaining weight is a continuum."""
    points = rng.standard_normal((weight.size, spread.size)) * spread
    root = np.sqrt(weight)[:, None] * (points - weight @ points)
    rest = 1 - weight.sum()
    if rest * np.max(spread**2, initial=0) < _LIGHT * np.sum(root**2) and weight.size < spread.size:
        return _padded(root @ root.T, spread.size)
    # About the mean of all: the continuum's own mean is 0.
    centre = weight @ points
    second = (points * weight[:, None]).T @ points - np.outer(centre, centre) + rest * np.diag(spread**2)
    return np.asarray(np.linalg.eigvalsh(second)[::-1])


def _equal_survival(count: int, spread: Array, rng: np.random.Generator) -> Array:
    """Variances, descending, of `count` points of N(0, diag(spread^2)) with equal weights."""
    m = spread.size
    if count >= _ATOMS * m:
        return np.sort(spread**2)[::-1]
    if count <= m:
        points = rng.standard_normal((count, m)) * spread
        points -= points.mean(0)
        return _padded(points @ points.T / count, m)
    # Bartlett's decomposition: the scatter of `count` points about their mean, without drawing them.
    root = np.tril(rng.standard_normal((m, m)), -1)
    root[np.arange(m), np.arange(m)] = np.sqrt(rng.chisquare(count - 1 - np.arange(m)))
    root *= spread[:, None]
    return np.asarray(np.linalg.eigvalsh(root @ root.T)[::-1] / count)


def _padded(gram: Array, size: int) -> Array:
    """Eigenvalues of a Gram matrix, descending, padded with the zeros of the larger matrix with the same nonzero spectrum."""
    values = np.linalg.eigvalsh(gram)[::-1]
    return np.concatenate([values, np.zeros(size - values.size)])


def half_weight_time(variances: ArrayLike, n_samples: ArrayLike, x: ArrayLike | None = None) -> Array:
    """Time below which a planted sample holds more than half of the posterior's weight.

    It is the root of ln N = 1/2 sum_i [ln(1 + s_i/t) + x_i^2/(s_i + t)]. Without x, it is the time for the noisy training
    point x = y^1 + sqrt(t) eps, at which networks are trained. On average over the noise the second term cancels, which leaves
    ln N = 1/2 sum ln(1 + s_i/t). Because of fluctuations, the mean weight there is above one half (0.58 on set B). For a clean
    training point of typical size, pass x = sqrt(variances).

    Args:
        variances: s_i (d,), zeros allowed.
        n_samples: N >= 2, any shape.
        x: Clean training point (..., d) in the eigenbasis, or None.

    Returns:
        Time, with the broadcast shape of n_samples and x[..., 0]; 0 where all variances are 0.

    Raises:
        InputError: For values out of range or a position of another dimension.

    >>> s = [1.0] * 5 + [0.3] * 10 + [0.0] * 15
    >>> print(half_weight_time(s, 1000).round(4), half_weight_time(s, 1000, x=[v**0.5 for v in s]).round(4))
    0.3157 0.7099
    """
    s, n = variances_of(variances), samples(n_samples, least=2)
    support = s > 0
    x2 = np.zeros(s.size) if x is None else positions(x, s.size) ** 2
    shape = np.broadcast_shapes(n.shape, x2.shape[:-1])
    if not support.any():
        return np.zeros(shape)
    s, x2 = s[support], np.broadcast_to(x2[..., support], (*shape, support.sum())).reshape(-1, support.sum())
    log_s, nats = np.log(s), np.broadcast_to(np.log(n), shape).reshape(-1)

    def excess(u: Array, i: Index) -> Array:
        z = log_s - u[..., None]
        own = np.logaddexp(0.0, z) + x2[i] / (s + np.exp(u)[..., None])
        return np.asarray(0.5 * own.sum(-1) - nats[i])

    upper = np.log((s + x2).sum(-1) / (2 * nats))  # ln(1+y) <= y
    return decreasing_root(excess, log_s.mean() - 2 * nats / s.size, upper).reshape(shape)
