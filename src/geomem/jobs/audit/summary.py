"""The numbers that an audit's page states, computed from its arrays, and the findings in sentences."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from geomem.jobs.audit.findings import findings, title
from geomem.jobs.audit.model_summary import summarise_model
from geomem.measure import Interval, Rate, mean, rate_of_copies, resampled, verdict
from geomem.measure.condensation import crossing, resampled_means
from geomem.seeds import derived_seed

__all__ = ["summarise"]

# Bootstrap draws behind every interval that is not exact.
_DRAWS = 1000
# Sizes from which a subsampling curve is carried on beyond the data, and how far it may be.
_LAST, _FAR = 3, 1000.0
# How much smaller than the data's the times are for which samples are asked.
_TARGETS = (2.0, 4.0)


def summarise(arrays: Mapping[str, xr.Dataset], seed: int, preset: str | None = None) -> dict[str, Any]:
    """All statements of the page as numbers with intervals, and its findings as sentences.

    Returns:
        "title" and "findings" in words; "data", "duplicates", "condensation", "dimensions" (rows by size), "needed"
        (rows by time), "memorized", "copies" where there are samples, and "model" where there is one.
    """
    data, cells = arrays["data"], arrays["posterior"]
    focus = float(data.attrs["focus"])
    curves = _Curves(cells, seed)
    out: dict[str, Any] = {
        "t": focus,
        "data": _data(data),
        "duplicates": _duplicates(data),
        "condensation": _condensation(arrays["condensation"], curves),
        "dimensions": _dimensions(data, cells, arrays["theory"], focus, seed),
        "directions": _directions(data, cells, focus),
        "memorized": _memorized(arrays["memorized"], arrays["theory"], max(curves.sizes), seed),
        "copies": _copies(arrays["copies"]) if "copies" in arrays else None,
    }
    out["needed"] = _needed(arrays, curves)
    out["model"] = summarise_model(arrays, out["copies"], preset) if "model" in arrays else None
    return out | {"findings": findings(out), "title": title(out)}


class _Curves:
    """Means over held-out points and subsets against t, and their bootstrap draws, by size."""

    def __init__(self, cells: xr.Dataset, seed: int) -> None:
        self.times = cells["t"].values
        self.sizes = [int(n) for n in cells["size"].values]
        held = cells.sel(set="held-out")
        self.points, self.seen = int(held.sizes["point"]), int(held.sizes["seen"])
        self.inverse = {n: _values(1 / held["effective_samples"].sel(size=n)) for n in self.sizes}
        self.resolved = {n: _values(held["resolved"].sel(size=n)) for n in self.sizes}
        self.seed = derived_seed(seed, "bootstrap")

    def times_at(self, values: NDArray[np.float64], level: float, *, rising: bool) -> tuple[float, NDArray[np.float64]]:
        """When the mean of values (subset, point, t) passes a level, and when its bootstrap draws do."""
        draws = resampled_means(values, _DRAWS, np.random.default_rng(self.seed))
        found = crossing(self.times, values.mean((0, 1)), level, rising=rising)
        return float(found), crossing(self.times, draws, level, rising=rising)

    def first_time(self, times: NDArray[np.float64], values: NDArray[np.float64]) -> Interval:
        """When the mean of values (subset, point, t) on other times falls through one half."""
        draws = resampled_means(values, _DRAWS, np.random.default_rng(self.seed))
        return resampled(float(crossing(times, values.mean((0, 1)), 0.5)), crossing(times, draws, 0.5), values.shape[1])


def _values(array: xr.DataArray) -> NDArray[np.float64]:
    """(subset, point, t) without what was not measured."""
    a = array.transpose("subset", ..., "t").values
    a = a[~np.isnan(a).all((1, 2))]
    return np.asarray(a[:, ~np.isnan(a).all((0, 2))], dtype=np.float64)


def _data(data: xr.Dataset) -> dict[str, Any]:
    return {
        "source": str(data.attrs["source"]),
        "kind": str(data.attrs["kind"]),
        **{key: int(data.attrs[key]) for key in ("n", "used", "dim", "fitted", "pixels", "pictures")},
        "training": data.sizes["place"],
        "held_out": data.sizes["apart"],
        "notes": [str(note) for note in np.atleast_1d(data.attrs["notes"]) if note],
        "shape": [int(k) for k in np.atleast_1d(data.attrs["shape"])],
    }


def _duplicates(data: xr.Dataset) -> dict[str, Any]:
    counts = ("exact_rows", "exact_groups", "near_pairs", "near_rows")
    return {key: int(data.attrs[key]) for key in counts} | {
        key: float(data.attrs[key]) for key in ("near_threshold", "typical_distance")
    }


def _condensation(condensation: xr.Dataset, curves: _Curves) -> dict[str, Any]:
    largest = max(curves.sizes)
    _, draws = curves.times_at(curves.inverse[largest], 0.5, rising=False)
    half = resampled(float(condensation["half"]), draws, curves.points)
    scale = condensation["t_c"].values / float(condensation["half"])
    guesses = {
        str(name): {
            "rank": float(rank),
            "t_c": Interval(half.value * f, half.low * f, half.high * f, half.n),
        }
        for name, rank, f in zip(condensation["guess"].values, condensation["rank"].values, scale, strict=True)
    }
    by_size = []
    for n in curves.sizes:
        value, draws = curves.times_at(curves.inverse[n], 0.5, rising=False)
        by_size.append({"size": n, "half": resampled(value, draws, curves.points)})
    return {
        "half": half,
        "half_without_near_duplicates": curves.first_time(
            condensation["around"].values, condensation["clean"].values[None]
        ),
        "guesses": guesses,
        "plug_in": mean(condensation["plug_in"].values, bounds=(0, math.inf)),
        "by_size": by_size,
    }


def _dimensions(data: xr.Dataset, cells: xr.Dataset, theory: xr.Dataset, focus: float, seed: int) -> dict[str, Any]:
    """Resolved dimension at the focus by size, of empirical score and theory, at training and held-out points."""
    rows = []
    for n in cells["size"].values:
        groups, draws = [], []
        for i, name in enumerate(("training", "held-out")):
            values = _values(cells["resolved"].sel(size=n, set=name))
            j = int(np.argmin(abs(np.log(cells["t"].values / focus))))
            means = resampled_means(values[..., j], _DRAWS, np.random.default_rng(derived_seed(seed, name, i)))
            groups.append(_of_counts(values[..., j], means))
            draws.append(means)
        gap = resampled(groups[1].value - groups[0].value, draws[1] - draws[0], groups[1].n)
        if gap.low == gap.high:  # neither side varied: the two bounds of the sides
            low, high = groups[1].low - groups[0].high, groups[1].high - groups[0].low
            gap = Interval(gap.value, low, high, gap.n)
        predicted = theory.sel(size=n).sel(t=focus, method="nearest")
        rows.append(
            {
                "size": int(n),
                "training": groups[0],
                "held_out": groups[1],
                "difference": gap,
                "theory_training": mean(predicted["training"].values, bounds=(0, math.inf)),
                "theory_held_out": mean(predicted["held_out"].values, bounds=(0, math.inf)),
            }
        )
    return {"t": focus, "gaussian": int(np.sum(data["variance"].values > focus)), "rows": rows}


def _of_counts(values: NDArray[np.float64], draws: NDArray[np.float64]) -> Interval:
    """Mean of counts (subset, point) with the interval of its draws, not below 0.

    Where all are equal, draws do not vary. Then the interval is what the share of points with one direction more (or one
    less) may be without any of them being among so many.
    """
    interval = resampled(float(values.mean()), draws, values.shape[1])
    missed = 1 - 0.025 ** (1 / values.shape[1]) if np.all(values == values.flat[0]) else 0.0
    return Interval(interval.value, max(0.0, interval.low - missed), interval.high + missed, interval.n)


def _directions(data: xr.Dataset, cells: xr.Dataset, focus: float) -> list[dict[str, Any]]:
    """Principal directions in which the data vary by more than the focus, by the share of points where each survives.

    Most surviving at held-out points first.
    """
    along = cells["along"].sel(size=cells["size"].max(), t=focus, method="nearest").isel(subset=0)
    rows = []
    for i in range(min(along.sizes["direction"], int(np.sum(data["variance"].values > focus)))):
        shares = []
        for name in ("held-out", "training"):
            values = along.sel(set=name).isel(direction=i).values
            values = values[~np.isnan(values)]
            shares.append(Rate.of(int(np.sum(values > 0.5)), values.size))
        rows.append(
            {
                "direction": i + 1,
                "variance": float(data["variance"][i]),
                "held_out": shares[0],
                "training": shares[1],
            }
        )
    return sorted(rows, key=lambda row: -row["held_out"].value)


def _memorized(memorized: xr.Dataset, theory: xr.Dataset, n: int, seed: int) -> dict[str, Any]:
    times = memorized["half_weight_time"].values
    rng = np.random.default_rng(derived_seed(seed, "memorized"))
    draws = np.median(rng.choice(times, size=(_DRAWS, times.size)), axis=1)
    # What theory says of the same: the own weight that it predicts for the measured points falls through one half.
    predicted = theory["own_weight"].sel(size=n).transpose("point", "t").values
    half = crossing(theory["t"].values, predicted, 0.5)
    half_draws = np.median(rng.choice(half, size=(_DRAWS, half.size)), axis=1)
    return {
        "theory": resampled(float(np.median(half)), half_draws, half.size),
        "median": resampled(float(np.median(times)), draws, times.size),
        "least": float(times.min()),
        "most": float(times.max()),
        "ranked": int(times.size),
    }


def _needed(arrays: Mapping[str, xr.Dataset], curves: _Curves) -> dict[str, Any]:
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
    value = _samples_at(t, sizes, np.array([time for time, _ in found]))
    draws = [_samples_at(t, sizes, times) for times in np.stack([d for _, d in found], 1)]
    return resampled(value, draws, points)


def _samples_at(t: float, sizes: NDArray[Any], times: NDArray[np.float64]) -> float:
    """N at which the curve (times, sizes) reaches t: linear in logarithms, carried on by its last three sizes.

    The smallest size where t lies beyond that one's time; infinity where the curve does not fall, or would have to be
    carried on too far.
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


def _copies(copies: xr.Dataset) -> dict[str, Any]:
    generated = rate_of_copies(copies["distance"].values)
    control = rate_of_copies(copies["control"].values)
    found = verdict(copies["distance"].values, copies["control"].values)
    nearest = [
        {
            "sample": str(copies["sample_label"].values[place]),
            "training": str(copies["neighbour_label"].values[place]),
            "distance": float(copies["distance"].values[i, 0]),
            "ratio": float(copies["ratio"].values[i]),
        }
        for place, i in enumerate(copies["closest"].values)
    ]
    return {
        "generated": generated,
        "control": control,
        "control_kind": copies.attrs["control_kind"],
        "verdict": found.copies,
        "p": found.p,
        "nearer": found.nearer,
        "identical": found.identical,
        "notes": [str(note) for note in np.atleast_1d(copies.attrs["notes"]) if note],
        "closest": nearest,
    }
