"""Fig. 2: the gap that a manifold opens in the Jacobian's spectrum, and the well around it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr
from matplotlib.figure import Figure
from torch import Tensor

from geomem.figures.style import HELD_OUT, TRAINING
from geomem.paper.drawing import INK, drawn
from geomem.paper.experiment import Experiment, Records, Work, scaled
from geomem.paper.parameters import UNITS_J
from geomem.scores import EmpiricalScore
from geomem.seeds import derived_generator
from geomem.spectra import spectrum

__all__ = ["EXPERIMENTS", "GapSettings", "gap_parts"]


@dataclass(frozen=True)
class GapSettings:
    """Fig. 2: a sphere of dimension `rank` in `dim` dimensions.

    Attributes:
        dim: d.
        rank: m; the sphere lies in the first m + 1 axes.
        n_samples: N, spread uniformly over the sphere.
        t: Noise variance.
        points: Held-out points of the sphere.
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
            "singular_value": (("point", "direction"), found.values.numpy(), UNITS_J),
            "alignment": (("point", "direction"), np.asarray(found.alignment)),
            "potential": (("step", "direction"), (potential - potential[30]).numpy(), {"units": "nats"}),
        },
        coords={
            "direction": np.arange(1, settings.dim + 1),
            "step": ("step", step.numpy(), {"units": "sqrt t"}),
        },
        attrs={"t": t, "dim": settings.dim, "rank": settings.rank, "n_samples": settings.n_samples},
    )


@drawn(7.2, 3.1)
def _figure(figure: Figure, records: Records, settings: GapSettings) -> str:
    """Singular values with their gap, and the potential along the singular vectors."""
    arrays = records["spectra"]
    d, m = arrays.attrs["dim"], arrays.attrs["rank"]
    left, right = figure.subplots(1, 2)
    values = arrays["singular_value"] * arrays.attrs["t"]
    k = arrays["direction"].values
    left.plot(k, values.T, color="#999999", lw=0.5)
    left.plot(k, values.median("point"), "o-", color=INK, ms=4)
    left.axvspan(0.5, d - m + 0.5, color=HELD_OUT, alpha=0.12, lw=0)
    left.axvspan(d - m + 0.5, d + 0.5, color=TRAINING, alpha=0.12, lw=0)
    left.text(1, 0.5, "orthogonal", color=HELD_OUT)
    left.text(d + 0.4, 0.5, "tangent", color=TRAINING, ha="right")
    left.set(xlabel="singular value, ordered", ylabel="t × singular value", title="the gap", ylim=(0, None))
    for j in k:
        colour = HELD_OUT if j <= d - m else TRAINING
        right.plot(arrays["step"], arrays["potential"].sel(direction=j), color=colour, lw=1)
    right.set(xlabel="displacement along a singular vector (√t)", ylabel="increase of −ln p", title="the well")
    return (
        f"sphere of dimension {m} in d = {d}, empirical score of {arrays.attrs['n_samples']:,} samples, "
        f"t = {arrays.attrs['t']:g}, {values.sizes['point']} points."
    )


EXPERIMENTS = (
    Experiment(
        "fig2",
        "Fig. 2",
        "the gap that a manifold opens in the Jacobian's spectrum, and the well around it",
        scaled(GapSettings(), points=8),
        {"quick": 1, "full": 3},
        gap_parts,
        _figure,
    ),
)
