"""The main job: what data or samples tell of memorization, with controls and intervals."""

from geomem.audit.copying import Rate, Verdict, copy_rate, neighbour_distances, rate_of_copies, superiority, verdict
from geomem.audit.plain import plain
from geomem.intervals import Interval, difference, mean, resampled

__all__ = [
    "Interval",
    "Rate",
    "Verdict",
    "copy_rate",
    "difference",
    "mean",
    "neighbour_distances",
    "plain",
    "rate_of_copies",
    "resampled",
    "superiority",
    "verdict",
]
