"""geomem tells which dimensions of its data a diffusion model still has, and which it has lost to memorization.

Three answers stand side by side: theory (`geomem.theory`), the empirical score of the samples (`geomem.scores`) and a trained
model (`geomem.models`). A command is a request, which `geomem.run` carries out:

    geomem.run(geomem.AuditRequest("my-model", trained_on="photos", held_out="new-photos"))

Subpackages are imported when they are first used.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_ROOMS = (
    "data",
    "errors",
    "figures",
    "findings",
    "intervals",
    "jobs",
    "manifolds",
    "measure",
    "models",
    "noise",
    "page",
    "paper",
    "records",
    "scores",
    "seeds",
    "spectra",
    "theory",
    "training",
)
# What a script needs of the jobs, and where it is.
_NAMES = {
    "AuditRequest": "geomem.jobs.audit.request",
    "DataRequest": "geomem.jobs.data.request",
    "DemoRequest": "geomem.jobs.demo.request",
    "ReproduceRequest": "geomem.paper.request",
    "SweepRequest": "geomem.jobs.sweep.request",
    "TheoryRequest": "geomem.jobs.theory.request",
    "TrainRequest": "geomem.jobs.train.request",
    "run": "geomem.jobs.engine",
}

__all__ = ["__version__", *_ROOMS, *_NAMES]


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return import_module(f"geomem.{name}")
    if name in _NAMES:
        return getattr(import_module(_NAMES[name]), name)
    raise AttributeError(f"module 'geomem' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
