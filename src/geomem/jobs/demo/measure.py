"""What the demo measures of one network: theory, empirical score and trained network at the same points.

Each function makes the labelled array of one training-set size; `job` joins them over sizes.
"""

from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from geomem import theory
from geomem.jobs.demo.cases import Case
from geomem.jobs.demo.settings import T_RANGE, Scale
from geomem.measure import neighbour_distances
from geomem.measure.directions import Axes
from geomem.measure.observe import HELD_OUT, TRAINING, Source, observe
from geomem.scores import EmpiricalScore, NetworkScore
from geomem.scores.sampling import heun, noise_levels
from geomem.seeds import derived_generator, derived_seed
from geomem.spectra import Spectrum
from geomem.spectra.dimension import READINGS, read

__all__ = ["EMPIRICAL", "NETWORK", "PROBED", "SCORES", "THEORY", "Trained", "directions", "points", "samples"]

# The empirical score twice: its exact Jacobian at the point, and measured by the network's probe.
NETWORK, EMPIRICAL, PROBED, THEORY = SCORES = ("network", "empirical", "empirical, same probe", "theory")
# Mirrored orthonormal directions of length sqrt(t d): there a network was trained.
_PROBE = "orthonormal"


@dataclass(frozen=True)
class Trained:
    """A network and what it was trained on.

    Attributes:
        case: The data set.
        size: Number of training rows.
        network: Predicts the noise.
        scale: How much is measured.
        seed: Seed of the run.
    """

    case: Case
    size: int
    network: nn.Module
    scale: Scale
    seed: int

    @property
    def data(self) -> Tensor:
        """The training rows (size, d)."""
        return self.case.data[: self.size]

    @property
    def score(self) -> NetworkScore:
        """The network's score."""
        return NetworkScore(self.network, tuple(self.data.shape[1:]))


def points(trained: Trained) -> xr.Dataset:
    """All scores at training and held-out points, as `observe` records them.

    Theory is a further score, without `pull`; `own_weight` is the weight that it predicts for a training point.
    """
    empirical = EmpiricalScore(trained.data)
    sources = {
        NETWORK: Source(trained.score, _PROBE),
        EMPIRICAL: Source(empirical),
        PROBED: Source(empirical, _PROBE),
    }
    count = trained.scale.points
    sets = {TRAINING: trained.data[:count], HELD_OUT: trained.case.held_out[:count]}
    found = observe(sources, sets, trained.case.settings.times, seed=trained.seed)
    predicted = xr.concat(
        [_predicted(trained, name, x) for name, x in sets.items()], xr.Variable("set", list(sets)), join="outer"
    )
    # FLIPD needs a score, which theory does not predict.
    predicted = predicted.reindex(reading=found["reading"]).expand_dims(score=[THEORY])
    return xr.concat([found, predicted], "score")


def _predicted(trained: Trained, name: str, x: Tensor) -> xr.Dataset:
    """Theory's survival at points x (n, d) with every reading of it, over (point, t).

    At held-out points it is one draw for each, as the empirical score's is one data set.
    """
    times, gaussian = trained.case.settings.times, trained.case.gaussian
    grid = x.expand(len(times), *x.shape)
    t = torch.tensor(times, dtype=torch.float64)[:, None].expand(grid.shape[:2])
    s, when, where = gaussian.variances.numpy(), t.numpy(), gaussian.coordinates(grid).numpy()
    if name == TRAINING:
        planted = theory.training_point(s, trained.size, when, where)
        survival, own_weight = planted.survival, planted.own_weight
    else:
        rng = np.random.default_rng(derived_seed(trained.seed, "held-out theory", trained.size))
        survival = theory.held_out_survival(s, trained.size, when, where, n_draws=1, rng=rng)[0]
        own_weight = np.zeros_like(when)
    kappa = torch.as_tensor(np.ascontiguousarray(survival))
    # A posterior's covariance is symmetric: J has the eigenvalues (kappa - 1)/t.
    values = ((kappa - 1).abs() / t[..., None]).sort(-1, descending=True).values
    seen = Spectrum(values, t, "exact", None, kappa, x.shape[1])
    at = ("t", "point")
    found = xr.Dataset(
        {
            "dimension": (("reading", *at), np.stack(list(read(seen).values()))),
            "survival": ((*at, "direction"), kappa.numpy()),
            "singular_value": ((*at, "direction"), values.numpy()),
            "own_weight": (at, own_weight, {"units": "1", "long_name": "predicted weight of the point"}),
        },
        coords={
            "reading": list(READINGS),
            "t": list(times),
            "point": np.arange(len(x)),
            "direction": np.arange(1, x.shape[1] + 1),
        },
    )
    return found.transpose("reading", "t", "point", "direction")


def directions(trained: Trained) -> xr.Dataset:
    """Directions that the network keeps and has lost at one training point and two held-out points, see `observe`."""
    gaussian, focus = trained.case.gaussian, trained.case.settings.focus
    s = gaussian.variances.numpy()
    basis = np.eye(s.size) if gaussian.basis is None else gaussian.basis.numpy()
    order = np.argsort(-s, kind="stable")
    axes = Axes(gaussian.mean, s[order], basis[:, order])
    sets = {TRAINING: trained.data[:1], HELD_OUT: trained.case.held_out[:2]}
    source = {NETWORK: Source(trained.score, _PROBE)}
    found = observe(source, sets, [focus], shown=(focus, axes), seed=trained.seed)
    shown = found[["picture", "guess", "kept", "lost", "kept_survival", "lost_survival"]]
    return shown.sel(score=NETWORK, drop=True).assign_attrs(t=focus)


def samples(trained: Trained) -> xr.Dataset:
    """Images drawn from the network, and distances of images and held-out controls to their nearest training data.

    Variables: `image` (sample, pixel); `distance` (sample, rank) and `neighbour` to the two nearest training rows;
    `control` (held_out, rank), the same distances of held-out rows.
    """
    data = trained.data
    levels = noise_levels(trained.scale.sampler_steps, t_min=T_RANGE[0], t_max=T_RANGE[1])
    generator = derived_generator(trained.seed, "sample")
    noise = torch.randn(trained.scale.samples, data.shape[1], generator=generator, dtype=torch.float64)
    start = data.mean(0) + noise * levels[0].sqrt()
    images = heun(trained.score, start.float(), levels).double().numpy()
    distance, neighbour = neighbour_distances(images, data)
    control, _ = neighbour_distances(trained.case.held_out, data)
    units = {"units": "data units"}
    return xr.Dataset(
        {
            "image": (("sample", "pixel"), images, units),
            "distance": (("sample", "rank"), distance, units),
            "neighbour": (("sample", "rank"), neighbour, {"long_name": "row of the training data"}),
            "control": (("held_out", "rank"), control, units),
        },
        coords={"rank": [1, 2]},
    )
