"""The numbers that a page states of a model: dimensions by noise level, the verdict, each image, every rule."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray

from geomem.intervals import Interval, mean
from geomem.measure.copies import Rate, superiority
from geomem.measure.points import SETS, main_reading
from geomem.measure.verdict import judged, lost, lost_by_image
from geomem.spectra import Spectrum
from geomem.spectra.dimension import ESTIMATORS, PRESETS, second_difference

__all__ = ["SOURCES", "summarise_model"]

SOURCES = ("model", "empirical")
_BOUNDS = (0.0, math.inf)
# Shares of pairs between which, by their interval, images never seen are of the training images' kind.
_EVEN = (0.25, 0.75)


def summarise_model(
    arrays: Mapping[str, xr.Dataset], copies: Mapping[str, Any] | None, preset: str | None
) -> dict[str, Any]:
    """Statements on a model as numbers with intervals.

    Args:
        arrays: "points", "empirical" and "model" of a finished run.
        copies: What was found of its samples; None for none.
        preset: Thresholds of Alg. 3.

    Returns:
        "word", "reason" and "pairs_needed" of the verdict, "t" at which it is judged, "loss" there for both sources;
        "held_out", whether that is against images never seen; "halved", the share of images that lost more than half of theirs;
        "kinds", how those never seen lie to the training images; "near_copies", those passed over; "available", how many there
        are of each kind at least; "times" (rows by t); "images" (rows by training image, most lost first); "rules" (rows by t and rule) and
        "preset_t", where the preset reads them; "denoising" at t; "name", "words", "parameters", "reading", "pairs".
    """
    points = arrays["points"]
    times, focus = points["t"].values, float(arrays["model"].attrs["focus"])
    j = int(np.argmin(np.abs(np.log(times / focus))))
    held_out = SETS[1] in points["set"].values
    readings = {name: main_reading(arrays[name]) for name in SOURCES}
    # What training images are compared with, by source: their partners, or the empirical score without the image itself.
    partner = points["partner"].values if held_out else np.arange(points.sizes["point"])
    others = {name: readings[name if held_out else "empirical"][1][partner] for name in SOURCES}
    rows = [{name: _at(readings[name][0, :, i], others[name][:, i]) for name in SOURCES} for i in range(len(times))]
    fit = _denoising(arrays["model"], points, j)
    kinds = _kinds(points) if held_out else None
    loss = lost(readings["model"][0, :, j], others["model"][:, j])
    verdict = judged(
        loss,
        copies=None if copies is None else copies["verdict"],
        fits=fit["training"].low < fit["linear"],
        held_out=held_out,
        alike=kinds is None or all(_EVEN[0] <= k.high and k.low <= _EVEN[1] for k in kinds.values()),
    )
    return {
        "word": verdict.word,
        "reason": verdict.reason,
        "pairs_needed": verdict.pairs,
        "t": focus,
        "reading": "resolved" if "survival" in arrays["model"] else "degrees of freedom",
        "pairs": loss.pairs,
        "held_out": held_out,
        "halved": loss.halved,
        "kinds": kinds,
        "near_copies": int(points.attrs["near_copies"]),
        "available": int(points.attrs["available"]),
        "loss": rows[j],
        "times": [{"t": float(t), **row} for t, row in zip(times, rows, strict=True)],
        "images": _images(points, readings["model"][0, :, j], others["model"][:, j], readings["model"][..., j]),
        "rules": _rules(arrays, preset),
        "preset_t": float(points.attrs["preset_t"]) if preset is not None else None,
        "denoising": fit,
        **{key: points.attrs[key] for key in ("name", "words")},
        "parameters": int(points.attrs["parameters"]),
        "shape": [int(k) for k in np.atleast_1d(points.attrs["shape"])],
        "error": _probe_error(arrays["model"], j),
    }


def _at(training: NDArray[np.float64], other: NDArray[np.float64]) -> dict[str, Interval]:
    """What is lost at one t, as intervals by name; "other" is what training images are compared with."""
    loss = lost(training, other)
    return {"training": loss.training, "other": loss.held_out, "lost": loss.dimensions, "share": loss.share}


def _images(
    points: xr.Dataset, training: NDArray[np.float64], other: NDArray[np.float64], values: NDArray[np.float64]
) -> list[dict[str, Any]]:
    """Each training image: its dimension, and what it has lost; most lost first. `values` (set, point) are the model's."""
    labels, numbers = points["label"].values, points["row"].values
    found = None
    if "partner" in points:
        found = lost_by_image(training, other, np.stack([values[1], values[1][points["twin"].values]], 1))
    rows = []
    for i in sorted(range(training.size), key=lambda i: (training[i] - other[i], training[i])):
        row: dict[str, Any] = {"place": i, "image": str(labels[0, i]), "row": int(numbers[0, i])}
        row |= {"dimension": float(training[i]), "other": float(other[i])}
        if found is not None:
            row |= {"partner": str(labels[1, points["partner"].values[i]]), "lost": found[i]}
        rows.append(row)
    return rows


def _kinds(points: xr.Dataset) -> dict[str, Interval]:
    """In what share of pairs an image never seen lies farther from the data than a training image does; ½ for the same kind.

    "nearest": from the nearest training image that is another; "centre": from their mean.
    """
    out = {}
    for name in ("nearest", "centre"):
        training, unseen = points[name].transpose("set", "point").values
        out[name] = superiority(unseen, training)
    return out


def _denoising(seen: xr.Dataset, points: xr.Dataset, j: int) -> dict[str, Any]:
    """Squared error of the denoised point by set, and what a linear denoiser leaves, see `Axes.linear_error`."""
    errors = seen["denoising"].transpose("set", "point", "t").values[..., j]
    out: dict[str, Any] = {"linear": float(points["linear_error"][j]), "held_out": None}
    for name, key in zip(SETS, ("training", "held_out"), strict=False):
        if name in seen["set"].values:
            out[key] = mean(errors[list(seen["set"].values).index(name)], bounds=_BOUNDS)
    return out


def _rules(arrays: Mapping[str, xr.Dataset], preset: str | None) -> list[dict[str, Any]]:
    """Every rule of dimension for both sources, by t."""
    rows = []
    for place, t in enumerate(arrays["model"]["t"].values):
        estimates = {name: _estimates(arrays[name].isel(t=place), preset) for name in SOURCES}
        for rule in estimates["model"]:
            row: dict[str, Any] = {"t": float(t), "rule": rule}
            for name in SOURCES:
                row[name] = [_of_rule(values) for values in estimates[name][rule]]
            rows.append(row)
    return rows


def _estimates(seen: xr.Dataset, preset: str | None) -> dict[str, NDArray[np.float64]]:
    """Values (set, point) of every rule, NaN where a rule finds none."""
    pull = seen["pull"].transpose("set", "point").values
    if "survival" not in seen:
        dof = seen["degrees_of_freedom"].transpose("set", "point").values
        return {"degrees_of_freedom": dof, "flipd": dof + pull}
    survival, values = (
        torch.as_tensor(seen[name].transpose("set", "point", "direction").values)
        for name in ("survival", "singular_value")
    )
    d = survival.shape[-1]
    spectra = Spectrum(values, torch.full(survival.shape[:-1], float(seen["t"])), "central", None, survival, d)
    out = {name: rule(spectra).value for name, rule in ESTIMATORS.items()}
    if preset is not None:
        p = PRESETS[preset]
        out["second_difference"] = second_difference(spectra, discard=p.discard, threshold=p.threshold).value
    return out | {"flipd": out["degrees_of_freedom"] + pull}


def _of_rule(values: NDArray[np.float64]) -> dict[str, Any]:
    """Mean over points where a rule found a dimension, and at how many it did."""
    found = values[np.isfinite(values)]
    return {"found": Rate.of(found.size, values.size), "mean": mean(found) if found.size > 1 else None}


def _probe_error(seen: xr.Dataset, j: int) -> float:
    """Largest standard error of a degree of freedom from random directions; 0 where all were taken."""
    return float(seen["error"].isel(t=j).max()) if "error" in seen else 0.0
