"""Scores grad log p_t(x) in variance-exploding coordinates: exact, empirical, and of trained networks."""

from geomem.scores.base import DensityScore, Score, events
from geomem.scores.empirical import EmpiricalScore
from geomem.scores.gaussian import GaussianScore, principal_components
from geomem.scores.network import PREDICTIONS, NetworkScore
from geomem.scores.pipelines import PipelineScore, load
from geomem.scores.posterior import Posterior
from geomem.scores.schedules import SCHEDULERS

__all__ = [
    "PREDICTIONS",
    "SCHEDULERS",
    "DensityScore",
    "EmpiricalScore",
    "GaussianScore",
    "NetworkScore",
    "PipelineScore",
    "Posterior",
    "Score",
    "events",
    "load",
    "principal_components",
]
