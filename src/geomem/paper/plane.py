"""Fig. 3: score and density of a bivariate Gaussian of unequal variances, and the dimension that is lost."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from geomem.figures.style import HELD_OUT, TRAINING
from geomem.intervals import mean
from geomem.manifolds import LinearManifold
from geomem.paper.drawing import RED, drawn
from geomem.paper.experiment import Experiment, Records, Telling, Work, scaled
from geomem.paper.verdict import Claim, Evidence, Runs, Table, graded
from geomem.scores import EmpiricalScore
from geomem.seeds import derived_generator
from geomem.spectra.dimension import RESOLVED

__all__ = ["EXPERIMENTS", "PlaneSettings", "plane_parts"]

_AXIS = ["x", "y"]


@dataclass(frozen=True)
class PlaneSettings:
    """Fig. 3: a bivariate Gaussian of unequal variances.

    Attributes:
        variances: Of x and y.
        n_samples: N.
        betas: Inverse times 1/t.
        datasets: Data sets for the survival of each axis; the figure shows the first.
        points: Points x ~ p_t for each data set and time.
        grid: Points of the density's grid along x; half of them along y.
        seed: Random seed.
    """

    variances: tuple[float, float] = (4.0, 0.04)
    n_samples: int = 40
    betas: tuple[float, ...] = (1.0, 10.0, 100.0)
    datasets: int = 200
    points: int = 16
    grid: int = 161
    seed: int = 0


def plane_parts(settings: PlaneSettings) -> Mapping[str, Work]:
    """The first data set's density and score, and the survival of each axis over data sets."""
    return {
        "plane": lambda run, tell: _plane(settings),
        "survival": lambda run, tell: _survival(settings, tell),
    }


def _plane(settings: PlaneSettings) -> xr.Dataset:
    manifold = LinearManifold(torch.tensor(settings.variances))
    data = manifold.sample(settings.n_samples, generator=derived_generator(settings.seed, "data", 0))
    score = EmpiricalScore(data)
    x = torch.linspace(-6, 6, settings.grid, dtype=torch.float64)
    y = torch.linspace(-2, 2, settings.grid // 2, dtype=torch.float64)
    at_x, at_y = x[4::8], y[4::8]
    density = [score.log_density(torch.cartesian_prod(x, y), 1 / beta) for beta in settings.betas]
    arrows = [score(torch.cartesian_prod(at_x, at_y), 1 / beta) for beta in settings.betas]
    shape = (len(settings.betas), x.numel(), y.numel())
    return xr.Dataset(
        {
            "sample": (("row", "axis"), data.numpy(), {"units": "data units"}),
            "log_density": (("beta", "x", "y"), torch.stack(density).reshape(shape).numpy(), {"units": "nats"}),
            "score": (
                ("beta", "arrow_x", "arrow_y", "axis"),
                torch.stack(arrows).reshape(shape[0], at_x.numel(), at_y.numel(), 2).numpy(),
                {"units": "1 / data units"},
            ),
        },
        coords={
            "beta": list(settings.betas),
            "x": x.numpy(),
            "y": y.numpy(),
            "arrow_x": at_x.numpy(),
            "arrow_y": at_y.numpy(),
            "axis": _AXIS,
        },
        attrs={"variances": settings.variances},
    )


def _survival(settings: PlaneSettings, tell: Telling) -> xr.Dataset:
    """Survival along each axis, [I + t J]_jj, at fresh noisy points of each data set."""
    manifold = LinearManifold(torch.tensor(settings.variances))
    t = 1 / torch.tensor(settings.betas, dtype=torch.float64)
    out = np.empty((settings.datasets, len(settings.betas), settings.points, 2), dtype=np.float32)
    for i in range(settings.datasets):
        data = manifold.sample(settings.n_samples, generator=derived_generator(settings.seed, "data", i))
        generator = derived_generator(settings.seed, "points", i)
        clean = manifold.sample(settings.points, generator=generator)
        noise = torch.randn(clean.shape, generator=generator, dtype=torch.float64)
        x, times = clean + t.sqrt()[:, None, None] * noise, t[:, None].expand(-1, settings.points)
        j = EmpiricalScore(data).jacobian(x, times).diagonal(dim1=-2, dim2=-1)
        out[i] = (1 + times[..., None] * j).numpy()
        tell((i + 1) / settings.datasets)
    exact = torch.tensor(settings.variances) / (torch.tensor(settings.variances) + t[:, None])
    return xr.Dataset(
        {"survival": (("dataset", "beta", "point", "axis"), out), "exact": (("beta", "axis"), exact.numpy())},
        coords={"beta": list(settings.betas), "axis": _AXIS},
    )


@drawn(11.5, 2.9)
def _figure(figure: Figure, records: Records, settings: PlaneSettings) -> str:
    """Density (heat map) and empirical score (red arrows) at three inverse times, and the axes' survival."""
    arrays, survival = records["plane"], records["survival"]
    axes = figure.subplots(1, 4, width_ratios=[1, 1, 1, 0.8])
    for letter, axis, beta in zip("ABC", axes, arrays["beta"].values, strict=False):
        density = np.exp(arrays["log_density"].sel(beta=beta))
        axis.pcolormesh(arrays["x"], arrays["y"], density.T, cmap="viridis", shading="auto", rasterized=True)
        s = arrays["score"].sel(beta=beta).values
        length = np.linalg.norm(s, axis=-1, keepdims=True)
        arrow = s / np.maximum(length, 1e-9) * np.log1p(length) / np.log1p(length.max())
        grid = np.meshgrid(arrays["arrow_x"], arrays["arrow_y"], indexing="ij")
        axis.quiver(*grid, arrow[..., 0], arrow[..., 1], color=RED, scale=16, width=0.005, angles="xy")
        axis.plot(*arrays["sample"].values.T, ".", color="white", ms=1.5)
        axis.set(title=f"{letter}  β = {beta:g}", xlim=(-6, 6), ylim=(-2, 2), xlabel="x", ylabel="y")
    _survivals(axes[3], survival, arrays.attrs["variances"])
    return (
        f"{arrays.sizes['row']} samples; arrows: empirical score, length logarithmic; right: "
        f"{survival.sizes['dataset']} data sets (2 s.e.), dotted exact."
    )


def _survivals(axis: Axes, survival: xr.Dataset, variances: np.ndarray) -> None:
    beta = survival["beta"].values
    for name, colour, variance in zip(_AXIS, (TRAINING, HELD_OUT), variances, strict=True):
        found = survival["survival"].sel(axis=name).mean("point")
        error = found.std("dataset") / np.sqrt(found.sizes["dataset"])
        axis.errorbar(beta, found.mean("dataset"), 2 * error, fmt="o-", color=colour, ms=4, label=f"{variance:g}")
        axis.plot(beta, survival["exact"].sel(axis=name), ":", color=colour)
    axis.set(xscale="log", xlabel="β", ylabel="survival", title="of each axis", ylim=(0, None))
    axis.legend(title="variance", fontsize=7, title_fontsize=7)


def _lost(runs: Runs) -> Evidence:
    arrays = runs["fig3"]["survival"]
    rows, parts = [], []
    for beta in arrays["beta"].values:
        ratio = (arrays["survival"] / arrays["exact"]).sel(beta=beta)
        cells, pairs = [], []
        # A few points between two samples have survivals far above 1, so the mean and the typical point may differ.
        for kept in (ratio.mean("point"), (ratio > RESOLVED).mean("point")):
            x, y = (kept.sel(axis=axis).values for axis in _AXIS)
            pairs.append(mean(x - y))
            cells += [f"{mean(x):.2f}", f"{mean(y):.2f}", f"{pairs[-1]:+.2f}"]
        parts = [pair.high < 0 for pair in pairs]  # at the largest beta, in the end
        rows.append((f"{beta:g}", *cells))
    beta, *cells = rows[-1]
    found = (
        f"At β = {beta} the survival relative to the exact score is {cells[0]} on average along the high-variance axis "
        f"and {cells[1]} along the other (difference {cells[2]}).",
        f"It is above ½ at a fraction {cells[3]} of the points along the high-variance axis and {cells[4]} along the "
        f"other (difference {cells[5]}).",
    )
    names = ("mean, high", "mean, low", "difference", "points above ½, high", "points above ½, low", "difference")
    return Evidence(graded(parts), found, Table(("β", *names), tuple(rows)))


EXPERIMENTS = (
    Experiment(
        "fig3",
        "Fig. 3",
        "score and density of a bivariate Gaussian of unequal variances, and the dimension that is lost",
        scaled(PlaneSettings(), datasets=60),
        {"quick": 2, "full": 4},
        plane_parts,
        _figure,
        (
            Claim(
                "plane",
                "In two dimensions of unequal variance the dimension of higher variance is lost.",
                "Fig. 3",
                "empirical over exact survival along each axis at points of p_t: its mean, and the fraction of points above "
                "½; paired difference at the largest β",
                _lost,
            ),
        ),
    ),
)
