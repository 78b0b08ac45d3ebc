"""The screening of an audit: every training image beside held-out images, by one evaluation a draw, as far as the budget goes.

What `measure.screening` measures of single images is compared between the two sets at each noise variance: degrees of freedom lost,
the gap in denoising error, and how well the error tells training images from held-out ones (`measure.membership`). What is stated of
the noise variance that tells most comes from images that did not choose it.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from geomem.intervals import Interval, difference, mean, quotient, ratio
from geomem.jobs.job import Part, Tell
from geomem.jobs.progress import duration
from geomem.measure.membership import auc, membership
from geomem.measure.observe import HELD_OUT, TRAINING
from geomem.measure.screening import screen
from geomem.measure.verdict import EMPIRICAL, MODEL
from geomem.seeds import derived_seed

if TYPE_CHECKING:
    from geomem.jobs.audit.work import Work

__all__ = ["LEAST_SCREENED", "SCREENED", "Screening", "screening_numbers"]

SCREENED = "screened"
# Seconds that a part takes, at most about, and images of a set in it.
_PART_SECONDS, _STEP, _FEWEST = 20.0, 256, 8
# Fewest held-out images for a comparison.
LEAST_SCREENED = 8
# What stands for images that are not there.
_MISSING = {"error": np.nan, "freedom": np.nan, "row": np.nan, "label": ""}
# Images of a set at which the empirical score is screened too.
_EMPIRICAL = 64


class Screening:
    """Makes the record `screened`."""

    def __init__(self, work: "Work") -> None:
        self.work = work

    def planned(self, seconds_each: float) -> dict[str, int]:
        """How many images of a set the budget allows, how many a part, and the evaluations, for the seconds of one.

        The numbers are saved with the cost, so a resumed run screens the same images.
        """
        work, each = self.work, 2 * len(self.work.screening_times)
        sizes = sorted(self._sizes().values())
        allowed = work.request.screening_seconds / max(seconds_each, 1e-9) / each
        count = min(sizes[1], max(_FEWEST, int(max(allowed / 2, allowed - sizes[0]))))
        # Whole batches, so that their bits do not depend on the speed of the machine.
        batch = max(1, work.batch // 2)
        step = batch * max(1, int(min(_STEP, _PART_SECONDS / max(seconds_each, 1e-9) / each / 2)) // batch)
        evaluations = each * sum(min(count, size) for size in sizes)
        return {"screened": count, "screened_step": step, "screened_evaluations": evaluations}

    def parts(self) -> Sequence[Part]:
        """Some places of both sets a part."""
        plan = self.work.run.load("cost").attrs
        count, step = int(plan["screened"]), int(plan["screened_step"])
        what = f"screening images, about {duration(self.work.seconds(SCREENED))}"
        return [
            Part(
                f"{SCREENED}_{first}",
                f"{what} · {min(first + step, count):,} of {count:,}",
                partial(self._part, range(first, min(first + step, count))),
                min(step, count - first),
            )
            for first in range(0, count, step)
        ]

    def rows(self, name: str) -> NDArray[np.int64]:
        """Rows of a set in the order in which they are screened."""
        work = self.work
        rows = work.keep if name == TRAINING else work.fresh
        order = np.random.default_rng(derived_seed(work.request.seed, f"screening, {name}")).permutation(rows.size)
        return np.asarray(rows[order])

    def _sizes(self) -> dict[str, int]:
        return {TRAINING: self.work.keep.size, HELD_OUT: self.work.fresh.size}

    def _part(self, places: range, tell: Tell) -> xr.Dataset:
        # The smaller set has no images at the last places.
        names = [name for name in (TRAINING, HELD_OUT) if self._sizes()[name] > places.start]
        by_set = [self._screened(name, places, tell, i / len(names)) for i, name in enumerate(names)]
        out = xr.concat(by_set, xr.Variable("set", names), join="outer", fill_value=_MISSING)
        return out.reindex({"set": [TRAINING, HELD_OUT], "point": list(places)}, fill_value=_MISSING)

    def _screened(self, name: str, places: range, tell: Tell, before: float) -> xr.Dataset:
        work = self.work
        rows = self.rows(name)[places.start : places.stop]
        source = work.training if name == TRAINING else work.held_out
        assert source is not None
        images = work.model.encode(source, rows)
        known = max(0, min(len(rows), _EMPIRICAL - places.start))
        by_score = []
        for score, some in ((MODEL, images), (EMPIRICAL, images[:known])):
            found = screen(
                work.model.score if score == MODEL else work.empirical,
                some,
                work.screening_times,
                first=places.start,
                seed=work.request.seed,
                batch_size=work.batch if score == MODEL else 4096,
                device=work.model.device,
                tell=(lambda share: tell(before + share * (1 - before), ""))
                if score == MODEL
                else (lambda share: None),
            )
            by_score.append(found.drop_attrs())
        out = xr.concat(by_score, xr.Variable("score", [MODEL, EMPIRICAL]), join="outer")
        labels = [source.label(int(row)) for row in rows]
        place = ("point", np.arange(places.start, places.start + len(rows)))
        coords = xr.Dataset({"row": ("point", rows.astype(float)), "label": ("point", np.array(labels, dtype=object))})
        return out.merge(coords.assign_coords(point=place))


def screening_numbers(found: xr.Dataset, *, seed: int) -> dict[str, Any]:
    """What the screening says of a model.

    Returns:
        "training" and "held_out" (numbers of images), "levels" (rows by t: `freedom` and `error` with training, held_out and
        lost or gap, `auc`, `calibration`, `empirical_auc`), "membership" (t, auc, rate at 1% false positives; of the t chosen on
        one half of the images, stated on the other), "calibration" (t, held_out: error over degrees of freedom), "lost" (t,
        fraction of the degrees of freedom), all at that t, and "ranking" (rows of training images, those known best first).
    """
    times = [float(t) for t in found["t"].values]
    values = {
        (score, name): {kind: _values(found, score, name, kind) for kind in ("error", "freedom")}
        for score in (MODEL, EMPIRICAL)
        for name in (TRAINING, HELD_OUT)
    }
    at_training, at_held_out = values[MODEL, TRAINING], values[MODEL, HELD_OUT]
    levels = [_level(t, i, values) for i, t in enumerate(times)]
    best = membership(at_training["error"], at_held_out["error"], seed=seed)
    j, (x, y) = best.column, best.stated
    return {
        "training": len(at_training["error"]),
        "held_out": len(at_held_out["error"]),
        "levels": levels,
        "membership": {"t": times[j], "auc": best.auc, "rate": best.rate},
        "calibration": {"t": times[j], "held_out": ratio(at_held_out["error"][y, j], at_held_out["freedom"][y, j])},
        "lost": {
            "t": times[j],
            "fraction": _complement(quotient(at_training["freedom"][x, j], at_held_out["freedom"][y, j])),
        },
        "ranking": _ranking(found, at_training, at_held_out, j),
    }


def _values(found: xr.Dataset, score: str, name: str, kind: str) -> NDArray[np.float64]:
    """Values (n, t) of the images of a set that were screened."""
    values = found[kind].sel(score=score, set=name).transpose("point", "t").values
    return np.asarray(values[np.isfinite(values).all(1)])


def _level(t: float, i: int, values: Mapping[tuple[str, str], Mapping[str, NDArray[np.float64]]]) -> dict[str, Any]:
    training, held_out = ({k: v[:, i] for k, v in values[MODEL, name].items()} for name in (TRAINING, HELD_OUT))
    known, other = (values[EMPIRICAL, name]["error"][:, i] for name in (TRAINING, HELD_OUT))
    return {
        "t": t,
        "freedom": {
            "training": mean(training["freedom"]),
            "held_out": mean(held_out["freedom"]),
            "lost": _complement(quotient(training["freedom"], held_out["freedom"])),
        },
        "error": {
            "training": mean(training["error"]),
            "held_out": mean(held_out["error"]),
            "gap": difference(held_out["error"], training["error"]),
        },
        "auc": auc(training["error"], held_out["error"]),
        "calibration": ratio(held_out["error"], held_out["freedom"]),
        "empirical_auc": auc(known, other).value,
    }


def _complement(share: Interval) -> Interval:
    return Interval(1 - share.value, 1 - share.high, 1 - share.low, share.n)


def _ranking(
    found: xr.Dataset,
    training: Mapping[str, NDArray[np.float64]],
    held_out: Mapping[str, NDArray[np.float64]],
    j: int,
) -> list[dict[str, Any]]:
    """Training images by their error at one t, the smallest first, with the share of held-out images that are as small."""
    at = found.sel(set=TRAINING)
    screened = np.isfinite(at["error"].sel(score=MODEL).transpose("point", "t").values).all(1)
    labels, rows = at["label"].values[screened], at["row"].values[screened]
    error, freedom = training["error"][:, j], training["freedom"][:, j]
    below = np.searchsorted(np.sort(held_out["error"][:, j]), error, side="right") / len(held_out["error"])
    return [
        {
            "image": str(labels[i]),
            "row": int(rows[i]),
            "error": float(error[i]),
            "freedom": float(freedom[i]),
            "held_out_as_small": float(below[i]),
        }
        for i in np.argsort(error, kind="stable")
    ]
