"""What is measured of a trained cell: spectra at training and held-out images, their readings, and copies among its samples."""

from collections.abc import Callable

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from geomem.jobs.sweep.settings import SCORES, SETS, SweepSettings
from geomem.measure.copies import neighbour_distances
from geomem.measure.points import drawn
from geomem.models.model import Model
from geomem.scores import EmpiricalScore, Score
from geomem.seeds import derived_generator
from geomem.spectra import Spectrum, spectrum
from geomem.spectra.cost import MEMORY, batch_within
from geomem.spectra.dimension import degrees_of_freedom, largest_gap, resolved, second_difference

__all__ = ["ESTIMATORS", "measured"]

ESTIMATORS = ("resolved", "degrees_of_freedom", "largest_gap", "second_difference")
# Draws of noise behind a denoising error.
_NOISE = 8


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
        held_out: Images that it was not (M, *shape).
        settings: The sweep's.
        seed: The cell's.
        tell: Told the share that is done.

    Returns:
        Over (score, set, t, direction) `scaled_value` (t times the singular values, mean over points); over (t,
        direction) `example`, those of the network at the first training image; over (estimator, score, set, point, t)
        `dimension`; over (set, point, t) `denoising` (squared error of the network's denoised point, data units
        squared, sum over entries); over (sample, neighbour) `sample_distance`, over (control, neighbour)
        `control_distance`: of samples, and of images never seen, to the two nearest training images.
    """
    times = np.unique([model.nearest(float(np.clip(t, *model.reach))) for t in settings.times])
    points = {name: images[: settings.points] for name, images in zip(SETS, (training, held_out), strict=True)}
    scores: dict[str, Score] = {SCORES[0]: model.score, SCORES[1]: EmpiricalScore(training)}
    total, done, parts = len(SCORES) * len(SETS) * times.size, 0, []
    for name, score in scores.items():
        by_set = []
        for x in points.values():
            by_time = []
            for t in times.tolist():
                at = x.to(model.device) if name == SCORES[0] else x
                by_time.append(_read(score, at, t, settings, seed))
                done += 1
                tell(0.9 * done / total)
            by_set.append(xr.concat(by_time, "t"))
        # At sizes below `points` there are fewer training points than held-out ones.
        parts.append(xr.concat(by_set, xr.Variable("set", list(SETS)), join="outer"))
    out = xr.concat(parts, xr.Variable("score", list(SCORES)))
    out["example"] = out["example"].sel(score=SCORES[0], set=SETS[0], drop=True)
    out = out.assign_coords(t=("t", times, {"units": "data units squared", "long_name": "noise variance"}))
    errors = [_denoising(model, x, times, seed) for x in points.values()]
    width = out.sizes["point"]
    out["denoising"] = (
        ("set", "point", "t"),
        np.stack([np.pad(e, ((0, width - len(e)), (0, 0)), constant_values=np.nan) for e in errors]),
        {"units": "data units squared"},
    )
    return out.merge(_copies(model, training, held_out, settings, seed))


def _read(score: Score, x: Tensor, t: float, settings: SweepSettings, seed: int) -> xr.Dataset:
    """Spectrum and dimensions at points x (k, *shape) and one time."""
    scaled, dimensions = [], []
    for point in x:  # one at a time: of large images a single spectrum fills the memory
        seen = spectrum(score, point, t, generator=derived_generator(seed, "probe"))
        scaled.append((seen.values * t).cpu().numpy())
        dimensions.append([_dimension(name, seen, settings) for name in ESTIMATORS])
    return xr.Dataset(
        {
            "scaled_value": ("direction", np.mean(scaled, 0).astype(np.float32), {"units": "1"}),
            "example": ("direction", scaled[0].astype(np.float32), {"units": "1"}),
            "dimension": (("estimator", "point"), np.array(dimensions).T, {"units": "dimensions"}),
        },
        coords={"estimator": list(ESTIMATORS), "point": np.arange(len(scaled))},
    )


def _dimension(name: str, seen: Spectrum, settings: SweepSettings) -> float:
    if name == "second_difference":
        return float(second_difference(seen, discard=settings.discard, threshold=settings.threshold).value)
    rules = {"resolved": resolved, "degrees_of_freedom": degrees_of_freedom, "largest_gap": largest_gap}
    return float(rules[name](seen).value)


def _denoising(model: Model, x: Tensor, times: np.ndarray, seed: int) -> np.ndarray:
    """Mean squared error of the denoised point (k, t), over draws of noise that all points and sizes share."""
    noise = torch.randn(_NOISE, *x.shape[1:], generator=derived_generator(seed, "denoising"))
    out = np.empty((len(x), times.size))
    for j, t in enumerate(times.tolist()):
        for i, clean in enumerate(x):
            noisy = (clean + t**0.5 * noise).to(model.device)
            with torch.no_grad():
                found = noisy + t * model.score(noisy, t)
            out[i, j] = float((found.cpu() - clean).to(torch.float64).flatten(1).square().sum(1).mean())
    return out


def _copies(model: Model, training: Tensor, held_out: Tensor, settings: SweepSettings, seed: int) -> xr.Dataset:
    """Distances of samples, and of images never seen, to their two nearest training images."""
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
