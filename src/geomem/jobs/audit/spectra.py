"""Whole spectra in an audit, for whoever names a probe: of the model and of the empirical score, with every reading."""

import math
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from geomem.jobs.audit.closer import reference_level
from geomem.jobs.audit.cost import DRAWS
from geomem.jobs.audit.screened import Screened
from geomem.jobs.audit.screening import SCREENED
from geomem.jobs.job import Part, Tell, split
from geomem.jobs.progress import duration
from geomem.measure.directions import Axes
from geomem.measure.observe import TRAINING, Source, observe
from geomem.measure.pairs import EMPIRICAL, LEFT_OUT, MODEL
from geomem.scores import EmpiricalScore

if TYPE_CHECKING:
    from geomem.jobs.audit.work import Work

__all__ = ["Spectra", "points_at_once"]

# Most points of a set in a part, and squared dimensions up to which there are several.
_TOGETHER, _SMALL = 8, 2**15


class Spectra:
    """Makes the records `empirical` and `model`."""

    def __init__(self, work: "Work") -> None:
        self.work = work

    def parts(self, stage: str) -> Sequence[Part]:
        """One part for a training image and its held-out one; several where they are small."""
        work = self.work
        count, step = work.points_record.sizes["point"], points_at_once(math.prod(work.model.shape))
        make = self._of_model if stage == MODEL else self._of_empirical
        what = (
            f"spectra of the {'model' if stage == MODEL else 'empirical score'}, about {duration(work.seconds(stage))}"
        )
        return split(stage, what, count, step, lambda places, tell: make(list(places), tell))

    def source(self, score: EmpiricalScore) -> Source:
        """An empirical score as it is measured."""
        return Source(score, self.work.probe, self.work.model.device, 4096)

    def _of_empirical(self, places: list[int], tell: Tell) -> xr.Dataset:
        work = self.work
        if work.held_out is not None:
            return self._observed({EMPIRICAL: self.source(work.empirical)}, places, tell)
        # Each image has a score of its own, of all others.
        parts = []
        for k, i in enumerate(places):
            row = int(work.points_record["row"].sel(set=TRAINING).values[i])
            sources = {EMPIRICAL: self.source(work.empirical), LEFT_OUT: self.source(work.without(row))}
            parts.append(self._observed(sources, [i], lambda share, label: None))
            tell((k + 1) / len(places), "")
        return xr.concat(parts, "point")

    def _of_model(self, places: list[int], tell: Tell) -> xr.Dataset:
        work = self.work
        model = Source(work.model.score, work.probe, work.model.device, work.batch)
        shown = (self.focus, work.axes) if work.shown else None
        return self._observed({MODEL: model}, places, tell, shown=shown).assign_attrs(focus=self.focus)

    def _observed(
        self,
        sources: dict[str, Source],
        places: list[int],
        tell: Tell,
        *,
        shown: tuple[float, Axes] | None = None,
    ) -> xr.Dataset:
        work = self.work
        found = observe(
            sources,
            {str(name): work.points_at(str(name), places) for name in work.points_record["set"].values},
            work.times,
            readings=work.readings,
            directions=work.directions,
            draws=DRAWS,
            shown=shown,
            seed=work.request.seed,
            memory=work.memory,
            tell=lambda share: tell(share, ""),
        )
        return found.assign_coords(point=places)

    @cached_property
    def focus(self) -> float:
        """The noise variance of the spectra that is nearest to the reference t."""
        work = self.work
        screened = Screened(work.run.load(SCREENED), work.near)
        t = screened.times[reference_level(screened, seed=work.request.seed)]
        return work.times[int(np.argmin(np.abs(np.log(np.array(work.times) / t))))]


def points_at_once(dim: int) -> int:
    """Points of each set in a part: one, or some where they take less time than saving them.

    >>> points_at_once(16), points_at_once(64), points_at_once(784)
    (8, 8, 1)
    """
    return min(_TOGETHER, max(1, _SMALL // dim**2))
