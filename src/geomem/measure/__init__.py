"""Measurements of scores, data and samples, as labelled arrays."""

from geomem.intervals import Interval, difference, mean, resampled
from geomem.measure.copies import Rate, Verdict, copy_rate, neighbour_distances, rate_of_copies, superiority

__all__ = [
    "Interval",
    "Rate",
    "Verdict",
    "copy_rate",
    "difference",
    "mean",
    "neighbour_distances",
    "rate_of_copies",
    "resampled",
    "superiority",
]
