"""Scores grad log p_t(x) in variance-exploding coordinates: exact, empirical, and of trained networks."""

from geomem.scores.base import DensityScore, Score, events
from geomem.scores.empirical import EmpiricalScore
from geomem.scores.gaussian import GaussianScore
from geomem.scores.network import PREDICTIONS, NetworkScore

__all__ = ["PREDICTIONS", "DensityScore", "EmpiricalScore", "GaussianScore", "NetworkScore", "Score", "events"]
