"""`geomem reproduce`: run an experiment of the paper, or all of them."""

import json
from collections.abc import Iterator
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import xarray as xr

from geomem.errors import InputError
from geomem.jobs.progress import Progress, Stages
from geomem.paper.experiment import SCALES, Experiment
from geomem.paper.experiments import EXPERIMENTS
from geomem.paper.verdict import judged
from geomem.records import Result, Run, digest
from geomem.training import one_thread

__all__ = ["expected_seconds", "experiment_named", "finish", "left_out", "records_of", "run", "run_all"]

_COMMAND = "reproduce"


def experiment_named(name: str) -> Experiment:
    """The experiment of a name such as "fig4" or "fig11".

    Raises:
        InputError: For an unknown name, with those there are.
    """
    for experiment in EXPERIMENTS.values():
        if name == experiment.name or name in experiment.also:
            return experiment
    raise InputError(f"{name!r}: is no experiment; choose one of {', '.join(EXPERIMENTS)}, or all (see --list).")


def run(
    name: str,
    *,
    scale: str = "quick",
    steps: int | None = None,
    seed: int = 0,
    out: Path | str | None = None,
    data: Path | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> Result:
    """Reproduce one figure: records, picture, and verdicts on the claims that rest on it. Rerun to resume.

    Args:
        name: See `EXPERIMENTS`.
        scale: "quick" (80 seconds at most on two cores), "full" (the paper's own parameters) or, for some, "reduced".
        steps: Optimizer steps of the networks instead of the scale's.
        seed: Random seed.
        out: Folder of the run; None is geomem-reproduce/<scale>/<name>, with the seed or steps where they are changed.
        data: Folder of the data sets that some scales need and that do not come with geomem.
        force: Replace another run in the folder.
        progress: Called with what is being done and the fraction that is done.

    Returns:
        Folder, picture, and summary with the verdicts.

    Raises:
        InputError: For an unknown name or scale, a negative seed, or steps for an experiment without networks.
        OutputError: If the folder cannot be used.
    """
    experiment = experiment_named(name)
    settings = _settings(experiment, scale, steps, seed)
    if out is None:
        changed = "" if steps is None and seed == 0 else f"-{digest(settings)}"
        out = Path("geomem-reproduce") / scale / f"{experiment.name}{changed}"
    if experiment.check_data is not None:
        experiment.check_data(settings, data)  # a run that lacks its data is not begun
    folder = Run.open(out, f"{_COMMAND} {experiment.name}", settings, force=force)
    with folder.alone(), one_thread():
        parts = experiment.parts(settings, data) if experiment.reads else experiment.parts(settings)
        stages = Stages(progress, dict.fromkeys(parts, 1 / len(parts)))
        for part, work in parts.items():
            if not folder.has(part):
                label = f"{experiment.name}: {part.replace('_', ' ')}"
                stages.begin(part, label)
                folder.save(part, work(folder, partial(stages.begin, part, label)))
            stages.done(part)
        stages.say(f"{experiment.name}: drawing")
        return finish(folder)


def run_all(
    *,
    scale: str = "quick",
    seed: int = 0,
    out: Path | str | None = None,
    data: Path | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> Iterator[Result]:
    """Every experiment but `left_out`, each in a folder below `out` that has its name; yields after each. Arguments are `run`'s."""
    for name in EXPERIMENTS:
        if name in left_out(scale, data):
            continue
        folder = None if out is None else Path(out) / name
        yield run(name, scale=scale, seed=seed, out=folder, data=data, force=force, progress=progress)


def left_out(scale: str, data: Path | None) -> list[str]:
    """Experiments that `run_all` passes over, because they need data that are not given."""
    return [e.name for e in EXPERIMENTS.values() if e.reads and scale != "quick" and data is None]


def finish(folder: Run) -> Result:
    """Picture and verdicts from the records of a complete run.

    Raises:
        InputError: For a run that has not finished.
    """
    experiment = _experiment_of(folder)
    settings, records = _settings_of(folder, experiment), records_of(folder)
    where = folder.environment()
    note = f"geomem {where['geomem']} reproduce {experiment.name}, commit {where['commit']}, seed {settings.seed}"
    picture = f"{experiment.name}.png"
    with folder.writing(picture) as temporary:
        experiment.figure(records, settings, note).savefig(temporary, format="png")
    verdicts = judged(experiment.claims, {experiment.name: records})
    summary: dict[str, Any] = {
        "title": f"{experiment.place}: {experiment.title}",
        "findings": {"claims": [verdict.line() for verdict in verdicts]},
        "claims": [verdict.plain() for verdict in verdicts],
    }
    folder.write_text("claims.json", json.dumps(summary["claims"], indent=2) + "\n")
    return Result(folder.path, folder.path / picture, summary)


def expected_seconds(name: str, scale: str, steps: int | None = None, seed: int = 0) -> float:
    """About how long an experiment takes here; for networks from a few steps of their training."""
    experiment = experiment_named(name)
    settings = _settings(experiment, scale, steps, seed)
    if scale == "full" and experiment.training_seconds is not None:
        with one_thread():
            return experiment.training_seconds(settings) + 600
    return experiment.seconds[scale]


def _settings(experiment: Experiment, scale: str, steps: int | None, seed: int) -> Any:
    if scale not in experiment.settings:
        raise InputError(
            f"--scale: {experiment.name} has no scale {scale!r}; choose one of {', '.join(s for s in SCALES if s in experiment.settings)}."
        )
    if seed < 0:
        raise InputError(f"--seed: must not be negative, got {seed}.")
    settings = replace(experiment.settings[scale], seed=seed)
    if steps is None:
        return settings
    if experiment.with_steps is None:
        raise InputError(f"--steps: {experiment.name} trains no networks; leave it out.")
    if steps < 1:
        raise InputError(f"--steps: at least 1 is needed, got {steps}.")
    return experiment.with_steps(settings, steps)


def records_of(folder: Run) -> dict[str, xr.Dataset]:
    """The records of a finished run.

    Raises:
        InputError: If it was made by another command, or has not finished.
    """
    experiment = _experiment_of(folder)
    return folder.load_all(list(experiment.parts(_settings_of(folder, experiment))))


def _settings_of(folder: Run, experiment: Experiment) -> Any:
    """The settings of a run as JSON holds them: with lists for tuples, and dictionaries for settings within settings."""
    kind = type(experiment.settings["full"])
    try:
        return kind(**{f.name: folder.config[f.name] for f in fields(kind)})
    except KeyError as error:
        raise InputError(
            f"{folder.path}: was made by another version of geomem (no {error}); make it again."
        ) from error


def _experiment_of(folder: Run) -> Experiment:
    command = folder.config["command"]
    if not command.startswith(f"{_COMMAND} "):
        raise InputError(f"{folder.path}: was made by geomem {command}, not by geomem {_COMMAND}.")
    return experiment_named(command.removeprefix(f"{_COMMAND} "))
