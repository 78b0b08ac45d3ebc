"""Training one model in a folder, which it leaves there as a diffusers pipeline.

model/                   the averaged weights, readable by diffusers; whole or absent
checkpoint.safetensors   from which training resumes
training.npy             the images that it was trained on, where these are not all of the data
held-out.npy             the held-out images, where there are any
metrics.jsonl            loss and speed
"""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import xarray as xr
from safetensors import SafetensorError

from geomem.data import DataSet
from geomem.errors import reason_of
from geomem.jobs.job import Tell
from geomem.jobs.progress import duration
from geomem.records import Run
from geomem.training.images import divided, stored
from geomem.training.presets import TrainSettings
from geomem.training.run import TrainingProgress, train_in

if TYPE_CHECKING:
    from accelerate import Accelerator

__all__ = ["CHECKPOINT", "MODEL", "accelerator_in", "losses", "train_model"]

MODEL, CHECKPOINT = "model", "checkpoint.safetensors"
# Folder of a tracker's log; Weights & Biases has one of its own.
_TRACKED = "tracked"


def accelerator_in(folder: Path, tracker: str | None = None) -> "Accelerator":
    """accelerate's view of this process and the others; trackers write into the folder."""
    from accelerate import Accelerator

    return Accelerator(
        cpu=not torch.cuda.is_available(),  # only this tells several processes on CPUs apart
        mixed_precision="no",
        log_with=tracker,
        project_dir=str(folder.expanduser().resolve()),
    )


def train_model(
    run: Run, data: DataSet, settings: TrainSettings, accelerator: "Accelerator", tell: Tell, *, tracked: bool = False
) -> None:
    """Train to the last step from where the folder stands, and leave the model; all processes of a training call it.

    Args:
        run: The folder.
        data: The images.
        settings: How to train.
        accelerator: See `accelerator_in`.
        tell: Called with the share of the steps that is done, and where training stands.
        tracked: Whether accelerate's tracker logs as well.

    Raises:
        InputError: If the checkpoint is damaged, or of another training.
        OutputError: If the folder cannot be written.
        TrainingError: If a loss or a gradient is not finite; the last good state is saved.
        KeyboardInterrupt: If it was stopped by a signal; the state is saved.
    """
    if (run.path / MODEL).is_dir():
        return
    from geomem.training.denoising import ImageObjective, pipeline

    if tracked:
        plain = {key: value for key, value in asdict(settings).items() if isinstance(value, int | float | str)}
        run.owns(f"{_TRACKED}/*", "wandb/*")
        accelerator.init_trackers(_TRACKED, config=plain)
    whole = settings.size == settings.rows
    rows, apart = divided(data, None if whole else settings.size, settings.held_out, settings.split_seed)
    images = stored(data, rows, settings.shape)
    state = train_in(
        run,
        CHECKPOINT,
        settings,
        lambda state: ImageObjective(state, images, accelerator),
        tell=lambda at: tell(at.share, _words(at)),
        accelerator=accelerator,
    )
    if accelerator.is_main_process:
        if rows.size < len(data):
            for name, chosen in {"training": rows, "held-out": apart}.items():
                if chosen.size:
                    with run.writing(f"{name}.npy") as temporary, temporary.open("wb") as stream:
                        np.save(stream, data.values[chosen])
        with run.writing_folder(MODEL) as temporary:
            try:
                pipeline(state).save_pretrained(temporary)
            except SafetensorError as error:  # its own where the disk is full
                raise OSError(reason_of(error)) from error
    accelerator.wait_for_everyone()  # until the first process has left the model
    if accelerator.is_main_process:
        accelerator.end_training()


def losses(run: Run) -> xr.Dataset:
    """Loss and learning rate over the steps that were logged; empty where the log is gone."""
    lines = {
        line["step"]: line for line in run.metrics() if "loss" in line
    }  # steps done again after a kill stand twice
    steps = sorted(lines)
    return xr.Dataset(
        {
            name: ("step", np.array([lines[step][name] for step in steps], dtype=np.float64), {"units": "1"})
            for name in ("loss", "learning_rate")
        },
        coords={"step": np.array(steps, dtype=np.int64)},
    )


def _words(at: TrainingProgress) -> str:
    """Where training stands, for people."""
    return (
        f"training · {at.step:,} of {at.steps:,} steps, loss {at.loss:.4f}, {at.samples_per_second:,.0f} images/s, "
        f"{duration(at.seconds_left)} left"
    )
