"""What `geomem train` is asked for."""

from dataclasses import dataclass

from geomem.jobs.reading import Reading, data_option
from geomem.jobs.request import option
from geomem.jobs.train.options import TrainingOptions

__all__ = ["TrainRequest"]


@dataclass(frozen=True)
class TrainRequest(TrainingOptions, Reading):
    """Train a diffusion model on images and save it as a diffusers pipeline.

    An interrupted or killed run resumes with the same command. For several GPUs or processes: torchrun --nproc-per-node N -m
    geomem train ...
    """

    data: str = data_option("Training images", positional=True)
    hold_out: int = option(0, help="Number of images to hold out, saved as held-out.npy.", least=0)
    seed: int = option(0, help="Random seed.", least=0)
    tracker: str | None = option(
        None, help="Also log to one of accelerate's trackers, such as tensorboard.", recorded=False
    )
