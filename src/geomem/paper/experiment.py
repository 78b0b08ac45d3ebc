"""An experiment of the paper: settings for each scale, named parts that compute records, a figure, and claims.

A part is one file of the run's folder. Finished parts are not computed again, so an interrupted run resumes; a part
that takes long saves its own progress in the folder as well.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xarray as xr

from geomem.jobs.job import Stage
from geomem.paper.verdict import Claim, Records
from geomem.records import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Experiment", "Records", "Telling", "Work", "scaled"]

# Called with the fraction of a part that is done.
Telling = Callable[[float], None]
Work = Callable[[Run, Telling], xr.Dataset]


@dataclass(frozen=True)
class Experiment:
    """One figure of the paper, or one of its statements that has no figure.

    Attributes:
        name: Argument of `geomem reproduce`.
        place: Where it is in the paper.
        title: What is shown, in a line.
        settings: Scale ("quick" and "full", and "reduced" where full is beyond a CPU) to a dataclass instance that
            JSON can hold; its fields are all that a record depends on.
        seconds: Scale to the measured time on two cores of a 2.1 GHz Xeon of 2023; fig6's full one is estimated for a
            GPU.
        parts: Names of the records, in order, with the work that makes each; None where `stages` has them.
        figure: Draws the records; takes the settings, as the run's configuration holds them, and a note for the caption.
        claims: Statements that are judged on its records, alone or with those of other experiments.
        also: Other names of the same experiment.
        stages: Stages of the job engine from settings, folder of the data and run, in place of `parts`.
        check_data: Checks that the data of some settings are in a folder, where some scales need data that do not come
            with geomem.
        with_steps: Settings with another number of training steps, where networks are trained.
        training_seconds: How long the training takes here at full scale, measured on a few steps.
    """

    name: str
    place: str
    title: str
    settings: Mapping[str, Any]
    seconds: Mapping[str, float]
    parts: Callable[[Any], Mapping[str, Work]] | None
    figure: Callable[[Records, Any, str], "Figure"]
    claims: tuple[Claim, ...] = ()
    also: tuple[str, ...] = ()
    stages: Callable[[Any, Path | None, Run], Sequence[Stage]] | None = None
    check_data: Callable[[Any, Path | None], object] | None = None
    with_steps: Callable[[Any, int], Any] | None = None
    training_seconds: Callable[[Any], float] | None = None

    def records(self, settings: Any) -> list[str]:
        """Names of the records of a finished run: the parts, or the sweeps of images."""
        return list(settings.sweeps if self.parts is None else self.parts(settings))


def scaled(full: Any, **quick: Any) -> dict[str, Any]:
    """Settings of both scales: the full ones, and the same with some fields made small."""
    return {"quick": replace(full, **quick), "full": full}
