"""What a sweep's record says, as numbers: dimensions, losses of dimension and copies against the number of training images."""

import math
from typing import Any

import numpy as np
import xarray as xr

from geomem.intervals import Interval, Rate, difference, mean, ratio
from geomem.jobs.sweep.measure import NETWORK, NOISY
from geomem.measure.copies import rate_of_copies
from geomem.measure.membership import auc
from geomem.measure.observe import HELD_OUT, SETS, TRAINING
from geomem.measure.screening import STATISTICS
from geomem.measure.verdict import share_lost

__all__ = [
    "READING",
    "blind_times",
    "copies",
    "copying",
    "dimension",
    "gap",
    "reading_of",
    "reference_time",
    "rows",
    "screened",
    "values_of",
]

# The reading of tables and sentences in records that hold none at noisy points.
READING = "resolved"
# Fewest images of a set for a comparison.
_FEWEST = 4
# Share of all directions that a model must leave alone to be called blind.
_BLIND = 0.9


def reading_of(arrays: xr.Dataset) -> str:
    """The reading of tables and sentences: at noisy points, where a record holds it."""
    return NOISY if NOISY in arrays["reading"].values else READING


def reference_time(arrays: xr.Dataset) -> float:
    """Reference t of tables and sentences, fixed before anything is measured: the middle one, the upper of two."""
    return float(arrays["t"].values[arrays.sizes["t"] // 2])


def dimension(
    arrays: xr.Dataset, size: int, t: float, where: str, *, score: str = NETWORK, reading: str | None = None
) -> Interval:
    """Mean dimension over the points of all trainings with this size, with 95% interval over points.

    NaN where fewer than two points have one.
    """
    values = values_of(arrays, size, t, where, score, reading or reading_of(arrays))
    if np.sum(np.isfinite(values)) < 2:
        return Interval(float(np.nanmean(values)) if np.isfinite(values).any() else math.nan, math.nan, math.nan, 0)
    return mean(values, bounds=(0.0, float(arrays.sizes["direction"])))


def values_of(arrays: xr.Dataset, size: int, t: float, where: str, score: str, reading: str) -> np.ndarray:
    """Dimensions at all points of all trainings with this size; NaN where a reading has no answer.

    `reading` may also be one of `measure.screening.STATISTICS`, of the network at the images that were screened.
    """
    if reading in STATISTICS:
        screened = arrays[reading].sel(size=size, t=t, set=where)
        return np.asarray(screened.transpose("seed", "image").values, dtype=np.float64).ravel()
    chosen = arrays["dimension"].sel(size=size, t=t, set=where, score=score, reading=reading)
    return np.asarray(chosen.transpose("seed", "point").values, dtype=np.float64).ravel()


def gap(arrays: xr.Dataset, size: int, t: float) -> Interval | None:
    """Dimensions of the models at held-out images less those at training images; None where fewer than two points have one."""
    held, known = (values_of(arrays, size, t, where, NETWORK, reading_of(arrays)) for where in (HELD_OUT, TRAINING))
    if min(np.isfinite(held).sum(), np.isfinite(known).sum()) < 2:
        return None
    return difference(held, known)


def copies(arrays: xr.Dataset, size: int) -> tuple[Rate, Rate]:
    """Share of samples, and of held-out images, that are copies of a training image: d_1/d_2 < 1/3."""
    rates = []
    for name in ("sample", "control"):
        d = arrays[f"{name}_distance"].sel(size=size).transpose(..., "neighbour").values.reshape(-1, 2)
        rates.append(rate_of_copies(d[np.isfinite(d).all(1)]))
    return rates[0], rates[1]


def screened(arrays: xr.Dataset, size: int, t: float) -> dict[str, Interval | None] | None:
    """What the screened images of all trainings with this size say: degrees of freedom "training" and "held_out", the fraction
    "lost" at training images, "auc", and the "calibration" ratio. None for a record that screened none.
    """
    if "squares" not in arrays:
        return None
    at = arrays[["error", "freedom", "squares"]].sel(size=size, t=t).transpose("set", "seed", "image")

    def values(kind: str, where: str) -> np.ndarray:
        found = at[kind].sel(set=where).values.ravel()
        return np.asarray(found[np.isfinite(found)], dtype=np.float64)

    known, other = values("squares", TRAINING), values("squares", HELD_OUT)
    enough = min(known.size, other.size) >= _FEWEST
    return {
        "training": mean(known, bounds=(0.0, math.inf)) if known.size > 1 else None,
        "held_out": mean(other, bounds=(0.0, math.inf)) if other.size > 1 else None,
        "lost": share_lost(known, other) if enough else None,
        "auc": auc(values("error", TRAINING), values("error", HELD_OUT)) if enough else None,
        "calibration": ratio(values("error", HELD_OUT), values("freedom", HELD_OUT)) if other.size > 1 else None,
    }


def copying(rate: Rate, control: Rate) -> str:
    """Whether samples are copies more often than held-out images: "yes", "no", or "unclear" where too few were compared."""
    if rate.low > control.high:
        return "yes"
    return "unclear" if rate.value > control.high else "no"


def rows(arrays: xr.Dataset) -> list[dict[str, Any]]:
    """A row for each size and time: dimensions by reading, score and set; rates of copies, loss and denoising error."""
    found = []
    for size in arrays["size"].values.tolist():
        rate, control = copies(arrays, size)
        for t in arrays["t"].values.tolist():
            dimensions = {
                reading: {
                    score: {where: dimension(arrays, size, t, where, score=score, reading=reading) for where in SETS}
                    for score in arrays["score"].values.tolist()
                }
                for reading in arrays["reading"].values.tolist()
            }
            error = arrays["denoising"].sel(size=size, t=t)
            of_network = (
                arrays["dimension"].sel(size=size, t=t, score=NETWORK, reading=reading_of(arrays)).mean("point")
            )
            found.append(
                {
                    "size": size,
                    "t": t,
                    "dimension": dimensions,
                    "gap": gap(arrays, size, t),
                    "screened": screened(arrays, size, t),
                    "by_seed": {where: of_network.sel(set=where).values.tolist() for where in SETS},
                    "copies": rate,
                    "control": control,
                    "copying": copying(rate, control),
                    "loss": float(arrays["loss"].sel(size=size).mean()),
                    "denoising": {where: float(error.sel(set=where).mean()) for where in SETS},
                }
            )
    return found


def blind_times(arrays: xr.Dataset) -> list[float]:
    """Times at which the largest N's models resolve nine of ten directions: noise so weak that they leave it alone."""
    seen = (
        arrays["dimension"].isel(size=-1).sel(score=NETWORK, reading=reading_of(arrays)).mean(("seed", "set", "point"))
    )
    return [float(t) for t in arrays["t"].values if float(seen.sel(t=t)) > _BLIND * arrays.sizes["direction"]]
