"""Scores that are known in closed form, data of their laws, and audits of them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import xarray as xr
from torch import nn

from geomem.jobs.audit.request import AuditRequest
from geomem.jobs.engine import run
from geomem.models import Model, wrapped
from geomem.scores import GaussianScore, NetworkScore

SHAPE, D = (4, 4), 16
# Ten directions wide enough to be kept at t = 0.1, six that are not.
VARIANCES = torch.tensor([2.0, 1.5, 1.2, 1.0, 1.0, 0.8, 0.7, 0.6, 0.5, 0.4, *[0.01] * 6], dtype=torch.float64)
TRUTH = GaussianScore(VARIANCES, shape=SHAPE)

# Audits a score; what summary.json holds, and the run's folder.
Audit = Callable[..., tuple[dict, Path]]


def population(seed, n, shape=SHAPE, variances=VARIANCES):
    z = np.random.default_rng(seed).normal(size=(n, variances.numel()))
    return (z * variances.sqrt().numpy()).reshape(n, *shape).astype(np.float32)


class TwoModes:
    """The score of independent entries: ten wide normal ones, and six that are near 2 or near -2.

    No linear filter denoises it as well, which is asked of a model that generalizes.
    """

    shape = SHAPE
    wide, mode, narrow = VARIANCES[:10], 2.0, 0.01

    def __call__(self, x, t):
        rows, t = x.flatten(-2), torch.as_tensor(t, dtype=x.dtype)
        t = t.reshape(*t.shape, *[1] * (rows.ndim - t.ndim))
        first, rest = rows[..., :10], rows[..., 10:]
        spread = self.narrow + t
        pulled = self.mode * torch.tanh(self.mode * rest / spread)
        return torch.cat([-first / (self.wide.to(x) + t), (pulled - rest) / spread], -1).reshape(x.shape)


TWO_MODES = TwoModes()


def two_modes(seed, n):
    """Samples of that law."""
    rng = np.random.default_rng(seed)
    first = rng.normal(size=(n, 10)) * TwoModes.wide.sqrt().numpy()
    rest = TwoModes.mode * rng.choice([-1, 1], (n, 6)) + rng.normal(size=(n, 6)) * TwoModes.narrow**0.5
    return np.concatenate([first, rest], 1).reshape(n, *SHAPE).astype(np.float32)


class Nothing(nn.Module):
    """Predicts no noise whatever it is given."""

    def __init__(self):
        super().__init__()
        self.one = nn.Parameter(torch.ones(()))

    def forward(self, x, t):
        return 0 * self.one * x


def network(times=None, reach=None):
    return NetworkScore(Nothing(), SHAPE, times=times, reach=reach)


NOTHING = network()


def model_of(score) -> Model:
    return wrapped(score, "cpu")


def audit(score, source, out, *, held_out=True, **options):
    asked = {
        "trained_on": source / "data.npy",
        "points": 10,
        "draws": 0,
        "times": (0.03, 0.1, 0.3),
        "quick": True,
    } | options
    other = source / "held-out.npy" if held_out else None
    result = run(AuditRequest(model=score, held_out=other, **asked), out=out)
    return dict(result.summary), out


def record(folder, name):
    """A record of a run, its dimensions in order."""
    found = xr.load_dataset(folder / f"{name}.nc", engine="netcdf4")
    order = ("score", "reading", "set", "point", "t", "direction")
    return found.transpose(*(dim for dim in order if dim in found.dims), ...)
