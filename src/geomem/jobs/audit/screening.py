"""The screening of an audit: every training image beside held-out images, by one evaluation a draw, as far as the budget goes."""

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from geomem.jobs.job import Part, Tell, split
from geomem.jobs.progress import duration
from geomem.measure.copies import neighbour_distances
from geomem.measure.observe import HELD_OUT, SETS, TRAINING
from geomem.measure.pairs import EMPIRICAL, MODEL
from geomem.measure.screening import screen
from geomem.measure.verdict import LEAST_IMAGES
from geomem.seeds import derived_seed

if TYPE_CHECKING:
    from geomem.jobs.audit.work import Work

__all__ = ["EMPIRICAL_SCREENED", "SCREENED", "Screening"]

SCREENED = "screened"
# Seconds that a part takes, at most about, and images of a set in it.
_PART_SECONDS, _STEP, _FEWEST = 20.0, 256, 2 * LEAST_IMAGES
# Mirrored pairs of draws, at most: beyond, images differ more than draws do.
_PAIRS = 4
# What stands for images that are not there.
_MISSING = {"error": np.nan, "freedom": np.nan, "squares": np.nan, "row": np.nan, "nearest": np.nan, "label": ""}
# Images of a set at which the empirical score is screened too.
EMPIRICAL_SCREENED = 64


class Screening:
    """Makes the record `screened`."""

    def __init__(self, work: "Work") -> None:
        self.work = work

    def planned(self, seconds: float, seconds_each: float) -> dict[str, int]:
        """How many images of a set some seconds allow, how many pairs of draws each, how many a part, and the evaluations, where one
        takes `seconds_each`. More images come before more draws.

        The numbers are saved with the cost, so a resumed run screens the same images.
        """
        each = 2 * len(self.work.screening_times)
        sizes = sorted(rows.size for rows in self.rows.values())
        allowed = seconds / max(seconds_each, 1e-9) / each
        # Where one set is small, the other gets what it leaves.
        count = min(sizes[-1], max(_FEWEST, int(max(allowed / len(sizes), allowed - sum(sizes[:-1])))))
        images = sum(min(count, size) for size in sizes)
        pairs = int(np.clip(allowed / images, 1, _PAIRS))
        # Whole batches, so that their bits do not depend on the speed of the machine.
        batch = max(1, self.work.batch // (2 * pairs))
        step = batch * max(1, int(min(_STEP, _PART_SECONDS / max(seconds_each, 1e-9) / each / 2 / pairs)) // batch)
        return {
            "screened": count,
            "screened_pairs": pairs,
            "screened_step": step,
            "screened_evaluations": pairs * each * images,
        }

    def parts(self) -> Sequence[Part]:
        """Some places of every set a part."""
        count, step = int(self._plan["screened"]), int(self._plan["screened_step"])
        what = f"screening images, about {duration(self.work.seconds(SCREENED))}"
        return split(SCREENED, what, count, step, self._part)

    @cached_property
    def _plan(self) -> dict[str, Any]:
        return dict(self.work.run.load("cost").attrs)

    @property
    def rows(self) -> dict[str, NDArray[np.int64]]:
        """Rows of each set in the order in which they are screened."""
        work, out = self.work, {}
        fresh = work.fresh if work.training is not None else work.keep
        for name, rows in ((TRAINING, work.keep), (HELD_OUT, fresh)):
            if work.sources[name] is not None:
                order = np.random.default_rng(derived_seed(work.request.seed, f"screening, {name}")).permutation(
                    rows.size
                )
                out[name] = np.asarray(rows[order])
        return out

    def _part(self, places: range, tell: Tell) -> xr.Dataset:
        # The smaller set has no images at the last places.
        names = [name for name, rows in self.rows.items() if rows.size > places.start]
        by_set = [self._screened(name, places, tell, i / len(names)) for i, name in enumerate(names)]
        out = xr.concat(by_set, xr.Variable("set", names), join="outer", fill_value=_MISSING)
        wanted = [name for name in SETS if name in self.rows]
        return out.reindex({"set": wanted, "point": list(places)}, fill_value=_MISSING)

    def _screened(self, name: str, places: range, tell: Tell, before: float) -> xr.Dataset:
        work = self.work
        rows, source = self.rows[name][places.start : places.stop], work.sources[name]
        assert source is not None
        images = work.model.encode(source, rows)
        by_score = {MODEL: images}
        if work.training is not None and work.held_out is not None:
            by_score[EMPIRICAL] = images[: max(0, min(len(rows), EMPIRICAL_SCREENED - places.start))]
        found = [
            screen(
                work.score_at(name, rows) if score == MODEL else work.empirical,
                some,
                work.screening_times,
                pairs=int(self._plan["screened_pairs"]),
                first=places.start,
                seed=work.request.seed,
                batch_size=work.batch if score == MODEL else 4096,
                device=work.model.device,
                tell=(lambda share: tell(before + share * (1 - before), ""))
                if score == MODEL
                else (lambda share: None),
            ).drop_attrs()
            for score, some in by_score.items()
        ]
        out = xr.concat(found, xr.Variable("score", list(by_score)), join="outer")
        labels = [source.label(int(row)) for row in rows]
        coords = xr.Dataset(
            {
                "row": ("point", rows.astype(float)),
                "label": ("point", np.array(labels, dtype=object)),
                "nearest": (
                    "point",
                    self._nearest(name, rows),
                    {"long_name": "distance to the nearest training image"},
                ),
            }
        )
        return out.merge(coords.assign_coords(point=np.arange(places.start, places.start + len(rows))))

    def _nearest(self, name: str, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """How far held-out images lie from the training images; NaN for training images, and where there are none."""
        work = self.work
        if name == TRAINING or work.training is None:
            return np.full(rows.size, np.nan)
        return neighbour_distances(work.source(name).rows(rows).numpy(), work.reference)[0][:, 0]
