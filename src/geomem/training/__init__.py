"""Training: one loop, one checkpoint format, one average of the weights, for ensembles of small networks and for image
networks in diffusers' classes.
"""

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
