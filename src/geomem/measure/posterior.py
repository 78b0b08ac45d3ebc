"""The posterior of the empirical score, at training and held-out points, with every reading of its spectra."""

import math

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor

from geomem.measure.directions import example, kept_and_lost
from geomem.measure.observe import HELD_OUT, SETS, TRAINING
from geomem.measure.principal import COORDINATES, Prepared, spanned
from geomem.scores import EmpiricalScore
from geomem.scores.moments import moments, scatter, survival_of
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
    part = data.train[torch.as_tensor(rows)]
    score, z = EmpiricalScore(part), data.coordinates(part)[:, :COORDINATES]
    by_set = [
        _Set(data, score, z, x, times, spectra, planted).measured()
        for x, planted in ((part[:points], True), (data.held_out[:points], False))
    ]
    return xr.concat(by_set, xr.Variable("set", list(SETS)), join="outer")


class _Set:
    """One set of points; `planted` if they are the first of the rows."""

    def __init__(
        self,
        data: Prepared,
        score: EmpiricalScore,
        z: Tensor,
        x: Tensor,
        times: NDArray[np.float64],
        spectra: int,
        planted: bool,
    ) -> None:
        self.data, self.part, self.z, self.x, self.times, self.planted = data, score.data, z, x, times, planted
        self.seen = min(spectra, x.shape[0])
        self.recorded = min(_RECORDED, data.dim, data.variances.size)
        t_min = float(times[0])
        self.posterior = self.others = score.posterior(x, t_min=t_min)
        if planted:
            self.others = score.posterior(x, t_min=t_min, exclude=torch.arange(x.shape[0]))

    def measured(self) -> xr.Dataset:
        """All variables at all times."""
        found = [self._at(float(t)) for t in self.times]
        stacked = {name: np.stack([at[name] for at in found], -1) for name in found[0]}
        return xr.Dataset(
            {name: ((*_DIMS[name], "t"), values, _ATTRS[name]) for name, values in stacked.items()},
            coords={
                "t": ("t", self.times, _T),
                "point": np.arange(self.x.shape[0]),
                "seen": np.arange(self.seen),
                "direction": np.arange(1, self.recorded + 1),
                "reading": [*READINGS, "flipd"],
            },
        )

    def _at(self, t: float) -> dict[str, NDArray[np.floating]]:
        """All variables at one time."""
        log_w = self.posterior.log_weights(t)
        weights = log_w.exp()
        n = self.part.shape[0]
        own = weights.diagonal() if self.planted else torch.full((self.x.shape[0],), torch.nan)
        return {
            "effective_samples": (1 / weights.square().sum(1)).numpy(),
            "own_weight": own.numpy(),
            "information": (math.log(max(1, n - self.planted)) - self.others.entropy(t)).numpy(),
            **self._spectra(t, log_w, weights),
        }

    def _spectra(self, t: float, log_w: Tensor, weights: Tensor) -> dict[str, NDArray[np.floating]]:
        """Survival at the first points, its readings, and survival along principal axes."""
        k, d = self.seen, self.data.dim
        shift = (weights[:k].to(self.part.dtype) @ self.part).to(torch.float64) - self.posterior.x[:k]
        trace = (weights[:k] * self.posterior.squares[:k]).sum(1) - shift.square().sum(1)
        kept = spanned(self.data.variances, t)
        survival = torch.stack([survival_of(self.z[:, :kept], log_w[i], t, negligible=_NEGLIGIBLE) for i in range(k)])
        whole = torch.nn.functional.pad(survival, (0, d - kept))
        values = ((1 - whole).abs() / t).sort(dim=1, descending=True).values
        spectrum = Spectrum(values, torch.full((k,), t, dtype=torch.float64), "exact", None, whole, d)
        score = shift / t
        dimension = np.stack(list(read(spectrum, score=score).values()))
        z = self.z[:, : self.recorded]
        along = np.empty((k, self.recorded), dtype=np.float32)
        for i in range(k):
            samples, w, mean = moments(z, log_w[i], negligible=_NEGLIGIBLE)
            along[i] = (w @ (z[samples].to(torch.float64) - mean).square() / t).numpy()
        return {
            "dimension": dimension,
            "pull": (t * score.square().sum(1)).numpy(),
            "outside": (trace / t - survival.sum(1)).clamp_min(0).numpy(),
            "survival": whole.quantile(0.5, dim=0)[: self.recorded].numpy(),
            "along": along,
        }


def local_directions(data: Prepared, t: float, count: int) -> xr.Dataset:
    """Denoised images and directions at the first training points and held-out points.

    Variables over (point, value), data units: `picture`, the point itself, and `guess`, the posterior mean E[y|x] at t; over
    (point, rank, value) `kept` and `lost`, with `kept_survival` and `lost_survival` (point, rank), in the principal
    coordinates in which spectra are computed.
    """
    rows = {TRAINING: data.train[: _EXAMPLES[0]], HELD_OUT: data.held_out[: _EXAMPLES[1]]}
    k = spanned(data.variances, t)
    z = data.coordinates(data.train)[:, :k]
    axes = data.axes[:, :k].numpy()
    score, parts = EmpiricalScore(data.train), []
    for name, x in rows.items():
        log_w = score.posterior(x, t_min=t).log_weights(t)
        mean = (log_w.exp().to(data.train.dtype) @ data.train).to(torch.float64).numpy() + data.mean.numpy()
        for i in range(x.shape[0]):
            samples, w, shift = moments(z, log_w[i], negligible=_NEGLIGIBLE)
            spread = scatter(z, samples, w / t, None, shift).numpy()
            found = kept_and_lost(spread, data.variances[:k], axes, count)
            picture = x[i].to(torch.float64).numpy() + data.mean.numpy()
            parts.append(example(name, picture, mean[i], found))
    return xr.concat(parts, "point", join="exact").assign_attrs(t=t)
