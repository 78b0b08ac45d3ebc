"""Figs. 5, 15 and 16: small networks trained on linear manifolds, one for each number of samples, and what is measured.

All sizes of a manifold are trained as one stack. Their spectra by Alg. 2 and by the orthonormal probe are compared with
those of the empirical score of the same samples at the same points. Which subspace is lost is read from the survival of
each axis, 1 + t J_jj, with J by regression over mirrored noise: singular values alone do not show it.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from geomem.manifolds import LinearManifold
from geomem.measure.observe import Source, observe
from geomem.paper.experiment import Telling, Work
from geomem.paper.parameters import PLACES, SIZES, TIMES, UNITS_T, Subspaces
from geomem.records import Run
from geomem.scores import EmpiricalScore, NetworkScore, Score
from geomem.seeds import derived_generator
from geomem.spectra.dimension import RESOLVED
from geomem.training import EnsembleObjective, EnsembleSettings, Training, members, steps, train_in

__all__ = ["NetworkSettings", "axis_survival", "network_parts", "training_seconds", "with_steps"]

_PROBES = ("antithetic", "orthonormal")


@dataclass(frozen=True)
class NetworkSettings:
    """Networks on linear manifolds.

    Attributes:
        manifolds: Name to subspaces (dimension, variance); () for `rank` variances drawn uniformly from [0, 1).
        dim: d.
        sizes: N of each network.
        times: t of each panel.
        steps: Optimizer steps.
        batch_size: Samples in a step.
        hidden: Width of the network.
        t_min: Smallest t in training.
        t_max: Largest.
        ema_decay: EMA decay of the weights; their average is measured.
        points: Training points, and held-out points, at which spectra are measured.
        compared: Whether the empirical score is measured at the same points.
        rank: m of uniformly drawn variances.
        seed: Random seed.
    """

    manifolds: Mapping[str, Subspaces]
    dim: int = 30
    sizes: tuple[int, ...] = SIZES
    times: tuple[float, ...] = TIMES
    steps: int = 2_000_000
    batch_size: int = 128
    hidden: int = 128
    t_min: float = 1e-5
    t_max: float = 20.0
    ema_decay: float = 0.9999
    points: int = 16
    compared: bool = True
    rank: int = 40
    seed: int = 0

    def training(self, data: Tensor) -> EnsembleSettings:
        """How the networks are trained on data (n, d)."""
        return EnsembleSettings(
            sizes=self.sizes,
            dim=self.dim,
            sigma_data=float(data.std(correction=0)),
            steps=self.steps,
            batch_size=self.batch_size,
            t_min=self.t_min,
            t_max=self.t_max,
            ema_decay=self.ema_decay,
            seed=self.seed,
            hidden=self.hidden,
        )


def network_parts(settings: NetworkSettings) -> Mapping[str, Work]:
    """Train the networks of each manifold, then measure them."""
    return {name: partial(_measured, settings, name) for name in settings.manifolds}


def with_steps(settings: NetworkSettings, steps: int) -> NetworkSettings:
    """The same with another number of optimizer steps."""
    return replace(settings, steps=steps)


def training_seconds(settings: NetworkSettings) -> float:
    """How long the training of all manifolds takes here, from a few steps of the first."""
    name = next(iter(settings.manifolds))
    _, data = _data(settings, name)
    state = Training(settings.training(data))
    stepper = steps(state, EnsembleObjective(state, data))
    for _ in range(5):
        next(stepper)
    start = time.perf_counter()
    for _ in range(20):
        next(stepper)
    return (time.perf_counter() - start) / 20 * settings.steps * len(settings.manifolds)


def _data(settings: NetworkSettings, name: str) -> tuple[LinearManifold, Tensor]:
    """The manifold, and the samples of the largest network; the others are trained on the first of them."""
    parts = settings.manifolds[name]
    manifold = (
        LinearManifold.subspaces(settings.dim, parts)
        if parts
        else LinearManifold.uniform(
            settings.dim, settings.rank, generator=derived_generator(settings.seed, "variances")
        )
    )
    return manifold, manifold.sample(max(settings.sizes), generator=derived_generator(settings.seed, "data"))


def _measured(settings: NetworkSettings, name: str, run: Run, tell: Telling) -> xr.Dataset:
    manifold, data = _data(settings, name)
    state = train_in(
        run,
        f"{name}.safetensors",
        settings.training(data),
        lambda state: EnsembleObjective(state, data),
        tell=lambda at: tell(0.9 * at.share),
        labels={"networks": name},
    )
    networks = members(state)
    s = manifold.variances
    held_out = manifold.sample(settings.points, generator=derived_generator(settings.seed, "held-out"))
    t = torch.tensor(settings.times, dtype=torch.float64)
    levels = s.unique().flip(0)
    groups = [(s == v).nonzero().flatten() for v in levels] if settings.manifolds[name] else _halves(s)
    parts = []
    for i, n in enumerate(settings.sizes):
        scores: dict[str, Score] = {"network": NetworkScore(networks[i], (manifold.dim,))}
        if settings.compared:
            scores["empirical"] = EmpiricalScore(data[:n])
        points = torch.cat([torch.zeros_like(data[:1]), data[: settings.points], held_out])
        parts.append(xr.concat([_spectra(score, points, t, groups, settings) for score in scores.values()], "score"))
        tell(0.9 + 0.1 * (i + 1) / len(settings.sizes))
    arrays = xr.concat(parts, "size")
    return arrays.assign_coords(
        score=["network", "empirical"][: arrays.sizes["score"]],
        size=list(settings.sizes),
        probe=list(_PROBES),
        place=list(PLACES),
        t=("t", list(settings.times), UNITS_T),
        variance=("group", [float(s[group].mean()) for group in groups], UNITS_T),
        count=("group", [group.numel() for group in groups]),
        direction=np.arange(1, manifold.dim + 1),
    ).assign_attrs(dim=manifold.dim, rank=manifold.rank, steps=state.step, seed=settings.seed)


def _halves(s: Tensor) -> list[Tensor]:
    """Axes of the larger half of the positive variances, of the smaller half, and those without variance."""
    axes = s.argsort(descending=True)
    rank = int((s > 0).sum())
    return [axes[: rank // 2], axes[rank // 2 : rank], axes[rank:]]


def _spectra(score: Score, points: Tensor, t: Tensor, groups: list[Tensor], settings: NetworkSettings) -> xr.Dataset:
    """Spectra at points (n, d), the origin first, then as many training as held-out points, at all times."""
    n, d = points.shape
    origin, training, held_out = points.split([1, settings.points, n - 1 - settings.points])
    # Points stay float64, which a network rounds only as it is evaluated.
    sources = {probe: Source(score, probe, batch_size=8192, dtype=torch.float64) for probe in _PROBES}
    sets = dict(zip(PLACES, (origin, training, held_out), strict=True))
    found = observe(sources, sets, t.tolist(), seed=settings.seed)
    found = found.rename(score="probe").drop_vars("probe")
    scaled = (found["singular_value"] * found["t"]).transpose("probe", "set", "t", "point", "direction")

    def by_point(arrays: xr.DataArray) -> np.ndarray:
        """(..., t, n), the points of all sets in a row."""
        ordered = arrays.transpose(..., "set", "t", "point")
        return np.concatenate([ordered.isel(set=k).values[..., : len(x)] for k, x in enumerate(sets.values())], -1)

    pinned = (scaled > 1 - RESOLVED).sum("direction")
    gap = d - found["dimension"].sel(reading="largest_gap", drop=True)
    return xr.Dataset(
        {
            "scaled_value": (
                ("probe", "place", "t", "direction"),
                scaled.mean("point").values.astype(np.float32),
                {"note": "singular values of t J, mean over points"},
            ),
            "pinned": (("probe", "t", "point"), by_point(pinned).astype(np.int16), {"note": "values of t J above 1/2"}),
            "gap": (
                ("probe", "t", "point"),
                np.nan_to_num(by_point(gap), nan=-1).astype(np.int16),
                {"note": "values before the largest gap"},
            ),
            "dimension": (
                ("reading", "probe", "t", "point"),
                by_point(found["dimension"].transpose("reading", "probe", ...)),
                {"units": "dimensions"},
            ),
            "axis_survival": (
                ("t", "point", "group"),
                _survival_along_axes(
                    score, points.expand(t.numel(), n, d), t[:, None].expand(-1, n), groups, settings
                ).astype(np.float32),
                {"note": "mean over the axes of a subspace of 1 + t J_jj"},
            ),
        },
        coords={
            "where": ("point", np.repeat(PLACES, [1, settings.points, settings.points])),
            "reading": found["reading"].values,
        },
    )


def _survival_along_axes(
    score: Score, x: Tensor, times: Tensor, groups: list[Tensor], settings: NetworkSettings
) -> np.ndarray:
    """Survival along the axes, averaged over each group of them, (t, n, group); J by least squares over 4d mirrored directions.

    By least squares, because a network is trained on the shell of radius sqrt(t d), where Gaussian noise is, and neither
    at the point itself nor at a step along one axis.
    """
    d = x.shape[-1]
    p = torch.randn(4 * d, d, generator=derived_generator(settings.seed, "axes"), dtype=torch.float64)
    solve = torch.linalg.pinv(p)  # (d, 4d)
    out = np.empty((*times.shape, len(groups)))
    for i, t in enumerate(times[:, 0]):
        for k in range(x.shape[1]):
            step = t.sqrt() * p
            with torch.no_grad():
                response = (score(x[i, k] + step, t) - score(x[i, k] - step, t)) / 2
            diagonal = (solve * response.to(torch.float64).T).sum(-1) / t.sqrt()
            survival = 1 + t * diagonal
            out[i, k] = [survival[group].mean().item() for group in groups]
    return out


def axis_survival(arrays: xr.Dataset, score: str, place: str) -> tuple[np.ndarray, np.ndarray]:
    """Survival along the axes at the points of a place (size, t, point, group), and the exact s/(s+t) (t, group).

    Of a record's groups of axes with variance.
    """
    s, points = arrays["variance"].values, np.flatnonzero(arrays["where"].values == place)
    found = arrays["axis_survival"].sel(score=score).isel(point=points).transpose("size", "t", "point", "group")
    return found.values[..., s > 0].astype(np.float64), s[s > 0] / (s[s > 0] + arrays["t"].values[:, None])
