"""Figs. 4 and 9 to 14: spectra of the smoothed Jacobian on linear manifolds, by theory and by simulation.

The paper's parameters: d = 30, variances 1 and 0.3, of dimensions 2 + 5 (m = 7) or 5 + 10 (m = 15), N = 1000 where one
size is shown. Eqs. 18, 19 and 43 are of the origin, and there they are compared.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
import xarray as xr

from geomem import theory
from geomem.manifolds import LinearManifold
from geomem.paper.experiment import Telling, Work
from geomem.records import Run
from geomem.scores import EmpiricalScore
from geomem.seeds import derived_generator, derived_seed
from geomem.spectra import spectrum

__all__ = [
    "M7",
    "M15",
    "SIZES",
    "TIMES",
    "CurveSettings",
    "SizeSettings",
    "compared_parts",
    "simulated_parts",
    "theory_parts",
]

M7 = ((2, 1.0), (5, 0.3))
M15 = ((5, 1.0), (10, 0.3))
SIZES = (50, 100, 250, 500, 1000, 10_000, 100_000)
TIMES = (1.0, 0.3, 0.1, 0.03, 0.01, 1e-3, 1e-5)
PLACES = ("origin", "training", "held_out")
_UNITS = {"units": "1 / data units squared"}
_TIME = {"units": "data units squared"}


@dataclass(frozen=True)
class CurveSettings:
    """Figs. 4, 11 and 12.

    Attributes:
        parts: Dimension and variance of each subspace.
        dim: d.
        n_samples: N.
        times: Diffusion times.
        datasets: Data sets that are simulated.
        draws: Draws of each random matrix.
        seed: Seed of everything random.
    """

    parts: tuple[tuple[int, float], ...]
    dim: int = 30
    n_samples: int = 1000
    times: tuple[float, ...] = tuple(float(f"{u:.4g}") for u in np.geomspace(1e-3, 10, 13))
    datasets: int = 300
    draws: int = 400
    seed: int = 0


def compared_parts(settings: CurveSettings) -> Mapping[str, Work]:
    """Theory in all its forms, and the smoothed Jacobian and Alg. 2 over data sets."""
    return {
        "theory": lambda run, tell: _theory(settings, tell),
        "simulation": lambda run, tell: _simulated_curves(settings, tell),
    }


def _theory(settings: CurveSettings, tell: Telling) -> xr.Dataset:
    """Ordered singular values: closed forms (t, direction), and medians over draws of the random matrices."""
    s = LinearManifold.subspaces(settings.dim, settings.parts).variances.numpy()
    n, t = settings.n_samples, np.asarray(settings.times)
    found = {"exact": theory.exact_singular_values(s, t)}
    for form in ("eq19", "eq43", "column", "row"):
        found[form] = theory.jacobian_singular_values(s, n, t, form=form)
    drawn: dict[str, list[np.ndarray]] = {}
    for i, u in enumerate(settings.times):
        rng = np.random.default_rng(derived_seed(settings.seed, "theory", i))
        for form in ("eq18", "eq41", "corrected"):
            matrices = theory.jacobian_samples(s, n, u, settings.draws, rng=rng, form=form)
            drawn.setdefault(f"{form} samples", []).append(np.linalg.svd(matrices, compute_uv=False))
        drawn.setdefault("correlated", []).append(
            theory.correlated_jacobian(s, n, u, form="shrunk").singular_values(settings.draws, rng=rng)
        )
        tell((i + 1) / t.size)
    found |= {name: np.median(np.stack(values), 1) for name, values in drawn.items()}
    ordered = np.stack([np.sort(values, -1)[..., ::-1] for values in found.values()])
    return xr.Dataset(
        {"singular_value": (("form", "t", "direction"), ordered, _UNITS)},
        coords={"form": list(found), "t": ("t", t, _TIME), "direction": np.arange(1, settings.dim + 1)},
        attrs={
            "condensation_time": float(theory.condensation_time(s, n)),
            "dim": settings.dim,
            "rank": int((s > 0).sum()),
        },
    )


def _simulated_curves(settings: CurveSettings, tell: Telling) -> xr.Dataset:
    """Ordered singular values at the origin of every data set, float32: smoothed (Eq. 5) and by Alg. 2.

    And the survival 1 + t J_jj of every axis of the manifold, whose subspace is known; sorted values have none.
    """
    manifold = LinearManifold.subspaces(settings.dim, settings.parts)
    t = torch.tensor(settings.times, dtype=torch.float64)
    origin = torch.zeros(t.numel(), settings.dim, dtype=torch.float64)
    probes = ("smoothed", "antithetic")
    out = np.empty((settings.datasets, len(probes), t.numel(), settings.dim), dtype=np.float32)
    axes = torch.eye(settings.dim, dtype=torch.float64)[: manifold.rank]
    block = np.repeat(np.arange(len(settings.parts)), [m for m, _ in settings.parts])
    survival = np.empty((settings.datasets, len(settings.parts), t.numel()), dtype=np.float32)
    for i in range(settings.datasets):
        data = manifold.sample(settings.n_samples, generator=derived_generator(settings.seed, "data", i))
        score = EmpiricalScore(data)
        for k, probe in enumerate(probes):
            generator = derived_generator(settings.seed, "probe", i)
            out[i, k] = spectrum(score, origin, t, probe=probe, generator=generator).values.numpy()
        moved = score(t.sqrt()[:, None, None] * axes, t[:, None].expand(-1, manifold.rank))
        change = (moved - score(origin, t)[:, None]).mul(axes).sum(-1)
        each = (1 + t.sqrt()[:, None] * change).numpy()
        survival[i] = [each[:, block == b].mean(1) for b in range(len(settings.parts))]
        tell((i + 1) / settings.datasets)
    return xr.Dataset(
        {
            "singular_value": (("dataset", "probe", "t", "direction"), out, _UNITS),
            "axis_survival": (("dataset", "subspace", "t"), survival),
        },
        coords={
            "probe": list(probes),
            "t": ("t", t.numpy(), _TIME),
            "direction": np.arange(1, settings.dim + 1),
            "variance": ("subspace", [v for _, v in settings.parts]),
        },
    )


@dataclass(frozen=True)
class SizeSettings:
    """Figs. 9, 10, 13 and 14.

    Attributes:
        parts: Dimension and variance of each subspace.
        sizes: N of each line.
        times: t of each panel.
        realizations: Data sets (simulation) or draws of the random matrix (Eq. 18).
        dim: d.
        seed: Seed of everything random.
    """

    parts: tuple[tuple[int, float], ...]
    sizes: tuple[int, ...] = SIZES
    times: tuple[float, ...] = TIMES
    realizations: int = 30
    dim: int = 30
    seed: int = 0


def simulated_parts(settings: SizeSettings) -> Mapping[str, Work]:
    """Alg. 2 on the empirical score, one record for each number of samples."""
    return {f"samples-{n}": partial(_realizations, settings, n) for n in settings.sizes}


def _realizations(settings: SizeSettings, n: int, run: Run, tell: Telling) -> xr.Dataset:
    """Ordered singular values around the origin, a sample and a new point by Alg. 2; smoothed (Eq. 5) at the origin.

    Alg. 2's Gaussian probes smear the values, which fills gaps; the smoothed Jacobian shows whether they are there.
    """
    manifold = LinearManifold.subspaces(settings.dim, settings.parts)
    t = torch.tensor(settings.times, dtype=torch.float64)
    shape = (len(PLACES), t.numel(), settings.dim)
    out = np.empty((settings.realizations, *shape), dtype=np.float32)
    smoothed = np.empty((settings.realizations, *shape[1:]), dtype=np.float32)
    for i in range(settings.realizations):
        data = manifold.sample(n + 1, generator=derived_generator(settings.seed, "data", (n, i)))
        centres = torch.stack([torch.zeros_like(data[0]), data[0], data[n]])
        x, times = centres[:, None].expand(shape), t.expand(shape[:2])
        generator = derived_generator(settings.seed, "probe", (n, i))
        score = EmpiricalScore(data[:n])
        out[i] = spectrum(score, x, times, probe="antithetic", generator=generator).values.numpy()
        smoothed[i] = spectrum(score, x[0], t, probe="smoothed").values.numpy()
        tell((i + 1) / settings.realizations)
    return xr.Dataset(
        {
            "singular_value": (("realization", "place", "t", "direction"), out, _UNITS),
            "smoothed": (("realization", "t", "direction"), smoothed, _UNITS),
        },
        coords={
            "place": list(PLACES),
            "t": ("t", t.numpy(), _TIME),
            "direction": np.arange(1, settings.dim + 1),
        },
        attrs={"n_samples": n},
    )


def theory_parts(settings: SizeSettings, printed: str) -> Mapping[str, Work]:
    """Eq. 19 or Eq. 18 as printed ("eq19", "eq18") and the corrected row form, over sizes and times."""
    return {"theory": lambda run, tell: _by_size(settings, printed, tell)}


def _by_size(settings: SizeSettings, printed: str, tell: Telling) -> xr.Dataset:
    s = LinearManifold.subspaces(settings.dim, settings.parts).variances.numpy()
    forms = (printed, "row", "correlated")
    out = np.empty((len(forms), len(settings.sizes), len(settings.times), s.size))
    for i, n in enumerate(settings.sizes):
        for k, t in enumerate(settings.times):
            rng = np.random.default_rng(derived_seed(settings.seed, "theory", (n, k)))
            if printed == "eq18":
                draws = theory.jacobian_samples(s, n, t, settings.realizations, rng=rng, form="eq18")
                out[0, i, k] = np.linalg.svd(draws, compute_uv=False).mean(0)
            else:
                out[0, i, k] = theory.jacobian_singular_values(s, n, t, form=printed)
            out[1, i, k] = theory.jacobian_singular_values(s, n, t)
            law = theory.correlated_jacobian(s, n, t, form="shrunk")
            out[2, i, k] = law.singular_values(settings.realizations, rng=rng).mean(0)
        tell((i + 1) / len(settings.sizes))
    return xr.Dataset(
        {"singular_value": (("form", "size", "t", "direction"), np.sort(out, -1)[..., ::-1], _UNITS)},
        coords={
            "form": list(forms),
            "size": list(settings.sizes),
            "t": ("t", list(settings.times), _TIME),
            "direction": np.arange(1, settings.dim + 1),
        },
    )
