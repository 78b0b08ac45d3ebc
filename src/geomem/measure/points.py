"""What a trained model is asked at points of its data, and the empirical score of the same data beside it.

K images that it was trained on, and as many that it never saw, each paired with one of the others so that the squared
distances within pairs are least: their dimensions are correlated, so that their difference scatters less than that of two means. Both scores are seen by the same probe along the same directions.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from geomem.data import DataSet
from geomem.errors import InputError
from geomem.jobs.audit.settings import ModelSettings
from geomem.measure.copies import neighbour_distances
from geomem.measure.directions import example, kept_and_lost
from geomem.models.model import Model, type_of
from geomem.noise import ddpm_times
from geomem.scores import Score, principal_components
from geomem.scores.sampling import heun, noise_levels
from geomem.seeds import derived_generator, derived_seed
from geomem.spectra import Spectrum, restricted, spectrum, trace
from geomem.spectra.dimension import PRESETS

__all__ = [
    "LEFT_OUT",
    "SETS",
    "Axes",
    "Points",
    "drawn",
    "grid",
    "main_reading",
    "points",
    "preset_time",
    "probed",
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


@dataclass(frozen=True)
class Axes:
    """Principal axes of the training images, along which directions are kept or lost.

    Attributes:
        mean: Their mean (d,).
        variances: Along the axes (k,), descending.
        columns: The axes (d, k).
    """

    mean: Tensor
    variances: NDArray[np.float64]
    columns: NDArray[np.float64]

    def above(self, variance: float, most: int) -> "Axes":
        """The leading axes with more than this variance, 1 at least and `most` at most."""
        k = int(np.clip(np.sum(self.variances > variance), 1, most))
        return Axes(self.mean, self.variances[:k], self.columns[:, :k])

    @classmethod
    def of(cls, images: Tensor) -> "Axes":
        """Of images (n, *shape)."""
        mean, variances, columns = principal_components(images.flatten(1))
        return cls(mean, variances.numpy(), columns.to(torch.float64).numpy())

    def linear_error(self, images: Tensor, t: float) -> float:
        """Mean squared error of the linear denoiser of this mean and covariance, at images (n, *shape) plus noise.

        Along an axis of variance s it leaves (t/(s + t))^2 z^2 of the image's own coordinate z, and (s/(s + t))^2 t of the noise.
        """
        rows = (images.flatten(1).to(torch.float64) - self.mean).numpy()
        z = np.square(rows @ self.columns)
        rest = np.sum(np.square(rows), 1) - np.sum(z, 1)
        gain = self.variances / (self.variances + t)
        return float(np.mean(np.sum((1 - gain) ** 2 * z, 1) + rest) + t * np.sum(gain**2))


def some_images(model: Model, real: DataSet, keep: NDArray[np.int64], seed: int) -> Tensor:
    """At most 3,200 of the training images (n, *shape), drawn by the seed, for axes and linear denoisers."""
    return model.images(real, _some(keep, _FITTED, seed, "axes"))


def probed(
    score: Score,
    x: Tensor,
    times: NDArray[np.float64],
    settings: ModelSettings,
    *,
    seed: int,
    batch: int,
    device: str = "cpu",
    directions: tuple[float, Axes] | None = None,
) -> xr.Dataset:
    """Everything that is asked of a score at one point x (*shape), at all times.

    Variables over t: `pull` (t |s|^2), `denoising` (squared error of the denoised point over 16 draws of noise, in data
    units squared, summed over entries); over (t, direction) `survival` and `singular_value`; or, where `settings.directions`
    are fewer than all, `degrees_of_freedom` and its standard `error`. With `directions` (a time, axes)
    what `directions.example` says at that time.
    """
    at = x.to(device).to(type_of(score))
    parts, shown = [], None
    for t in times.tolist():
        noise = torch.randn(_NOISE, *x.shape, generator=derived_generator(seed, "denoising"), dtype=torch.float64).to(
            at
        )
        with torch.no_grad():
            still = score(at, t).flatten().to(torch.float64)
            noisy = at + t**0.5 * noise
            error = noisy + t * torch.cat([score(part, t) for part in noisy.split(batch)]) - at
        found: dict[str, Any] = {
            "pull": ((), float(t * still.square().sum()), {"units": "dimensions"}),
            "denoising": (
                (),
                float(error.to(torch.float64).flatten(1).square().sum(1).mean()),
                {"units": "data units squared"},
            ),
        }
        generator, seen = derived_generator(seed, "probe"), None
        wanted = directions is not None and t == directions[0]
        if settings.directions is not None:
            sum_ = trace(score, at, t, probes=settings.directions, batch_size=batch, generator=generator)
            found["degrees_of_freedom"] = ((), float(sum_.degrees_of_freedom), {"units": "dimensions"})
            found["error"] = ((), float(t * sum_.error), {"units": "dimensions"})
        else:
            seen = spectrum(score, at, t, probe=settings.probe, vectors=wanted, batch_size=batch, generator=generator)
            assert seen.survival is not None
            units = {"units": "1 / data units squared"}
            found["survival"] = ("direction", seen.survival.cpu().numpy(), {"units": "1"})
            found["singular_value"] = ("direction", seen.values.cpu().numpy(), units)
        if directions is not None and wanted:
            axes = directions[1].above(_SMALL * t, _AXES)
            shown = _shown(_along(axes, seen, score, at, t, batch), axes, at, still, t)
        parts.append(xr.Dataset(found))
    out = xr.concat(parts, xr.Variable("t", times, {"units": "data units squared"}))
    return out if shown is None else out.merge(shown)


def _along(axes: Axes, seen: Spectrum | None, score: Score, x: Tensor, t: float, batch: int) -> NDArray[np.float64]:
    """The Jacobian along principal axes (k, k): the one whose spectrum was taken, or measured anew where none was formed.

    At a distance of sqrt(t d) a score is not linear, so that what a step along a principal axis meets differs from what steps in
    random directions add up to.
    """
    if seen is not None and seen.left is not None and seen.right is not None:
        u, v = (side.cpu().numpy() @ axes.columns for side in (seen.left, seen.right))
        return np.asarray((u.T * seen.values.cpu().numpy()) @ v)
    basis = torch.as_tensor(axes.columns, device=x.device)
    return restricted(score, x, t, basis, batch_size=batch).cpu().numpy()


def _shown(inner: NDArray[np.float64], axes: Axes, x: Tensor, still: Tensor, t: float) -> xr.Dataset:
    """Directions kept and lost at a point with score `still` (d), from the Jacobian `inner` (k, k) along axes."""
    found = kept_and_lost(np.eye(len(inner)) + t * inner, axes.variances, axes.columns, _SHOWN)
    flat = x.flatten().to(torch.float64)
    return example("", flat.cpu().numpy(), (flat + t * still).cpu().numpy(), found).drop_vars("set")


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


def main_reading(seen: xr.Dataset) -> NDArray[np.float64]:
    """The dimension that a verdict speaks of, (set, point, t): resolved, or degrees of freedom where few directions were taken."""
    if "survival" in seen:
        return np.asarray((seen["survival"].transpose("set", "point", "t", "direction").values > 0.5).sum(-1), float)
    return np.asarray(seen["degrees_of_freedom"].transpose("set", "point", "t").values)
