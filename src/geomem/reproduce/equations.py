"""Errata: equations of the paper whose printed form a number refutes, with the form that the number supports.

Every entry computes three numbers: what the printed form says, what the derived form says, and what decides between
them, which rests on neither: a simulation, a quadrature, a finite difference or a matrix whose answer is known.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import xarray as xr
from scipy.integrate import quad

from geomem import theory
from geomem.manifolds import LinearManifold
from geomem.noise import ddpm_times
from geomem.reproduce.experiment import Telling, Work
from geomem.reproduce.spectra import M7
from geomem.scores import EmpiricalScore
from geomem.seeds import derived_generator, derived_seed
from geomem.spectra import differentiated_jacobian, spectrum

__all__ = ["ERRATA", "EquationSettings", "Erratum", "Numbers", "equation_parts"]


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
        seed: Seed of everything random.
    """

    datasets: int = 4000
    seed: int = 0


@dataclass(frozen=True)
class Erratum:
    """An equation with the number that decides.

    Attributes:
        place: Equation or section.
        printed: What is printed.
        derived: What follows instead.
        number: What the numbers are of.
        by: Where the deciding one comes from.
        check: Computes them.
        heuristic: Whether the derived form is nearer but no exact result either.
    """

    place: str
    printed: str
    derived: str
    number: str
    by: str
    check: Callable[[EquationSettings], Numbers]
    heuristic: bool = False


def equation_parts(settings: EquationSettings) -> Mapping[str, Work]:
    """All numbers, in the order of `ERRATA`."""
    return {"numbers": lambda run, tell: _numbers(settings, tell)}


def _numbers(settings: EquationSettings, tell: Telling) -> xr.Dataset:
    rows = []
    for i, erratum in enumerate(ERRATA):
        rows.append(erratum.check(settings))
        tell((i + 1) / len(ERRATA))
    return xr.Dataset(
        {name: ("place", [getattr(row, name) for row in rows]) for name in Numbers._fields},
        coords={"place": [erratum.place for erratum in ERRATA]},
    )


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


def _gap_order(settings: EquationSettings) -> Numbers:
    t = 0.1
    values = _exact_values(t)
    return Numbers(float(values[23] - values[22]), 1 / t - 1 / (t + 0.3), float(values[22] - values[23]))


def _jacobian_scale(settings: EquationSettings) -> Numbers:
    s, t = 0.3, 0.1
    # d^2/dx^2 ln p_t(0) of one axis, by quadrature: (E[y^2|x=0]/t - 1)/t.
    powers = [quad(lambda y, k=k: y**k * np.exp(-(y**2) / 2 * (1 / s + 1 / t)), -np.inf, np.inf)[0] for k in (0, 2)]
    right_side = -t / (t + s)
    return Numbers(t * right_side, right_side / t, (powers[1] / powers[0] / t - 1) / t)


def _random_projection(settings: EquationSettings) -> Numbers:
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


def _intermediate_gap(settings: EquationSettings) -> Numbers:
    t = 1e-3
    values = _exact_values(t)
    return Numbers((1 / 0.3 - 1) / t, 1 / (t + 0.3) - 1 / (t + 1), float(values[27] - values[28]))


def _score_variance(settings: EquationSettings) -> Numbers:
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


def _energy_sign(settings: EquationSettings) -> Numbers:
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


def _self_averaging(settings: EquationSettings) -> Numbers:
    t = 0.01
    return Numbers(0.0, 1 / float(theory.effective_samples(_S, _N, t, method="finite")), *_participation(settings, t))


def _expansion(settings: EquationSettings) -> Numbers:
    t = 0.1
    y, error = _participation(settings, t)
    printed = 1 / (1 - t / float(theory.condensation_time(_S, _N, method="expansion")))
    return Numbers(printed, float(theory.effective_samples(_S, _N, t, method="annealed")), 1 / y, error / y**2)


def _rank_correction(t_c: float) -> float:
    return float(theory.rank_correction(np.sum((_S / (_S + t_c)) ** 2)))


def _effective_misprint(settings: EquationSettings) -> Numbers:
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


def _floor_units(settings: EquationSettings) -> Numbers:
    few = EquationSettings(min(300, settings.datasets), settings.seed)
    measured = [float(np.var(_jacobian_entry(few, scale))) for scale in (1.0, 10.0)]

    def variance(scale: float, floor: float) -> float:
        """var J_31 above t_c, where phi is its floor: 2 s/(t (t+s)) phi."""
        s, t = 0.3 * scale**2, scale**2
        return 2 * s / (t * (t + s)) * floor

    printed = variance(10, 1 / _N) / variance(1, 1 / _N)
    derived = variance(10, 1 / (100 * _N)) / variance(1, 1 / _N)
    return Numbers(printed, derived, measured[1] / measured[0])


def _printed_singular_values(form: str) -> Callable[[EquationSettings], Numbers]:
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


def _cumulant_slope(settings: EquationSettings) -> Numbers:
    t, lam, x = 20.0, 2.0, np.eye(30)[0]
    r2, r4, omega2 = _S.mean(), np.mean(_S**2), np.mean(x**2 * _S)
    step = 1e-5
    slope = np.subtract(*(theory.cumulant(_S, t, lam + h, x) for h in (step, -step))) / (2 * step)
    tail = lam * r4 / (2 * t**2) + lam * omega2 / t**2
    printed = -lam * r2 / (2 * t) + lam**2 * r4 / (2 * t**2) + lam * omega2 / t**2
    return Numbers(float(printed), float(-r2 / (2 * t) + tail), float(slope))


def _expansion_misprint(settings: EquationSettings) -> Numbers:
    s, x, alpha = np.array([1.0, 2.0, 3.0]), np.array([1.0, -1.0, 0.5]), 1e-8
    r4, omega2 = np.mean(s**2), np.mean(x**2 * s)
    exact = float(theory.condensation_time(s, alpha=alpha, x=x))
    return Numbers(float(np.sqrt((r4 + omega2) / (2 * alpha))), float(np.sqrt((r4 / 2 + omega2) / (2 * alpha))), exact)


def _finite_rank(settings: EquationSettings) -> Numbers:
    t = 0.003
    t_c = float(theory.condensation_time(_S, _N))
    y, error = _participation(settings, t)
    return Numbers(t_c, _rank_correction(t_c) * t_c, t / (1 - y), t * error / (1 - y) ** 2)


def _score_law(settings: EquationSettings) -> Numbers:
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


def _growth(settings: EquationSettings) -> Numbers:
    n = 1e6
    t_c = [float(theory.condensation_time(np.ones(d), n)) for d in (100_000, 200_000)]
    return Numbers(2.0, float(np.sqrt(2)), t_c[1] / t_c[0])


def _smallest_time(settings: EquationSettings) -> Numbers:
    beta = 1e-4
    return Numbers(1e-5, beta / (1 - beta), float(ddpm_times()[0]))


def _mirror(settings: EquationSettings) -> Numbers:
    # A score that pulls straight back, s = -x/t: every singular value of t J is 1.
    t, d, k = 0.1, 30, 30_000
    rng = np.random.default_rng(derived_seed(settings.seed, "mirror"))
    one, other = rng.standard_normal((2, d, k)) * np.sqrt(t)
    scale = t / np.sqrt(k * t)
    values = [np.linalg.svd((-one + minus) / t / 2 * scale, compute_uv=False).mean() for minus in (other, -one)]
    return Numbers(float(values[0]), float(values[1]), 1.0)


def _kernel(settings: EquationSettings) -> Numbers:
    t = 1e-8
    rank = int(np.sum(t * _exact_values(t) > 1e-4))
    return Numbers(float(30 - (30 - rank)), float(30 - rank), float(_MANIFOLD.rank))


def _kink(settings: EquationSettings) -> Numbers:
    values = np.sort(1 / (1e-3 + _S))[::-1]
    discard, c = 1, 10.0
    v = values[discard:]
    kink = np.abs(v[:-2] - 2 * v[1:-1] + v[2:])
    n = int(np.argmax(kink > max(c * np.median(kink), 1e-12 * v.max())))
    return Numbers(float(30 - n + discard), float(30 - (n + discard) - 2), float(_MANIFOLD.rank))


ERRATA: tuple[Erratum, ...] = (
    Erratum(
        "Eq. 7",
        "gap λ_{k+1} − λ_k",
        "λ_k − λ_{k+1}, values descending; the total gap is at k = d − m",
        "total gap for m = 7, t = 0.1",
        "singular values of the differentiated exact score",
        _gap_order,
    ),
    Erratum(
        "Eq. 8",
        "J/t on the left side",
        "t J on the left side; J has eigenvalues −1/(t + s)",
        "eigenvalue of J, s = 0.3, t = 0.1",
        "quadrature of the posterior's variance",
        _jacobian_scale,
    ),
    Erratum(
        "Eq. 9",
        "σ²(1 + α_m^{-1/2})², the upper edge of the bulk",
        "σ²(α_m^{-1/2} − 1)², the lower one",
        "gap of tJ, d = 400, m = 100, σ = t = 1",
        "smallest eigenvalue of random F",
        _random_projection,
    ),
    Erratum(
        "Sec. 5.1, intermediate gaps",
        "(σ_k^{-2} − σ_{k+1}^{-2})/t as t → 0",
        "1/(t + s_{k+1}) − 1/(t + s_k), which stays finite",
        "gap between s = 1 and 0.3 at t = 1e-3",
        "singular values of the differentiated exact score",
        _intermediate_gap,
    ),
    Erratum(
        "Sec. 5.2, var[score]",
        "var(x_0|x)/E[Ñ]",
        "R_0/(N t²) times the posterior's variance at t/2; the printed one lacks 1/t²",
        "variance of the score at 0, d = s = 1, t = 0.05, N = 1000",
        "simulation",
        _score_variance,
    ),
    Erratum(
        "Eqs. 12 to 14",
        "E = −y²/2 + x·y, weights ∝ exp(−E/t)",
        "E = y²/2 − x·y (as Eq. 24)",
        "posterior mean at x = 0.5, s = 1, t = 0.5",
        "mean of the clean points behind noisy ones near x",
        _energy_sign,
    ),
    Erratum(
        "Sec. 5.3, after Eq. 14",
        "self-averaging for small t",
        "self-averaging for large t",
        "E[Y] at t = 0.01, m = 7, N = 1000 (0 is self-averaging)",
        "simulation",
        _self_averaging,
    ),
    Erratum(
        "Eq. 15",
        "at α = 0.23: t_c = 0.298, so that t = 0.1 is condensed",
        "right as α → 0 only; the root of KL(p(y|x) ‖ p_0) = ln N, 0.0245, so that it is not",
        "effective samples at t = 0.1, m = 7, N = 1000 (printed: 1/(1 − t/t_c); derived: annealed)",
        "simulation: 1/E[Y]",
        _expansion,
    ),
    Erratum(
        "Eq. 16",
        "t/(1 − t_c^{-1})",
        "1/(1 − t/t_c), with C t_c for t_c at finite rank (see 36, 37)",
        "effective samples at t = 0.01, m = 7",
        "simulation: 1/E[Y]",
        _effective_misprint,
    ),
    Erratum(
        "Eq. 18",
        "φ with the floor 1/N",
        "floor 1/(N t), which has φ's units",
        "var J_31 of tenfold data at t = 100 over that of the data at t = 1",
        "simulation",
        _floor_units,
    ),
    Erratum(
        "Eq. 19",
        "Σ s/(t²(t+s)²) [φ + φ]²: the variance squared",
        "Σ s/(t(t+s)) [φ + φ], the variance itself; a heuristic still",
        "largest singular value at t = 0.01, m = 7, N = 1000",
        "simulation, median",
        _printed_singular_values("eq19"),
        heuristic=True,
    ),
    Erratum(
        "Eq. 43",
        "the same with s²",
        "as 19",
        "largest singular value at t = 0.01, m = 7, N = 1000",
        "simulation, median",
        _printed_singular_values("eq43"),
        heuristic=True,
    ),
    Erratum(
        "Eq. 30",
        "−λ r_2/2t + λ² r_4/2t² + λ ω²/t²",
        "−r_2/2t + λ r_4/2t² + λ ω²/t²",
        "ζ'(2) at t = 20, m = 7, x = e_1",
        "finite differences of Eq. 27",
        _cumulant_slope,
    ),
    Erratum(
        "Eq. 34",
        "√((r_4 + ω²)/2α)",
        "√((r_4/2 + ω²)/2α), as Eq. 15",
        "t_c, s = (1, 2, 3), x = (1, −1, 0.5), α = 1e-8",
        "root of α + ζ(1) − ζ'(1) = 0",
        _expansion_misprint,
    ),
    Erratum(
        "Eqs. 36, 37",
        "E[Y] = 1 − t/t_c, the limit d → ∞",
        "at finite rank t/(1 − E[Y]) → C t_c, C = e Γ(a+1)^{1/a}/(a Γ(2 − 1/a)), a half of Σ (s/(s+t_c))²",
        "t/(1 − E[Y]) at t = 0.003, m = 7, N = 1000",
        "simulation",
        _finite_rank,
    ),
    Erratum(
        "Eq. 39",
        "covariance β(Λ^{-1} + β)^{-1} max(0, β − β_c)",
        "below t_c the posterior is frozen at t_c",
        "variance of the score along s = 0.3 at the origin, t = 0.005, m = 7",
        "simulation",
        _score_law,
        heuristic=True,
    ),
    Erratum(
        "Supp. C, after Eq. 34",
        "t_c grows linearly in d",
        "as √(d/ln N), by Eq. 15",
        "t_c(2d)/t_c(d), s = 1, d = 100,000, N = 10⁶",
        "root of α + ζ(1) − ζ'(1) = 0",
        _growth,
    ),
    Erratum(
        "Fig. 6, caption",
        "spectra at t = 1e-5",
        "DDPM's smallest t is β_min/(1 − β_min)",
        "smallest t",
        "the schedule, summed",
        _smallest_time,
    ),
    Erratum(
        "Alg. 2",
        "x⁻ ~ N(x_0, −σ²I), which is no distribution; read as a second draw",
        "the mirrored point, x_0 − σε with the same ε",
        "mean singular value of tJ for s = −x/t",
        "the matrix itself, tJ = −I",
        _mirror,
    ),
    Erratum(
        "Supp. B",
        "dimension = d − ker(S)",
        "d − rank(S)",
        "dimension read from S for m = 7",
        "the manifold",
        _kernel,
    ),
    Erratum(
        "Alg. 3",
        "k = d − n + d̄",
        "k = d − (n + d̄) − 2, n the first index from 0",
        "dimension read for m = 7, d̄ = 1, c = 10",
        "the manifold",
        _kink,
    ),
)
