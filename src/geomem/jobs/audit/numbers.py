"""The numbers that a page states of a model, computed from the records alone."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from geomem.findings.copies import copies_numbers
from geomem.intervals import Interval
from geomem.jobs.audit.closer import CHOSEN, CLOSER, RANDOM, reference_level
from geomem.jobs.audit.probed import probed_numbers
from geomem.jobs.audit.screened import Screened, screening_numbers
from geomem.jobs.audit.screening import SCREENED
from geomem.measure.copies import superiority
from geomem.measure.observe import HELD_OUT, TRAINING
from geomem.measure.pairs import MODEL, lost
from geomem.measure.verdict import LEAST_IMAGES, MUCH, Judgement, judged

__all__ = ["Numbers", "numbers_of"]

Numbers = Mapping[str, Any]
Records = Mapping[str, xr.Dataset]
# Shares of pairs between which, by their interval, held-out images are of the training images' kind.
_EVEN = (0.25, 0.75)
# Calibration ratio above which, by the whole interval, a model is overconfident at images that it was not trained on.
_OVERCONFIDENT = 1.2


def numbers_of(records: Records, seed: int, metrics: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any]:
    """Statements on a model as numbers with intervals.

    Args:
        records: The run's.
        seed: The run's.
        metrics: Lines of the run's log, for the time that it took.

    Returns:
        "verdict" (word, reason, images_needed), "reference_t" at which it is judged, "lost" there (training, compared, fraction; None
        without images of both sets), "empirical" (the same of perfect memorization), "levels" (rows by t), "agreement" (of the noise
        levels at which memorization would show, those with the same verdict; None for a verdict that rests on something else), "kinds" (how held-out images lie to the training
        images), "denoising" (squared errors at the reference t, and a linear filter's), "closer" (see `_closer`), "copies",
        "screening" (see `screening_numbers`), "membership" and "calibration" (of it), "probed" (see `probed_numbers`; None without
        a probe), "model", "data", "cost".
    """
    points = records["points"]
    near = float(records["duplicates"].attrs["threshold"])
    screened = Screened(records[SCREENED], near)
    screening = screening_numbers(screened, seed=seed)
    j = reference_level(screened, seed=seed)
    copies = copies_numbers(records["copies"]) if "copies" in records else None
    kinds = _kinds(points) if "partner" in points else None
    alike = kinds is None or all(_EVEN[0] <= k.high and k.low <= _EVEN[1] for k in kinds.values())
    fits = [_fit(row, float(linear)) for row, linear in zip(screening["levels"], _linear(points), strict=True)]

    trained_on = bool(points.attrs["trained_on"])
    held_out = bool(screening["held_out"] + screening["near_copies"]) and trained_on

    confidence = _confidence(screening["calibration"])

    def judge(found: Any, i: int, word: str | None) -> Judgement:
        # A model that memorizes is wrong at images that it was not trained on, and sure of it; an untrained one is not sure.
        fit = fits[i]["fits"] or (not trained_on and confidence == "too sure")
        verdict = judged(found, copies=word, fits=fit, alike=alike)
        if verdict.reason == "unseen" and not trained_on:
            return Judgement("undecided", "alone")
        return Judgement("undecided", "few", LEAST_IMAGES) if verdict.reason == "unseen" and held_out else verdict

    verdict = judge(screening["evidence"], j, None if copies is None else copies["verdict"])
    levels = [
        {
            "t": row["t"],
            "training": row["squares"]["training"],
            "compared": row["squares"]["held_out"],
            "fraction": row["squares"].get("lost"),
            "empirical": row["empirical"],
            "auc": None if row["evidence"] is None else row["evidence"].auc,
            "calibration": row["calibration"],
            "denoising": fits[i],
            "word": judge(row["evidence"], i, None).word,
        }
        for i, row in enumerate(screening["levels"])
    ]
    here = levels[j]
    telling = [
        i for i, row in enumerate(levels) if i == j or (row["empirical"] and row["empirical"]["lost"].value > MUCH)
    ]
    evidence = screening.pop("evidence")
    # One half of the images chooses the noise level, and the other one decides.
    needed = None if verdict.images is None else 2 * verdict.images
    screening["all"] = {
        "training": int(records["duplicates"].sizes["kept"]) if trained_on else 0,
        "held_out": int(points.attrs["held_out"]),
    }
    screening["levels"] = [{k: v for k, v in row.items() if k != "evidence"} for row in screening["levels"]]
    return {
        "verdict": {"word": verdict.word, "reason": verdict.reason, "images_needed": needed},
        "reference_t": screened.times[j],
        "lost": None
        if evidence is None
        else {
            "training": screening["lost"]["training"],
            "compared": screening["lost"]["held_out"],
            "fraction": evidence.share,
        },
        "empirical": here["empirical"],
        "levels": levels,
        "agreement": {"count": sum(levels[i]["word"] == verdict.word for i in telling), "of": len(telling)}
        if verdict.reason == "lost"
        else None,
        "held_out": held_out,
        "trained_on": trained_on,
        "confidence": confidence,
        "kinds": kinds,
        "denoising": fits[j],
        "closer": _closer(records[CHOSEN], records[CLOSER]),
        "copies": copies,
        "screening": screening,
        "membership": screening["membership"],
        "calibration": screening["calibration"],
        "probed": probed_numbers(records) if MODEL in records else None,
        "unit": "image" if points.attrs["pictures"] else "sample",
        "model": {
            "name": str(points.attrs["name"]),
            "words": str(points.attrs["words"]),
            "parameters": int(points.attrs["parameters"]),
            "shape": [int(k) for k in np.atleast_1d(points.attrs["shape"])],
            "image_shape": [int(k) for k in np.atleast_1d(points.attrs.get("image_shape", points.attrs["shape"]))],
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
            "evaluations": int(records["cost"]["evaluations"].sum() + records[CLOSER]["evaluations"].sum()),
            "seconds": spent(metrics),
        },
    }


def _confidence(calibration: Mapping[str, Any] | None) -> str:
    """What the calibration ratio says: "too sure", "right" or "open", by its whole interval."""
    if calibration is None:
        return "open"
    found = calibration["held_out"]
    if found.low > _OVERCONFIDENT:
        return "too sure"
    return "right" if found.low > 1 / _OVERCONFIDENT and found.high < _OVERCONFIDENT else "open"


def spent(metrics: Sequence[Mapping[str, Any]]) -> float:
    """Seconds that parts took, from the lines of a log: each says how long its stage had been at work when it was done."""
    total, stage, before = 0.0, "", 0.0
    for line in metrics:
        if "part" not in line:
            continue
        named, seconds = re.sub(r"_\d+$", "", str(line["part"])), float(line["seconds"])
        total += seconds - before if named == stage and seconds >= before else seconds
        stage, before = named, seconds
    return total


def _linear(points: xr.Dataset) -> Sequence[float]:
    return [float(v) for v in points["screening_linear_error"].values]


def _fit(row: Mapping[str, Any], linear: float) -> dict[str, Any]:
    """Squared denoising errors at one t: "training", "held_out", "gap", the linear filter's, and whether the model "fits" better.

    A model fits if the whole interval of its error is below the filter's, at training images, or at held-out ones where they are alone.
    """
    t, error = row["t"], row["error"]

    def scaled(found: Interval | None) -> Interval | None:
        return None if found is None else Interval(t * found.value, t * found.low, t * found.high, found.n)

    training, held_out = scaled(error["training"]), scaled(error["held_out"])
    own = held_out if training is None else training
    return {
        "linear": linear,
        "training": training,
        "held_out": held_out,
        "gap": scaled(error.get("gap")),
        "fits": own is not None and bool(own.high < linear),
    }


def _kinds(points: xr.Dataset) -> dict[str, Interval]:
    """In what share of pairs a held-out image lies farther from the data than a training image does; 1/2 for the same kind.

    "nearest": from the nearest training image that is another; "centre": from their mean.
    """
    out = {}
    for name in ("nearest", "centre"):
        training, held_out = points[name].transpose("set", "compared").values
        out[name] = superiority(held_out, training)
    return out


def _closer(chosen: xr.Dataset, found: xr.Dataset) -> dict[str, Any]:
    """The closer look: "t"; "images" (rows: set, why, image, dimension, and of a pair its partner's image and dimension), and "lost"
    of the random pairs (see `measure.pairs.Loss`), None without pairs.
    """
    names, dimension = chosen["set"].values.astype(str), found["dimension"].values
    labels, why = chosen["label"].values.astype(str), chosen["why"].values.astype(str)
    paired = set(names) == {TRAINING, HELD_OUT}
    half = len(names) // 2 if paired else len(names)
    rows = [
        {
            "place": i,
            "set": names[i],
            "why": why[i],
            "image": labels[i],
            "dimension": float(dimension[i]),
            **({"partner": labels[i + half], "compared": float(dimension[i + half])} if paired else {}),
        }
        for i in range(half)
    ]
    random = np.array([i for i in range(half) if why[i] == RANDOM], dtype=int)
    loss = lost(dimension[random], dimension[random + half]) if paired and random.size > 1 else None
    return {
        "t": float(chosen.attrs["t"]),
        "images": rows,
        "lost": None
        if loss is None
        else {
            "training": loss.training,
            "compared": loss.held_out,
            "dimensions": loss.dimensions,
            "fraction": loss.share,
        },
        "pairs": int(random.size) if paired else 0,
    }
