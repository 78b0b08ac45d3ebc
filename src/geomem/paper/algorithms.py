"""Supp. B and Eq. 2: how reliable the paper's algorithms are where the truth is known, and reverse diffusion.

Algs. 1 and 2 are repeated with fresh noise at the same points: what changes between repetitions is the algorithm's own
error. Gap rules are asked for the dimension of linear manifolds.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from geomem.manifolds import LinearManifold
from geomem.paper.experiment import Telling, Work
from geomem.paper.spectra import M7, M15
from geomem.records import Run
from geomem.scores import EmpiricalScore, Score
from geomem.scores.sampling import heun, noise_levels, reverse_diffusion
from geomem.seeds import derived_generator
from geomem.spectra import spectrum
from geomem.spectra.dimension import normal_bundle, second_difference

__all__ = ["AlgorithmSettings", "ReverseSettings", "algorithm_parts", "reverse_parts"]

# Name to probe and its directions, in units of d. Alg. 2 evaluates the score twice for each: with half as many directions
# it costs as much as Alg. 1.
_PROBES = {
    "Alg. 1": ("score-matrix", 4),
    "Alg. 2": ("antithetic", 4),
    "Alg. 2, half": ("antithetic", 2),
    "orthonormal": ("orthonormal", 1),
}
_TIME = {"units": "data units squared"}


@dataclass(frozen=True)
class AlgorithmSettings:
    """Algs. 1, 2 and 3, and the rule of Stanczuk et al.

    Attributes:
        dim: d of the two manifolds whose subspaces the figures have.
        n_samples: N of the empirical score.
        times: Diffusion times.
        points: Points x0, samples of the data.
        repeats: Repetitions of a probe at each point.
        thresholds: Thresholds c of Alg. 3.
        seed: Seed of everything random.
    """

    dim: int = 30
    n_samples: int = 1000
    times: tuple[float, ...] = (1.0, 0.1, 0.01, 1e-3, 1e-5)
    points: int = 20
    repeats: int = 20
    thresholds: tuple[float, ...] = (5.0, 10.0, 15.0, 30.0)
    seed: int = 0


def algorithm_parts(settings: AlgorithmSettings) -> Mapping[str, Work]:
    """Singular values over repetitions, and the dimensions that gap rules read from them."""
    manifolds = {
        "m7": LinearManifold.subspaces(settings.dim, M7),
        "m15": LinearManifold.subspaces(settings.dim, M15),
        "uniform": LinearManifold.uniform(100, 40, generator=derived_generator(settings.seed, "variances")),
    }
    return {name: partial(_repeated, settings, manifold) for name, manifold in manifolds.items()}


def _repeated(settings: AlgorithmSettings, manifold: LinearManifold, run: Run, tell: Telling) -> xr.Dataset:
    data = manifold.sample(settings.n_samples, generator=derived_generator(settings.seed, "data"))
    scores: dict[str, Score] = {"exact": manifold.score, "empirical": EmpiricalScore(data)}
    x = data[: settings.points]
    t = torch.tensor(settings.times, dtype=torch.float64)
    shape = (len(scores), len(_PROBES), settings.repeats, t.numel(), settings.points)
    values = np.empty((*shape, manifold.dim))
    for i, score in enumerate(scores.values()):
        for r in range(settings.repeats):
            for k, (probe, share) in enumerate(_PROBES.values()):
                # The same noise for Algs. 1 and 2 and for all points, a fresh one for each repetition.
                generator = derived_generator(settings.seed, "probe", r)
                at, times = x.expand(t.numel(), -1, -1), t[:, None].expand(-1, settings.points)
                found = spectrum(score, at, times, probe=probe, probes=share * manifold.dim, generator=generator)
                values[i, k, r] = found.values.numpy()
            tell((i * settings.repeats + r + 1) / (len(scores) * settings.repeats))
    rules = {"normal bundle": normal_bundle(torch.from_numpy(values)).value}
    for c in settings.thresholds:
        rules[f"Alg. 3, c = {c:g}"] = second_difference(torch.from_numpy(values), threshold=c).value
    logs = np.log(values)
    # The exact score's Jacobian is the same at every point.
    truth = np.sort(-np.log(t[:, None].numpy() + manifold.variances.numpy()), -1)[:, None, ::-1]
    dims = ("score", "probe", "repeat", "t", "point")
    return xr.Dataset(
        {
            "deviation": (
                dims,
                np.sqrt(np.square(logs - logs.mean(2, keepdims=True)).mean(-1)).astype(np.float32),
                {"note": "r.m.s. over directions of ln singular value less its mean over repetitions"},
            ),
            "bias": (
                ("probe", "t", "point"),
                np.sqrt(np.square(logs[0].mean(1) - truth).mean(-1)),
                {"note": "exact score: r.m.s. over directions of the mean error of ln singular value"},
            ),
            "dimension": (("rule", *dims), np.stack(list(rules.values())).astype(np.float32)),
        },
        coords={
            "score": list(scores),
            "probe": list(_PROBES),
            "t": ("t", t.numpy(), _TIME),
            "rule": list(rules),
        },
        attrs={"dim": manifold.dim, "rank": manifold.rank},
    )


@dataclass(frozen=True)
class ReverseSettings:
    """Reverse diffusion (Eq. 2) and the flow.

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
        seed: Seed of everything random.
    """

    parts: tuple[tuple[int, float], ...] = M7
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
    """The weak error over numbers of steps, and how near samples end to training points."""
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
    """Relative error of the variance of each subspace in final samples, against the law they should have.

    The last step takes the denoised point at t_min, so the law is s^2/(s + t_min), not s.
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
                if k == 1:  # the flow is deterministic, so the sampling error of its start divides out
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
            "sampler": ["reverse diffusion", "flow"],
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
    """Distance from final samples to the nearest training point, and between a new point and that."""
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
        coords={"score": list(scores), "sampler": ["reverse diffusion", "flow"]},
        attrs={"t_min": settings.t_min},
    )
