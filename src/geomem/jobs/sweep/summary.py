"""What a sweep's records say: dimension against the number of training images, copies, and sentences about both."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from geomem.intervals import Interval, difference, mean
from geomem.jobs.sweep.settings import SCORES, SETS
from geomem.measure.copies import Rate, rate_of_copies

__all__ = ["blind_times", "copies", "dimension", "rows", "spoken_time", "summarise", "values_of"]

# Share of all directions that a model must leave alone to be called blind.
_BLIND = 0.9


def spoken_time(arrays: xr.Dataset) -> float:
    """The time that tables and sentences speak of, fixed before anything is measured: the middle one, the upper of two."""
    return float(arrays["t"].values[arrays.sizes["t"] // 2])


def dimension(
    arrays: xr.Dataset, size: int, t: float, where: str, *, score: str = "network", reading: str = "resolved"
) -> Interval:
    """Mean dimension over the points of all trainings with this size, with 95% interval over points.

    NaN where fewer than two points have one.
    """
    values = values_of(arrays, size, t, where, score, reading)
    if np.sum(np.isfinite(values)) < 2:
        return Interval(float(np.nanmean(values)) if np.isfinite(values).any() else math.nan, math.nan, math.nan, 0)
    return mean(values, bounds=(0.0, float(arrays.sizes["direction"])))


def values_of(arrays: xr.Dataset, size: int, t: float, where: str, score: str, reading: str) -> np.ndarray:
    """Dimensions at all points of all trainings with this size; NaN where a reading has no answer."""
    chosen = arrays["dimension"].sel(size=size, t=t, set=where, score=score, estimator=reading)
    return np.asarray(chosen.transpose("seed", "point").values, dtype=np.float64).ravel()


def copies(arrays: xr.Dataset, size: int) -> tuple[Rate, Rate]:
    """Share of samples, and of images never seen, that are copies of a training image: d_1/d_2 < 1/3."""
    rates = []
    for name in ("sample", "control"):
        d = arrays[f"{name}_distance"].sel(size=size).transpose(..., "neighbour").values.reshape(-1, 2)
        rates.append(rate_of_copies(d[np.isfinite(d).all(1)]))
    return rates[0], rates[1]


def rows(arrays: xr.Dataset) -> list[dict[str, Any]]:
    """A row for each size and time: dimensions by reading, score and set; rates of copies, loss and denoising error."""
    found = []
    for size in arrays["size"].values.tolist():
        rate, control = copies(arrays, size)
        for t in arrays["t"].values.tolist():
            dimensions = {
                reading: {
                    score: {where: dimension(arrays, size, t, where, score=score, reading=reading) for where in SETS}
                    for score in SCORES
                }
                for reading in arrays["estimator"].values.tolist()
            }
            error = arrays["denoising"].sel(size=size, t=t)
            found.append(
                {
                    "size": size,
                    "t": t,
                    "dimension": dimensions,
                    "by_seed": {
                        where: arrays["dimension"]
                        .sel(size=size, t=t, set=where, score="network", estimator="resolved")
                        .mean("point")
                        .values.tolist()
                        for where in SETS
                    },
                    "copies": rate,
                    "control": control,
                    "loss": float(arrays["loss"].sel(size=size).mean()),
                    "denoising": {where: float(error.sel(set=where).mean()) for where in SETS},
                }
            )
    return found


def summarise(arrays: xr.Dataset) -> dict[str, Any]:
    """Title, findings and numbers of a sweep's page."""
    t, table = spoken_time(arrays), rows(arrays)
    at = [row for row in table if row["t"] == t]
    first, last = at[0], at[-1]
    seeds = arrays.sizes["seed"]
    d = arrays.sizes["direction"]

    def of(row: Mapping[str, Any], where: str) -> Interval:
        found: Interval = row["dimension"]["resolved"]["network"][where]
        return found

    gap = difference(*(values_of(arrays, last["size"], t, where, "network", "resolved") for where in reversed(SETS)))
    findings = {
        "dimensions": [
            f"At t = {t:.3g} the models have {of(first, 'training')} dimensions of {d} at training images of N = {first['size']:,} and "
            f"{of(last, 'training')} at those of N = {last['size']:,}; at images never seen {of(first, 'held-out')} and "
            f"{of(last, 'held-out')}.",
            f"At N = {last['size']:,} dimensions at images never seen less those at training images: {gap}"
            + (", which may be none." if gap.low <= 0 <= gap.high else "."),
            *_blind(arrays),
        ],
        "copies": [_copied(at)],
        "reading": [_kinked(arrays)],
    }
    parameters = arrays.attrs["parameters"]
    lead = (
        f"{arrays.attrs['cells']} models ({arrays.attrs['network']}, {parameters:,} parameters, {arrays.attrs['flow']}) were trained for "
        f"{arrays.attrs['steps']:,} steps of {arrays.attrs['batch_size']} images, {seeds} {'training' if seeds == 1 else 'trainings'} of each "
        f"size. Spectra were taken at up to {arrays.sizes['point']} training images and as many of {arrays.attrs['held_out']:,} kept apart; "
        "intervals are 95%, over the points of all trainings of a size, not over trainings."
    )
    return {
        "title": f"{arrays.attrs['data']}: dimensions against the number of training images",
        "findings": findings,
        "lead": lead,
        "t": t,
        "rows": table,
    }


def blind_times(arrays: xr.Dataset) -> list[float]:
    """Times at which the largest N's models have survival above ½ in nine of ten directions: noise that they do not see."""
    seen = arrays["dimension"].isel(size=-1).sel(score="network", estimator="resolved").mean(("seed", "set", "point"))
    return [float(t) for t in arrays["t"].values if float(seen.sel(t=t)) > _BLIND * arrays.sizes["direction"]]


def _blind(arrays: xr.Dataset) -> list[str]:
    found = blind_times(arrays)
    if not found:
        return []
    listed = ", ".join(f"{t:.3g}" for t in found)
    return [
        f"At t = {listed} the models of the largest N have survival above ½ in nearly all directions: they do not see noise so weak, and "
        "dimensions there say nothing of the data."
    ]


def _copied(at: list[dict[str, Any]]) -> str:
    """How often samples are copies, size by size: more often than images never seen, no more often, or not to be told."""
    groups: dict[str, list[str]] = {"more": [], "unclear": [], "no more": []}
    for row in at:
        rate, control = row["copies"], row["control"]
        if rate.low > control.high:
            groups["more"].append(f"{rate} at N = {row['size']:,}")
        elif rate.value > control.high:
            groups["unclear"].append(f"{rate} against {control} at N = {row['size']:,}")
        else:
            groups["no more"].append(f"{row['size']:,}")
    said = []
    if groups["more"]:
        said.append(f"Copies among samples: {', '.join(groups['more'])}.")
    if groups["unclear"]:
        said.append(
            f"Too few were compared to tell copies from chance: {', '.join(groups['unclear'])} (images never seen)."
        )
    if groups["no more"]:
        said.append(f"Samples are copies no more often than images never seen at N = {', '.join(groups['no more'])}.")
    return " ".join(said)


def _kinked(arrays: xr.Dataset) -> str:
    t = float(arrays["t"].values[0])
    shares = []
    for size in arrays["size"].values.tolist():
        values = values_of(arrays, size, t, "training", "network", "second_difference")
        held = values_of(arrays, size, t, "held-out", "network", "second_difference")
        both = np.concatenate([values, held])
        both = both[np.isfinite(both)]
        if both.size:
            shares.append(f"{np.median(both):.0f} at N = {size:,}")
    if not shares:
        return f"Alg. 3 finds no kink in any spectrum at t = {t:.3g}, the smallest."
    return f"Alg. 3 at t = {t:.3g}, the smallest, finds a dimension (median over points) of {', '.join(shares)}."
