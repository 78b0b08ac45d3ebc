"""Existing diffusion models, opened as scores: diffusers folders and models on the hub."""

from geomem.models.model import Model, fingerprint, opened, wrapped
from geomem.models.pipelines import PipelineScore, load
from geomem.models.samples import drawn
from geomem.models.schedules import SCHEDULERS

__all__ = ["SCHEDULERS", "Model", "PipelineScore", "drawn", "fingerprint", "load", "opened", "wrapped"]
