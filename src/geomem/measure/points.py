"""Where a model is measured: at K training images and K held-out images, in pairs of similar images, and at which noise variances.

The pairing minimizes the total squared distance. Dimensions within a pair are correlated, so the mean difference has a
smaller error than the difference of two means.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from geomem.data import DataSet
from geomem.errors import InputError
from geomem.measure.copies import neighbour_distances
from geomem.measure.observe import HELD_OUT, TRAINING
from geomem.models.model import Model
from geomem.noise import ddpm_times
from geomem.seeds import derived_seed
from geomem.spectra.dimension import PRESETS

__all__ = [
    "Points",
    "chosen_points",
    "distances_apart",
    "noise_levels",
    "preset_level",
    "screening_levels",
    "some_images",
]

# Number of held-out candidates per point, and their least total number.
_POOL, _LEAST = 4, 64
# Number of rows for principal axes and for the linear filter.
_FITTED = 3200
# Factors of the noise variance at which half of the weight at held-out points falls on one sample.
_AROUND, _QUICKLY = (10**-1.5, 0.1, 10**-0.5, 1.0, 10**0.5), (0.1, 10**-0.5, 1.0)
# The same of the screening.
_SCREENED, _SCREENED_QUICKLY = (10**-2.5, 1e-2, 10**-1.5, 0.1, 10**-0.5, 1.0), (1e-2, 0.1, 1.0)


@dataclass(frozen=True)
class Points:
    """The points at which scores are measured.

    Attributes:
        rows: Row numbers in the training data and in the held-out data, by set.
        images: Points (k, *shape) by set.
        nearest: Distance (k,) of each to the nearest training image other than itself, by set.
        partner: For each training point, the index of its held-out partner; its own if nothing is held out.
        near_copies: Number of held-out images that were skipped because they nearly duplicate a training image.
        candidates: Held-out rows that are not near copies; the first of them are the points.
    """

    rows: Mapping[str, NDArray[np.int64]]
    images: Mapping[str, Tensor]
    nearest: Mapping[str, NDArray[np.float64]]
    partner: NDArray[np.int64]
    near_copies: int
    candidates: NDArray[np.int64]

    @property
    def flat(self) -> dict[str, NDArray[np.float64]]:
        """Points (k, d) by set, float64."""
        return {name: x.flatten(1).to(torch.float64).numpy() for name, x in self.images.items()}

    def distances(self) -> tuple[float, float]:
        """Root mean squared distance within pairs, and between all training and held-out images."""
        a, b = self.flat.values()
        squares = np.square(np.linalg.norm(a[:, None] - b, axis=-1))
        within = squares[np.arange(len(a)), self.partner]
        return math.sqrt(float(within.mean())), math.sqrt(float(squares.mean()))

    def twins(self) -> NDArray[np.int64]:
        """For each held-out point, the index of the nearest other held-out point."""
        held_out = torch.from_numpy(self.flat[HELD_OUT])
        return np.asarray(torch.cdist(held_out, held_out).fill_diagonal_(math.inf).argmin(1).numpy())


def chosen_points(
    model: Model,
    training: DataSet | None,
    distinct: NDArray[np.int64],
    keep: NDArray[np.int64],
    held_out: DataSet | None,
    count: int,
    *,
    near: float,
    seed: int,
) -> Points:
    """Draw equal numbers of training rows (from `keep`) and held-out rows at random, and pair them.

    Args:
        model: The model.
        training: Its training data; None for none.
        distinct: Distinct rows of the training data.
        keep: Distinct rows that may be drawn; of the held-out data where these are alone.
        held_out: Held-out data; None for none.
        count: Largest number of each.
        near: Distance below which a held-out image is a near copy of a training image.
        seed: Seed of the draw.

    Raises:
        InputError: If nearly all held-out images are near copies.
    """
    wanted = count if held_out is None else min(count, len(held_out))
    if training is None:
        assert held_out is not None
        alone = _drawn(keep, wanted, seed, HELD_OUT)
        unknown = {HELD_OUT: np.full(alone.size, np.nan)}
        return Points({HELD_OUT: alone}, {HELD_OUT: model.encode(held_out, alone)}, unknown, np.arange(0), 0, keep)
    first = _drawn(keep, wanted, seed, TRAINING)
    known = model.encode(training, distinct).flatten(1)
    images = {TRAINING: model.encode(training, first)}
    own = np.searchsorted(distinct, first)
    nearest = {TRAINING: neighbour_distances(images[TRAINING].flatten(1), known, own=own)[0][:, 0]}
    if held_out is None:
        return Points({TRAINING: first}, images, nearest, np.arange(first.size), 0, np.arange(0))
    pool = _drawn(np.arange(len(held_out)), max(_LEAST, _POOL * first.size), seed, HELD_OUT)
    far = neighbour_distances(model.encode(held_out, pool).flatten(1), known)[0][:, 0]
    # Near copies are found among the data as they are; latents have another scale.
    apart = far if model.codec is None else distances_apart(held_out, pool, training, distinct)
    fine = apart > near
    second = pool[fine][: first.size]
    if second.size < 2:
        raise InputError(
            f"--held-out: {int(np.sum(~fine))} of {pool.size} images of {held_out.name} are near copies of training images "
            f"(nearer than {near:.3g}); give images that the model was not trained on."
        )
    rows = {TRAINING: first[: second.size], HELD_OUT: second}
    images = {TRAINING: images[TRAINING][: second.size], HELD_OUT: model.encode(held_out, second)}
    nearest = {TRAINING: nearest[TRAINING][: second.size], HELD_OUT: far[fine][: second.size]}
    a, b = (images[name].flatten(1).to(torch.float64) for name in (TRAINING, HELD_OUT))
    partner = linear_sum_assignment(torch.cdist(a, b).square().numpy())[1]
    return Points(rows, images, nearest, partner, int(np.sum(~fine)), pool[fine])


def some_images(model: Model, training: DataSet, keep: NDArray[np.int64], seed: int) -> Tensor:
    """At most 3,200 training images (n, *shape), drawn at random, for principal axes and linear filters."""
    return model.encode(training, _drawn(keep, _FITTED, seed, "axes"))


def distances_apart(
    held_out: DataSet, pool: NDArray[np.int64], training: DataSet, distinct: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Distance of held-out data to the nearest training data, both as they are."""
    return neighbour_distances(held_out.rows(pool).numpy(), training.rows(distinct).numpy())[0][:, 0]


def _drawn(rows: NDArray[np.int64], count: int, seed: int, purpose: str) -> NDArray[np.int64]:
    order = np.random.default_rng(derived_seed(seed, f"model, {purpose}")).permutation(rows.size)
    return np.asarray(rows[order[:count]])


def noise_levels(
    model: Model, half: float, *, times: tuple[float, ...] = (), preset: str | None = None, quick: bool = False
) -> NDArray[np.float64]:
    """Noise levels, ascending: `times` or those around `half`, and the preset's, each moved to the nearest trained level."""
    levels = times or tuple(half * factor for factor in (_QUICKLY if quick else _AROUND))
    chosen = [float(np.clip(t, *model.reach)) for t in levels]
    of_preset = preset_level(model, preset)
    if of_preset is not None:
        chosen.append(of_preset)
    return np.unique([model.nearest(t) for t in chosen])


def screening_levels(
    model: Model, half: float, *, times: tuple[float, ...] = (), quick: bool = False
) -> NDArray[np.float64]:
    """Noise levels of the screening, ascending: `times`, or those from `half` down to where only models lose dimensions.

    The empirical score has lost all at half the condensation; a network that has begun to memorize tells its training images best at
    a tenth of that and below.
    """
    levels = times or tuple(half * factor for factor in (_SCREENED_QUICKLY if quick else _SCREENED))
    return np.unique([model.nearest(float(np.clip(t, *model.reach))) for t in levels])


def preset_level(model: Model, preset: str | None) -> float | None:
    """Noise variance of the preset's step, in the model's own schedule or in DDPM's; None without a preset."""
    if preset is None:
        return None
    levels = ddpm_times() if model.levels is None else model.levels
    return model.nearest(float(np.clip(levels[min(PRESETS[preset].step, len(levels) - 1)], *model.reach)))
