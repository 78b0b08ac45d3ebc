"""What an audit measures of data, as labelled arrays: the empirical score's posterior at training and held-out points."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor

from geomem import theory
from geomem.measure.condensation import condensation_time_from_half, half_time_of
from geomem.measure.directions import example, kept_and_lost
from geomem.scores import EmpiricalScore, principal_components
from geomem.scores.moments import moments, scatter, survival_of
from geomem.seeds import derived_seed
from geomem.theory.rem import decreasing_root

__all__ = [
    "SETS",
    "Prepared",
    "condensation",
    "half_weight_times",
    "information_needed",
    "local_directions",
    "posterior_cell",
    "predicted",
    "prepare",
]

SETS = ("training", "held-out")
_T = {"units": "data units squared", "long_name": "noise variance"}
# Principal directions with less than this share of t are left out of spectra: together they are in the trace.
_SMALL = 0.02
# Principal coordinates that spectra are computed in at most, and rows from which axes are found in very high dimension.
_COORDINATES, _FITTED = 384, 3200
# Ordered survivals and principal directions that are recorded.
_RECORDED = 96
# Share of the weight that spectra may leave out.
_NEGLIGIBLE = 1e-9
# Held-out points at which theory's random spectra are drawn.
_DRAWN = 48
# Training and held-out points whose directions are shown.
_EXAMPLES = (1, 4)
# Distances that are held at once where only one number of each point is wanted.
_DISTANCES = 2**26
# How far theory looks beyond the data: factors of the largest size.
_BEYOND = (4, 16, 64)


@dataclass(frozen=True)
class Prepared:
    """Data centred on the training rows' mean, and their principal components.

    Attributes:
        train: Training rows (n, d) in nested order.
        held_out: Held-out rows (m, d).
        mean: What was subtracted (d,).
        variances: Of the training rows along `axes` (k,), descending, float64.
        axes: Principal axes (d, k).
        fitted: Training rows that mean and axes come from.
    """

    train: Tensor
    held_out: Tensor
    mean: Tensor
    variances: NDArray[np.float64]
    axes: Tensor
    fitted: int

    @property
    def dim(self) -> int:
        """d."""
        return int(self.train.shape[1])

    def coordinates(self, rows: Tensor) -> Tensor:
        """Principal coordinates (n, k) of rows."""
        return rows @ self.axes.to(rows.dtype)


def prepare(train: Tensor, held_out: Tensor) -> Prepared:
    """Centre the rows and find their principal axes.

    In very high dimension the axes come from the first 3,200 rows; the plug-in then has at most as many variances.
    """
    fitted = train if min(train.shape) <= _FITTED else train[:_FITTED]
    mean, variances, axes = principal_components(fitted)
    shift = mean.to(train.dtype)
    return Prepared(train - shift, held_out - shift, mean, variances.numpy(), axes, fitted.shape[0])


def condensation(data: Prepared, points: int, spectra: int, clean: NDArray[np.bool_] | None = None) -> xr.Dataset:
    """Time at which the mean of Y at held-out points is one half, and what t_c it means under several guesses of the rank.

    Variables: `half`; `clean` (point, around), Y at times around it without training rows that repeat others nearly (`clean`
    marks the rest); `t_c` and `rank` over `guess`; `plug_in` (point), the Gaussian plug-in's t_c at each held-out point.
    """
    x = data.held_out[:points]
    posterior = EmpiricalScore(data.train).posterior(x, t_min=_t_min(data))
    half = half_time_of(posterior)
    cleaned = posterior
    if clean is not None and not clean.all():
        cleaned = EmpiricalScore(data.train[torch.as_tensor(clean)]).posterior(x, t_min=posterior.t_min)
    around = (half if math.isfinite(half) else 1.0) * np.geomspace(0.1, 100, 37)
    weights = np.stack([(1 / cleaned.effective_samples(float(t))).numpy() for t in around], 1)
    n, s = data.train.shape[0], data.variances
    t_c = float(theory.condensation_time(s, n))
    ranks = {"none": math.inf, "plug-in": float(np.sum((s / (s + max(t_c, np.finfo(float).tiny))) ** 2))}
    if math.isfinite(half):
        kept = data.coordinates(data.train)[:, : _kept(s, 2 * half)]
        squared = [
            float(posterior.survival(i, 2 * half, rows=kept, negligible=_NEGLIGIBLE).square().sum())
            for i in range(min(spectra, x.shape[0]))
        ]
        quartiles = np.quantile(squared, [0.25, 0.75])
        ranks |= {"measured": float(np.mean(squared)), "measured, lower quartile": float(quartiles[0])}
        ranks |= {"measured, upper quartile": float(quartiles[1])}
    rank = np.array(list(ranks.values()))
    times = np.where(np.isinf(rank), 2 * half, condensation_time_from_half(half, np.where(np.isinf(rank), 3, rank)))
    where = data.coordinates(x).to(torch.float64).numpy()
    return xr.Dataset(
        {
            "half": ((), half, _T),
            "clean": (("point", "around"), weights, {"units": "1", "long_name": "sum of w^2 without near duplicates"}),
            "t_c": ("guess", times, _T),
            "rank": ("guess", rank, {"units": "directions"}),
            "plug_in": ("point", theory.condensation_time(s, n, where), _T),
        },
        coords={"guess": list(ranks), "around": ("around", around, _T)},
        attrs={"n_samples": n},
    )


def posterior_cell(
    data: Prepared, rows: NDArray[np.int64], times: NDArray[np.float64], points: int, spectra: int
) -> xr.Dataset:
    """The posterior over some training rows, at the first of them and at held-out points.

    Variables over (set, point, t): `effective_samples`, `own_weight` (of a training point), `information` (ln N - H(w), in
    nats; a training point's own sample excluded); over the first `spectra` points (seen) `resolved`, `degrees_of_freedom` and
    `outside` (degrees of freedom outside the principal coordinates that spectra are computed in, of which `resolved` knows
    nothing); over (set, t, direction) the median `survival` over points, and over (set, seen, t, direction) survival
    `along` principal axes.
    """
    part = data.train[torch.as_tensor(rows)]
    score, z = EmpiricalScore(part), data.coordinates(part)[:, :_COORDINATES]
    by_set = [
        _one_set(data, score, z, part[:points], True, times, spectra),
        _one_set(data, score, z, data.held_out[:points], False, times, spectra),
    ]
    return xr.concat(by_set, xr.Variable("set", list(SETS)), join="outer")


def _one_set(
    data: Prepared, score: EmpiricalScore, z: Tensor, x: Tensor, planted: bool, times: NDArray[np.float64], spectra: int
) -> xr.Dataset:
    part, d = score.data, data.dim
    p, n = x.shape[0], part.shape[0]
    k = min(spectra, p)
    own = torch.arange(p) if planted else torch.full((p,), -1)
    posterior = score.posterior(x, t_min=float(times[0]))
    others = score.posterior(x, t_min=float(times[0]), exclude=own) if planted else posterior
    recorded = min(_RECORDED, d, data.variances.size)
    grid = len(times)
    numbers = {name: np.full((p, grid), np.nan) for name in ("effective_samples", "own_weight", "information")}
    readings = {name: np.full((k, grid), np.nan) for name in ("resolved", "degrees_of_freedom", "outside")}
    survival = np.full((grid, recorded), np.nan)
    axis = np.full((k, grid, recorded), np.nan, dtype=np.float32)
    for j, t in enumerate(times):
        log_w = posterior.log_weights(float(t))
        weights = log_w.exp()
        numbers["effective_samples"][:, j] = 1 / weights.square().sum(1)
        numbers["information"][:, j] = math.log(max(1, n - planted)) - others.entropy(float(t))
        if planted:
            numbers["own_weight"][:, j] = weights.diagonal()
        kept = _kept(data.variances, float(t))
        trace = (weights[:k] * posterior.squares[:k]).sum(1)
        trace -= ((weights[:k].to(part.dtype) @ part).to(torch.float64) - posterior.x[:k]).square().sum(1)
        spectrum = torch.stack([survival_of(z[:, :kept], log_w[i], float(t), negligible=_NEGLIGIBLE) for i in range(k)])
        whole = torch.maximum(trace / t, spectrum.sum(1))
        readings["resolved"][:, j] = (spectrum > 0.5).sum(1)
        readings["degrees_of_freedom"][:, j] = whole
        readings["outside"][:, j] = whole - spectrum.sum(1)
        middle = spectrum.quantile(0.5, dim=0)[:recorded].numpy()
        survival[j] = np.concatenate([middle, np.zeros(recorded - middle.size)])
        for i in range(k):
            samples, w, mean = moments(z[:, :recorded], log_w[i], negligible=_NEGLIGIBLE)
            axis[i, j] = (w @ (z[samples, :recorded].to(torch.float64) - mean).square() / t).numpy()
    units = {"effective_samples": "samples", "own_weight": "1", "information": "nats"}
    variables = {name: (("point", "t"), v, {"units": units[name]}) for name, v in numbers.items()}
    variables |= {name: (("seen", "t"), v, {"units": "dimensions"}) for name, v in readings.items()}
    out = xr.Dataset(variables, coords={"t": ("t", times, _T), "point": np.arange(p), "seen": np.arange(k)})
    out["survival"] = (("t", "direction"), survival, {"units": "1", "long_name": "median over points, ordered"})
    out["along"] = (("seen", "t", "direction"), axis, {"units": "1", "long_name": "survival along principal axes"})
    return out.assign_coords(direction=np.arange(1, recorded + 1))


def predicted(
    data: Prepared, sizes: tuple[int, ...], times: NDArray[np.float64], points: int, seed: int
) -> Iterator[xr.Dataset]:
    """The same by theory with a Gaussian plug-in, one data set for each size, the data's and larger ones.

    Variables over (size, t): `training` (and point), resolved dimension at training points; `held_out` (and draw), random
    spectra at held-out points (a heuristic, see `theory.held_out_survival`); `own_weight` (and point).
    """
    s = data.variances
    where = [data.coordinates(rows[:points]).to(torch.float64).numpy() for rows in (data.train, data.held_out)]
    largest = max(sizes)
    for size in [*sorted(sizes), *(factor * largest for factor in _BEYOND)]:
        planted = theory.training_point(s, size, times[:, None], where[0])
        rng = np.random.default_rng(derived_seed(seed, "held-out theory", size))
        drawn = np.stack([_drawn(s, size, float(t), where[1][:_DRAWN], rng) for t in times])
        yield xr.Dataset(
            {
                "training": (("t", "point"), planted.resolved(), {"units": "dimensions"}),
                "own_weight": (("t", "point"), planted.own_weight, {"units": "1"}),
                "held_out": (("t", "draw"), drawn, {"units": "dimensions"}),
            },
            coords={"t": ("t", times, _T)},
        ).expand_dims(size=[size])


def information_needed(data: Prepared, times: NDArray[np.float64], points: int) -> xr.DataArray:
    """d h(t, x) at held-out points over (t, point), in nats: exp of it are the samples for which t_c(x) = t (Gaussian)."""
    where = data.coordinates(data.held_out[:points]).to(torch.float64).numpy()
    nats = theory.information(data.variances, times[:, None], where) * data.variances.size
    return xr.DataArray(nats, dims=("t", "point"), coords={"t": ("t", times, _T)}, attrs={"units": "nats"})


def _drawn(
    s: NDArray[np.float64], n: float, t: float, where: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.float64]:
    """Resolved dimension of one drawn spectrum at each position, in the directions that are not small against t."""
    kept = max(1, int(np.sum(s > _SMALL * t)))
    kappa = theory.held_out_survival(s[:kept], n, t, where[:, :kept], n_draws=1, rng=rng)[0]
    return np.asarray((kappa > 0.5).sum(-1), dtype=np.float64)


def local_directions(data: Prepared, t: float, count: int) -> xr.Dataset:
    """At the first training points and held-out points, what the score makes of them and which directions it has there.

    Variables over (point, value), data units: `picture`, the point itself, and `guess`, the posterior mean at t; over
    (point, rank, value) `kept` and `lost`, with `kept_survival` and `lost_survival` (point, rank), in the principal
    coordinates that spectra are computed in.
    """
    rows = {"training": data.train[: _EXAMPLES[0]], "held-out": data.held_out[: _EXAMPLES[1]]}
    k = _kept(data.variances, t)
    z = data.coordinates(data.train)[:, :k]
    axes = data.axes[:, :k].numpy()
    score, parts = EmpiricalScore(data.train), []
    for name, x in rows.items():
        log_w = score.posterior(x, t_min=t).log_weights(t)
        guess = (log_w.exp().to(data.train.dtype) @ data.train).to(torch.float64).numpy() + data.mean.numpy()
        for i in range(x.shape[0]):
            samples, w, shift = moments(z, log_w[i], negligible=_NEGLIGIBLE)
            spread = scatter(z, samples, w / t, None, shift).numpy()
            found = kept_and_lost(spread, data.variances[:k], axes, count)
            picture = x[i].to(torch.float64).numpy() + data.mean.numpy()
            parts.append(example(name, picture, guess[i], found))
    return xr.concat(parts, "point", join="exact").assign_attrs(t=t)


def half_weight_times(data: Prepared, rows: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """For each of the training rows, the time at which it holds half of the posterior's weight at itself; its neighbour.

    The root of sum_{mu != own} exp(-D_mu/2t) = 1. Below it the empirical score returns to this very sample.
    """
    train, out, neighbours = data.train, [], []
    score = EmpiricalScore(train)
    for chosen in torch.as_tensor(rows).split(max(1, _DISTANCES // train.shape[0])):
        squares = score.posterior(train[chosen], t_min=_t_min(data), exclude=chosen).squares
        neighbours.append(squares.argmin(1).numpy())
        near = squares.clamp_min(torch.finfo(torch.float64).tiny)
        bound = 2 * math.log(max(2, train.shape[0] - 1))
        low = near.amin(1) / bound
        high = torch.where(near.isinf(), 0, near).amax(1) / bound

        def excess(u: NDArray[np.float64], i: NDArray[np.int64], squares: Tensor = squares) -> NDArray[np.float64]:
            t = torch.as_tensor(np.exp(u))[:, None]
            return np.asarray(-torch.logsumexp(squares[torch.as_tensor(i)] / (-2 * t), 1))

        # The sum rises with t, so minus its logarithm falls; both ends are bounds by the nearest and the farthest sample.
        out.append(decreasing_root(excess, low.log().numpy(), high.log().numpy(), tolerance=1e-5))
    return np.concatenate(out), np.concatenate(neighbours)


def _t_min(data: Prepared) -> float:
    """A time below those that matter, where the widest direction is a hundred times wider than the noise."""
    return 1e-4 * max(float(data.variances[0]), np.finfo(float).tiny)


def _kept(variances: NDArray[np.float64], t: float) -> int:
    return int(np.clip(np.sum(variances > _SMALL * t), 1, _COORDINATES))
