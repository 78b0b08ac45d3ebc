"""The runs of experiments: which experiment made a folder, with which settings, and its records."""

from dataclasses import fields
from typing import Any

import xarray as xr

from geomem.errors import InputError
from geomem.paper.experiment import Experiment
from geomem.paper.experiments import experiment_named
from geomem.records import Run

__all__ = ["COMMAND", "experiment_of", "records_of", "settings_of"]

COMMAND = "reproduce"


def experiment_of(run: Run) -> Experiment:
    """The experiment that made a run.

    Raises:
        InputError: If another command made it.
    """
    command = run.config["command"]
    if not command.startswith(f"{COMMAND} "):
        raise InputError(f"{run.path}: was made by geomem {command}, not by geomem {COMMAND}.")
    return experiment_named(command.removeprefix(f"{COMMAND} "))


def settings_of(run: Run, experiment: Experiment) -> Any:
    """The settings of a run as JSON holds them: with lists for tuples, and dictionaries for settings within settings.

    Raises:
        InputError: If another version of geomem made it.
    """
    kind = type(experiment.settings["full"])
    try:
        return kind(**{f.name: run.config[f.name] for f in fields(kind)})
    except KeyError as error:
        raise InputError(f"{run.path}: was made by another version of geomem (no {error}); make it again.") from error


def records_of(run: Run) -> dict[str, xr.Dataset]:
    """The records of a finished run.

    Raises:
        InputError: If it was made by another command, or has not finished.
    """
    experiment = experiment_of(run)
    return run.load_all(experiment.records(settings_of(run, experiment)))
