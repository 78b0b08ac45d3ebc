"""`geomem reproduce`: an experiment of the paper on the job engine, or all of them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import xarray as xr

from geomem.errors import InputError
from geomem.jobs.job import Job, Part, Report, Stage, Tell
from geomem.jobs.progress import duration
from geomem.page import Column, Picture, Table
from geomem.paper.experiment import Experiment, Work
from geomem.paper.experiments import EXPERIMENTS, experiment_named
from geomem.paper.records import COMMAND, experiment_of, records_of, settings_of
from geomem.paper.request import SCALES, ReproduceRequest
from geomem.paper.verdict import judged
from geomem.precision import one_thread
from geomem.records import Run

__all__ = ["ReproduceJob"]

# Longer runs are announced.
_LONG_SECONDS = 120


@dataclass(frozen=True)
class Chosen:
    """An experiment with its settings at one scale."""

    experiment: Experiment
    settings: Any
    data: Path | None


class ReproduceJob(Job[ReproduceRequest, Chosen]):
    """See `ReproduceRequest`."""

    name = COMMAND
    request = ReproduceRequest

    def answer(self, request: ReproduceRequest) -> Table | None:
        """The list of experiments, where none is named."""
        if request.name and not request.list:
            return None
        columns = [Column(title, "") for title in ("name", "place", "quick", "full", "what")]
        rows = [
            [
                ", ".join((e.name, *e.also)),
                e.place,
                duration(e.seconds["quick"]),
                duration(e.seconds["full"]),
                e.title,
            ]
            for e in EXPERIMENTS.values()
        ]
        return Table("experiments", columns, rows)

    def expanded(self, request: ReproduceRequest) -> Mapping[str, ReproduceRequest]:
        """Every experiment for "all", but for those whose data are not given."""
        if request.name != "all":
            return {"": request}
        there = [e for e in EXPERIMENTS.values() if e.check_data is None or request.scale == "quick" or request.data]
        return {e.name: replace(request, name=e.name) for e in there}

    def open(self, request: ReproduceRequest) -> Chosen:
        """The experiment; its data are looked for."""
        experiment, data = experiment_named(request.name), None if request.data is None else Path(request.data)
        if request.scale not in experiment.settings:
            known = ", ".join(scale for scale in SCALES if scale in experiment.settings)
            raise InputError(f"--scale: {experiment.name} has no scale {request.scale!r}; choose one of {known}.")
        settings = replace(experiment.settings[request.scale], seed=request.seed)
        if request.steps is not None:
            if experiment.with_steps is None:
                raise InputError(f"--steps: {experiment.name} trains no networks; leave it out.")
            settings = experiment.with_steps(settings, request.steps)
        if experiment.check_data is not None:
            experiment.check_data(settings, data)
        return Chosen(experiment, settings, data)

    def facts(self, request: ReproduceRequest, inputs: Chosen) -> Mapping[str, Any]:
        """The experiment's own name, and its settings: all that its records depend on."""
        return {"name": inputs.experiment.name, **asdict(inputs.settings)}

    def notice(self, request: ReproduceRequest, inputs: Chosen) -> str | None:
        """How long it takes, where that is long."""
        seconds = self._seconds(request, inputs)
        if seconds <= _LONG_SECONDS:
            return None
        where = " on a GPU that sustains 40 TFLOP/s" if inputs.experiment.check_data and request.scale == "full" else ""
        name = inputs.experiment.name
        return f"{name} at {request.scale} scale takes about {duration(seconds)}{where}; interrupted, it resumes."

    def _seconds(self, request: ReproduceRequest, inputs: Chosen) -> float:
        experiment = inputs.experiment
        if request.scale == "full" and experiment.training_seconds is not None:
            with one_thread():
                return experiment.training_seconds(inputs.settings)
        return experiment.seconds[request.scale]

    def stages(self, request: ReproduceRequest, inputs: Chosen, run: Run) -> Sequence[Stage]:
        """The experiment's parts, which are its records."""
        experiment, seconds = inputs.experiment, inputs.experiment.seconds[request.scale]
        if experiment.stages is not None:
            return experiment.stages(inputs.settings, inputs.data, run)

        def parts() -> list[Part]:
            assert experiment.parts is not None
            works = experiment.parts(inputs.settings)
            return [
                Part(name, f"{experiment.name}: {name.replace('_', ' ')}", partial(_made, work, run))
                for name, work in works.items()
            ]

        return [Stage("parts", parts, seconds=seconds)]

    def report(self, run: Run) -> Report:
        """The figure, and verdicts on the claims that rest on it."""
        experiment = experiment_of(run)
        records, settings = records_of(run), settings_of(run, experiment)
        verdicts = judged(experiment.claims, {experiment.name: records})
        run.write_text("claims.json", json.dumps([verdict.plain() for verdict in verdicts], indent=2) + "\n")
        title = f"{experiment.place}: {experiment.title}"
        picture = Picture(experiment.name, experiment.figure(records, settings, run.note()), title, title)
        lines = [verdict.line() for verdict in verdicts]
        if verdicts and run.config["scale"] != "full":
            lines.append(
                f"These verdicts are of the {run.config['scale']} scale; those of the full scale are in docs/claims.md."
            )
        summary = {"claims": [verdict.plain() for verdict in verdicts]}
        return Report(title, summary, pictures=[picture], lines=lines)

    def title(self, request: ReproduceRequest) -> str:
        """The command with the experiment's own name."""
        return f"{COMMAND} {experiment_named(request.name).name}"

    def default_folder(self, request: ReproduceRequest, digest: str) -> Path:
        """Below the scale; with the seed or steps where they are changed."""
        changed = "" if request.steps is None and request.seed == 0 else f"-{digest}"
        return Path("geomem-reproduce") / request.scale / f"{experiment_named(request.name).name}{changed}"


def _made(work: Work, run: Run, tell: Tell) -> xr.Dataset:
    return work(run, lambda share: tell(share, ""))
