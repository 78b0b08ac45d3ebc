"""`geomem train`: train a diffusion model on images, and save it as a diffusers pipeline."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from geomem.data import DataSet, load
from geomem.errors import InputError, OutputError, reason_of
from geomem.jobs.progress import Progress, duration
from geomem.precision import multiplies_bf16
from geomem.records import Result, Run, digest
from geomem.training import run as training
from geomem.training.images import divided, shape_of, stored
from geomem.training.loop import Training
from geomem.training.noise_processes import NOISE_PROCESSES
from geomem.training.presets import PRESETS, TrainSettings
from geomem.training.unet import check_shape

if TYPE_CHECKING:
    from accelerate import Accelerator

__all__ = ["CHECKPOINT", "MODEL", "settings_of", "train", "train_in"]

# What a training leaves in its folder.
MODEL, CHECKPOINT = "model", "checkpoint.safetensors"


def settings_of(
    data: DataSet,
    preset: str,
    *,
    size: int | None = None,
    held_out: int = 0,
    noise_process: str = "vp",
    steps: int | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    ema_decay: float | None = None,
    precision: str = "auto",
    seed: int = 0,
    split_seed: int | None = None,
) -> TrainSettings:
    """Settings of a training, from a preset and what is to differ from it; see `TrainSettings`.

    Args:
        data: What to train on.
        preset: One of `PRESETS`.
        size: Number of images; None for all.
        held_out: Number of held-out images.
        noise_process: "vp" or "ve".
        steps: Instead of the preset's, as all that follows.
        batch_size: Images a step.
        learning_rate: Adam's.
        ema_decay: Of the average of the weights.
        precision: "float32", "bf16", or "auto": bf16 where the machine computes in it.
        seed: Of weights, batches and noise.
        split_seed: Of which images are trained on; None for `seed`.

    Raises:
        InputError: For what is not known or does not fit.
    """
    if preset not in PRESETS:
        known = "; ".join(f"{name} ({p.words})" for name, p in PRESETS.items())
        raise InputError(f"--preset: {preset!r} is not known; choose one of {known}.")
    if precision not in ("auto", "float32", "bf16"):
        raise InputError(f"--precision: {precision!r} is not known; choose auto, float32 or bf16.")
    if noise_process not in NOISE_PROCESSES:
        raise InputError(f"--noise-process: {noise_process!r} is not known; choose {' or '.join(NOISE_PROCESSES)}.")
    for name, value in (("--steps", steps), ("--batch-size", batch_size), ("--limit", size)):
        if value is not None and value < 1:
            raise InputError(f"{name}: at least 1 is needed, got {value}.")
    if held_out < 0 or seed < 0 or (split_seed is not None and split_seed < 0):
        raise InputError("--held-out, --seed: must not be negative.")
    if learning_rate is not None and not 0 < learning_rate < float("inf"):
        raise InputError(f"--learning-rate: must be finite and above 0, got {learning_rate:g}.")
    if ema_decay is not None and not 0 <= ema_decay < 1:
        raise InputError(f"--ema-decay: must lie between 0 and 1, below 1, got {ema_decay:g}.")
    shape, usual = shape_of(data), PRESETS[preset]
    check_shape(preset, shape)
    rows, _ = divided(data, size, held_out, seed if split_seed is None else split_seed)
    if precision == "auto":
        precision = "bf16" if multiplies_bf16("cuda" if torch.cuda.is_available() else "cpu") else "float32"
    return TrainSettings(
        data=(Path(data.name).name, data.fingerprint()),
        rows=len(data),
        size=rows.size,
        held_out=held_out,
        shape=shape,
        network=preset,
        noise_process=noise_process,
        steps=usual.steps if steps is None else steps,
        batch_size=usual.batch_size if batch_size is None else batch_size,
        learning_rate=usual.learning_rate if learning_rate is None else learning_rate,
        warmup=usual.warmup,
        ema_decay=usual.ema_decay if ema_decay is None else ema_decay,
        precision=precision,
        seed=seed,
        split_seed=seed if split_seed is None else split_seed,
    )


def train(
    data: str | Path | DataSet,
    *,
    preset: str,
    out: Path | str | None = None,
    force: bool = False,
    progress: Progress | None = None,
    tracker: str | None = None,
    **options: Any,
) -> Result:
    """Train a diffusion model on images. Interrupted, the same call resumes.

    Under `torchrun` the processes share each batch and train one model.

    Args:
        data: Anything that `images.load` reads, or a data set.
        preset: One of `PRESETS`.
        out: Folder of the run, None for one below geomem-train/ that is named after what is asked: model/ is the
            diffusers pipeline; training.npy and held-out.npy the images, where not all were trained on.
        force: Replace another run in the folder.
        progress: Called with what is being done and the share that is done.
        tracker: One of accelerate's, as "tensorboard", to log to; None for metrics.jsonl alone.
        **options: See `settings_of`.

    Raises:
        InputError: For data or options that cannot be used.
        OutputError: If the folder cannot be used, or is in use by another run.
        TrainingError: If loss or gradient are no longer finite; the last good state is kept.
    """
    loaded = data if isinstance(data, DataSet) else load(data)
    settings = settings_of(loaded, preset, **options)
    if out is None:
        out = Path("geomem-train") / f"{Path(settings.data[0]).stem}-{preset}-{digest(settings)}"
    return train_in(out, loaded, settings, force=force, progress=progress, tracker=tracker)


def train_in(
    out: Path | str,
    data: DataSet,
    settings: TrainSettings,
    *,
    force: bool = False,
    progress: Progress | None = None,
    tracker: str | None = None,
) -> Result:
    """As `train`, with settings that are made already.

    Raises:
        InputError, OutputError, TrainingError: As there.
    """
    from accelerate import Accelerator

    if tracker is not None:
        _check_tracker(tracker)
    whole = settings.size == settings.rows
    rows, apart = divided(data, None if whole else settings.size, settings.held_out, settings.split_seed)
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    if settings.batch_size % processes:
        raise InputError(
            f"--batch-size: {settings.batch_size} images cannot be shared evenly by {processes} processes."
        )
    accelerator = Accelerator(
        cpu=not torch.cuda.is_available(),  # several processes on processors are told apart by this alone
        mixed_precision="no",
        log_with=tracker,
        project_dir=str(Path(out).expanduser().resolve()),
    )
    if not accelerator.is_main_process:
        accelerator.wait_for_everyone()  # until the first process holds the folder
        _trained(Run.existing(out), stored(data, rows, settings.shape), settings, accelerator, None)
        accelerator.wait_for_everyone()  # until it has left the model
        return _result(Run.existing(out), settings)
    run = Run.open(out, "train", settings, force=force)
    with run.alone():
        accelerator.wait_for_everyone()
        if tracker is not None:
            accelerator.init_trackers(
                "tracked", config={k: v for k, v in asdict(settings).items() if isinstance(v, int | float | str)}
            )
        state = _trained(run, stored(data, rows, settings.shape), settings, accelerator, progress)
        if state is not None:
            _leave(run, data, {"training": rows, "held-out": apart}, state)
        accelerator.wait_for_everyone()
        accelerator.end_training()
        return _result(run, settings)


def _trained(
    run: Run, images: torch.Tensor, settings: TrainSettings, accelerator: "Accelerator", progress: Progress | None
) -> Training | None:
    """The trained state; None if the model stands already."""
    from geomem.training.denoising import ImageObjective

    if (run.path / MODEL).is_dir():
        return None

    def tell(at: training.TrainingProgress) -> None:
        if progress is not None:
            progress(
                f"training · {at.step:,} of {at.steps:,} steps, loss {at.loss:.4f}, {at.samples_per_second:,.0f} images/s, "
                f"{duration(at.seconds_left)} left",
                at.share,
            )

    return training.train_in(
        run,
        CHECKPOINT,
        settings,
        lambda state: ImageObjective(state, images, accelerator),
        tell=tell,
        accelerator=accelerator,
    )


def _check_tracker(name: str) -> None:
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS

    if name not in LOGGER_TYPE_TO_CLASS:
        raise InputError(f"--tracker: {name!r} is not known; choose one of {', '.join(LOGGER_TYPE_TO_CLASS)}.")
    if find_spec(name) is None:
        raise InputError(f"--tracker: {name} is not installed: pip install {name}.")


def _leave(run: Run, data: DataSet, rows: dict[str, NDArray[np.int64]], state: Training) -> None:
    """The model, and the images that it was trained on and was not, where these are not all."""
    if rows["training"].size < len(data):
        for name, chosen in rows.items():
            if chosen.size:
                with run.writing(f"{name}.npy") as temporary, temporary.open("wb") as stream:
                    np.save(stream, data.values[chosen])
    from geomem.training.denoising import pipeline

    with _folder(run.path / MODEL) as temporary:
        pipeline(state).save_pretrained(temporary)


@contextmanager
def _folder(path: Path) -> Iterator[Path]:
    """A temporary folder that becomes `path` when the block ends well, and vanishes otherwise."""
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent))
    try:
        try:
            yield temporary
            for written in temporary.rglob("*"):
                if written.is_file():
                    with written.open("rb") as stream:
                        os.fsync(stream.fileno())
            temporary.chmod(0o755)
            temporary.replace(path)
        except Exception as error:  # safetensors raises its own where the disk is full
            raise OutputError(
                f"{path}: cannot be written ({reason_of(error)}). The training is kept; free some space and run the same command "
                "again."
            ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _result(run: Run, settings: TrainSettings) -> Result:
    lines = [line for line in run.metrics() if "loss" in line]
    images = "all" if settings.size == settings.rows else f"{settings.size:,} of {settings.rows:,}"
    findings = [f"{settings.steps:,} steps of {settings.batch_size} images in {settings.precision}."]
    if lines:
        findings[0] = f"{findings[0][:-1]}; loss {lines[0]['loss']:.4f} at first, {lines[-1]['loss']:.4f} at last."
    whole = settings.size == settings.rows
    model, known = run.path / MODEL, settings.data[0] if whole else run.path / "training.npy"
    control = f" --control {run.path / 'held-out.npy'}" if settings.held_out else ""
    findings.append(f"Ask it what it remembers: geomem audit {known} --model {model}{control}")
    summary = {
        "title": f"{settings.network} trained on {images} images of {settings.data[0]}",
        "findings": {"training": findings},
        "settings": asdict(settings),
        "losses": {line["step"]: line["loss"] for line in lines},
    }
    return Result(run.path, model, summary)
