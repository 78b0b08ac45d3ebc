"""Models that people have, opened as scores: diffusers folders and models of the hub."""

from geomem.models.model import Model, fingerprint, opened
from geomem.models.pipelines import PipelineScore, load
from geomem.models.schedules import SCHEDULERS

__all__ = ["SCHEDULERS", "Model", "PipelineScore", "fingerprint", "load", "opened"]
