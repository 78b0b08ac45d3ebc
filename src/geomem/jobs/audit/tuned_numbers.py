"""What the records of a fine-tuned model and its base say, as numbers."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from geomem.findings.copies import copies_numbers
from geomem.intervals import Interval, mean
from geomem.jobs.audit.numbers import spent
from geomem.measure.observe import HELD_OUT, TRAINING
from geomem.measure.pairs import MODEL
from geomem.measure.screening import STATISTICS
from geomem.measure.tuned import LEAST_TUNED, fraction_lost_against, judged_against, net, recognized

__all__ = ["AGAINST", "BASE", "LOOKED", "tuned_numbers"]

# Records: both models at every image, and few images closely; and the name of the base in them.
AGAINST, LOOKED, BASE = "against", "looked", "base"
_BOUNDS = (0.0, float("inf"))
Values = Mapping[str, NDArray[np.float64]]


def tuned_numbers(records: Mapping[str, xr.Dataset], metrics: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Statements on a fine-tuned model, with intervals that hold at all noise levels together.

    Args:
        records: The run's; `against` alone gives the numbers of the comparison.
        metrics: Lines of the run's log, for the time that it took.

    Returns:
        "verdict" (word, reason), "reference_t" where most is lost, "lost" there (fraction, without what is lost at held-out images;
        training, held_out), "membership" (auc; None without held-out images), "levels" (rows by t), "ranking" (training images by their own
        loss), "training" and "held_out" (numbers of images), and of a whole run "looked", "copies", "unit", "model", "data", "cost".
    """
    found = records[AGAINST]
    times = [float(t) for t in found["t"].values]
    sets = {str(name): _values(found, str(name)) for name in found["set"].values}
    training, held_out = sets[TRAINING], sets.get(HELD_OUT)
    if held_out is not None and len(held_out[MODEL]["error"]) < LEAST_TUNED:
        held_out = None
    levels = [_level(training, held_out, i, len(times)) | {"t": t} for i, t in enumerate(times)]
    j = int(np.argmax([-np.inf if not np.isfinite(row["lost"].low) else row["lost"].low for row in levels]))
    here = levels[j]
    copies = copies_numbers(records["copies"]) if "copies" in records else None
    verdict = judged_against(here["lost"], here["auc"], copies=None if copies is None else copies["verdict"])
    out: dict[str, Any] = {
        "verdict": {"word": verdict.word, "reason": verdict.reason},
        "reference_t": times[j],
        "lost": {"fraction": here["lost"], "training": here["lost_training"], "held_out": here["lost_held_out"]},
        "membership": None if here["auc"] is None else {"t": times[j], "auc": here["auc"]},
        "levels": levels,
        "ranking": _ranking(found, training, j),
        "training": len(training[MODEL]["error"]),
        "held_out": 0 if held_out is None else len(held_out[MODEL]["error"]),
        "copies": copies,
    }
    if "points" not in records:
        return out
    attrs, looked = records["points"].attrs, records[LOOKED]
    return {
        **out,
        "looked": [
            {"image": str(label), "caption": str(words), "row": int(row), "free": float(free), "lost": float(lost)}
            for label, words, row, free, lost in zip(
                looked["label"].values if "label" in looked else (),
                looked["words"].values if "words" in looked else (),
                looked["row"].values,
                looked["free"].values,
                looked["lost"].values,
                strict=True,
            )
        ],
        "unit": "image" if attrs["pictures"] else "sample",
        "model": {
            "name": str(attrs["name"]),
            "words": str(attrs["words"]),
            "parameters": int(attrs["parameters"]),
            "shape": [int(k) for k in np.atleast_1d(attrs["shape"])],
            "image_shape": [int(k) for k in np.atleast_1d(attrs["image_shape"])],
        },
        "data": {
            "source": str(attrs["source"]),
            "n": int(attrs["n"]),
            "distinct": int(attrs["distinct"]),
            "shape": [int(k) for k in np.atleast_1d(attrs["data_shape"])],
            "notes": [str(note) for note in np.atleast_1d(attrs["notes"]) if note],
        },
        "pairs": int(records["plan"].attrs["pairs"]),
        "cost": {"seconds": spent(metrics)},
    }


def _values(found: xr.Dataset, name: str) -> dict[str, Values]:
    """By score, values (n, t) by statistic of the images of a set that were measured."""
    at = found.sel(set=name)
    there = np.isfinite(at["row"].values)
    return {
        score: {kind: at[kind].sel(score=score).transpose("point", "t").values[there] for kind in STATISTICS}
        for score in (MODEL, BASE)
    }


def _level(training: Mapping[str, Values], held_out: Mapping[str, Values] | None, i: int, count: int) -> dict[str, Any]:
    """One noise level: degrees of freedom, what is lost, errors, and how well training images are recognized."""

    def lost(side: Mapping[str, Values]) -> Interval:
        return fraction_lost_against(side[MODEL]["squares"][:, i], side[BASE]["squares"][:, i], choices=count)

    def ratios(side: Mapping[str, Values]) -> NDArray[np.float64]:
        return np.asarray(side[MODEL]["error"][:, i] / side[BASE]["error"][:, i])

    def means(kind: str, side: Mapping[str, Values] | None) -> dict[str, Interval | None]:
        return {
            score: None if side is None or len(side[score][kind]) < 2 else mean(side[score][kind][:, i], bounds=_BOUNDS)
            for score in (MODEL, BASE)
        }

    own = lost(training)
    other = None if held_out is None else lost(held_out)
    return {
        "lost_training": own,
        "lost_held_out": other,
        "lost": own if other is None else net(own, other),
        "auc": None
        if held_out is None or len(training[MODEL]["error"]) < 2
        else recognized(ratios(training), ratios(held_out), choices=count),
        "freedom": {TRAINING: means("squares", training), HELD_OUT: means("squares", held_out)},
        "error": {TRAINING: means("error", training), HELD_OUT: means("error", held_out)},
    }


def _ranking(found: xr.Dataset, training: Mapping[str, Values], j: int) -> list[dict[str, Any]]:
    """Training images by the share of the base's error that the model has left, the smallest first."""
    at = found.sel(set=TRAINING)
    there = np.isfinite(at["row"].values)
    rows, labels, words = (at[name].values[there] for name in ("row", "label", "words"))
    model, base = (training[score] for score in (MODEL, BASE))
    left = model["error"][:, j] / base["error"][:, j]
    return [
        {
            "image": str(labels[i]),
            "row": int(rows[i]),
            "caption": str(words[i]),
            "error_left": float(left[i]),
            "freedom": float(model["squares"][i, j]),
            "base_freedom": float(base["squares"][i, j]),
        }
        for i in np.argsort(left, kind="stable")
    ]
