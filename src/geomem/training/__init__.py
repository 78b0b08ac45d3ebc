"""Training of image networks in diffusers' classes: presets, the loop, checkpoints, and the command."""

from geomem.training.presets import PRESETS, TrainingPreset, TrainSettings
from geomem.training.run import settings_of, train, train_in

__all__ = ["PRESETS", "TrainSettings", "TrainingPreset", "settings_of", "train", "train_in"]
