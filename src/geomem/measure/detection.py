"""Detectors of memorization side by side on one pair of scores: what each says of each image.

All see the same noisy points. Scores there are evaluated once for all detectors, so that together they cost less than the sum of their
costs alone. Noise depends on the seed and the place of an image in its list alone, and is the same at all noise levels.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor

from geomem.errors import InputError
from geomem.measure.counted import Tally, counted
from geomem.measure.detectors import DETECTORS, Detector
from geomem.measure.draws import normal
from geomem.measure.noisy import STARTS, Noisy
from geomem.precision import full_precision
from geomem.scores.network import dtype_of
from geomem.scores.pair import Pair

__all__ = ["detect"]


def detect(
    pair: Pair,
    images: Tensor,
    times: Sequence[float],
    *,
    names: Sequence[str] | None = None,
    detectors: Mapping[str, Detector] = DETECTORS,
    start: str = "image",
    draws: int = 1,
    first: int = 0,
    seed: int = 0,
    batch_size: int = 16,
    device: str = "cpu",
    tell: Callable[[float], None] = lambda share: None,
) -> xr.Dataset:
    """What detectors say of each image, at each noise variance.

    Args:
        pair: A score and its reference; conditions for each point are those of the images given.
        images: Clean images x0 (n, *shape), on any device.
        times: Noise variances t, data units squared.
        names: Detectors; None for all that can take this start.
        detectors: The table that names are looked up in; `DETECTORS` with other arguments is a table as well.
        start: "image" for noisy versions of the images, "noise" or "unit noise" for noise alone, see `measure.noisy`.
        draws: Noise draws of each image. Detectors of mirrored points evaluate both of each draw.
        first: Place of the first image in the list that it is of; its noise depends on its place.
        seed: Seed of noise and of random vectors, which all noise variances share.
        batch_size: Number of scores evaluated at once.
        device: Device of both scores.
        tell: Called with the share done.

    Returns:
        One variable a detector over (point, t), or over (point) where it takes all levels together, float64; the attribute `evaluations` is
        the number of forward and backward passes that were spent, as counted.

    Raises:
        InputError: For an unknown name or start, a detector that cannot take the start, scores that are not finite, or images of another shape.

    >>> from geomem.scores import GaussianScore
    >>> from geomem.scores.pair import pair
    >>> both = pair(GaussianScore(torch.tensor([1.0, 0.0])), GaussianScore(torch.ones(2)))
    >>> found = detect(both, torch.zeros(3, 2), [1.0], names=["curvature", "directions_lost"])
    >>> found["curvature"].values.ravel(), found.attrs["evaluations"]
    (array([0.5, 0.5, 0.5]), 102)
    """
    chosen = _chosen(detectors, names, start)
    if images.ndim != len(pair.shape) + 1 or tuple(images.shape[1:]) != pair.shape:
        raise InputError(f"images: have shape {tuple(images.shape)}; give (n, {', '.join(map(str, pair.shape))}).")
    if draws < 1 or batch_size < 1 or len(times) == 0:
        raise InputError("draws, batch_size, times: must be at least 1, 1 and one noise variance.")
    n, dtype, spent = len(images), dtype_of(pair.score), Tally()
    one = {name: np.empty((n, len(times))) for name, detector in chosen.items() if detector.levels == "one"}
    several = {name: np.empty(n) for name in chosen if name not in one}
    step = max(1, batch_size // (2 * draws))
    with torch.no_grad(), full_precision():
        for begin in range(0, n, step):
            places = range(begin, min(n, begin + step))
            here = slice(begin, places.stop)
            clean = images[here].to(device, dtype)
            drawn = normal(range(first + begin, first + places.stop), draws, pair.shape, seed=seed, purpose="detectors")
            both, noise = counted(pair.select(places), spent), drawn.to(clean)
            levels = [Noisy(both, clean, float(t), noise, start, batch_size, first + begin, seed) for t in times]
            for name, values in one.items():
                for j, at in enumerate(levels):
                    values[here, j] = _values(chosen[name], at)
            for name, of_all in several.items():
                of_all[here] = _values(chosen[name], levels)
            tell(places.stop / n)
    return _labelled(chosen, {**one, **several}, times, first, n).assign_attrs(
        draws=draws, seed=seed, start=start, evaluations=spent.evaluations
    )


def _chosen(detectors: Mapping[str, Detector], names: Sequence[str] | None, start: str) -> dict[str, Detector]:
    if start not in STARTS:
        raise InputError(f"start: {start!r} is not known; choose one of {', '.join(STARTS)}.")
    able = {name: detector for name, detector in detectors.items() if start in detector.starts}
    if names is None:
        return able
    for name in names:
        if name not in detectors:
            raise InputError(f"names: {name!r} is not known; choose from {', '.join(detectors)}.")
        if name not in able:
            raise InputError(
                f"names: {name!r} needs images, and cannot start at {start!r}; leave it out, or start at 'image'."
            )
    return {name: able[name] for name in names}


def _values(detector: Detector, at: Noisy | list[Noisy]) -> NDArray[np.float64]:
    function: Callable[[Noisy | list[Noisy]], Tensor] = detector.function  # type: ignore[assignment]
    return np.asarray(function(at).cpu().numpy(), dtype=np.float64)


def _labelled(
    chosen: Mapping[str, Detector],
    values: Mapping[str, NDArray[np.float64]],
    times: Sequence[float],
    first: int,
    n: int,
) -> xr.Dataset:
    variables = {}
    for name, detector in chosen.items():
        dims = ("point", "t") if detector.levels == "one" else ("point",)
        words = {"long_name": detector.words, "units": detector.units, "source": detector.source, "sign": detector.sign}
        variables[name] = (dims, values[name], words)
    level = ("t", list(times), {"units": "data units squared", "long_name": "noise variance"})
    return xr.Dataset(variables, coords={"point": np.arange(first, first + n), "t": level})
