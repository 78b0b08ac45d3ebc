"""What a trained model is asked at points of its data, and the empirical score of the same data beside it.

K images that it was trained on, and as many that it never saw, each paired with one of the others so that the squared
distances within pairs are least: their dimensions are correlated, so that their difference scatters less than that of two means. Both scores are seen by the same probe along the same directions.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from geomem.data import DataSet
from geomem.errors import InputError
from geomem.jobs.audit.settings import ModelSettings
from geomem.measure.copies import neighbour_distances
from geomem.models.model import Model
from geomem.noise import ddpm_times
from geomem.scores.sampling import heun, noise_levels
from geomem.seeds import derived_generator, derived_seed
from geomem.spectra.dimension import PRESETS

__all__ = [
    "LEFT_OUT",
    "SETS",
    "Points",
    "drawn",
    "grid",
    "points",
    "preset_time",
    "some_images",
]

SETS = ("training", "held-out")
# Where nothing is held out: training images for an empirical score that lacks the very image.
LEFT_OUT = "left out"
# Factors of the time at which half of the weights at held-out points fall on one sample, at which spectra are taken.
_AROUND, _QUICKLY = (10**-1.5, 0.1, 10**-0.5, 1.0, 10**0.5), (0.1, 10**-0.5, 1.0)
# Draws of noise behind a denoising error, rows from which principal axes come and a linear filter is judged, directions of
# each kind that are shown.
_NOISE, _FITTED, _SHOWN = 16, 3200, 3
# Control images looked through for each that is needed.
_POOL = 4
# Principal axes along which a direction is kept or lost: those with more than this share of t, so many at most.
_SMALL, _AXES = 0.02, 384
# Standard deviations of the noise that sampling starts from, where the data are forgotten, and ends with (Karras et al. 2022).
_SIGMA_MAX, _SIGMA_MIN = 80.0, 0.002


def grid(model: Model, settings: ModelSettings, half: float, *, quick: bool) -> NDArray[np.float64]:
    """Times at which spectra are taken, ascending: those asked for or around `half`, and the preset's; the model's own levels."""
    low, high = model.reach
    asked = settings.times or tuple(half * factor for factor in (_QUICKLY if quick else _AROUND))
    chosen = [float(np.clip(t, low, high)) for t in asked]
    of_preset = preset_time(model, settings)
    if of_preset is not None:
        chosen.append(of_preset)
    return np.unique([model.nearest(t) for t in chosen])


def preset_time(model: Model, settings: ModelSettings) -> float | None:
    """The time of the preset's step, in the model's own schedule or in DDPM's; None without a preset."""
    if settings.preset is None:
        return None
    own = getattr(model.score, "times", None)
    times = ddpm_times() if own is None else own
    return model.nearest(float(np.clip(times[min(PRESETS[settings.preset].step, len(times) - 1)], *model.reach)))


@dataclass(frozen=True)
class Points:
    """Where scores are probed.

    Attributes:
        rows: Row numbers in the training data and in the images never seen, by set.
        images: Points (k, *shape) by set.
        nearest: Distance (k,) of each to the nearest training image that is another, by set.
        partner: For each training point, the place of its held-out partner; its own where nothing is held out.
        near_copies: Images never seen that were passed over, because training images lie as near as duplicates do.
    """

    rows: dict[str, NDArray[np.int64]]
    images: dict[str, Tensor]
    nearest: dict[str, NDArray[np.float64]]
    partner: NDArray[np.int64]
    near_copies: int


def points(
    model: Model,
    real: DataSet,
    distinct: NDArray[np.int64],
    keep: NDArray[np.int64],
    unseen: DataSet | None,
    settings: ModelSettings,
    *,
    near: float,
    seed: int,
) -> Points:
    """The same number of training rows, among `keep`, and of rows never seen, drawn by the seed, and their pairs.

    Args:
        model: The model.
        real: Training data.
        distinct: Its distinct rows.
        keep: Those of them that may be drawn.
        unseen: Images never seen; None for none.
        settings: How many.
        near: Distance below which an image never seen is a near copy of a training image.
        seed: Seed of the draw.

    Raises:
        InputError: If nearly all images never seen are near copies.
    """
    count = settings.points if unseen is None else min(settings.points, len(unseen))
    first = _some(keep, count, seed, SETS[0])
    known = model.images(real, distinct).flatten(1)
    images = {SETS[0]: model.images(real, first)}
    own = np.searchsorted(distinct, first)
    nearest = {SETS[0]: neighbour_distances(images[SETS[0]].flatten(1), known, own=own)[0][:, 0]}
    if unseen is None:
        return Points({SETS[0]: first}, images, nearest, np.arange(first.size), 0)
    pool = _some(np.arange(len(unseen)), _POOL * first.size, seed, SETS[1])
    far = neighbour_distances(model.images(unseen, pool).flatten(1), known)[0][:, 0]
    fine = far > near
    second = pool[fine][: first.size]
    if second.size < 2:
        raise InputError(
            f"--control: {int(np.sum(~fine))} of {pool.size} images of {unseen.name} are near copies of training images (nearer than "
            f"{near:.3g}); give images that the model has not seen."
        )
    rows = {SETS[0]: first[: second.size], SETS[1]: second}
    images = {SETS[0]: images[SETS[0]][: second.size], SETS[1]: model.images(unseen, second)}
    nearest = {SETS[0]: nearest[SETS[0]][: second.size], SETS[1]: far[fine][: second.size]}
    a, b = (images[name].flatten(1).to(torch.float64) for name in SETS)
    partner = linear_sum_assignment(torch.cdist(a, b).square().numpy())[1]
    return Points(rows, images, nearest, partner, int(np.sum(~fine)))


def _some(rows: NDArray[np.int64], count: int, seed: int, name: str) -> NDArray[np.int64]:
    order = np.random.default_rng(derived_seed(seed, f"model, {name}")).permutation(rows.size)
    return np.asarray(rows[order[:count]])


def some_images(model: Model, real: DataSet, keep: NDArray[np.int64], seed: int) -> Tensor:
    """At most 3,200 of the training images (n, *shape), drawn by the seed, for axes and linear denoisers."""
    return model.images(real, _some(keep, _FITTED, seed, "axes"))


def drawn(model: Model, mean: Tensor, steps: int, numbers: range, *, seed: int) -> Tensor:
    """The samples of these numbers by the model's flow in `steps` levels, each from its own noise around the data's mean (d,).

    Returns:
        Samples (n, *shape), float32, not clipped.

    Raises:
        InputError: If they are not finite.
    """
    low, high = model.reach
    levels = noise_levels(steps, t_min=max(low, _SIGMA_MIN**2), t_max=min(high, _SIGMA_MAX**2))
    known = sorted({model.nearest(t) for t in levels.tolist()}, reverse=True)
    noise = [
        torch.randn(model.score.shape, generator=derived_generator(seed, "drawn", i), dtype=torch.float64)
        for i in numbers
    ]
    x = mean.reshape(model.score.shape) + known[0] ** 0.5 * torch.stack(noise)
    start = x.to(model.dtype).to(model.device)
    out = heun(model.score, start, torch.tensor(known, dtype=torch.float64))
    if not bool(torch.isfinite(out).all()):
        raise InputError(
            f"--model: {model.name} draws samples that are not finite (NaN or infinity); its weights may be damaged."
        )
    return out.float().cpu()
