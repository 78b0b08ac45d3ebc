"""The numbers that the page states, computed from the records."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from geomem.findings.copies import copies_numbers
from geomem.intervals import Interval, Rate, mean, resampled
from geomem.jobs.data.needed import DRAWS, Curves, measured_values, needed_numbers
from geomem.measure.condensation import crossing, resampled_means
from geomem.measure.observe import HELD_OUT, SETS, TRAINING
from geomem.measure.posterior import MAIN
from geomem.seeds import derived_seed
from geomem.spectra.dimension import RESOLVED

__all__ = ["numbers_of"]


def numbers_of(records: Mapping[str, xr.Dataset], seed: int) -> dict[str, Any]:
    """All statements of the page as numbers with intervals.

    Returns:
        "t" (the reference noise variance), "unit" (what one datum is called), "data", "duplicates", "condensation", "dimensions"
        (rows by size), "directions", "memorized", "needed" (rows by time), and "copies", None where there are no samples.
    """
    data, cells = records["data"], records["posterior"]
    focus = float(data.attrs["focus"])
    curves = Curves(cells, seed)
    return {
        "t": focus,
        "unit": "image" if int(data.attrs["pictures"]) else "sample",
        "data": _data(data),
        "duplicates": _duplicates(data),
        "condensation": _condensation(records["condensation"], curves),
        "dimensions": _dimensions(data, cells, records["theory"], focus, seed),
        "directions": _directions(data, cells, focus),
        "memorized": _memorized(records["memorized"], records["theory"], max(curves.sizes), seed),
        "needed": needed_numbers(records, curves),
        "copies": copies_numbers(records["copies"]) if "copies" in records else None,
    }


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


def _condensation(condensation: xr.Dataset, curves: Curves) -> dict[str, Any]:
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
        for i, name in enumerate(SETS):
            values = measured_values(cells["dimension"].sel(reading=MAIN, size=n, set=name))
            j = int(np.argmin(abs(np.log(cells["t"].values / focus))))
            means = resampled_means(values[..., j], DRAWS, np.random.default_rng(derived_seed(seed, name, i)))
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
        for name in (HELD_OUT, TRAINING):
            values = along.sel(set=name).isel(direction=i).values
            values = values[~np.isnan(values)]
            shares.append(Rate.of(int(np.sum(values > RESOLVED)), values.size))
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
    draws = np.median(rng.choice(times, size=(DRAWS, times.size)), axis=1)
    # What theory says of the same: the own weight that it predicts for the measured points falls through one half.
    predicted = theory["own_weight"].sel(size=n).transpose("point", "t").values
    half = crossing(theory["t"].values, predicted, 0.5)
    half_draws = np.median(rng.choice(half, size=(DRAWS, half.size)), axis=1)
    return {
        "theory": resampled(float(np.median(half)), half_draws, half.size),
        "median": resampled(float(np.median(times)), draws, times.size),
        "least": float(times.min()),
        "most": float(times.max()),
        "ranked": int(times.size),
        "first": str(memorized["label"].values[times.argmax()]),
        "last": str(memorized["label"].values[times.argmin()]),
    }
