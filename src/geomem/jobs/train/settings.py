"""All that a training depends on, from the options of a request and the data."""

import os
from importlib.util import find_spec
from pathlib import Path

import torch

from geomem.data import DataSet
from geomem.errors import InputError
from geomem.jobs.train.options import TrainingOptions
from geomem.precision import multiplies_bf16
from geomem.training.images import divided, shape_of
from geomem.training.presets import PRESETS, TrainSettings
from geomem.training.unet import check_shape

__all__ = ["check_tracker", "processes", "settings_of"]


def settings_of(
    data: DataSet, options: TrainingOptions, *, size: int | None, held_out: int, seed: int, split_seed: int
) -> TrainSettings:
    """Settings of a training: the preset's where nothing else is asked for.

    Args:
        data: The images.
        options: Preset, and what differs from it.
        size: Number of training images; None for all.
        held_out: Number of held-out images.
        seed: Seed of weights, batches and noise.
        split_seed: Seed of which images are trained on.

    Raises:
        InputError: For images that the preset does not take, or fewer than asked for.
    """
    preset = PRESETS[options.preset]
    shape = shape_of(data)
    check_shape(options.preset, shape)
    rows, _ = divided(data, size, held_out, split_seed)
    precision = options.precision
    if precision == "auto":
        precision = "bf16" if multiplies_bf16("cuda" if torch.cuda.is_available() else "cpu") else "float32"
    return TrainSettings(
        data=(Path(data.name).name, data.fingerprint()),
        rows=len(data),
        size=rows.size,
        held_out=held_out,
        shape=shape,
        network=options.preset,
        noise_process=options.noise_process,
        steps=preset.steps if options.steps is None else options.steps,
        batch_size=preset.batch_size if options.batch_size is None else options.batch_size,
        learning_rate=preset.learning_rate if options.learning_rate is None else options.learning_rate,
        warmup=preset.warmup,
        ema_decay=preset.ema_decay if options.ema_decay is None else options.ema_decay,
        precision=precision,
        seed=seed,
        split_seed=split_seed,
    )


def processes() -> int:
    """Number of processes that torchrun has started to train one model; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def check_tracker(name: str) -> None:
    """Refuse trackers that accelerate does not know, or that are not installed.

    Raises:
        InputError: Naming the option.
    """
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS

    if name not in LOGGER_TYPE_TO_CLASS:
        raise InputError(f"--tracker: {name!r} is not known; choose one of {', '.join(LOGGER_TYPE_TO_CLASS)}.")
    if find_spec(name) is None:
        raise InputError(f"--tracker: {name} is not installed: pip install {name}.")
