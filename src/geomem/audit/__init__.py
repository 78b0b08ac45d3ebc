"""The main job's parts: copies among samples with their control, and intervals over points."""

from geomem.audit.copying import Rate, copy_rate, neighbour_distances, rate_of_copies
from geomem.audit.intervals import Interval, difference, mean

__all__ = ["Interval", "Rate", "copy_rate", "difference", "mean", "neighbour_distances", "rate_of_copies"]
