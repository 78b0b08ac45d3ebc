"""What the screening of an audit says, as numbers: what is lost at each noise level, how well training images are recognized, and which."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from geomem.intervals import Interval, difference, mean, ratio
from geomem.measure.membership import auc, halves, known, membership
from geomem.measure.observe import HELD_OUT, SETS, TRAINING
from geomem.measure.pairs import EMPIRICAL, MODEL
from geomem.measure.screening import STATISTICS
from geomem.measure.verdict import Evidence, share_lost

__all__ = ["LEAST_SCREENED", "Screened", "evidence", "screening_numbers"]

# Fewest images of a set for a comparison.
LEAST_SCREENED = 8
_BOUNDS = (0.0, float("inf"))

Values = Mapping[str, NDArray[np.float64]]


class Screened:
    """The record `screened`, without held-out images that nearly are training images.

    Attributes:
        times: Noise variances.
        near_copies: Number of held-out images that were left out.
    """

    def __init__(self, found: xr.Dataset, near: float) -> None:
        self.times = [float(t) for t in found["t"].values]
        self._found = found
        self._values: dict[tuple[str, str], Values] = {}
        self._fine: dict[str, NDArray[np.bool_]] = {}
        names = [name for name in SETS if name in found["set"].values]
        self.near_copies = 0
        for name in names:
            at = found.sel(set=name)
            screened = np.isfinite(at["error"].sel(score=MODEL).transpose("point", "t").values).all(1)
            copied = at["nearest"].values <= near  # NaN is not
            self.near_copies += int(np.sum(screened & copied))
            self._fine[name] = screened & ~copied
            for score in found["score"].values:
                by_kind = {kind: at[kind].sel(score=score).transpose("point", "t").values for kind in STATISTICS}
                some = self._fine[name] & np.isfinite(by_kind["error"]).all(1)
                self._values[str(score), name] = {kind: values[some] for kind, values in by_kind.items()}

    def values(self, name: str, score: str = MODEL) -> Values:
        """Values (n, t) by statistic of the images of a set; empty where there are none."""
        return self._values.get((score, name), {kind: np.empty((0, len(self.times))) for kind in STATISTICS})

    def rows(self, name: str) -> tuple[NDArray[np.int64], NDArray[np.str_]]:
        """Row numbers and labels of the same images of a set, in the same order."""
        at, fine = self._found.sel(set=name), self._fine[name]
        return at["row"].values[fine].astype(np.int64), at["label"].values[fine].astype(str)

    @property
    def compares(self) -> bool:
        """Whether there are enough images of both sets."""
        return min(len(self.values(name)["error"]) for name in SETS) >= LEAST_SCREENED

    @property
    def has_empirical(self) -> bool:
        """Whether the empirical score was screened too, at enough images of both sets."""
        return min(len(self.values(name, EMPIRICAL)["error"]) for name in SETS) >= LEAST_SCREENED


def evidence(training: Values, held_out: Values, i: int) -> Evidence:
    """What the values of two groups of images at the i-th noise variance say."""
    return Evidence(
        share_lost(training["squares"][:, i], held_out["squares"][:, i]),
        auc(training["error"][:, i], held_out["error"][:, i]),
        known(training["error"][:, i], held_out["error"][:, i])[0],
    )


def screening_numbers(screened: Screened, *, seed: int) -> dict[str, Any]:
    """What the screening says of a model.

    Returns:
        "training" and "held_out" (numbers of images), "near_copies" (held-out images that were left out), "levels" (rows by t, see
        `_level`). With images of both sets also, each of the t chosen on one half of the images and stated on the other: "lost" (t,
        fraction, and its means training and held_out) where most is lost, by the lower end of its interval, which is the reference
        t; "membership" (t, auc, rate, false_positives) where the AUC is largest; "evidence" (both, for the verdict). At the reference
        t, "ranking" (rows of training images, those known best first). With held-out images "calibration" (t, held_out: error over
        trace), at the reference t; of held-out images alone at the t where it is surely largest, chosen on one half, too.
    """
    training, held_out = (screened.values(name) for name in SETS)
    levels = [_level(screened, i) for i in range(len(screened.times))]
    out: dict[str, Any] = {
        "training": len(training["error"]),
        "held_out": len(held_out["error"]),
        "near_copies": screened.near_copies,
        "levels": levels,
        "membership": None,
        "evidence": None,
        "lost": None,
        "calibration": None,
        "ranking": [],
    }
    if screened.compares:
        best = membership(training["error"], held_out["error"], seed=seed)
        choosing, stating = halves(len(training["error"]), len(held_out["error"]), seed=seed)
        (own, other), (known_at, seen_at) = (
            [{k: v[some] for k, v in side.items()} for side, some in zip((training, held_out), places, strict=True)]
            for places in (choosing, stating)
        )
        surely = [share_lost(own["squares"][:, i], other["squares"][:, i]).low for i in range(len(levels))]
        j = int(np.argmax(surely))
        t = screened.times[j]
        found = Evidence(share_lost(known_at["squares"][:, j], seen_at["squares"][:, j]), best.auc, best.rate)
        out["membership"] = {
            "t": screened.times[best.column],
            "auc": best.auc,
            "rate": best.rate,
            "false_positives": best.false_positives,
        }
        out["evidence"] = found
        means = [mean(side["squares"][:, j], bounds=_BOUNDS) for side in (known_at, seen_at)]
        out["lost"] = {"t": t, "fraction": found.share, "training": means[0], "held_out": means[1]}
        out["calibration"] = {"t": t, "held_out": ratio(seen_at["error"][:, j], seen_at["freedom"][:, j])}
        out["ranking"] = _ranking(screened, j)
    elif out["held_out"] >= LEAST_SCREENED:
        (_, first), (_, second) = halves(out["held_out"], out["held_out"], seed=seed)

        def calibrated(places: NDArray[np.int64], i: int) -> Interval:
            return ratio(held_out["error"][places, i], held_out["freedom"][places, i])

        j = int(np.argmax([calibrated(first, i).low for i in range(len(levels))]))
        out["calibration"] = {"t": screened.times[j], "held_out": calibrated(second, j)}
    return out


def _level(screened: Screened, i: int) -> dict[str, Any]:
    """One noise level: t, by statistic the means "training" and "held_out", and where both sets are there "lost" (of `squares` and
    `freedom`), "gap" (of the error), "auc", "calibration", "evidence", and "empirical" (lost, auc).
    """
    training, held_out = ({k: v[:, i] for k, v in screened.values(name).items()} for name in SETS)
    out: dict[str, Any] = {"t": screened.times[i], "calibration": None, "evidence": None, "empirical": None}
    for kind in STATISTICS:
        out[kind] = {
            name: mean(side[kind], bounds=_BOUNDS) if len(side[kind]) > 1 else None
            for name, side in (("training", training), ("held_out", held_out))
        }
    if len(held_out["error"]) >= LEAST_SCREENED:
        out["calibration"] = ratio(held_out["error"], held_out["freedom"])
    if screened.compares:
        out["evidence"] = evidence(screened.values(TRAINING), screened.values(HELD_OUT), i)
        out["freedom"]["lost"] = share_lost(training["freedom"], held_out["freedom"])
        out["squares"]["lost"] = out["evidence"].share
        out["error"]["gap"] = difference(held_out["error"], training["error"])
    if screened.has_empirical:
        own, other = ({k: v[:, i] for k, v in screened.values(name, EMPIRICAL).items()} for name in SETS)
        out["empirical"] = {
            "training": mean(own["squares"], bounds=_BOUNDS),
            "held_out": mean(other["squares"], bounds=_BOUNDS),
            "lost": share_lost(own["squares"], other["squares"]),
            "auc": auc(own["error"], other["error"]).value,
        }
    return out


def _ranking(screened: Screened, j: int) -> list[dict[str, Any]]:
    """Training images by their error at one t, the smallest first, with the share of held-out images that are as small."""
    rows, labels = screened.rows(TRAINING)
    training, held_out = ({k: v[:, j] for k, v in screened.values(name).items()} for name in SETS)
    error = training["error"]
    below = np.searchsorted(np.sort(held_out["error"]), error, side="right") / len(held_out["error"])
    return [
        {
            "image": str(labels[i]),
            "row": int(rows[i]),
            "error": float(error[i]),
            "freedom": float(training["squares"][i]),
            "held_out_as_small": float(below[i]),
        }
        for i in np.argsort(error, kind="stable")
    ]
