"""The table of experiments: every figure of the paper on synthetic data, and its statements that have no figure."""

from dataclasses import replace
from typing import Any

from geomem.figures import condensation as condensation_figures
from geomem.figures import curves
from geomem.figures import latent as latent_figures
from geomem.figures.errata import errata_figure
from geomem.reproduce.algorithms import AlgorithmSettings, ReverseSettings, algorithm_parts, reverse_parts
from geomem.reproduce.condensation import (
    CondensationSettings,
    OrderSettings,
    ScalingSettings,
    condensation_parts,
    order_parts,
    scaling_parts,
)
from geomem.reproduce.equations import EquationSettings, equation_parts
from geomem.reproduce.experiment import Experiment
from geomem.reproduce.latent import (
    GapSettings,
    LatentSettings,
    PlaneSettings,
    gap_parts,
    latent_parts,
    plane_parts,
)
from geomem.reproduce.networks import NetworkSettings, network_parts
from geomem.reproduce.spectra import (
    M7,
    M15,
    CurveSettings,
    SizeSettings,
    compared_parts,
    simulated_parts,
    theory_parts,
)

__all__ = ["EXPERIMENTS"]

_QUICK_SIZES = (50, 250, 1000, 10_000)
_FEW = {"sizes": (50, 500, 5000), "steps": 4000, "ema_decay": 0.995, "points": 8}
_WIDE_SIZES = (100, 500, 1000, 10_000, 100_000)
_WIDE_TIMES = (0.6, 0.4, 0.2, 1e-5)
_WIDE = {"high": ((10, 1.0), (30, 0.01)), "low": ((10, 0.01), (30, 1.0)), "uniform": ()}


def _both(settings: Any, **quick: Any) -> dict[str, Any]:
    """Settings of both scales: the full ones, and those with some fields made small."""
    return {"quick": replace(settings, **quick), "full": settings}


EXPERIMENTS: dict[str, Experiment] = {
    e.name: e
    for e in (
        Experiment(
            "fig1",
            "Fig. 1, Eq. 3",
            "latent manifolds as fixed points of the score, and its singular vectors",
            _both(LatentSettings(), starts=60),
            {"quick": 3, "full": 4},
            latent_parts,
            latent_figures.latent_figure,
        ),
        Experiment(
            "fig2",
            "Fig. 2",
            "the gap that a manifold opens in the Jacobian's spectrum, and the well behind it",
            _both(GapSettings(), points=8),
            {"quick": 2, "full": 3},
            gap_parts,
            latent_figures.gap_figure,
        ),
        Experiment(
            "fig3",
            "Fig. 3",
            "score and density of a bivariate of unequal variances, and the dimension that is lost",
            _both(PlaneSettings(), datasets=60),
            {"quick": 5, "full": 10},
            plane_parts,
            latent_figures.plane_figure,
        ),
        Experiment(
            "fig4",
            "Figs. 4 and 11",
            "singular values over t for m = 7: Eq. 19, Eq. 18, simulation, and corrected theory",
            _both(CurveSettings(M7), datasets=60, draws=100),
            {"quick": 10, "full": 40},
            compared_parts,
            curves.compared_figure,
            also=("fig11",),
        ),
        Experiment(
            "fig5",
            "Fig. 5",
            "networks trained on m = 7: spectra at several t and N",
            _both(NetworkSettings({"m7": M7}), **_FEW),
            {"quick": 30, "full": 9000},
            network_parts,
            curves.network_figure,
        ),
        Experiment(
            "fig8",
            "Fig. 8, Eq. 15",
            "condensation time, exact and expanded, over alpha and over 2,000 positions",
            _both(CondensationSettings(), matrices=20),
            {"quick": 2, "full": 3},
            condensation_parts,
            condensation_figures.condensation_figure,
        ),
        Experiment(
            "fig9",
            "Fig. 9",
            "empirical spectra at several t and N for m = 7",
            _both(SizeSettings(M7), sizes=_QUICK_SIZES, realizations=5),
            {"quick": 10, "full": 300},
            simulated_parts,
            curves.simulated_figure,
        ),
        Experiment(
            "fig10",
            "Fig. 10",
            "empirical spectra at several t and N for m = 15",
            _both(SizeSettings(M15), sizes=_QUICK_SIZES, realizations=5),
            {"quick": 10, "full": 300},
            simulated_parts,
            curves.simulated_figure,
        ),
        Experiment(
            "fig12",
            "Fig. 12",
            "singular values over t for m = 15: Eq. 19, Eq. 18, simulation, and corrected theory",
            _both(CurveSettings(M15), datasets=60, draws=100),
            {"quick": 10, "full": 40},
            compared_parts,
            curves.compared_figure,
        ),
        Experiment(
            "fig13",
            "Fig. 13",
            "Eq. 19 at several t and N for m = 7",
            _both(SizeSettings(M7), realizations=10),
            {"quick": 3, "full": 5},
            lambda settings: theory_parts(settings, "eq19"),
            curves.theory_size_figure,
        ),
        Experiment(
            "fig14",
            "Fig. 14",
            "Eq. 18 at several t and N for m = 15",
            _both(SizeSettings(M15), realizations=10),
            {"quick": 5, "full": 8},
            lambda settings: theory_parts(settings, "eq18"),
            curves.theory_size_figure,
        ),
        Experiment(
            "fig15",
            "Fig. 15",
            "networks trained in d = 100 on three choices of m = 40 variances",
            _both(
                NetworkSettings(_WIDE, dim=100, sizes=_WIDE_SIZES, times=_WIDE_TIMES, points=8),
                **(_FEW | {"sizes": (100, 1000, 10_000), "steps": 2000, "points": 4}),
            ),
            {"quick": 60, "full": 30_000},
            network_parts,
            curves.uniform_figure,
        ),
        Experiment(
            "fig16",
            "Fig. 16",
            "networks trained on m = 15: spectra at several t and N",
            _both(NetworkSettings({"m15": M15}), **_FEW),
            {"quick": 30, "full": 9000},
            network_parts,
            curves.network_figure,
        ),
        Experiment(
            "order",
            "Sec. 5.4",
            "which subspace condenses first: participation ratios at e_j sqrt t",
            _both(OrderSettings(), datasets=150),
            {"quick": 10, "full": 40},
            order_parts,
            condensation_figures.order_figure,
        ),
        Experiment(
            "scaling",
            "Supp. C",
            "samples that keep the score from condensing, over m and over d",
            _both(ScalingSettings(), ranks=(4, 5, 6, 7, 8), dims=(16, 32, 64), datasets=100),
            {"quick": 5, "full": 30},
            scaling_parts,
            condensation_figures.scaling_figure,
        ),
        Experiment(
            "algorithms",
            "Supp. B, Algs. 1 to 3",
            "scatter of the probes over repetitions, and errors of the gap rules",
            _both(AlgorithmSettings(), points=6, repeats=6),
            {"quick": 20, "full": 200},
            algorithm_parts,
            condensation_figures.algorithm_figure,
        ),
        Experiment(
            "reverse",
            "Eq. 2",
            "reverse diffusion beside the flow: weak error over steps, and where samples end",
            _both(ReverseSettings(), samples=20_000, drawn=300),
            {"quick": 10, "full": 60},
            reverse_parts,
            condensation_figures.reverse_figure,
        ),
        Experiment(
            "equations",
            "errata",
            "printed and derived forms of the equations, and the numbers that decide",
            _both(EquationSettings(), datasets=400),
            {"quick": 3, "full": 20},
            equation_parts,
            errata_figure,
        ),
    )
}
