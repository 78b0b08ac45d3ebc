"""How many samples would be needed: times at which one direction survives, by number of samples, read backwards."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from geomem.intervals import Interval, resampled
from geomem.measure.condensation import crossing, resampled_means
from geomem.measure.observe import HELD_OUT
from geomem.measure.posterior import MAIN
from geomem.seeds import derived_seed

__all__ = ["DRAWS", "Curves", "measured_values", "needed_numbers", "samples_at"]

# Bootstrap draws behind every interval that is not exact.
DRAWS = 1000
# Sizes from which a subsampling curve is extrapolated beyond the data, and how far it may be.
_LAST, _FAR = 3, 1000.0
# How much smaller than the data's the times are for which samples are asked.
_TARGETS = (2.0, 4.0)


class Curves:
    """Means over held-out points and subsets against t, and their bootstrap draws, by size."""

    def __init__(self, cells: xr.Dataset, seed: int) -> None:
        self.times = cells["t"].values
        self.sizes = [int(n) for n in cells["size"].values]
        held = cells.sel(set=HELD_OUT)
        self.points, self.seen = int(held.sizes["point"]), int(held.sizes["seen"])
        self.inverse = {n: measured_values(1 / held["effective_samples"].sel(size=n)) for n in self.sizes}
        self.resolved = {n: measured_values(held["dimension"].sel(size=n, reading=MAIN)) for n in self.sizes}
        self.seed = derived_seed(seed, "bootstrap")

    def times_at(self, values: NDArray[np.float64], level: float, *, rising: bool) -> tuple[float, NDArray[np.float64]]:
        """When the mean of values (subset, point, t) passes a level, and when its bootstrap draws do."""
        draws = resampled_means(values, DRAWS, np.random.default_rng(self.seed))
        found = crossing(self.times, values.mean((0, 1)), level, rising=rising)
        return float(found), crossing(self.times, draws, level, rising=rising)

    def first_time(self, times: NDArray[np.float64], values: NDArray[np.float64]) -> Interval:
        """When the mean of values (subset, point, t) on other times falls through one half."""
        draws = resampled_means(values, DRAWS, np.random.default_rng(self.seed))
        return resampled(float(crossing(times, values.mean((0, 1)), 0.5)), crossing(times, draws, 0.5), values.shape[1])


def measured_values(array: xr.DataArray) -> NDArray[np.float64]:
    """(subset, point, t) without what was not measured."""
    a = array.transpose("subset", ..., "t").values
    a = a[~np.isnan(a).all((1, 2))]
    return np.asarray(a[:, ~np.isnan(a).all((0, 2))], dtype=np.float64)


def needed_numbers(arrays: Mapping[str, xr.Dataset], curves: Curves) -> dict[str, Any]:
    """Samples until one direction survives on average at a held-out point, at several times, by subsampling and theory."""
    theory = arrays["theory"]
    sizes, predicted_sizes = np.array(sorted(curves.sizes)), theory["size"].values
    drawn = {int(n): theory["held_out"].sel(size=n).transpose("draw", "t").values[None] for n in predicted_sizes}
    measured = [curves.times_at(curves.resolved[int(n)], 1.0, rising=True) for n in sizes]
    predicted = [curves.times_at(drawn[int(n)], 1.0, rising=True) for n in predicted_sizes]
    largest = measured[-1][0]
    asked = float(arrays["data"].attrs["asked_t"])
    rows = []
    for t in (asked,) if asked > 0 else [largest / factor for factor in _TARGETS]:
        if math.isfinite(t):
            row: dict[str, Any] = {"t": t}
            for name, known, found, points in (
                ("subsampling", sizes, measured, curves.seen),
                ("theory", predicted_sizes, predicted, drawn[int(sizes[-1])].shape[1]),
            ):
                row[name] = _interpolated(t, known, found, points)
                # A curve begins at the smallest number of samples for which a direction survives anywhere.
                begins = min((n for n, (first, _) in zip(known, found, strict=True) if math.isfinite(first)), default=0)
                row[f"{name}_beyond"] = bool(row[name].value > known[-1])
                row[f"{name}_at_most"] = bool(row[name].value <= begins)
            rows.append(row)
    return {
        "rows": rows,
        "curve": _curve(sizes, measured, curves.seen),
        "theory": _curve(predicted_sizes, predicted, drawn[sizes[-1]].shape[1]),
    }


_Times = Sequence[tuple[float, NDArray[np.float64]]]


def _curve(sizes: NDArray[Any], found: _Times, points: int) -> list[dict[str, Any]]:
    return [{"size": int(n), "t": resampled(t, draws, points)} for n, (t, draws) in zip(sizes, found, strict=True)]


def _interpolated(t: float, sizes: NDArray[Any], found: _Times, points: int) -> Interval:
    """N at which a curve of times by size reaches t, with the interval of its draws."""
    value = samples_at(t, sizes, np.array([time for time, _ in found]))
    draws = [samples_at(t, sizes, times) for times in np.stack([d for _, d in found], 1)]
    return resampled(value, draws, points)


def samples_at(t: float, sizes: NDArray[Any], times: NDArray[np.float64]) -> float:
    """N at which the curve (times, sizes) reaches t: linear in logarithms, extrapolated by its last three sizes.

    The smallest size where t lies beyond that one's time; infinity where the curve does not fall, or would have to be
    extrapolated too far.
    """
    fine = np.isfinite(times)
    u, v = np.log(times[fine]), np.log(sizes[fine].astype(np.float64))
    if u.size < 2:
        return math.inf
    falling = np.minimum.accumulate(u)
    target = math.log(t)
    if target >= falling[-1]:
        return float(np.exp(np.interp(-target, -falling, v)))
    slope = np.polyfit(v[-_LAST:], u[-_LAST:], 1)[0]
    nats = (target - falling[-1]) / slope if slope < 0 else math.inf
    return float(np.exp(v[-1] + nats)) if nats < math.log(_FAR) else math.inf
