"""`geomem train`: one model, as diffusers' pipelines are, and the record of its losses.

Under torchrun all processes train one model: the first holds the folder and writes, the others follow it.
"""

import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import xarray as xr

from geomem.data import DataSet
from geomem.errors import InputError
from geomem.jobs.job import Job, Part, Report, Stage, Tell
from geomem.jobs.reading import Reading
from geomem.jobs.request import options
from geomem.jobs.train.model import MODEL, accelerator_in, losses, train_model
from geomem.jobs.train.request import TrainRequest
from geomem.jobs.train.settings import check_tracker, processes, settings_of
from geomem.records import Run
from geomem.training.presets import TrainSettings

__all__ = ["TrainJob"]

_RECORD = "losses"


@dataclass(frozen=True)
class _Inputs:
    """The images, and how to train on them."""

    data: DataSet
    settings: TrainSettings


class TrainJob(Job[TrainRequest, _Inputs]):
    """See `TrainRequest`."""

    name = "train"
    request = TrainRequest

    def open(self, request: TrainRequest) -> _Inputs:
        """Read the images, and refuse what cannot be trained."""
        if request.tracker is not None:
            check_tracker(request.tracker)
        data = request.load(request.data)
        settings = settings_of(
            data,
            request,
            size=request.limit,
            held_out=request.hold_out,
            seed=request.seed,
            split_seed=request.seed,
        )
        if settings.batch_size % processes():
            raise InputError(
                f"--batch-size: {settings.batch_size} images cannot be shared evenly by {processes()} processes."
            )
        return _Inputs(data, settings)

    def facts(self, request: TrainRequest, inputs: _Inputs) -> Mapping[str, Any]:
        """The settings, with a digest of the data and the precision that was chosen."""
        return {"precision": inputs.settings.precision, "settings": asdict(inputs.settings)}

    def notice(self, request: TrainRequest, inputs: _Inputs) -> str | None:
        """What was left out of the data."""
        return request.omitted(inputs.data)

    def folder(self, request: TrainRequest) -> str:
        """Data and preset."""
        return f"{Path(request.data).stem}-{request.preset}"

    def follows(self, request: TrainRequest, inputs: _Inputs, folder: Path) -> bool:
        """Train with the first process, if this is another one."""
        if processes() == 1 or os.environ.get("RANK", "0") == "0":
            return False
        accelerator = accelerator_in(folder)
        accelerator.wait_for_everyone()  # until the first process holds the folder
        train_model(Run.existing(folder), inputs.data, inputs.settings, accelerator, lambda share, label: None)
        return True

    def stages(self, request: TrainRequest, inputs: _Inputs, run: Run) -> Sequence[Stage]:
        """Training, with all cores."""
        if not (run.path / MODEL).is_dir():
            run.remove(_RECORD)  # a model that was deleted is trained again
        shared = None
        if processes() > 1:
            shared = accelerator_in(run.path, request.tracker)
            shared.wait_for_everyone()  # the folder is held: the others may look into it

        def make(tell: Tell) -> xr.Dataset:
            accelerator = shared or accelerator_in(run.path, request.tracker)
            train_model(run, inputs.data, inputs.settings, accelerator, tell, tracked=request.tracker is not None)
            return losses(run)

        return [Stage(_RECORD, lambda: [Part(_RECORD, "training", make)], all_cores=True)]

    def report(self, run: Run) -> Report:
        """What was trained, its loss, and the command that audits it."""
        found = run.load_all([_RECORD])[_RECORD]
        settings, request = TrainSettings.read(run.config["settings"]), TrainRequest.read(run.config)
        whole = settings.size == settings.rows
        images = "all" if whole else f"{settings.size:,} of {settings.rows:,}"
        said = f"{settings.steps:,} steps of {settings.batch_size} images in {settings.precision}"
        if found.sizes["step"]:
            said += f"; loss {float(found['loss'][0]):.4f} at first, {float(found['loss'][-1]):.4f} at last"
        summary = {
            "short": [f"{said}."],
            "next": f"Audit it:\n{_audit(run, request, settings)}",
            "model": str(run.path / MODEL),
            "settings": asdict(settings),
            "losses": dict(zip(map(str, found["step"].values.tolist()), found["loss"].values.tolist(), strict=True)),
        }
        title = f"{settings.network} trained on {images} images of {settings.data[0]}"
        return Report(title, summary, left=run.path / MODEL)


def _audit(run: Run, request: TrainRequest, settings: TrainSettings) -> str:
    """The command that audits the model; images that were left out of training are in files of their own."""
    words = ["geomem", "audit", str(run.path / MODEL), "--trained-on"]
    if settings.size < settings.rows:
        words.append(str(run.path / "training.npy"))
    else:
        reading = Reading(**{name: getattr(request, name) for name in options(Reading)})
        words += [request.data, *shlex.split(reading.command_line(""))]
    if settings.held_out:
        words += ["--held-out", str(run.path / "held-out.npy")]
    return shlex.join(words)
