"""The table of commands: where each job is, and its one line of help. Importing it imports none of them."""

from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

from geomem.errors import InputError

if TYPE_CHECKING:
    from geomem.jobs.job import Job
    from geomem.jobs.request import Request

__all__ = ["COMMANDS", "Command", "job_named", "job_of", "request_named"]


class Command(NamedTuple):
    """A command: its one line of help, its request ("module:class"), and its job ("module:class")."""

    help: str
    request: str
    job: str


COMMANDS = {
    "audit": Command(
        "Is this model memorizing its training data?",
        "geomem.jobs.audit.request:AuditRequest",
        "geomem.jobs.audit.job:AuditJob",
    ),
    "data": Command(
        "Analyze data: duplicates, condensation, samples needed; or check whether samples copy them.",
        "geomem.jobs.data.request:DataRequest",
        "geomem.jobs.data.job:DataJob",
    ),
    "train": Command(
        "Train a diffusion model on images and save it as a diffusers pipeline.",
        "geomem.jobs.train.request:TrainRequest",
        "geomem.jobs.train.job:TrainJob",
    ),
    "sweep": Command(
        "Train on increasing numbers of images, and measure the dimensions of each model.",
        "geomem.jobs.sweep.request:SweepRequest",
        "geomem.jobs.sweep.job:SweepJob",
    ),
    "demo": Command(
        "Watch a gap open and close: real digits and a linear manifold, in two minutes.",
        "geomem.jobs.demo.request:DemoRequest",
        "geomem.jobs.demo.job:DemoJob",
    ),
    "theory": Command(
        "Compute closed forms for Gaussian data: condensation, effective samples, spectra.",
        "geomem.jobs.theory.request:TheoryRequest",
        "geomem.jobs.theory.job:TheoryJob",
    ),
    "reproduce": Command(
        "Reproduce a figure of the paper, with verdicts.",
        "geomem.paper.request:ReproduceRequest",
        "geomem.paper.job:ReproduceJob",
    ),
}


def request_named(command: str) -> "type[Request]":
    """The class of a command's request."""
    found: type[Request] = _attribute(COMMANDS[command].request)
    return found


def job_named(command: str) -> "Job[Any, Any]":
    """The job of a command, as config.json has it: its first word.

    Raises:
        InputError: For a command that this version does not have.
    """
    name = command.split()[0] if command else ""
    if name not in COMMANDS:
        raise InputError(f"this run was made by geomem {command}, which this version of geomem does not have.")
    job: Job[Any, Any] = _attribute(COMMANDS[name].job)()
    return job


def job_of(request: "Request") -> "Job[Any, Any]":
    """The job that carries out a request."""
    for name, command in COMMANDS.items():
        if command.request.endswith(f":{type(request).__name__}") and request_named(name) is type(request):
            return job_named(name)
    raise InputError(f"{type(request).__name__}: is no request of a command.")


def _attribute(place: str) -> Any:
    module, _, name = place.partition(":")
    return getattr(import_module(module), name)
