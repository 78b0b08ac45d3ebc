"""What is measured of a trained cell: spectra at training and held-out images, their readings, and copies among its samples."""

from collections.abc import Callable

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from geomem.jobs.sweep.settings import SweepSettings
from geomem.measure.copies import neighbour_distances
from geomem.measure.observe import HELD_OUT, TRAINING, Source, observe
from geomem.models import Model, drawn
from geomem.scores import EmpiricalScore
from geomem.spectra.cost import MEMORY, batch_within
from geomem.spectra.dimension import readings_for

__all__ = ["EMPIRICAL", "NETWORK", "SCORES", "measured"]

NETWORK, EMPIRICAL = SCORES = ("network", "empirical")
# Draws of noise behind a denoising error.
_NOISE = 8
# Share of the time that spectra take; the rest draws samples.
_SPECTRA = 0.9


def measured(
    model: Model,
    training: Tensor,
    held_out: Tensor,
    settings: SweepSettings,
    *,
    seed: int,
    tell: Callable[[float], None] = lambda share: None,
) -> xr.Dataset:
    """Spectra, dimensions and copies of one cell, beside the empirical score of the same training images.

    Args:
        model: The trained model.
        training: All images that it was trained on (N, *shape).
        held_out: Images that it was not trained on (M, *shape).
        settings: The sweep's.
        seed: The cell's.
        tell: Called with the share that is done.

    Returns:
        Over (score, set, point, t) what `measure.observe` records of points: `dimension` by reading, `pull`,
        `effective_samples`; over (score, set, t, direction) `scaled_value` (t times the singular values, mean over points);
        over (t, direction) `example`, those of the network at the first training image; over (set, point, t) `denoising`
        of the network; over (sample, neighbour) `sample_distance`, over (control, neighbour) `control_distance`: of samples,
        and of held-out images, to the two nearest training images.
    """
    times = np.unique([model.nearest(t) for t in settings.times])
    found = observe(
        {NETWORK: Source(model.score, device=model.device), EMPIRICAL: EmpiricalScore(training)},
        {TRAINING: training[: settings.points], HELD_OUT: held_out[: settings.points]},
        times.tolist(),
        readings=readings_for(settings.alg3),
        draws=_NOISE,
        seed=seed,
        tell=lambda share: tell(_SPECTRA * share),
    )
    scaled = found["singular_value"] * found["t"]
    out = found[["dimension", "pull", "effective_samples"]]
    out["scaled_value"] = scaled.mean("point").astype(np.float32).assign_attrs(units="1")
    example = scaled.sel(score=NETWORK, set=TRAINING, point=0, drop=True)
    out["example"] = example.astype(np.float32).assign_attrs(units="1")
    out["denoising"] = found["denoising"].sel(score=NETWORK, drop=True).transpose("set", "point", "t")
    return out.merge(_copies(model, training, held_out, settings, seed))


def _copies(model: Model, training: Tensor, held_out: Tensor, settings: SweepSettings, seed: int) -> xr.Dataset:
    """Distances of samples, and of held-out images, to their two nearest training images."""
    mean = training.flatten(1).to(torch.float64).mean(0)
    batch = batch_within(model.score, MEMORY, dtype=model.dtype, device=model.device)
    parts = [range(i, min(i + batch, settings.samples)) for i in range(0, settings.samples, batch)]
    samples = torch.cat([drawn(model, mean, settings.sampling_steps, part, seed=seed) for part in parts])
    known = training.flatten(1).numpy()
    units = {"units": "data units"}
    return xr.Dataset(
        {
            f"{name}_distance": ((name, "neighbour"), neighbour_distances(rows.flatten(1).numpy(), known)[0], units)
            for name, rows in (("sample", samples), ("control", held_out))
        }
    )
