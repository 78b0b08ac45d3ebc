"""Small networks: the toy denoiser, ensembles over data-set sizes, training and checkpoints."""

from geomem.networks.checkpoint import load_checkpoint, save_checkpoint
from geomem.networks.ensemble import Ensemble
from geomem.networks.loop import TrainConfig, TrainState, TrainStep, train
from geomem.networks.mlp import PARAMETRISATIONS, ResidualMLP
from geomem.networks.parallel import one_thread, train_together

__all__ = [
    "PARAMETRISATIONS",
    "Ensemble",
    "ResidualMLP",
    "TrainConfig",
    "TrainState",
    "TrainStep",
    "load_checkpoint",
    "one_thread",
    "save_checkpoint",
    "train",
    "train_together",
]
