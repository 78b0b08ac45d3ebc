"""What an experiment of the paper is: settings for each scale, named parts that compute records, a figure.

A part is one file of the run's folder. Parts that stand are not computed again, so an interrupted run goes on where it
was; a part that takes long keeps its own state in the folder as well.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import xarray as xr

from geomem.records import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["SCALES", "Experiment", "Records", "Telling", "Work"]

SCALES = ("quick", "reduced", "full")

Records = Mapping[str, xr.Dataset]
# Told the share of a part that is done.
Telling = Callable[[float], None]
Work = Callable[[Run, Telling], xr.Dataset]


@dataclass(frozen=True)
class Experiment:
    """One figure of the paper, or one of its statements that has no figure.

    Attributes:
        name: As `geomem reproduce` takes it.
        place: Where it is in the paper.
        title: What is shown, in a line.
        settings: Scale ("quick" and "full", and "reduced" where full is beyond a processor) to a dataclass instance that JSON
            can hold; its fields are all that a record depends on.
        seconds: Scale to the time it takes on two cores of a 2.1 GHz Xeon of 2023, all its own work, measured; fig6's full one is a GPU's,
            estimated.
        parts: Names of the records, in order, with the work that makes each; takes the folder of the data too where `reads`.
        figure: Draws the records; takes the title and the small print.
        also: Other names of the same experiment.
        reads: Whether some scales need data that do not come with geomem.
    """

    name: str
    place: str
    title: str
    settings: Mapping[str, Any]
    seconds: Mapping[str, float]
    parts: Callable[..., Mapping[str, Work]]
    figure: Callable[[Records, str], "Figure"]
    also: tuple[str, ...] = ()
    reads: bool = False
