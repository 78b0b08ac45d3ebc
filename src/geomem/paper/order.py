"""Sec. 5.4: which subspace condenses first, by simulation and by theory."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
import xarray as xr
from matplotlib.figure import Figure

from geomem import theory
from geomem.figures.style import HELD_OUT, TRAINING, log_axis
from geomem.intervals import mean
from geomem.manifolds import LinearManifold
from geomem.paper.drawing import GUIDE, INK, drawn
from geomem.paper.experiment import Experiment, Records, Telling, Work, scaled
from geomem.paper.parameters import M7, M15, UNITS_T, Subspaces
from geomem.paper.verdict import Claim, Evidence, Runs, Table, graded
from geomem.records import Run
from geomem.scores import EmpiricalScore
from geomem.seeds import derived_generator

__all__ = ["EXPERIMENTS", "OrderSettings", "order_parts"]


@dataclass(frozen=True)
class OrderSettings:
    """Which subspace condenses first (Sec. 5.4).

    Attributes:
        sets: Subspaces of each manifold.
        dim: d.
        n_samples: N.
        times: Noise variances t.
        datasets: Data sets.
        seed: Seed of the data.
    """

    sets: tuple[Subspaces, ...] = (M7, M15)
    dim: int = 30
    n_samples: int = 1000
    times: tuple[float, ...] = tuple(float(f"{u:.4g}") for u in np.geomspace(1e-3, 10, 17))
    datasets: int = 1000
    seed: int = 0


def order_parts(settings: OrderSettings) -> Mapping[str, Work]:
    """Participation ratios at e_j sqrt t, by simulation and theory, one record for each manifold."""
    return {f"m{sum(m for m, _ in parts)}": partial(_order, settings, parts) for parts in settings.sets}


def _order(settings: OrderSettings, parts: Subspaces, run: Run, tell: Telling) -> xr.Dataset:
    """Mean over the axes of each subspace of Y = sum w^2 at e_j sqrt t, for every data set; t_c and N~ there."""
    manifold = LinearManifold.subspaces(settings.dim, parts)
    rank, s = manifold.rank, manifold.variances.numpy()
    t = torch.tensor(settings.times, dtype=torch.float64)
    x = t.sqrt()[:, None, None] * torch.eye(settings.dim, dtype=torch.float64)[:rank]
    block = np.repeat(np.arange(len(parts)), [m for m, _ in parts])
    first = [int(np.argmax(block == b)) for b in range(len(parts))]
    out = np.empty((settings.datasets, len(parts), t.numel()))
    for i in range(settings.datasets):
        data = manifold.sample(settings.n_samples, generator=derived_generator(settings.seed, "data", i))
        y = 1 / EmpiricalScore(data).effective_samples(x, t[:, None].expand(-1, rank)).numpy()
        out[i] = [y[:, block == b].mean(1) for b in range(len(parts))]
        tell((i + 1) / settings.datasets)
    n, at = settings.n_samples, x[:, first].numpy()
    times = t[:, None].numpy()
    return xr.Dataset(
        {
            "participation": (("dataset", "subspace", "t"), out),
            "condensation_time": (("t", "subspace"), theory.condensation_time(s, n, at), UNITS_T),
            "expansion": (("t", "subspace"), theory.condensation_time(s, n, at, method="expansion"), UNITS_T),
            "effective_samples": (("t", "subspace"), theory.effective_samples(s, n, times, at, method="finite")),
        },
        coords={"t": ("t", t.numpy(), UNITS_T), "variance": ("subspace", [v for _, v in parts])},
        attrs={"rank": rank},
    )


@drawn(7.2, 5.4)
def _figure(figure: Figure, records: Records, settings: OrderSettings) -> str:
    """Y at e_j sqrt t of the high- less that of the low-variance subspace, over t; and theoretical condensation times."""
    for (top, bottom), (name, arrays) in zip(figure.subplots(2, len(records)).T, records.items(), strict=True):
        y, t = arrays["participation"], arrays["t"]
        paired = y.isel(subspace=0) - y.isel(subspace=1)
        error = 2 * paired.std("dataset") / np.sqrt(paired.sizes["dataset"])
        predicted = 1 / arrays["effective_samples"]
        top.axhline(0, color=GUIDE, lw=0.8)
        top.errorbar(t, paired.mean("dataset"), error, fmt="o", ms=3, color=INK, label="simulation")
        top.plot(t, predicted.isel(subspace=0) - predicted.isel(subspace=1), color=HELD_OUT, label="finite-N theory")
        top.set(ylabel="Y(high) − Y(low)", title=name.replace("m", "m = "))
        top.legend(fontsize=7)
        for method, what, line in (("condensation_time", "exact", "-"), ("expansion", "Eq. 15", "--")):
            for subspace, colour in ((0, TRAINING), (1, HELD_OUT)):
                label = f"{what}, variance {float(arrays['variance'][subspace]):g}"
                bottom.plot(t, arrays[method].isel(subspace=subspace), line, color=colour, label=label)
        bottom.plot(t, t, ":", color=GUIDE, label="t")
        bottom.set(yscale="log", ylabel="t_c at e_j √t")
        bottom.legend(fontsize=6)
        for axis in (top, bottom):
            log_axis(axis, "noise variance t")
    return f"N = {settings.n_samples:,}; {settings.datasets:,} data sets, bars 2 s.e."


def _condensed_first(runs: Runs, method: str) -> Evidence:
    found, parts = [], []
    for name, arrays in runs["order"].items():
        t, t_c = arrays["t"].values, arrays[method].values
        high = f"{arrays['variance'].values[0]:g}"
        near = t < 2 * t_c.max(1)
        first = (t_c[:, 0] > t_c[:, 1])[near]
        parts += list(first)
        found.append(
            f"{name.replace('m', 'm = ')}: t_c(e_j √t) is larger along variance {high} at {first.sum()} of the {near.sum()} times below 2 t_c."
        )
    return Evidence(graded(parts), tuple(found))


def _lost_in_simulation(runs: Runs) -> Evidence:
    rows, parts, found = [], [], []
    for name, arrays in runs["order"].items():
        y, t = arrays["participation"].values, arrays["t"].values
        label, mean_y = name.replace("m", "m = "), y.mean((0, 1))
        # Nothing is lost where hundreds of samples share the weight. Intervals hold for all judged times at once.
        judged = mean_y > 0.01
        signs: list[int] = []
        others: list[int] = []
        for k, u in enumerate(t):
            pair = mean(y[:, 0, k] - y[:, 1, k], confidence=1 - 0.05 / max(1, judged.sum()))
            (signs if judged[k] else others).append(int(pair.low > 0) - int(pair.high < 0))
            rows.append((label, f"{u:.3g}", f"{mean_y[k]:.3f}", f"{pair:+.2g}", "" if judged[k] else "not judged"))
        above, below = signs.count(1), signs.count(-1)
        parts += [above > 0, below == 0] if signs else []
        found.append(
            f"{label}: of the {len(signs)} times with mean Y above 0.01, the high-variance subspace is more condensed at {above}, "
            f"the low-variance one at {below} (simultaneous 95% intervals, {y.shape[0]:,} data sets). Of the other times, at "
            f"which nothing is lost, the high-variance subspace is more condensed at {others.count(1)}, the low-variance one at "
            f"{others.count(-1)}. By the annealed theory the sign changes at t = √(2 s_1 s_2) = "
            f"{np.sqrt(2 * np.prod(arrays['variance'].values)):.2f}."
        )
    table = Table(("", "t", "mean Y", "Y(high variance) − Y(low variance)", ""), tuple(rows))
    return Evidence(graded(parts), tuple(found), table)


EXPERIMENTS = (
    Experiment(
        "order",
        "Sec. 5.4",
        "which subspace condenses first: participation ratios at e_j √t",
        scaled(OrderSettings(), datasets=150),
        {"quick": 2, "full": 8},
        order_parts,
        _figure,
        (
            Claim(
                "lost-first-expansion",
                "Subspaces of higher variance are lost first: by Eq. 15.",
                "Sec. 5.4",
                "sign of the difference of t_c(e_j √t) between the subspaces by Eq. 15, at times below 2 t_c; it holds by "
                "construction, ω² being t σ_j²/d",
                partial(_condensed_first, method="expansion"),
            ),
            Claim(
                "lost-first-exact",
                "Subspaces of higher variance are lost first: by the exact condensation time.",
                "Supp. C",
                "the same by the exact t_c",
                partial(_condensed_first, method="condensation_time"),
            ),
            Claim(
                "lost-first-simulation",
                "Subspaces of higher variance are lost first: in the empirical score.",
                "Sec. 5.4",
                "paired difference of Y = Σw² at e_j √t between the subspaces where mean Y > 0.01; holds if it is somewhere "
                "positive and nowhere negative",
                _lost_in_simulation,
            ),
        ),
    ),
)
