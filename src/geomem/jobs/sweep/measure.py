"""What is measured of a trained cell: screened images, leading survivals at few, whole spectra, and copies among its samples."""

import math
from collections.abc import Callable

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from geomem.jobs.sweep.settings import SweepSettings
from geomem.measure.copies import neighbour_distances
from geomem.measure.observe import HELD_OUT, TRAINING, Source, observe
from geomem.measure.screening import STATISTICS, screen
from geomem.models import Model, drawn
from geomem.scores import EmpiricalScore, Score
from geomem.scores.network import dtype_of
from geomem.seeds import derived_generator
from geomem.spectra import leading
from geomem.spectra.cost import MEMORY, batch_within
from geomem.spectra.dimension import readings_for

__all__ = ["EMPIRICAL", "NETWORK", "NOISY", "SCORES", "measured"]

# The reading of leading survivals at images plus noise; those of whole spectra are read around the clean image.
NOISY = "resolved_noisy"
# Most images of a set that are screened, and mirrored pairs of draws.
_SCREENED, _PAIRS = 500, 2

NETWORK, EMPIRICAL = SCORES = ("network", "empirical")
# Draws of noise behind a denoising error.
_NOISE = 8
# Shares of the time that whole spectra take, and then leading survivals and screening; the rest draws samples.
_SPECTRA, _TIERS = 0.7, 0.9


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
        Over (score, set, point, t) what `measure.observe` records of points: `dimension` by reading, with `NOISY` that of leading
        survivals at noisy points, `pull`, `effective_samples`; over (set, image, t) `error`, `freedom` and `squares` of the network,
        see `measure.screening`; over (score, set, t, direction) `scaled_value` (t times the singular values, mean over points);
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
    sets = {TRAINING: training, HELD_OUT: held_out}
    some = {name: images[: settings.points] for name, images in sets.items()}
    noisy = [
        _noisy(score, some, times.tolist(), seed).expand_dims({"score": [name], "reading": [NOISY]})
        for name, score in ((NETWORK, model.score), (EMPIRICAL, EmpiricalScore(training)))
    ]
    more = xr.concat(noisy, "score").reindex_like(out["point"])
    out = out.drop_dims("reading").assign(dimension=xr.concat([out["dimension"], more], "reading"))
    out = out.merge(_screened(model, sets, times.tolist(), seed))
    tell(_TIERS)
    out["scaled_value"] = scaled.mean("point").astype(np.float32).assign_attrs(units="1")
    example = scaled.sel(score=NETWORK, set=TRAINING, point=0, drop=True)
    out["example"] = example.astype(np.float32).assign_attrs(units="1")
    out["denoising"] = found["denoising"].sel(score=NETWORK, drop=True).transpose("set", "point", "t")
    return out.merge(_copies(model, training, held_out, settings, seed))


def _noisy(score: Score, sets: dict[str, Tensor], times: list[float], seed: int) -> xr.DataArray:
    """Number of survivals above 1/2 at images plus noise, over (set, point, t), NaN where a set has fewer images than the other.

    The two sets share their noise.
    """
    out = np.full((len(sets), max(map(len, sets.values())), len(times)), np.nan)
    for i, images in enumerate(sets.values()):
        noise = torch.stack(
            [torch.randn(images.shape[1:], generator=derived_generator(seed, "noisy", k)) for k in range(len(images))]
        )
        for j, t in enumerate(times):
            x = (images + math.sqrt(t) * noise).to(dtype_of(score))
            out[i, : len(images), j] = leading(score, x, t, seed=seed).count.numpy()
    coords = {"set": list(sets), "point": np.arange(out.shape[1]), "t": times}
    return xr.DataArray(out, dims=("set", "point", "t"), coords=coords)


def _screened(model: Model, sets: dict[str, Tensor], times: list[float], seed: int) -> xr.Dataset:
    """What screening measures of the network at images of both sets, over (set, image, t), NaN where a set has fewer."""
    batch = batch_within(model.score, MEMORY, dtype=model.dtype, device=model.device)
    found = [
        screen(
            model.score,
            images[:_SCREENED],
            times,
            pairs=_PAIRS,
            seed=seed,
            batch_size=min(batch, 64),
            device=model.device,
        )[list(STATISTICS)]
        .rename(point="image")
        .expand_dims({"set": [name]})
        for name, images in sets.items()
    ]
    return xr.concat(found, "set", join="outer").drop_attrs(deep=False)


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
