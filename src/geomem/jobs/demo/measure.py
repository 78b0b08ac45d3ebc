"""What the demo measures, as labelled arrays: theory, empirical score and trained network at the same points."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor, nn

from geomem import theory
from geomem.manifolds import LinearManifold
from geomem.measure import neighbour_distances
from geomem.measure.directions import example, kept_and_lost
from geomem.scores import EmpiricalScore, GaussianScore, NetworkScore, Score
from geomem.scores.sampling import heun, noise_levels
from geomem.seeds import derived_generator, derived_seed
from geomem.spectra import spectrum
from geomem.spectra.dimension import flipd

__all__ = ["SETS", "SOURCES", "Case", "generated", "network_directions", "origin_spectra", "point_spectra"]

SETS = ("training", "held-out")
# The empirical score twice: its Jacobian at the point, and seen by the probe that the network is seen by.
SOURCES = ("network", "empirical", "empirical, same probe", "theory")


@dataclass(frozen=True)
class Case:
    """One data set: training rows in nested order, points kept apart, and the Gaussian that theory works with.

    Attributes:
        name: "digits" or "manifold".
        data: Training rows (n, d); a training set of size N is its first N.
        held_out: Rows (m, d) that no network saw.
        gaussian: The true Gaussian, or the plug-in of mean and covariance of all rows.
        sizes: Sizes N of the training sets.
    """

    name: str
    data: Tensor
    held_out: Tensor
    gaussian: GaussianScore
    sizes: tuple[int, ...]


def point_spectra(
    case: Case, networks: Sequence[nn.Module], times: Sequence[float], points: int, seed: int
) -> Iterator[xr.Dataset]:
    """Survival at the first `points` training and held-out points, one data set for each training-set size.

    Variables over (size, t, set, point): `survival` (and source, direction), `singular_values` of the network (and
    direction; J units, central differences at radius sqrt(t d)), `flipd` of network and empirical score (and source),
    `effective_samples` of the empirical score, `own_weight` predicted by theory. Theory's survival at
    held-out points is one draw for each point, as the empirical score's is one data set. Training sets smaller than `points` leave NaN.
    """
    t = torch.tensor(times, dtype=torch.float64)
    d = case.data.shape[1]
    for size, network in zip(case.sizes, networks, strict=True):
        scores: dict[str, Score] = {
            "network": NetworkScore(network, (d,)),
            "empirical": EmpiricalScore(case.data[:size]),
        }
        by_set = []
        for name, rows in zip(SETS, (case.data[: min(points, size)], case.held_out[:points]), strict=True):
            grid = rows.expand(len(times), *rows.shape)
            when = t[:, None].expand(grid.shape[:2])
            by_set.append(_one_set(case, scores, size, name, grid, when, seed))
        merged = xr.concat(by_set, xr.Variable("set", list(SETS)), join="outer")
        yield merged.assign_coords(t=("t", list(times), {"units": "data units squared"})).expand_dims(size=[size])


def _one_set(case: Case, scores: dict[str, Score], size: int, name: str, x: Tensor, t: Tensor, seed: int) -> xr.Dataset:
    """Everything at the points x (t, point, d) of one set."""
    network, empirical = scores["network"], scores["empirical"]
    assert isinstance(empirical, EmpiricalScore)
    seen = {}
    for source, score, points in (("network", network, x.float()), ("empirical", empirical, x)):
        generator = derived_generator(seed, "probe")
        seen[source] = spectrum(score, points, t, probe="orthonormal", generator=generator)
    exact = spectrum(empirical, x, t)
    s, when, where = case.gaussian.variances.numpy(), t.numpy(), case.gaussian.coordinates(x).numpy()
    if name == "training":
        planted = theory.training_point(s, size, when, where)
        spectra, own_weight = planted.survival, planted.own_weight
    else:
        own_weight = np.zeros_like(when)
        rng = np.random.default_rng(derived_seed(seed, "held-out theory", size))
        spectra = theory.held_out_survival(s, size, when, where, n_draws=1, rng=rng)[0]
    survivals = [seen["network"].survival, exact.survival, seen["empirical"].survival, spectra]
    with torch.no_grad():
        lids = [
            flipd(seen["network"], network(x.float(), t)).value,
            flipd(exact, empirical(x, t)).value,
        ]
    axes = ("t", "point")
    return xr.Dataset(
        {
            "survival": (
                ("source", *axes, "direction"),
                np.stack([np.asarray(s) for s in survivals]),
                {"units": "1", "long_name": "eigenvalues of I + t J, descending"},
            ),
            "singular_values": (
                (*axes, "direction"),
                seen["network"].values.numpy(),
                {"units": "1 / data units squared", "long_name": "network, central differences at radius sqrt(t d)"},
            ),
            "flipd": (("flipd_source", *axes), np.stack(lids), {"units": "dimensions"}),
            "effective_samples": (axes, empirical.effective_samples(x, t).numpy(), {"units": "samples"}),
            "own_weight": (axes, own_weight, {"units": "1", "long_name": "predicted weight of the point"}),
        },
        coords={
            "source": list(SOURCES),
            "flipd_source": ["network", "empirical"],
            "point": np.arange(x.shape[1]),
            "direction": np.arange(1, x.shape[2] + 1),
        },
    )


def network_directions(case: Case, networks: Sequence[nn.Module], t: float, count: int, seed: int) -> xr.Dataset:
    """Directions that networks keep and have lost at one training point and two held-out points, over (size, point).

    See `audit.directions.example`; in the principal coordinates along which the data vary.
    """
    x = torch.cat([case.data[:1], case.held_out[:2]])
    d = x.shape[1]
    s = case.gaussian.variances.numpy()
    chosen = np.flatnonzero(s > 0.02 * t)  # where data hardly vary, nothing can be kept or lost
    axes = np.eye(d)[:, chosen] if case.gaussian.basis is None else case.gaussian.basis.numpy()[:, chosen]
    by_size = []
    for network in networks:
        score = NetworkScore(network, (d,))
        generator = derived_generator(seed, "probe")
        seen = spectrum(score, x.float(), t, probe="orthonormal", vectors=True, generator=generator)
        assert seen.left is not None
        assert seen.right is not None
        jacobian = torch.einsum("pki,pk,pkj->pij", seen.left, seen.values, seen.right).double().numpy()
        with torch.no_grad():
            guess = x.float() + t * score(x.float(), t)
        parts = []
        for i, name in enumerate(("training", "held-out", "held-out")):
            survival = np.eye(chosen.size) + t * axes.T @ jacobian[i] @ axes
            found = kept_and_lost(survival, s[chosen], axes, count)
            parts.append(example(name, x[i].numpy(), guess[i].double().numpy(), found))
        by_size.append(xr.concat(parts, "point", join="exact"))
    return xr.concat(by_size, xr.Variable("size", list(case.sizes)), join="exact").assign_attrs(t=t)


def generated(
    case: Case, networks: Sequence[nn.Module], n: int, steps: int, t_range: tuple[float, float], seed: int
) -> xr.Dataset:
    """Images drawn from each network, and distances of images and held-out controls to their nearest training data.

    Variables: `image` (size, sample, pixel); `distance` (size, sample, rank) and `neighbour` to the two nearest training
    rows; `control` (size, held_out, rank), the same distances of held-out rows.
    """
    levels = noise_levels(steps, t_min=t_range[0], t_max=t_range[1])
    images, distances, neighbours, controls = [], [], [], []
    d = case.data.shape[1]
    noise = torch.randn(n, d, generator=derived_generator(seed, "sample"), dtype=torch.float64)
    for size, network in zip(case.sizes, networks, strict=True):
        data = case.data[:size]
        start = data.mean(0) + noise * levels[0].sqrt()
        images.append(heun(NetworkScore(network, (d,)), start.float(), levels).double().numpy())
        near = neighbour_distances(images[-1], data)
        distances.append(near[0])
        neighbours.append(near[1])
        controls.append(neighbour_distances(case.held_out, data)[0])
    units = {"units": "data units"}
    return xr.Dataset(
        {
            "image": (("size", "sample", "pixel"), np.stack(images), units),
            "distance": (("size", "sample", "rank"), np.stack(distances), units),
            "neighbour": (("size", "sample", "rank"), np.stack(neighbours), {"long_name": "row of the training data"}),
            "control": (("size", "held_out", "rank"), np.stack(controls), units),
        },
        coords={"size": list(case.sizes), "rank": [1, 2]},
    )


def origin_spectra(
    manifold: LinearManifold,
    case: Case,
    networks: Sequence[nn.Module],
    times: Sequence[float],
    datasets: int,
    seed: int,
) -> xr.Dataset:
    """Smoothed Jacobians (Eq. 5) at the origin of a linear manifold, singular values descending, J units.

    Variables over (size, t, direction): `exact` (Eq. 8), `row` (corrected Eq. 18 in closed form), `correlated` (median
    of draws of the correlated theory), `empirical` (median over independent data sets) with `empirical_low` and
    `empirical_high` (quartiles), `network`. And `condensation_time` and `half_weight_time` over size.
    """
    s = manifold.variances.numpy()
    t = np.asarray(times)
    grid, when = torch.zeros(len(t), manifold.dim, dtype=torch.float64), torch.as_tensor(t)
    axes = ("size", "t", "direction")
    values: dict[str, list[NDArray[np.float64]]] = {name: [] for name in _ORIGIN}
    for i, size in enumerate(case.sizes):
        values["exact"].append(_descending(theory.exact_singular_values(s, t)))
        values["row"].append(_descending(theory.jacobian_singular_values(s, size, t)))
        rng = np.random.default_rng(derived_seed(seed, "correlated", i))
        laws = [theory.correlated_jacobian(s, size, float(u), form="shrunk") for u in t]
        values["correlated"].append(np.stack([np.median(law.singular_values(200, rng=rng), axis=0) for law in laws]))
        runs = []
        for k in range(datasets):
            data = manifold.sample(size, generator=derived_generator(seed, "dataset", [i, k]))
            runs.append(spectrum(EmpiricalScore(data), grid, when, probe="smoothed").values.numpy())
        for name, q in (("empirical_low", 0.25), ("empirical", 0.5), ("empirical_high", 0.75)):
            values[name].append(np.quantile(np.stack(runs), q, axis=0))
        score = NetworkScore(networks[i], (manifold.dim,))
        values["network"].append(spectrum(score, grid.float(), when, probe="smoothed").values.numpy())
    return xr.Dataset(
        {name: (axes, np.stack(v), {"units": "1 / data units squared"}) for name, v in values.items()}
        | {
            "condensation_time": ("size", theory.condensation_time(s, case.sizes), {"units": "data units squared"}),
            "half_weight_time": ("size", theory.half_weight_time(s, case.sizes), {"units": "data units squared"}),
        },
        coords={"size": list(case.sizes), "t": t, "direction": np.arange(1, manifold.dim + 1)},
    )


_ORIGIN = ("exact", "row", "correlated", "empirical_low", "empirical", "empirical_high", "network")


def _descending(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.sort(values, -1)[..., ::-1]
