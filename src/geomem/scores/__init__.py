"""Scores grad log p_t(x) in variance-exploding coordinates: exact scores, empirical scores, and trained networks."""

from geomem.scores.base import DensityScore, Score, events
from geomem.scores.empirical import EmpiricalScore
from geomem.scores.gaussian import GaussianScore, principal_components
from geomem.scores.network import PREDICTIONS, NetworkScore
from geomem.scores.posterior import Posterior

__all__ = [
    "PREDICTIONS",
    "DensityScore",
    "EmpiricalScore",
    "GaussianScore",
    "NetworkScore",
    "Posterior",
    "Score",
    "events",
    "principal_components",
]
