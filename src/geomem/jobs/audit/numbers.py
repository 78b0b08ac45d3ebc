"""The numbers that a page states of a model, computed from the records alone."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from geomem.findings.copies import copies_numbers
from geomem.intervals import Interval, mean
from geomem.jobs.audit.screening import SCREENED, screening_numbers
from geomem.measure.copies import superiority
from geomem.measure.observe import HELD_OUT, TRAINING
from geomem.measure.verdict import (
    EMPIRICAL,
    MODEL,
    Judgement,
    Loss,
    at_training,
    judged,
    lost,
    lost_by_image,
    main_reading,
    sides,
)

__all__ = ["Numbers", "numbers_of"]

Numbers = Mapping[str, Any]
Records = Mapping[str, xr.Dataset]
Array = NDArray[np.float64]
_BOUNDS = (0.0, math.inf)
# Shares of pairs between which, by their interval, held-out images are of the training images' kind.
_EVEN = (0.25, 0.75)
# Distance within pairs, as a share of that of random pairs, above which pairs are badly matched.
_BADLY = 0.9
# Share that the empirical score has lost where a noise level can show memorization.
_TELLING = 0.5


def numbers_of(records: Records, seed: int) -> dict[str, Any]:
    """Statements on a model as numbers with intervals.

    Args:
        records: The run's.
        seed: The run's.

    Returns:
        "verdict" (word, reason, pairs_needed), "reference_t" at which it is judged, "lost" there (training, compared, dimensions,
        fraction, halved), "empirical" (the same of perfect memorization); "levels" (rows by t), "agreement" (of the noise levels
        at which memorization would show, those with the same verdict), "pairs" (count, available, distance_ratio, alike),
        "kinds" (how held-out images lie to the training images), "denoising" (see `_denoising`), "images" (by training image,
        most lost first), "flagged" (how many have lost more than chance explains), "copies", "screening" (see
        `screening_numbers`), "membership" and "calibration" (of it), "model", "data", "cost".
    """
    points, model = records["points"], records[MODEL]
    times, focus = points["t"].values, float(model.attrs["focus"])
    j = int(np.argmin(np.abs(np.log(times / focus))))
    held_out = HELD_OUT in points["set"].values
    partner = points["partner"].values if held_out else np.arange(points.sizes["point"])
    found = {EMPIRICAL: sides(records[EMPIRICAL], partner)}
    # Without held-out images the model is compared with the empirical score that lacks the image.
    found[MODEL] = sides(model, partner) if held_out else (at_training(model), found[EMPIRICAL][1])
    losses = {name: [lost(a[:, i], b[:, i]) for i in range(len(times))] for name, (a, b) in found.items()}
    fits = [_denoising(model, points, partner, i) for i in range(len(times))]
    copies = copies_numbers(records["copies"]) if "copies" in records else None
    kinds = _kinds(points) if held_out else None
    alike = kinds is None or all(_EVEN[0] <= k.high and k.low <= _EVEN[1] for k in kinds.values())

    def judge(i: int, word: str | None) -> Judgement:
        return judged(losses[MODEL][i], copies=word, fits=_fits(fits[i]), held_out=held_out, alike=alike)

    verdict = judge(j, None if copies is None else copies["verdict"])
    telling = [i for i in range(len(times)) if losses[EMPIRICAL][i].share.value > _TELLING or i == j]
    images = _images(points, model, found[MODEL], j) if held_out else _alone(points, found[MODEL], j)
    screening = screening_numbers(records[SCREENED], seed=seed) if SCREENED in records else None
    return {
        "verdict": {"word": verdict.word, "reason": verdict.reason, "pairs_needed": verdict.pairs},
        "reference_t": focus,
        "lost": _plain_loss(losses[MODEL][j]),
        "empirical": _plain_loss(losses[EMPIRICAL][j]),
        "levels": [
            {
                "t": float(t),
                "model": _plain_loss(losses[MODEL][i]),
                "empirical": _plain_loss(losses[EMPIRICAL][i]),
                "denoising": fits[i],
                "word": judge(i, None).word,
            }
            for i, t in enumerate(times)
        ],
        "agreement": {"count": sum(judge(i, None).word == judge(j, None).word for i in telling), "of": len(telling)},
        "held_out": held_out,
        "pairs": _pairs(points),
        "kinds": kinds,
        "near_copies": int(points.attrs["near_copies"]),
        "denoising": fits[j],
        "images": images,
        "flagged": sum(row["lost"].low > 0 for row in images if "lost" in row),
        "reading": main_reading(model),
        "reading_error": _reading_error(model, j),
        "preset_t": points.attrs.get("preset_t"),
        "copies": copies,
        "screening": screening,
        "membership": None if screening is None else screening["membership"],
        "calibration": None if screening is None else screening["calibration"],
        "unit": "image" if points.attrs["pictures"] else "sample",
        "model": {
            "name": str(points.attrs["name"]),
            "words": str(points.attrs["words"]),
            "parameters": int(points.attrs["parameters"]),
            "shape": [int(k) for k in np.atleast_1d(points.attrs["shape"])],
        },
        "data": {
            "source": str(points.attrs["source"]),
            "n": int(points.attrs["n"]),
            "distinct": int(points.attrs["distinct"]),
            "repeats": int(records["duplicates"].sizes["repeats"]),
            "shape": [int(k) for k in np.atleast_1d(points.attrs["data_shape"])],
            "notes": [str(note) for note in np.atleast_1d(points.attrs["notes"]) if note],
        },
        "cost": {
            "evaluations": int(records["cost"]["evaluations"].sum()),
            "seconds": float(records["cost"]["seconds"].sum()),
        },
    }


def _plain_loss(loss: Loss) -> dict[str, Any]:
    return {
        "training": loss.training,
        "compared": loss.held_out,
        "dimensions": loss.dimensions,
        "fraction": loss.share,
        "halved": loss.halved,
    }


def _fits(fit: Mapping[str, Any]) -> bool:
    """Whether the model denoises its training images better than a linear filter, by the whole interval."""
    return bool(fit["training"].high < fit["linear"])


def _denoising(found: xr.Dataset, points: xr.Dataset, partner: NDArray[np.int64], j: int) -> dict[str, Any]:
    """Squared denoising error at one t: "training", "held_out", the paired "gap" (held-out less training), "linear" filter's."""
    errors = found["denoising"].isel(score=0, t=j).transpose("set", "point")
    training = errors.sel(set=TRAINING).values
    out: dict[str, Any] = {
        "linear": float(points["linear_error"][j]),
        "training": mean(training, bounds=_BOUNDS),
        "held_out": None,
        "gap": None,
    }
    if HELD_OUT in errors["set"].values:
        held_out = errors.sel(set=HELD_OUT).values
        out["held_out"] = mean(held_out, bounds=_BOUNDS)
        out["gap"] = mean(held_out[partner] - training)
    return out


def _pairs(points: xr.Dataset) -> dict[str, Any]:
    """How many pairs there are, and how alike they are against random ones."""
    out: dict[str, Any] = {"count": points.sizes["point"], "available": int(points.attrs["available"])}
    if "pair_distance" in points.attrs:
        ratio = float(points.attrs["pair_distance"]) / float(points.attrs["random_distance"])
        out |= {"distance_ratio": ratio, "alike": ratio < _BADLY}
    return out


def _kinds(points: xr.Dataset) -> dict[str, Interval]:
    """In what share of pairs a held-out image lies farther from the data than a training image does; 1/2 for the same kind.

    "nearest": from the nearest training image that is another; "centre": from their mean.
    """
    out = {}
    for name in ("nearest", "centre"):
        training, held_out = points[name].transpose("set", "point").values
        out[name] = superiority(held_out, training)
    return out


def _images(points: xr.Dataset, model: xr.Dataset, found: tuple[Array, Array], j: int) -> list[dict[str, Any]]:
    """Each training image: its dimension, its partner's, and the difference; most lost first."""
    training, compared = found[0][:, j], found[1][:, j]
    values = model["dimension"].isel(score=0, t=j).sel(reading=main_reading(model), set=HELD_OUT).values
    differences = lost_by_image(training, compared, np.stack([values, values[points["twin"].values]], 1))
    partners = points["label"].sel(set=HELD_OUT).values[points["partner"].values]
    rows = _alone(points, found, j)
    for row in rows:
        row |= {"partner": str(partners[row["place"]]), "lost": differences[row["place"]]}
    return rows


def _alone(points: xr.Dataset, found: tuple[Array, Array], j: int) -> list[dict[str, Any]]:
    """Each training image with its dimension and what it is compared with."""
    training, compared = found[0][:, j], found[1][:, j]
    labels, numbers = points["label"].sel(set=TRAINING).values, points["row"].sel(set=TRAINING).values
    return [
        {
            "place": i,
            "image": str(labels[i]),
            "row": int(numbers[i]),
            "dimension": float(training[i]),
            "compared": float(compared[i]),
        }
        for i in sorted(range(training.size), key=lambda i: (training[i] - compared[i], training[i]))
    ]


def _reading_error(model: xr.Dataset, j: int) -> float:
    """Largest standard error of a degree of freedom from random directions; 0 where all were taken."""
    if "degrees_of_freedom_error" not in model:
        return 0.0
    return float(model["degrees_of_freedom_error"].isel(t=j).max())
