"""Eq. 2: reverse diffusion beside the probability-flow ODE, their weak error, and where samples end."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from geomem.figures.style import HELD_OUT, TRAINING
from geomem.manifolds import LinearManifold
from geomem.paper.drawing import drawn
from geomem.paper.experiment import Experiment, Records, Telling, Work, scaled
from geomem.paper.parameters import M7, Subspaces
from geomem.paper.verdict import Claim, Evidence, Runs, graded
from geomem.scores import EmpiricalScore, Score
from geomem.scores.sampling import heun, noise_levels, reverse_diffusion
from geomem.seeds import derived_generator

__all__ = ["EXPERIMENTS", "ReverseSettings", "reverse_parts"]

# Samplers, by their name in records and in words, with their colours and weak orders.
_NAMES = {"reverse diffusion": "reverse diffusion", "flow": "probability-flow ODE"}
_COLOURS = {"reverse diffusion": TRAINING, "flow": HELD_OUT}
_ORDERS = {"reverse diffusion": 1, "flow": 2}
# Distances below it are drawn in the first bin.
_SMALLEST = 1e-4


@dataclass(frozen=True)
class ReverseSettings:
    """Reverse diffusion (Eq. 2) and the probability-flow ODE.

    Attributes:
        parts: Subspaces of the manifold.
        dim: d.
        steps: Numbers of steps.
        t_min: Where sampling ends.
        t_max: Where it starts.
        samples: Samples for each number of steps.
        n_samples: Training samples of the empirical score.
        drawn: Samples drawn from the empirical and the exact score.
        draw_steps: Steps of those.
        seed: Random seed.
    """

    parts: Subspaces = M7
    dim: int = 30
    steps: tuple[int, ...] = (16, 32, 64, 128, 256)
    t_min: float = 1e-3
    t_max: float = 100.0
    samples: int = 100_000
    n_samples: int = 250
    drawn: int = 1000
    draw_steps: int = 200
    seed: int = 0


def reverse_parts(settings: ReverseSettings) -> Mapping[str, Work]:
    """The weak error over numbers of steps, and the distance of final samples to training points."""
    return {
        "weak_error": lambda run, tell: _weak_error(settings, tell),
        "nearest": lambda run, tell: _nearest(settings),
    }


def _start(settings: ReverseSettings, manifold: LinearManifold, count: int, purpose: str) -> Tensor:
    """Points x ~ p_{t_max}, exactly."""
    generator = derived_generator(settings.seed, purpose)
    noise = torch.randn(count, manifold.dim, generator=generator, dtype=torch.float64)
    return manifold.sample(count, generator=generator).add(noise, alpha=settings.t_max**0.5)


def _weak_error(settings: ReverseSettings, tell: Telling) -> xr.Dataset:
    """Relative error of the variance of each subspace in final samples, against their exact distribution.

    The last step takes the denoised point at t_min, so the variance is s^2/(s + t_min), not s.
    """
    manifold = LinearManifold.subspaces(settings.dim, settings.parts)
    start = _start(settings, manifold, settings.samples, "start")
    blocks = np.split(np.arange(manifold.rank), np.cumsum([m for m, _ in settings.parts])[:-1])
    out = np.empty((2, len(settings.steps), len(blocks)))
    exact = np.empty_like(out)
    for i, steps in enumerate(settings.steps):
        levels = noise_levels(steps + 1, t_min=settings.t_min, t_max=settings.t_max)
        ends = (
            reverse_diffusion(
                manifold.score, start, levels, generator=derived_generator(settings.seed, "reverse", steps)
            ),
            heun(manifold.score, start, levels),
        )
        for k, end in enumerate(ends):
            for b, axes in enumerate(blocks):
                s = settings.parts[b][1]
                found = end[:, axes].var().item() / (s**2 / (s + settings.t_min))
                if k == 1:  # the ODE is deterministic, so the sampling error of its start divides out
                    found /= start[:, axes].var().item() / (s + settings.t_max)
                out[k, i, b] = found - 1
                exact[k, i, b] = _exact_error(s, levels.numpy(), sde=k == 0)
        tell((i + 1) / len(settings.steps))
    counts = np.array([axes.size for axes in blocks]) * settings.samples
    return xr.Dataset(
        {
            "error": (("sampler", "steps", "subspace"), out),
            "predicted": (("sampler", "steps", "subspace"), exact),
            "standard_error": ("subspace", np.sqrt(2 / counts)),
        },
        coords={
            "sampler": list(_NAMES),
            "steps": list(settings.steps),
            "variance": ("subspace", [v for _, v in settings.parts]),
        },
    )


def _exact_error(s: float, levels: np.ndarray, *, sde: bool) -> float:
    """The same error without sampling: both samplers are linear here, so a variance obeys a recursion."""
    variance = s + levels[0]
    for now, ahead in pairwise(levels):
        if sde:
            variance = variance * (1 - (now - ahead) / (now + s)) ** 2 + now - ahead
        else:
            a, b = np.sqrt(now), np.sqrt(ahead)
            slope = a / (now + s)
            variance *= (1 + (b - a) * (slope + b / (ahead + s) * (1 + (b - a) * slope)) / 2) ** 2
    end = levels[-1]
    return float(variance * (s / (s + end)) ** 2 / (s**2 / (s + end)) - 1)


def _nearest(settings: ReverseSettings) -> xr.Dataset:
    """Distance to the nearest training point, from final samples and from held-out points."""
    manifold = LinearManifold.subspaces(settings.dim, settings.parts)
    data = manifold.sample(settings.n_samples, generator=derived_generator(settings.seed, "data"))
    start = _start(settings, manifold, settings.drawn, "draw")
    levels = noise_levels(settings.draw_steps + 1, t_min=settings.t_min, t_max=settings.t_max)
    scores: dict[str, Score] = {"exact": manifold.score, "empirical": EmpiricalScore(data)}
    out = np.empty((2, 2, settings.drawn))
    for i, score in enumerate(scores.values()):
        ends = (
            reverse_diffusion(score, start, levels, generator=derived_generator(settings.seed, "noise")),
            heun(score, start, levels),
        )
        for k, end in enumerate(ends):
            out[i, k] = torch.cdist(end, data).amin(1).numpy()
    new = manifold.sample(settings.drawn, generator=derived_generator(settings.seed, "new"))
    distance = {"units": "data units"}
    return xr.Dataset(
        {
            "distance": (("score", "sampler", "sample"), out, distance),
            "new_distance": ("sample", torch.cdist(new, data).amin(1).numpy(), distance),
        },
        coords={"score": list(scores), "sampler": list(_NAMES)},
        attrs={"t_min": settings.t_min},
    )


@drawn(7.2, 3.2)
def _figure(figure: Figure, records: Records, settings: ReverseSettings) -> str:
    """Weak error against steps, and distances of samples to the nearest training point."""
    left, right = figure.subplots(1, 2)
    _errors(left, records["weak_error"])
    _distances(right, records["nearest"])
    return f"lines: the samplers' exact errors; distances below {_SMALLEST:g} are in the first bin; t_min = {settings.t_min:g}."


def _errors(axis: Axes, weak: xr.Dataset) -> None:
    steps = weak["steps"]
    for sampler, order in _ORDERS.items():
        colour = _COLOURS[sampler]
        found, predicted = (np.abs(weak[k].sel(sampler=sampler).isel(subspace=0)) for k in ("error", "predicted"))
        # The ODE is deterministic, and its record is free of sampling error.
        error = 2 * weak["standard_error"].values[0] if order == 1 else None
        axis.errorbar(steps, found, error, fmt="o", ms=4, color=colour, label=_NAMES[sampler])
        axis.plot(steps, predicted, color=colour, lw=1)
        guide = float(predicted[0]) * (steps / steps[0]) ** -float(order)
        axis.plot(steps, guide, ":", color=colour, lw=1, label=f"order {order}")
    axis.set(xscale="log", yscale="log", xlabel="steps", ylabel="relative error of a variance", title="weak error")
    axis.set_ylim(1e-5, 1)
    axis.set_xticks(steps.values, [str(n) for n in steps.values], minor=False)
    axis.minorticks_off()
    axis.legend(fontsize=7)


def _distances(axis: Axes, nearest: xr.Dataset) -> None:
    bins = np.geomspace(_SMALLEST, 10, 60).tolist()
    for score, line in (("empirical", "-"), ("exact", "--")):
        for sampler, colour in _COLOURS.items():
            values = nearest["distance"].sel(score=score, sampler=sampler).clip(1.1 * _SMALLEST)
            label = f"{score}, {_NAMES[sampler]}"
            axis.hist(values, bins, histtype="step", color=colour, ls=line, label=label)
    axis.hist(nearest["new_distance"], bins, histtype="stepfilled", color="#cccccc", label="held-out points", zorder=0)
    axis.set(xscale="log", xlabel="distance to the nearest training point", ylabel="samples", title="memorization")
    axis.legend(fontsize=6.5, loc="upper left")


def _memorizes(runs: Runs) -> Evidence:
    arrays = runs["reverse"]["nearest"]
    width = float(np.sqrt(arrays.attrs["t_min"]))
    found, parts = [], []
    for sampler in arrays["sampler"].values:
        near = {
            s: (arrays["distance"].sel(score=s, sampler=sampler).values < width).mean() for s in ("empirical", "exact")
        }
        parts += [near["empirical"] > 0.95, near["exact"] < 0.05]
        found.append(
            f"{_NAMES[sampler]}: {near['empirical']:.1%} of the samples of the empirical score end within √t_min = {width:.3g} of "
            f"a training point, {near['exact']:.1%} of those of the exact score ({arrays.sizes['sample']:,} samples each; held-out "
            f"points: {(arrays['new_distance'].values < width).mean():.1%})."
        )
    weak = runs["reverse"]["weak_error"]
    for sampler in weak["sampler"].values:
        error = np.abs(weak["error"].sel(sampler=sampler).isel(subspace=0).values)
        order = -np.polyfit(np.log(weak["steps"].values), np.log(error), 1)[0]
        found.append(
            f"{_NAMES[sampler]}, exact score: the error of a variance falls as steps^-{order:.2f} (from {error[0]:.2g} to {error[-1]:.2g})."
        )
    return Evidence(graded(parts), tuple(found))


EXPERIMENTS = (
    Experiment(
        "reverse",
        "Eq. 2",
        "reverse diffusion beside the probability-flow ODE: weak error over steps, and where samples end",
        scaled(ReverseSettings(), samples=20_000, drawn=300),
        {"quick": 11, "full": 80},
        reverse_parts,
        _figure,
        (
            Claim(
                "memorizing-limit",
                "As t → 0 the empirical score always memorizes: the reverse diffusion ends on training points.",
                "Sec. 5.2, Eq. 2",
                "fraction of final samples within √t_min of a training point; more than 95% for the empirical score, less than "
                "5% for the exact",
                _memorizes,
            ),
        ),
    ),
)
