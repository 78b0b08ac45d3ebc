"""Fig. 8: the condensation time, exact and by its expansion (Eq. 15), over the load and over positions."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr
from matplotlib.figure import Figure
from scipy.stats import spearmanr

from geomem import theory
from geomem.figures.style import TRAINING
from geomem.manifolds import LinearManifold
from geomem.paper.drawing import INK, drawn
from geomem.paper.experiment import Experiment, Records, Work, scaled
from geomem.paper.parameters import UNITS_T
from geomem.paper.verdict import Claim, Evidence, Runs, Table, graded, interval
from geomem.seeds import derived_seed

__all__ = ["EXPERIMENTS", "CondensationSettings", "condensation_parts"]


@dataclass(frozen=True)
class CondensationSettings:
    """Fig. 8: F (d, m) and x with standard Gaussian entries.

    Attributes:
        dim: d.
        rank: m.
        alphas: Loads ln N / d of the left panel.
        matrices: Pairs (F, x) of the left panel; the figure shows the first.
        positions: Positions of the right panel, at the first F.
        alpha: Their load.
        seed: Random seed.
    """

    dim: int = 100
    rank: int = 50
    alphas: tuple[float, ...] = tuple(float(f"{a:.4g}") for a in np.geomspace(1e-3, 3, 41))
    matrices: int = 100
    positions: int = 2000
    alpha: float = 0.15
    seed: int = 0


def condensation_parts(settings: CondensationSettings) -> Mapping[str, Work]:
    """Exact condensation time and Eq. 15: over alpha, and over positions."""
    return {
        "loads": lambda run, tell: _loads(settings),
        "positions": lambda run, tell: _positions(settings),
    }


def _problem(settings: CondensationSettings, index: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Variances (d,) of a random F, and `count` positions in their eigenbasis."""
    rng = np.random.default_rng(derived_seed(settings.seed, "projection", index))
    matrix = torch.from_numpy(rng.standard_normal((settings.dim, settings.rank)))
    manifold = LinearManifold.from_matrix(matrix)
    assert manifold.score.basis is not None
    return manifold.variances.numpy(), rng.standard_normal((count, settings.dim)) @ manifold.score.basis.numpy()


def _loads(settings: CondensationSettings) -> xr.Dataset:
    alphas = np.asarray(settings.alphas)
    forms = ("exact", "expansion")
    out = np.empty((settings.matrices, len(forms), alphas.size))
    for i in range(settings.matrices):
        s, x = _problem(settings, i, 1)
        for k, form in enumerate(forms):
            out[i, k] = theory.condensation_time(s, alpha=alphas, x=x, method=form)
    return xr.Dataset(
        {"condensation_time": (("matrix", "form", "alpha"), out, UNITS_T)},
        coords={"form": list(forms), "alpha": alphas},
    )


def _positions(settings: CondensationSettings) -> xr.Dataset:
    s, x = _problem(settings, 0, settings.positions)
    t_c = theory.condensation_time(s, alpha=settings.alpha, x=x)
    return xr.Dataset(
        {
            "condensation_time": ("position", t_c, UNITS_T),
            "expansion": (
                "position",
                theory.condensation_time(s, alpha=settings.alpha, x=x, method="expansion"),
                UNITS_T,
            ),
            "variance_density": ("position", np.mean(x**2 * s, -1), {"units": "data units to the fourth"}),
        },
        attrs={"alpha": settings.alpha},
    )


@drawn(7.2, 3.2)
def _figure(figure: Figure, records: Records, settings: CondensationSettings) -> str:
    """t_c exact and by Eq. 15 over alpha (left), exact over positions against omega^2 (right)."""
    loads, positions = records["loads"], records["positions"]
    left, right = figure.subplots(1, 2)
    first = loads["condensation_time"].isel(matrix=0)
    left.plot(loads["alpha"], first.sel(form="exact"), color=INK, label="exact")
    left.plot(loads["alpha"], first.sel(form="expansion"), "--", color=TRAINING, label="Eq. 15")
    left.set(xscale="log", yscale="log", xlabel="α = ln N / d", ylabel="condensation time", title="one position")
    left.legend()
    right.plot(positions["variance_density"], positions["condensation_time"], ".", ms=2, color=INK)
    title = f"{positions.sizes['position']:,} positions"
    right.set(xlabel="ω²(x)", ylabel="condensation time, exact", title=title)
    return (
        f"d = {settings.dim}, m = {settings.rank}, F and x standard Gaussian; right: α = {positions.attrs['alpha']:g}."
    )


def _expansion(runs: Runs) -> Evidence:
    loads = runs["fig8"]["loads"]["condensation_time"]
    ratio = (loads.sel(form="expansion") / loads.sel(form="exact")).values
    alpha = loads["alpha"].values
    rows = []
    for wanted in (1e-3, 1e-2, 0.1, 0.15, 0.3, 1.0, 3.0):
        k = int(np.argmin(np.abs(np.log(alpha / wanted))))
        low, middle, high = np.quantile(ratio[:, k], [0.025, 0.5, 0.975])
        rows.append((f"{alpha[k]:.3g}", f"{middle:.3g} [{low:.3g}, {high:.3g}]"))
    good = alpha[np.abs(np.log(np.median(ratio, 0))) < np.log(1.1)]
    reach = f"up to α = {good.max():.2g}" if good.size else "nowhere"
    text = (
        f"Over {ratio.shape[0]} random F and x, Eq. 15 is within 10% of the exact time {reach}. Its ratio to the exact time "
        f"is at least {ratio.min():.4f} and has median {np.median(ratio[:, -1]):.3g} at α = {alpha[-1]:g}."
    )
    table = Table(("α", "Eq. 15 / exact, median and 95% of F, x"), tuple(rows))
    return Evidence(graded([good.size == alpha.size, good.size > alpha.size / 2]), (text,), table)


def _position(runs: Runs) -> Evidence:
    arrays = runs["fig8"]["positions"]
    x, y = arrays["variance_density"].values, arrays["condensation_time"].values
    rank = interval(lambda rows: float(spearmanr(x[rows], y[rows]).statistic), x.size)
    spread = np.quantile(y, [0.025, 0.975])
    text = (
        f"The rank correlation of the exact t_c with ω² is {rank:.3f} over {x.size:,} positions. t_c itself has median "
        f"{np.median(y):.3g}; 95% of positions lie between {spread[0]:.3g} and {spread[1]:.3g}."
    )
    strong = bool(spread[1] / spread[0] > 1.25)
    return Evidence(graded([strong, strong and rank.low > 0.5]), (text,))


EXPERIMENTS = (
    Experiment(
        "fig8",
        "Fig. 8, Eq. 15",
        "condensation time, exact and expanded, over the load α and over positions",
        scaled(CondensationSettings(), matrices=20),
        {"quick": 2, "full": 3},
        condensation_parts,
        _figure,
        (
            Claim(
                "expansion",
                "The expansion of the condensation time agrees well with the exact one at all α.",
                "Supp. C, Fig. 8, Eq. 15",
                "ratio to the exact time; good is within 10%: at all α, or in part at more than half of them",
                _expansion,
            ),
            Claim(
                "position",
                "The condensation time depends strongly on the position, through ω².",
                "Supp. C, Fig. 8",
                "spread of t_c over 95% of the positions, more than a quarter; and then its rank correlation with ω², above "
                "0.5",
                _position,
            ),
        ),
    ),
)
