"""Figs. 1 to 3: latent manifolds as fixed points, the gap that a manifold opens, and a dimension lost in the plane."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from geomem.manifolds import LinearManifold, fixed_points
from geomem.paper.experiment import Telling, Work
from geomem.records import Run
from geomem.scores import EmpiricalScore
from geomem.seeds import derived_generator
from geomem.spectra import spectrum

__all__ = [
    "GapSettings",
    "LatentSettings",
    "PlaneSettings",
    "gap_parts",
    "latent_parts",
    "plane_parts",
]

_AXIS = ["x", "y"]


@dataclass(frozen=True)
class LatentSettings:
    """Fig. 1: densities in the plane.

    Attributes:
        t: Diffusion time.
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
            "singular_value": (("start", "direction"), at.values.numpy(), {"units": "1 / data units squared"}),
            "left_vector": (("start", "direction", "axis"), at.left.numpy()),
        },
        coords={"x": axis.numpy(), "y": axis.numpy(), "axis": _AXIS},
        attrs={"t": t, "distinct": _distinct(found.points[found.stable & found.converged])},
    )


def _distinct(points: Tensor) -> int:
    """Number of points that differ by more than a thousandth."""
    return len(torch.unique(points.round(decimals=3) + 0.0, dim=0))


@dataclass(frozen=True)
class GapSettings:
    """Fig. 2: a sphere of dimension `rank` in `dim` dimensions.

    Attributes:
        dim: d.
        rank: m; the sphere lies in the first m + 1 axes.
        n_samples: N, spread uniformly over the sphere.
        t: Diffusion time.
        points: Points of the sphere that are no samples.
        seed: Seed of samples and points.
    """

    dim: int = 10
    rank: int = 2
    n_samples: int = 20_000
    t: float = 0.01
    points: int = 32
    seed: int = 0


def gap_parts(settings: GapSettings) -> Mapping[str, Work]:
    """Singular values at points of the sphere, and the potential along the singular vectors at one of them."""
    return {"spectra": lambda run, tell: _sphere(settings)}


def _sphere(settings: GapSettings) -> xr.Dataset:
    def uniform(count: int, purpose: str) -> Tensor:
        generator = derived_generator(settings.seed, purpose)
        raw = torch.randn(count, settings.rank + 1, generator=generator, dtype=torch.float64)
        on_sphere = raw / raw.norm(dim=1, keepdim=True)
        return torch.nn.functional.pad(on_sphere, (0, settings.dim - settings.rank - 1))

    score, t = EmpiricalScore(uniform(settings.n_samples, "data")), settings.t
    points = uniform(settings.points, "points")
    found = spectrum(score, points, t, vectors=True)
    assert found.right is not None
    step = torch.linspace(-3, 3, 61, dtype=torch.float64)
    along = points[0] + math.sqrt(t) * step[:, None, None] * found.right[0]
    potential = -score.log_density(along, t)
    return xr.Dataset(
        {
            "singular_value": (("point", "direction"), found.values.numpy(), {"units": "1 / data units squared"}),
            "alignment": (("point", "direction"), np.asarray(found.alignment)),
            "potential": (("step", "direction"), (potential - potential[30]).numpy(), {"units": "nats"}),
        },
        coords={
            "direction": np.arange(1, settings.dim + 1),
            "step": ("step", step.numpy(), {"units": "sqrt t"}),
        },
        attrs={"t": t, "dim": settings.dim, "rank": settings.rank, "n_samples": settings.n_samples},
    )


@dataclass(frozen=True)
class PlaneSettings:
    """Fig. 3: a bivariate of unequal variances.

    Attributes:
        variances: Of x and y.
        n_samples: N.
        betas: Inverse times 1/t.
        datasets: Data sets for the survival of each axis; the figure shows the first.
        points: Points x ~ p_t for each data set and time.
        grid: Points of the density's grid along x; half of them along y.
        seed: Seed of everything random.
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
        "survival": lambda run, tell: _axis_survival(settings, run, tell),
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


def _axis_survival(settings: PlaneSettings, run: Run, tell: Telling) -> xr.Dataset:
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
