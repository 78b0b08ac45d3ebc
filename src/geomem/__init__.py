"""geomem tells which dimensions of its data a diffusion model still has, and which it has lost to memorization.

Three answers stand side by side: theory (`geomem.theory`), the empirical score of the samples and a trained network
(`geomem.scores`). Subpackages are imported when they are first used.
"""

from importlib import import_module
from types import ModuleType

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

__all__ = ["__version__", *_ROOMS]


def __getattr__(name: str) -> ModuleType:
    if name in _ROOMS:
        return import_module(f"geomem.{name}")
    raise AttributeError(f"module 'geomem' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
