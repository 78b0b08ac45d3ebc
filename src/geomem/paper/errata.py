"""Errata: equations of the paper whose printed form a number refutes, with the form that the number supports."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from geomem.figures.style import HELD_OUT, TRAINING
from geomem.paper import equations
from geomem.paper.drawing import GUIDE, drawn
from geomem.paper.equations import EquationSettings, Numbers
from geomem.paper.experiment import Experiment, Records, Telling, Work, scaled

__all__ = ["ERRATA", "EXPERIMENTS", "Erratum", "equation_parts"]


@dataclass(frozen=True)
class Erratum:
    """An equation with the number that decides.

    Attributes:
        place: Equation or section.
        printed: What is printed.
        derived: What follows instead.
        number: The quantity that the numbers are of.
        by: Where the deciding number comes from.
        check: Computes them.
        heuristic: Whether the derived form is closer but not exact either.
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


ERRATA: tuple[Erratum, ...] = (
    Erratum(
        "Eq. 7",
        "gap λ_{k+1} − λ_k",
        "λ_k − λ_{k+1}, values descending; the total gap is at k = d − m",
        "total gap for m = 7, t = 0.1",
        "singular values of the differentiated exact score",
        equations.gap_order,
    ),
    Erratum(
        "Eq. 8",
        "J/t on the left side",
        "t J on the left side; J has eigenvalues −1/(t + s)",
        "eigenvalue of J, s = 0.3, t = 0.1",
        "quadrature of the posterior's variance",
        equations.jacobian_scale,
    ),
    Erratum(
        "Eq. 9",
        "σ²(1 + α_m^{-1/2})², the upper edge of the bulk",
        "σ²(α_m^{-1/2} − 1)², the lower one",
        "gap of tJ, d = 400, m = 100, σ = t = 1",
        "smallest eigenvalue of random F",
        equations.random_projection,
    ),
    Erratum(
        "Sec. 5.1, intermediate gaps",
        "(σ_k^{-2} − σ_{k+1}^{-2})/t as t → 0",
        "1/(t + s_{k+1}) − 1/(t + s_k), which stays finite",
        "gap between s = 1 and 0.3 at t = 1e-3",
        "singular values of the differentiated exact score",
        equations.intermediate_gap,
    ),
    Erratum(
        "Sec. 5.2, var[score]",
        "var(x_0|x)/E[Ñ]",
        "R_0/(N t²) times the posterior's variance at t/2; the printed one lacks 1/t²",
        "variance of the score at 0, d = s = 1, t = 0.05, N = 1000",
        "simulation",
        equations.score_variance,
    ),
    Erratum(
        "Eqs. 12 to 14",
        "E = −y²/2 + x·y, weights ∝ exp(−E/t)",
        "E = y²/2 − x·y (as Eq. 24)",
        "posterior mean at x = 0.5, s = 1, t = 0.5",
        "mean of the clean points behind noisy ones near x",
        equations.energy_sign,
    ),
    Erratum(
        "Sec. 5.3, after Eq. 14",
        "self-averaging for small t",
        "self-averaging for large t",
        "E[Y] at t = 0.01, m = 7, N = 1000 (0 is self-averaging)",
        "simulation",
        equations.self_averaging,
    ),
    Erratum(
        "Eq. 15",
        "at α = 0.23: t_c = 0.298, so that t = 0.1 is condensed",
        "right as α → 0 only; the root of KL(p(y|x) ‖ p_0) = ln N, 0.0245, so that it is not",
        "effective samples at t = 0.1, m = 7, N = 1000 (printed: 1/(1 − t/t_c); derived: annealed)",
        "simulation: 1/E[Y]",
        equations.expansion,
    ),
    Erratum(
        "Eq. 16",
        "t/(1 − t_c^{-1})",
        "1/(1 − t/t_c), with C t_c for t_c at finite rank (see 36, 37)",
        "effective samples at t = 0.01, m = 7",
        "simulation: 1/E[Y]",
        equations.effective_misprint,
    ),
    Erratum(
        "Eq. 18",
        "φ with the floor 1/N",
        "floor 1/(N t), which has φ's units",
        "var J_31 of tenfold data at t = 100 over that of the data at t = 1",
        "simulation",
        equations.floor_units,
    ),
    Erratum(
        "Eq. 19",
        "Σ s/(t²(t+s)²) [φ + φ]²: the variance squared",
        "Σ s/(t(t+s)) [φ + φ], the variance itself; a heuristic still",
        "largest singular value at t = 0.01, m = 7, N = 1000",
        "simulation, median",
        equations.printed_singular_values("eq19"),
        heuristic=True,
    ),
    Erratum(
        "Eq. 43",
        "the same with s²",
        "as 19",
        "largest singular value at t = 0.01, m = 7, N = 1000",
        "simulation, median",
        equations.printed_singular_values("eq43"),
        heuristic=True,
    ),
    Erratum(
        "Eq. 30",
        "−λ r_2/2t + λ² r_4/2t² + λ ω²/t²",
        "−r_2/2t + λ r_4/2t² + λ ω²/t²",
        "ζ'(2) at t = 20, m = 7, x = e_1",
        "finite differences of Eq. 27",
        equations.cumulant_slope,
    ),
    Erratum(
        "Eq. 34",
        "√((r_4 + ω²)/2α)",
        "√((r_4/2 + ω²)/2α), as Eq. 15",
        "t_c, s = (1, 2, 3), x = (1, −1, 0.5), α = 1e-8",
        "root of α + ζ(1) − ζ'(1) = 0",
        equations.expansion_misprint,
    ),
    Erratum(
        "Eqs. 36, 37",
        "E[Y] = 1 − t/t_c, the limit d → ∞",
        "at finite rank t/(1 − E[Y]) → C t_c, C = e Γ(a+1)^{1/a}/(a Γ(2 − 1/a)), a half of Σ (s/(s+t_c))²",
        "t/(1 − E[Y]) at t = 0.003, m = 7, N = 1000",
        "simulation",
        equations.finite_rank,
    ),
    Erratum(
        "Eq. 39",
        "covariance β(Λ^{-1} + β)^{-1} max(0, β − β_c)",
        "below t_c the posterior is frozen at t_c",
        "variance of the score along s = 0.3 at the origin, t = 0.005, m = 7",
        "simulation",
        equations.score_law,
        heuristic=True,
    ),
    Erratum(
        "Supp. C, after Eq. 34",
        "t_c grows linearly in d",
        "as √(d/ln N), by Eq. 15",
        "t_c(2d)/t_c(d), s = 1, d = 100,000, N = 10⁶",
        "root of α + ζ(1) − ζ'(1) = 0",
        equations.growth,
    ),
    Erratum(
        "Fig. 6, caption",
        "spectra at t = 1e-5",
        "DDPM's smallest t is β_min/(1 − β_min)",
        "smallest t",
        "the schedule, summed",
        equations.smallest_time,
    ),
    Erratum(
        "Alg. 2",
        "x⁻ ~ N(x_0, −σ²I), which is no distribution; read as a second draw",
        "the mirrored point, x_0 − σε with the same ε",
        "mean singular value of tJ for s = −x/t",
        "the matrix itself, tJ = −I",
        equations.mirror,
    ),
    Erratum(
        "Supp. B",
        "dimension = d − ker(S)",
        "d − rank(S)",
        "dimension read from S for m = 7",
        "the manifold",
        equations.kernel,
    ),
    Erratum(
        "Alg. 3",
        "k = d − n + d̄",
        "k = d − (n + d̄) − 2, n the first index from 0",
        "dimension read for m = 7, d̄ = 1, c = 10",
        "the manifold",
        equations.kink,
    ),
)


@drawn(7.2, 6)
def _figure(figure: Figure, records: Records, settings: EquationSettings) -> str:
    """Each form's number over the deciding one; 1 is right."""
    arrays = records["numbers"]
    y = np.arange(arrays.sizes["place"])[::-1]
    decides = arrays["decides"]
    axis = figure.subplots()
    axis.axvline(1, color=GUIDE, lw=0.8)
    width = 2 * np.abs(arrays["error"] / decides)
    axis.errorbar(arrays["derived"] / decides, y, xerr=width, fmt="o", color=HELD_OUT, ms=5, label="derived")
    axis.plot(arrays["printed"] / decides, y, "x", color=TRAINING, ms=7, mew=2, label="printed")
    axis.set_xscale("symlog", linthresh=0.01)
    axis.set_yticks(y, [str(place) for place in arrays["place"].values], fontsize=8)
    axis.set(xlabel="relative to the deciding number (2 s.e.)", xlim=(-3, 2e3))
    axis.legend(loc="upper right")
    return f"simulations over up to {settings.datasets:,} data sets."


EXPERIMENTS = (
    Experiment(
        "equations",
        "errata",
        "printed and derived forms of the equations, and the numbers that decide",
        scaled(EquationSettings(), datasets=400),
        {"quick": 3, "full": 10},
        equation_parts,
        _figure,
    ),
)
