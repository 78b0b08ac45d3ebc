"""Training of small-network ensembles and of diffusers image networks, with one loop, one checkpoint format and one EMA."""

from geomem.training.checkpoint import load_training, save_training
from geomem.training.ensemble import Ensemble
from geomem.training.loop import Objective, Settings, Training, TrainingStep, steps
from geomem.training.mlp import PARAMETRISATIONS, ResidualMLP
from geomem.training.nested import EnsembleObjective, EnsembleSettings, members
from geomem.training.presets import PRESETS, TrainingPreset, TrainSettings
from geomem.training.run import TrainingProgress, train_in

__all__ = [
    "PARAMETRISATIONS",
    "PRESETS",
    "Ensemble",
    "EnsembleObjective",
    "EnsembleSettings",
    "Objective",
    "ResidualMLP",
    "Settings",
    "TrainSettings",
    "Training",
    "TrainingPreset",
    "TrainingProgress",
    "TrainingStep",
    "load_training",
    "members",
    "save_training",
    "steps",
    "train_in",
]
