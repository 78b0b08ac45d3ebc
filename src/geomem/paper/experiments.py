"""The table of experiments: every figure of the paper on synthetic data, and its statements that have no figure."""

from dataclasses import replace
from typing import Any

from geomem.paper import figures_condensation as condensation_figures
from geomem.paper import figures_curves as curves
from geomem.paper import figures_latent as latent_figures
from geomem.paper.algorithms import AlgorithmSettings, ReverseSettings, algorithm_parts, reverse_parts
from geomem.paper.condensation import (
    CondensationSettings,
    OrderSettings,
    ScalingSettings,
    condensation_parts,
    order_parts,
    scaling_parts,
)
from geomem.paper.equations import EquationSettings
from geomem.paper.errata import equation_parts
from geomem.paper.experiment import Experiment
from geomem.paper.figures_errata import errata_figure
from geomem.paper.images import SCALED, drawn_images, image_parts
from geomem.paper.latent import (
    GapSettings,
    LatentSettings,
    PlaneSettings,
    gap_parts,
    latent_parts,
    plane_parts,
)
from geomem.paper.networks import NetworkSettings, network_parts
from geomem.paper.spectra import (
    M7,
    M15,
    CurveSettings,
    SizeSettings,
    compared_parts,
    simulated_parts,
    theory_parts,
)

__all__ = ["EXPERIMENTS"]

_PARTS = {7: M7, 15: M15}
_QUICK_SIZES = (50, 250, 1000, 10_000)
_FEW = {"sizes": (50, 500, 5000), "steps": 4000, "ema_decay": 0.995, "points": 8}
_WIDE_SIZES = (100, 500, 1000, 10_000, 100_000)
_WIDE_TIMES = (0.6, 0.4, 0.2, 1e-5)
_WIDE = {"high": ((10, 1.0), (30, 0.01)), "low": ((10, 0.01), (30, 1.0)), "uniform": ()}


def _both(settings: Any, **quick: Any) -> dict[str, Any]:
    """Settings of both scales: the full ones, and those with some fields made small."""
    return {"quick": replace(settings, **quick), "full": settings}


def _compared(name: str, place: str, m: int, also: tuple[str, ...] = ()) -> Experiment:
    return Experiment(
        name,
        place,
        f"singular values over t for m = {m}: Eq. 19, Eq. 18, simulation, and corrected theory",
        _both(CurveSettings(_PARTS[m]), datasets=60, draws=100),
        {"quick": 4, "full": 16},
        compared_parts,
        curves.compared_figure,
        also,
    )


def _simulated(name: str, place: str, m: int) -> Experiment:
    return Experiment(
        name,
        place,
        f"empirical spectra at several t and N for m = {m}",
        _both(SizeSettings(_PARTS[m]), sizes=_QUICK_SIZES, realizations=5),
        {"quick": 4, "full": 120},
        simulated_parts,
        curves.simulated_figure,
    )


def _predicted(name: str, place: str, m: int, printed: str) -> Experiment:
    return Experiment(
        name,
        place,
        f"Eq. {printed[2:]} at several t and N for m = {m}",
        _both(SizeSettings(_PARTS[m]), realizations=10),
        {"quick": 2, "full": 3},
        lambda settings: theory_parts(settings, printed),
        curves.theory_size_figure,
    )


def _trained(name: str, place: str, m: int) -> Experiment:
    return Experiment(
        name,
        place,
        f"networks trained on m = {m}: spectra at several t and N",
        _both(NetworkSettings({f"m{m}": _PARTS[m]}), **_FEW),
        {"quick": 18, "full": 10_800},
        network_parts,
        curves.network_figure,
    )


EXPERIMENTS: dict[str, Experiment] = {
    e.name: e
    for e in (
        Experiment(
            "fig1",
            "Fig. 1, Eq. 3",
            "latent manifolds as fixed points of the score, and its singular vectors",
            _both(LatentSettings(), starts=60),
            {"quick": 2, "full": 4},
            latent_parts,
            latent_figures.latent_figure,
        ),
        Experiment(
            "fig2",
            "Fig. 2",
            "the gap that a manifold opens in the Jacobian's spectrum, and the well behind it",
            _both(GapSettings(), points=8),
            {"quick": 1, "full": 3},
            gap_parts,
            latent_figures.gap_figure,
        ),
        Experiment(
            "fig3",
            "Fig. 3",
            "score and density of a bivariate of unequal variances, and the dimension that is lost",
            _both(PlaneSettings(), datasets=60),
            {"quick": 2, "full": 4},
            plane_parts,
            latent_figures.plane_figure,
        ),
        _compared("fig4", "Figs. 4 and 11", 7, also=("fig11",)),
        _trained("fig5", "Fig. 5", 7),
        Experiment(
            "fig6",
            "Figs. 6 and 7, Sec. 6.3",
            "image networks over data-set size: spectra, dimension, copies, and Alg. 3's second differences",
            SCALED,
            {"quick": 70, "reduced": 3600, "full": 1.4e6},
            image_parts,
            drawn_images,
            also=("fig7",),
            reads=True,
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
        _simulated("fig9", "Fig. 9", 7),
        _simulated("fig10", "Fig. 10", 15),
        _compared("fig12", "Fig. 12", 15),
        _predicted("fig13", "Fig. 13", 7, "eq19"),
        _predicted("fig14", "Fig. 14", 15, "eq18"),
        Experiment(
            "fig15",
            "Fig. 15",
            "networks trained in d = 100 on three choices of m = 40 variances",
            _both(
                NetworkSettings(_WIDE, dim=100, sizes=_WIDE_SIZES, times=_WIDE_TIMES, points=8, compared=False),
                **(_FEW | {"sizes": (100, 1000, 10_000), "steps": 2000, "points": 4}),
            ),
            {"quick": 50, "full": 36_000},
            network_parts,
            curves.uniform_figure,
        ),
        _trained("fig16", "Fig. 16", 15),
        Experiment(
            "order",
            "Sec. 5.4",
            "which subspace condenses first: participation ratios at e_j sqrt t",
            _both(OrderSettings(), datasets=150),
            {"quick": 2, "full": 8},
            order_parts,
            condensation_figures.order_figure,
        ),
        Experiment(
            "scaling",
            "Supp. C",
            "samples that keep the score from condensing, over m and over d",
            _both(ScalingSettings(), ranks=(4, 5, 6, 7, 8), dims=(16, 32, 64), datasets=100),
            {"quick": 1, "full": 6},
            scaling_parts,
            condensation_figures.scaling_figure,
        ),
        Experiment(
            "algorithms",
            "Supp. B, Algs. 1 to 3",
            "scatter of the probes over repetitions, and errors of the gap rules",
            _both(AlgorithmSettings(), points=6, repeats=6),
            {"quick": 8, "full": 90},
            algorithm_parts,
            condensation_figures.algorithm_figure,
        ),
        Experiment(
            "reverse",
            "Eq. 2",
            "reverse diffusion beside the flow: weak error over steps, and where samples end",
            _both(ReverseSettings(), samples=20_000, drawn=300),
            {"quick": 11, "full": 80},
            reverse_parts,
            condensation_figures.reverse_figure,
        ),
        Experiment(
            "equations",
            "errata",
            "printed and derived forms of the equations, and the numbers that decide",
            _both(EquationSettings(), datasets=400),
            {"quick": 3, "full": 10},
            equation_parts,
            errata_figure,
        ),
    )
}
