"""Fig. 1: latent manifolds as fixed points of the score (Eq. 3), and its singular vectors."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from geomem.figures.style import HELD_OUT, TRAINING
from geomem.manifolds import fixed_points
from geomem.paper.drawing import INK, RED, drawn
from geomem.paper.experiment import Experiment, Records, Work, scaled
from geomem.paper.parameters import UNITS_J
from geomem.paper.verdict import Claim, Evidence, Runs, graded
from geomem.scores import EmpiricalScore
from geomem.seeds import derived_generator
from geomem.spectra import spectrum

__all__ = ["EXPERIMENTS", "LatentSettings", "latent_parts"]


@dataclass(frozen=True)
class LatentSettings:
    """Fig. 1: densities in the plane.

    Attributes:
        t: Noise variance.
        t_few: That of the memorizing score, small enough that its samples stay apart.
        few: Samples of the memorizing score.
        dense: Samples of the curves, evenly spaced along them: so many that their spacing is far below sqrt t.
        starts: Number of starts of the search for fixed points.
        grid: Points of the energy's grid along each axis.
        seed: Seed of the few samples.
    """

    t: float = 0.02
    t_few: float = 0.002
    few: int = 9
    dense: int = 2000
    starts: int = 120
    grid: int = 121
    seed: int = 0


def latent_parts(settings: LatentSettings) -> Mapping[str, Work]:
    """The memorizing score, a circle's, and that of an ellipse, whose curvature varies."""
    angles = torch.rand(settings.few, generator=derived_generator(settings.seed, "few"), dtype=torch.float64)
    few = torch.stack([(2 * math.pi * angles).cos(), (2 * math.pi * angles).sin()], 1)
    return {
        "memorizing": lambda run, tell: _landscape(few, settings.t_few, settings),
        "circle": lambda run, tell: _landscape(_evenly(settings.dense, 1.0), settings.t, settings),
        "ellipse": lambda run, tell: _landscape(_evenly(settings.dense, 0.6), settings.t, settings),
    }


def _evenly(count: int, height: float) -> Tensor:
    """Points (count, 2) on an ellipse of half axes 1 and `height`, evenly spaced along it."""
    angle = torch.linspace(0, 2 * math.pi, 200_001, dtype=torch.float64)
    points = torch.stack([angle.cos(), height * angle.sin()], 1)
    length = torch.cat([angle[:1] * 0, (points[1:] - points[:-1]).norm(dim=1).cumsum(0)])
    wanted = np.arange(count) / count * float(length[-1])
    even = torch.from_numpy(np.interp(wanted, length.numpy(), angle.numpy()))
    return torch.stack([even.cos(), height * even.sin()], 1)


def _landscape(samples: Tensor, t: float, settings: LatentSettings) -> xr.Dataset:
    """Log density on a grid, fixed points from starts around the circle, and singular vectors at the first of them."""
    score = EmpiricalScore(samples)
    axis = torch.linspace(-1.6, 1.6, settings.grid, dtype=torch.float64)
    density = score.log_density(torch.cartesian_prod(axis, axis), t).reshape(settings.grid, settings.grid)
    angle = 2 * math.pi * torch.arange(settings.starts, dtype=torch.float64) / settings.starts
    found = fixed_points(score, t, torch.stack([angle.cos(), angle.sin()], 1))
    at = spectrum(score, found.points, t, vectors=True)
    assert at.left is not None
    return xr.Dataset(
        {
            "sample": (("row", "axis"), samples.numpy(), {"units": "data units"}),
            "log_density": (("x", "y"), density.numpy(), {"units": "nats"}),
            "point": (("start", "axis"), found.points.numpy(), {"units": "data units"}),
            "converged": ("start", found.converged.numpy()),
            "stable": ("start", found.stable.numpy()),
            "survival": (("start", "direction"), found.survival.numpy()),
            "singular_value": (("start", "direction"), at.values.numpy(), UNITS_J),
            "left_vector": (("start", "direction", "axis"), at.left.numpy()),
        },
        coords={"x": axis.numpy(), "y": axis.numpy(), "axis": ["x", "y"]},
        attrs={"t": t, "distinct": _distinct(found.points[found.stable & found.converged])},
    )


def _distinct(points: Tensor) -> int:
    """Number of points that differ by more than a thousandth."""
    return len(torch.unique(points.round(decimals=3) + 0.0, dim=0))


@drawn(11.5, 3.7)
def _figure(figure: Figure, records: Records, settings: LatentSettings) -> str:
    """Energy contours with the fixed points in red (A), singular vectors at them (B); and an ellipse."""
    titles = {
        "memorizing": "A  memorizing",
        "circle": "A  one-dimensional: a circle",
        "vectors": "B  singular vectors of the score",
        "ellipse": "beyond the paper: an ellipse",
    }
    for axis, (name, title) in zip(figure.subplots(1, 4), titles.items(), strict=True):
        arrays = records["circle" if name == "vectors" else name]
        density = arrays["log_density"]
        levels = float(density.max()) - np.array([64, 32, 16, 8, 4, 2, 1, 0.5, 0.25, 0.1])
        axis.contour(
            arrays["x"], arrays["y"], density.T, levels=levels, colors="#888888", linewidths=0.6, linestyles="solid"
        )
        found = _stable(arrays)
        if name == "vectors":
            axis.plot(found[:, 0], found[:, 1], ".", color=RED, ms=2)
            _vectors(axis, arrays)
        else:
            axis.plot(found[:, 0], found[:, 1], "o", color=RED, ms=3.5, mew=0)
            if name == "memorizing":
                axis.plot(*arrays["sample"].values.T, "x", color=INK, ms=7, mew=0.8)
            counts = f"{arrays.attrs['distinct']} fixed points from {arrays.sizes['start']} starts"
            axis.set_xlabel(f"{counts}, t = {arrays.attrs['t']:g}", fontsize=8)
        axis.set(title=title, xticks=[], yticks=[], aspect="equal")
    return "contours: log density; crosses: samples; red: stable fixed points."


def _vectors(axis: Axes, arrays: xr.Dataset) -> None:
    """-lambda_j v_j at four points: the pull back of a perturbation, as long as it is strong."""
    longest = float(arrays["singular_value"].max())
    count = arrays.sizes["start"]
    for start in (np.arange(4) * count // 4 + count // 16) % count:
        at = arrays["point"].values[start]
        for j, colour in ((0, HELD_OUT), (1, TRAINING)):
            size = 0.55 * float(arrays["singular_value"][start, j]) / longest
            vector = arrays["left_vector"].values[start, j]
            for sign in (1, -1):
                tip = at + sign * max(size, 0.02) * vector
                axis.annotate("", xy=tip, xytext=at, arrowprops={"arrowstyle": "->", "color": colour, "lw": 1.4})
    axis.plot([], [], color=HELD_OUT, label="orthogonal")
    axis.plot([], [], color=TRAINING, label="tangent")
    axis.legend(fontsize=6, loc="upper left", title="length: singular value", title_fontsize=6)


def _stable(arrays: xr.Dataset) -> np.ndarray:
    """The fixed points that are stable, (n, 2)."""
    return np.asarray(arrays["point"].values[(arrays["stable"] & arrays["converged"]).values])


def _manifold(runs: Runs) -> Evidence:
    held = runs["fig1"]
    few, circle = held["memorizing"], held["circle"]
    starts, samples, t = circle.sizes["start"], few.sizes["row"], few.attrs["t"]
    counts = {name: int(arrays.attrs["distinct"]) for name, arrays in held.items()}
    away = np.linalg.norm(_stable(few)[:, None] - few["sample"].values, axis=-1).min(1).max() / np.sqrt(t)
    found = (
        f"{samples} samples at t = {t:g}: {counts['memorizing']} fixed points from {starts} starts, none farther than "
        f"{away:.2f} √t from a sample.",
        f"From as many starts the search ends at {counts['circle']} distinct points of a circle, but at only "
        f"{counts['ellipse']} of an ellipse, although the density along it is uniform, too.",
        "Smoothing keeps the density uniform along a curve only where its curvature is constant. Only there is the set of "
        "Eq. 3 the manifold.",
    )
    parts = [counts["circle"] == starts, counts["memorizing"] == samples and away < 0.5, counts["ellipse"] == starts]
    return Evidence(graded(parts), found)


EXPERIMENTS = (
    Experiment(
        "fig1",
        "Fig. 1, Eq. 3",
        "latent manifolds as fixed points of the score, and its singular vectors",
        scaled(LatentSettings(), starts=60),
        {"quick": 2, "full": 4},
        latent_parts,
        _figure,
        (
            Claim(
                "latent-manifold",
                "For a uniform distribution on a manifold, the stable fixed points of the score form a manifold; with few "
                "samples they are those samples.",
                "Sec. 4, Eq. 3, Fig. 1",
                "distinct stable fixed points reached from starts all around, and their distance to the samples",
                _manifold,
            ),
        ),
    ),
)
