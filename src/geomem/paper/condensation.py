"""Fig. 8 and Sec. 5.4: when the empirical score condenses, which direction first, and how many samples prevent it."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
import xarray as xr

from geomem import theory
from geomem.manifolds import LinearManifold
from geomem.paper.experiment import Telling, Work
from geomem.paper.spectra import M7, M15
from geomem.records import Run
from geomem.scores import EmpiricalScore
from geomem.seeds import derived_generator, derived_seed

__all__ = [
    "CondensationSettings",
    "OrderSettings",
    "ScalingSettings",
    "condensation_parts",
    "order_parts",
    "scaling_parts",
]

_TIME = {"units": "data units squared"}


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
        seed: Seed of everything random.
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
        {"condensation_time": (("matrix", "form", "alpha"), out, _TIME)},
        coords={"form": list(forms), "alpha": alphas},
    )


def _positions(settings: CondensationSettings) -> xr.Dataset:
    s, x = _problem(settings, 0, settings.positions)
    t_c = theory.condensation_time(s, alpha=settings.alpha, x=x)
    return xr.Dataset(
        {
            "condensation_time": ("position", t_c, _TIME),
            "expansion": (
                "position",
                theory.condensation_time(s, alpha=settings.alpha, x=x, method="expansion"),
                _TIME,
            ),
            "variance_density": ("position", np.mean(x**2 * s, -1), {"units": "data units to the fourth"}),
        },
        attrs={"alpha": settings.alpha},
    )


@dataclass(frozen=True)
class OrderSettings:
    """Which subspace condenses first (Sec. 5.4).

    Attributes:
        sets: Subspaces of each manifold.
        dim: d.
        n_samples: N.
        times: Diffusion times.
        datasets: Data sets.
        seed: Seed of the data.
    """

    sets: tuple[tuple[tuple[int, float], ...], ...] = (M7, M15)
    dim: int = 30
    n_samples: int = 1000
    times: tuple[float, ...] = tuple(float(f"{u:.4g}") for u in np.geomspace(1e-3, 10, 17))
    datasets: int = 1000
    seed: int = 0


def order_parts(settings: OrderSettings) -> Mapping[str, Work]:
    """Participation ratios at e_j sqrt t, by simulation and theory, one record for each manifold."""
    return {f"m{sum(m for m, _ in parts)}": partial(_order, settings, parts) for parts in settings.sets}


def _order(settings: OrderSettings, parts: tuple[tuple[int, float], ...], run: Run, tell: Telling) -> xr.Dataset:
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
            "condensation_time": (("t", "subspace"), theory.condensation_time(s, n, at), _TIME),
            "expansion": (("t", "subspace"), theory.condensation_time(s, n, at, method="expansion"), _TIME),
            "effective_samples": (("t", "subspace"), theory.effective_samples(s, n, times, at, method="finite")),
        },
        coords={"t": ("t", t.numpy(), _TIME), "variance": ("subspace", [v for _, v in parts])},
        attrs={"rank": rank},
    )


@dataclass(frozen=True)
class ScalingSettings:
    """How many samples keep the score from condensing (Supp. C, last paragraph).

    Attributes:
        ranks: m, at the first of `dims`.
        dims: d, at the first of `ranks`.
        t: Diffusion time, for variances of 1.
        datasets: Data sets of each kind.
        seed: Seed of the data.
    """

    ranks: tuple[int, ...] = (4, 5, 6, 7, 8, 9, 10)
    dims: tuple[int, ...] = (16, 32, 64, 128)
    t: float = 0.1
    datasets: int = 400
    seed: int = 0


def scaling_parts(settings: ScalingSettings) -> Mapping[str, Work]:
    """N at which the mean participation ratio at the origin is 1/2: over m, and over d."""
    return {
        "ranks": lambda run, tell: _scaling(settings, [(m, settings.dims[0]) for m in settings.ranks], tell),
        "dims": lambda run, tell: _scaling(settings, [(settings.ranks[0], d) for d in settings.dims], tell),
    }


def _scaling(settings: ScalingSettings, cases: list[tuple[int, int]], tell: Telling) -> xr.Dataset:
    """Mean Y at the origin over N = 2, 3, 4, 6, 8, ... samples, until it is well below 1/2, for every m and d."""
    origin_y, sizes = [], []
    for index, (m, d) in enumerate(cases):
        manifold = LinearManifold.subspaces(d, [(m, 1.0)])
        largest = max(8, int(8 * theory.required_samples(manifold.variances.numpy(), settings.t)))
        n = np.unique(np.round(2 * (largest / 2) ** np.linspace(0, 1, 24)).astype(int))
        y = np.empty((settings.datasets, n.size))
        for i in range(settings.datasets):
            data = manifold.sample(largest, generator=derived_generator(settings.seed, "data", (m, d, i)))
            # Nested data sets: the weights of the first n samples, from one pass over all of them.
            logits = -data.square().sum(1) / (2 * settings.t)
            first = torch.logcumsumexp(logits, 0)
            second = torch.logcumsumexp(2 * logits, 0)
            y[i] = torch.exp(second - 2 * first)[n - 1].numpy()
        sizes.append(n)
        origin_y.append(y)
        tell((index + 1) / len(cases))
    rng = np.random.default_rng(derived_seed(settings.seed, "bootstrap"))
    half = np.array([_half_condensed(n, y, rng) for n, y in zip(sizes, origin_y, strict=True)])
    predicted = [float(theory.required_samples([1.0] * m, settings.t)) for m, _ in cases]
    samples = {"units": "samples"}
    return xr.Dataset(
        {
            "half_condensed": (("case", "draw"), half, samples | {"note": "the estimate, then bootstrap draws"}),
            "required_samples": ("case", predicted, samples),
        },
        coords={"rank": ("case", [m for m, _ in cases]), "dim": ("case", [d for _, d in cases])},
        attrs={"t": settings.t, "datasets": settings.datasets},
    )


def _half_condensed(n: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """N at which the mean over data sets of Y (dataset, n) is 1/2, interpolated in ln N; then 200 bootstrap draws."""
    draws = [np.arange(len(y)), *rng.integers(0, len(y), (200, len(y)))]
    means = [y[rows].mean(0) for rows in draws]
    # Y falls with N on average; np.interp wants it ascending.
    return np.array([np.exp(np.interp(0.5, mean[::-1], np.log(n)[::-1])) for mean in means])
