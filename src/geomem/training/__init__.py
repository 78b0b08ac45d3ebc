"""Training: small denoisers as stacked ensembles, and image networks in diffusers' classes."""

from geomem.training.ensemble import Ensemble
from geomem.training.mlp import PARAMETRISATIONS, ResidualMLP
from geomem.training.parallel import one_thread, train_together
from geomem.training.presets import PRESETS, TrainingPreset, TrainSettings
from geomem.training.small import TrainConfig, TrainState, TrainStep, train
from geomem.training.small_checkpoint import load_checkpoint, save_checkpoint

__all__ = [
    "PARAMETRISATIONS",
    "PRESETS",
    "Ensemble",
    "ResidualMLP",
    "TrainConfig",
    "TrainSettings",
    "TrainState",
    "TrainStep",
    "TrainingPreset",
    "load_checkpoint",
    "one_thread",
    "save_checkpoint",
    "train",
    "train_together",
]
