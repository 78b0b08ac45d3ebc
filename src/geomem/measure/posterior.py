"""The posterior of the empirical score, at training and held-out points, with every reading of its spectra."""

import math
from typing import Any

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor

from geomem.measure.directions import example, kept_and_lost
from geomem.measure.observe import HELD_OUT, SETS, TRAINING
from geomem.measure.principal import Prepared, spanned
from geomem.scores import Posterior
from geomem.scores.distances import Samples
from geomem.scores.moments import moments, scatter, survival_of, variances
from geomem.spectra import Spectrum
from geomem.spectra.dimension import READINGS, read

__all__ = ["MAIN", "local_directions", "posterior_cell"]

# The reading shown in sentences and curves; tables have all readings.
MAIN = "resolved"
_T = {"units": "data units squared", "long_name": "noise variance"}
# Dimensions (in addition to t) and attributes of the recorded variables.
_DIMS = {
    **dict.fromkeys(("effective_samples", "own_weight", "information"), ("point",)),
    **dict.fromkeys(("pull", "outside"), ("seen",)),
    "dimension": ("reading", "seen"),
    "survival": ("direction",),
    "along": ("seen", "direction"),
}
_ATTRS = {
    "effective_samples": {"units": "samples", "long_name": "1 / sum of w^2"},
    "own_weight": {"units": "1"},
    "information": {"units": "nats", "long_name": "ln N - H(w)"},
    "pull": {"units": "dimensions", "long_name": "t |s|^2"},
    "outside": {"units": "dimensions", "long_name": "degrees of freedom outside the coordinates of the spectra"},
    "dimension": {"units": "dimensions"},
    "survival": {"units": "1", "long_name": "median over points, ordered"},
    "along": {"units": "1", "long_name": "survival along principal axes"},
}
# Number of ordered survivals and of principal directions that are recorded.
_RECORDED = 96
# Share of the weight that spectra may omit.
_NEGLIGIBLE = 1e-9
# Number of training and of held-out points whose directions are shown.
_EXAMPLES = (1, 4)


def posterior_cell(
    data: Prepared, rows: NDArray[np.int64], times: NDArray[np.float64], points: int, spectra: int
) -> xr.Dataset:
    """The posterior over some training rows, at the first of these rows and at held-out points.

    Variables over (set, point, t): `effective_samples`, `own_weight` (of a training point), `information` (ln N - H(w), in
    nats; a training point's own sample is excluded). Over the first `spectra` points (dimension `seen`): `dimension` by every
    reading, `pull` (t |s|^2) and `outside`. `outside` is the degrees of freedom outside the principal coordinates in which
    spectra are computed; `dimension` assumes survival 0 there. Over (set, t, direction): the median `survival` over points.
    Over (set, seen, t, direction): survival `along` principal axes.
    """
    part = data.subset(rows)
    samples = data.samples(part)
    z = data.coordinates(part, max(spanned(data.variances, float(times[0])), min(_RECORDED, data.variances.size)))
    by_set = [
        _Set(data, samples, z, x, times, spectra, planted).measured()
        for x, planted in ((part[:points], True), (data.held_out[:points], False))
    ]
    return xr.concat(by_set, xr.Variable("set", list(SETS)), join="outer")


class _Set:
    """One set of points; `planted` if they are the first of the rows."""

    def __init__(
        self,
        data: Prepared,
        samples: Samples,
        z: Tensor,
        x: Tensor,
        times: NDArray[np.float64],
        spectra: int,
        planted: bool,
    ) -> None:
        self.data, self.z, self.times, self.planted = data, z, times, planted
        self.points, self.seen = x.shape[0], min(spectra, x.shape[0])
        self.recorded = min(_RECORDED, data.dim, data.variances.size)
        self.posterior = Posterior.of(samples, x, t_min=float(times[0]))
        self.shifts = self._shifts()

    def _shifts(self) -> Tensor:
        """Posterior means at the first points, less these, at all times (t, seen, d): in one pass over the rows."""
        some, t = self.posterior.squares[: self.seen], -2 * torch.as_tensor(self.times)[:, None, None]
        norms = torch.cat([torch.logsumexp(some / u, 1, keepdim=True)[None] for u in t])
        means = self.data.means(self.posterior.samples, lambda part: (some[:, part] / t - norms).flatten(0, 1))
        return means.reshape(len(t), self.seen, -1) - self.posterior.x[: self.seen]

    def measured(self) -> xr.Dataset:
        """All variables at all times."""
        found = [self._at(float(t), shift) for t, shift in zip(self.times, self.shifts, strict=True)]
        stacked = {name: np.stack([at[name] for at in found], -1) for name in found[0]}
        return xr.Dataset(
            {name: ((*_DIMS[name], "t"), values, _ATTRS[name]) for name, values in stacked.items()},
            coords={
                "t": ("t", self.times, _T),
                "point": np.arange(self.points),
                "seen": np.arange(self.seen),
                "direction": np.arange(1, self.recorded + 1),
                "reading": [*READINGS, "flipd"],
            },
        )

    def _at(self, t: float, shift: Tensor) -> dict[str, NDArray[np.floating]]:
        """All variables at one time."""
        by_point = [self._at_point(i, t) for i in range(self.points)]
        found = {
            name: np.stack([at[name] for at in by_point]) for name in ("effective_samples", "own_weight", "information")
        }
        seen = {name: np.stack([at[name] for at in by_point[: self.seen]]) for name in ("trace", "along", "survival")}
        kept = seen["survival"].shape[1]
        survival = torch.as_tensor(seen["survival"])
        whole = torch.nn.functional.pad(survival, (0, self.data.dim - kept))
        values = ((1 - whole).abs() / t).sort(dim=1, descending=True).values
        times = torch.full((self.seen,), t, dtype=torch.float64)
        spectrum = Spectrum(values, times, "exact", None, whole, self.data.dim)
        score = shift / t
        trace = seen["trace"] - shift.square().sum(1).numpy()
        return {
            **found,
            "dimension": np.stack(list(read(spectrum, score=score).values())),
            "pull": (t * score.square().sum(1)).numpy(),
            "outside": np.maximum(trace / t - seen["survival"].sum(1), 0),
            "survival": whole.quantile(0.5, dim=0)[: self.recorded].numpy(),
            "along": seen["along"],
        }

    def _at_point(self, i: int, t: float) -> dict[str, Any]:
        """What is measured at one point alone; of the first points, with their spectra."""
        squares = self.posterior.squares[i]
        n = squares.numel()
        log_w, entropy = _log_weights(squares, t)
        if self.planted:
            others = squares.clone()
            others[i] = torch.inf
            entropy = _log_weights(others, t)[1]
        weights = log_w.exp()
        found = {
            "effective_samples": float(1 / (weights @ weights)),
            "own_weight": float(weights[i]) if self.planted else np.nan,
            "information": math.log(max(1, n - self.planted)) - entropy,
        }
        if i >= self.seen:
            return found
        kept = spanned(self.data.variances, t)
        z = self.z[:, : self.recorded]
        samples, w, mean = moments(z, log_w, negligible=_NEGLIGIBLE)
        along = (variances(z, samples, w, mean) / t).numpy()
        return found | {
            "trace": float(weights @ squares),
            "along": along.astype(np.float32),
            "survival": survival_of(self.z[:, :kept], log_w, t, negligible=_NEGLIGIBLE).numpy(),
        }


def _log_weights(squares: Tensor, t: float) -> tuple[Tensor, float]:
    """ln w (n,) of all samples at a point, and the entropy of w, with as few arrays of that length as can be."""
    log_w = squares / (-2 * t)
    log_w -= log_w.max()
    weights = log_w.exp()
    total = weights.sum()
    finite = log_w.clamp_min(-1e300)
    entropy = float(total.log() - (weights @ finite) / total)
    return log_w.sub_(total.log()), entropy


def local_directions(data: Prepared, t: float, count: int) -> xr.Dataset:
    """Denoised images and directions at the first training points and held-out points.

    Variables over (point, value), data units: `picture`, the point itself, and `guess`, the posterior mean E[y|x] at t; over
    (point, rank, value) `kept` and `lost`, with `kept_survival` and `lost_survival` (point, rank), in the principal
    coordinates in which spectra are computed.
    """
    rows = {TRAINING: data.train[: _EXAMPLES[0]], HELD_OUT: data.held_out[: _EXAMPLES[1]]}
    k = spanned(data.variances, t)
    z = data.coordinates(data.train, k)
    axes = data.axes[:, :k].numpy()
    prepared, parts = data.samples(data.train), []
    for name, x in rows.items():
        log_w = Posterior.of(prepared, x, t_min=t).log_weights(t)

        def part_of(part: slice, log_w: Tensor = log_w) -> Tensor:
            return log_w[:, part]

        mean = data.means(data.train, part_of).numpy() + data.mean.numpy()
        for i in range(x.shape[0]):
            samples, w, shift = moments(z, log_w[i], negligible=_NEGLIGIBLE)
            spread = scatter(z, samples, w / t, None, shift).numpy()
            found = kept_and_lost(spread, data.variances[:k], axes, count)
            picture = x[i].to(torch.float64).numpy() + data.mean.numpy()
            parts.append(example(name, picture, mean[i], found))
    return xr.concat(parts, "point", join="exact").assign_attrs(t=t)
