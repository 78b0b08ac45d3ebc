"""What whole spectra say of a model, as numbers: dimensions kept and lost in pairs, at each of their noise levels."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from geomem.measure.observe import HELD_OUT, TRAINING
from geomem.measure.pairs import EMPIRICAL, MODEL, Loss, at_training, lost, lost_by_image, main_reading, sides

__all__ = ["probed_numbers"]

Array = NDArray[np.float64]
# Distance within pairs, as a share of that of random pairs, above which pairs are badly matched.
_BADLY = 0.9


def probed_numbers(records: Mapping[str, xr.Dataset]) -> dict[str, Any]:
    """Numbers of the records `model` and `empirical`.

    Returns:
        "t" (the noise variance nearest to the reference t), "lost" there (training, compared, dimensions, fraction),
        "levels" (rows by t: `model` and `empirical`), "pairs" (count, distance_ratio, alike), "images" (by training image,
        most lost first), "flagged" (how many have lost more than chance explains), "reading" and "reading_error", "preset_t".
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
    images = _images(points, model, found[MODEL], j) if held_out else _alone(points, found[MODEL], j)
    return {
        "t": focus,
        "lost": _plain(losses[MODEL][j]),
        "levels": [
            {"t": float(t), "model": _plain(losses[MODEL][i]), "empirical": _plain(losses[EMPIRICAL][i])}
            for i, t in enumerate(times)
        ],
        "pairs": _pairs(points),
        "images": images,
        "flagged": sum(row["lost"].low > 0 for row in images if "lost" in row),
        "reading": main_reading(model),
        "reading_error": _reading_error(model, j),
        "preset_t": points.attrs.get("preset_t"),
    }


def _plain(loss: Loss) -> dict[str, Any]:
    return {
        "training": loss.training,
        "compared": loss.held_out,
        "dimensions": loss.dimensions,
        "fraction": loss.share,
    }


def _pairs(points: xr.Dataset) -> dict[str, Any]:
    """How many pairs there are, and how alike they are against random ones."""
    out: dict[str, Any] = {"count": points.sizes["point"]}
    if "pair_distance" in points.attrs:
        ratio = float(points.attrs["pair_distance"]) / float(points.attrs["random_distance"])
        out |= {"distance_ratio": ratio, "alike": ratio < _BADLY}
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
