"""Numbers that decide between an equation as printed and as derived.

Every function computes three: what the printed form says, what the derived form says, and what decides between them: a
simulation, a quadrature, a finite difference, a root, or a matrix whose answer is known.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from scipy.integrate import quad

from geomem import theory
from geomem.manifolds import LinearManifold
from geomem.noise import ddpm_times
from geomem.paper.parameters import M7
from geomem.scores import EmpiricalScore
from geomem.seeds import derived_generator, derived_seed
from geomem.spectra import differentiated_jacobian, spectrum

__all__ = [
    "EquationSettings",
    "Numbers",
    "cumulant_slope",
    "effective_misprint",
    "energy_sign",
    "expansion",
    "expansion_misprint",
    "finite_rank",
    "floor_units",
    "gap_order",
    "growth",
    "intermediate_gap",
    "jacobian_scale",
    "kernel",
    "kink",
    "mirror",
    "printed_singular_values",
    "random_projection",
    "score_law",
    "score_variance",
    "self_averaging",
    "smallest_time",
]


class Numbers(NamedTuple):
    """What the printed form says, what the derived form says, and what decides, with its standard error."""

    printed: float
    derived: float
    decides: float
    error: float = 0.0


@dataclass(frozen=True)
class EquationSettings:
    """The errata's numbers.

    Attributes:
        datasets: Data sets of each simulation.
        seed: Random seed.
    """

    datasets: int = 4000
    seed: int = 0


_MANIFOLD = LinearManifold.subspaces(30, M7)
_S = _MANIFOLD.variances.numpy()
_N = 1000


def _participation(settings: EquationSettings, t: float) -> tuple[float, float]:
    """Mean of Y = sum w^2 at the origin over data sets of N = 1000 on m = 7, with its standard error."""
    y = np.empty(settings.datasets)
    for i in range(settings.datasets):
        data = _MANIFOLD.sample(_N, generator=derived_generator(settings.seed, "participation", i))
        w = torch.softmax(-data.square().sum(1) / (2 * t), 0)
        y[i] = float(w.square().sum())
    return float(y.mean()), float(y.std(ddof=1) / np.sqrt(y.size))


def _exact_values(t: float) -> np.ndarray:
    """Singular values of the exact score's Jacobian at the origin, by automatic differentiation."""
    time = torch.tensor(t, dtype=torch.float64)
    j = differentiated_jacobian(_MANIFOLD.score, torch.zeros(30, dtype=torch.float64), time)
    return np.asarray(torch.linalg.svdvals(j))


def gap_order(settings: EquationSettings) -> Numbers:
    """Eq. 7."""
    t = 0.1
    values = _exact_values(t)
    return Numbers(float(values[23] - values[22]), 1 / t - 1 / (t + 0.3), float(values[22] - values[23]))


def jacobian_scale(settings: EquationSettings) -> Numbers:
    """Eq. 8."""
    s, t = 0.3, 0.1
    # d^2/dx^2 ln p_t(0) of one axis, by quadrature: (E[y^2|x=0]/t - 1)/t.
    powers = [quad(lambda y, k=k: y**k * np.exp(-(y**2) / 2 * (1 / s + 1 / t)), -np.inf, np.inf)[0] for k in (0, 2)]
    right_side = -t / (t + s)
    return Numbers(t * right_side, right_side / t, (powers[1] / powers[0] / t - 1) / t)


def random_projection(settings: EquationSettings) -> Numbers:
    """Eq. 9."""
    d, m, t = 400, 100, 1.0
    rng = np.random.default_rng(derived_seed(settings.seed, "projection"))
    gaps = []
    for _ in range(min(60, settings.datasets)):
        smallest = np.linalg.eigvalsh((f := rng.standard_normal((d, m)) / np.sqrt(m)).T @ f)[0]
        gaps.append(smallest / (t + smallest))
    ratio = m / d
    printed, derived = (theory.random_projection_gap(1.0, ratio, t, form=form) for form in ("eq9", "corrected"))
    return Numbers(
        float(printed), float(derived), float(np.mean(gaps)), float(np.std(gaps, ddof=1) / np.sqrt(len(gaps)))
    )


def intermediate_gap(settings: EquationSettings) -> Numbers:
    """Intermediate gaps of Sec. 5.1."""
    t = 1e-3
    values = _exact_values(t)
    return Numbers((1 / 0.3 - 1) / t, 1 / (t + 0.3) - 1 / (t + 1), float(values[27] - values[28]))


def score_variance(settings: EquationSettings) -> Numbers:
    """Variance of the score, Sec. 5.2."""
    s, t, n = 1.0, 0.05, 1000
    rng = np.random.default_rng(derived_seed(settings.seed, "score"))
    y = rng.normal(0, np.sqrt(s), (settings.datasets, n))
    w = np.exp(-(y**2) / (2 * t))
    w /= w.sum(1, keepdims=True)
    score = (w * y).sum(1) / t
    active = 1 / np.mean(np.sum(w**2, 1))
    square = score**2
    # The delta method's variance is that of the posterior at t/2, with R_0/N for 1/N~.
    half, noise = s * (t / 2) / (s + t / 2), float(np.exp(theory.log_moment_ratio([s], t))) / n
    return Numbers(
        s * t / (s + t) / active,
        half * noise / t**2,
        float(square.mean()),
        float(square.std(ddof=1) / np.sqrt(square.size)),
    )


def energy_sign(settings: EquationSettings) -> Numbers:
    """Eqs. 12 to 14."""
    t, x = 0.5, 0.5
    rng = np.random.default_rng(derived_seed(settings.seed, "energy"))
    y = rng.standard_normal(2000)
    energy = y**2 / 2 - x * y
    means = []
    for sign in (-1, 1):  # printed is the negative of the distance's part
        logits = -sign * energy / t
        w = np.exp(logits - logits.max())
        means.append(float(np.sum(w * y) / w.sum()))
    clean = rng.standard_normal(500 * settings.datasets)
    near = clean[np.abs(clean + np.sqrt(t) * rng.standard_normal(clean.size) - x) < 0.02]
    return Numbers(means[0], means[1], float(near.mean()), float(near.std(ddof=1) / np.sqrt(near.size)))


def self_averaging(settings: EquationSettings) -> Numbers:
    """Text after Eq. 14."""
    t = 0.01
    return Numbers(0.0, 1 / float(theory.effective_samples(_S, _N, t, method="finite")), *_participation(settings, t))


def expansion(settings: EquationSettings) -> Numbers:
    """Eq. 15."""
    t = 0.1
    y, error = _participation(settings, t)
    printed = 1 / (1 - t / float(theory.condensation_time(_S, _N, method="expansion")))
    return Numbers(printed, float(theory.effective_samples(_S, _N, t, method="annealed")), 1 / y, error / y**2)


def _rank_correction(t_c: float) -> float:
    return float(theory.rank_correction(np.sum((_S / (_S + t_c)) ** 2)))


def effective_misprint(settings: EquationSettings) -> Numbers:
    """Eq. 16."""
    t = 0.01
    t_c = float(theory.condensation_time(_S, _N))
    y, error = _participation(settings, t)
    return Numbers(t / (1 - 1 / t_c), 1 / (1 - t / (_rank_correction(t_c) * t_c)), 1 / y, error / y**2)


def _jacobian_entry(settings: EquationSettings, scale: float) -> np.ndarray:
    """J_31 of the smoothed Jacobian at the origin, for data that are `scale` times as large, at t = scale^2."""
    t = scale**2
    out = np.empty(settings.datasets)
    x = torch.zeros(2, 30, dtype=torch.float64)
    x[1, 0] = t**0.5
    for i in range(settings.datasets):
        data = scale * _MANIFOLD.sample(_N, generator=derived_generator(settings.seed, "entry", i))
        score = EmpiricalScore(data)(x, t)
        out[i] = float(score[1, 2] - score[0, 2]) / t**0.5
    return out


def floor_units(settings: EquationSettings) -> Numbers:
    """Floor of Eq. 18."""
    few = EquationSettings(min(300, settings.datasets), settings.seed)
    measured = [float(np.var(_jacobian_entry(few, scale))) for scale in (1.0, 10.0)]

    def variance(scale: float, floor: float) -> float:
        """var J_31 above t_c, where phi is its floor: 2 s/(t (t+s)) phi."""
        s, t = 0.3 * scale**2, scale**2
        return 2 * s / (t * (t + s)) * floor

    printed = variance(10, 1 / _N) / variance(1, 1 / _N)
    derived = variance(10, 1 / (100 * _N)) / variance(1, 1 / _N)
    return Numbers(printed, derived, measured[1] / measured[0])


def printed_singular_values(form: str) -> Callable[[EquationSettings], Numbers]:
    """Eq. 19 ("eq19") or Eq. 43 ("eq43")."""

    def check(settings: EquationSettings) -> Numbers:
        t, few = 0.01, min(300, settings.datasets)
        largest = np.empty(few)
        for i in range(few):
            data = _MANIFOLD.sample(_N, generator=derived_generator(settings.seed, "largest", i))
            origin = torch.zeros(30, dtype=torch.float64)
            largest[i] = float(spectrum(EmpiricalScore(data), origin, t, probe="smoothed").values[0])
        printed, derived = (theory.jacobian_singular_values(_S, _N, t, form=f).max() for f in (form, "column"))
        spread = np.subtract(*np.quantile(largest, [0.75, 0.25])) / 1.349
        return Numbers(float(printed), float(derived), float(np.median(largest)), float(1.253 * spread / np.sqrt(few)))

    return check


def cumulant_slope(settings: EquationSettings) -> Numbers:
    """Eq. 30."""
    t, lam, x = 20.0, 2.0, np.eye(30)[0]
    r2, r4, omega2 = _S.mean(), np.mean(_S**2), np.mean(x**2 * _S)
    step = 1e-5
    slope = np.subtract(*(theory.cumulant(_S, t, lam + h, x) for h in (step, -step))) / (2 * step)
    tail = lam * r4 / (2 * t**2) + lam * omega2 / t**2
    printed = -lam * r2 / (2 * t) + lam**2 * r4 / (2 * t**2) + lam * omega2 / t**2
    return Numbers(float(printed), float(-r2 / (2 * t) + tail), float(slope))


def expansion_misprint(settings: EquationSettings) -> Numbers:
    """Eq. 34."""
    s, x, alpha = np.array([1.0, 2.0, 3.0]), np.array([1.0, -1.0, 0.5]), 1e-8
    r4, omega2 = np.mean(s**2), np.mean(x**2 * s)
    exact = float(theory.condensation_time(s, alpha=alpha, x=x))
    return Numbers(float(np.sqrt((r4 + omega2) / (2 * alpha))), float(np.sqrt((r4 / 2 + omega2) / (2 * alpha))), exact)


def finite_rank(settings: EquationSettings) -> Numbers:
    """Eqs. 36 and 37."""
    t = 0.003
    t_c = float(theory.condensation_time(_S, _N))
    y, error = _participation(settings, t)
    return Numbers(t_c, _rank_correction(t_c) * t_c, t / (1 - y), t * error / (1 - y) ** 2)


def score_law(settings: EquationSettings) -> Numbers:
    """Eq. 39."""
    t, axis = 0.005, 2
    few = min(1000, settings.datasets)
    origin = torch.zeros(30, dtype=torch.float64)
    values = np.empty(few)
    for i in range(few):
        data = _MANIFOLD.sample(_N, generator=derived_generator(settings.seed, "law", i))
        values[i] = float(EmpiricalScore(data)(origin, t)[axis])
    t_c, s = float(theory.condensation_time(_S, _N)), float(_S[axis])
    printed = (1 / t) / (1 / s + 1 / t) * (1 / t - 1 / t_c)
    derived = theory.score_distribution(_S, _N, t, np.zeros(30)).variance[axis]
    square = values**2
    return Numbers(printed, float(derived), float(square.mean()), float(square.std(ddof=1) / np.sqrt(few)))


def growth(settings: EquationSettings) -> Numbers:
    """Text after Eq. 34."""
    n = 1e6
    t_c = [float(theory.condensation_time(np.ones(d), n)) for d in (100_000, 200_000)]
    return Numbers(2.0, float(np.sqrt(2)), t_c[1] / t_c[0])


def smallest_time(settings: EquationSettings) -> Numbers:
    """Caption of Fig. 6."""
    beta = 1e-4
    return Numbers(1e-5, beta / (1 - beta), float(ddpm_times()[0]))


def mirror(settings: EquationSettings) -> Numbers:
    """Alg. 2."""
    # A score that pulls straight back, s = -x/t: every singular value of t J is 1.
    t, d, k = 0.1, 30, 30_000
    rng = np.random.default_rng(derived_seed(settings.seed, "mirror"))
    one, other = rng.standard_normal((2, d, k)) * np.sqrt(t)
    scale = t / np.sqrt(k * t)
    values = [np.linalg.svd((-one + minus) / t / 2 * scale, compute_uv=False).mean() for minus in (other, -one)]
    return Numbers(float(values[0]), float(values[1]), 1.0)


def kernel(settings: EquationSettings) -> Numbers:
    """Supp. B."""
    t = 1e-8
    rank = int(np.sum(t * _exact_values(t) > 1e-4))
    return Numbers(float(30 - (30 - rank)), float(30 - rank), float(_MANIFOLD.rank))


def kink(settings: EquationSettings) -> Numbers:
    """Index of Alg. 3."""
    values = np.sort(1 / (1e-3 + _S))[::-1]
    discard, c = 1, 10.0
    v = values[discard:]
    kink = np.abs(v[:-2] - 2 * v[1:-1] + v[2:])
    n = int(np.argmax(kink > max(c * np.median(kink), 1e-12 * v.max())))
    return Numbers(float(30 - n + discard), float(30 - (n + discard) - 2), float(_MANIFOLD.rank))
