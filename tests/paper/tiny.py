"""Tiny settings of every experiment."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from geomem.jobs import engine
from geomem.jobs.job import Result
from geomem.jobs.progress import Progress
from geomem.paper.experiments import EXPERIMENTS
from geomem.paper.images import ImageSweep
from geomem.paper.request import ReproduceRequest

NETWORKS: dict[str, Any] = {"steps": 20, "hidden": 16, "batch_size": 16, "points": 3}
SPECTRA: dict[str, Any] = {"sizes": (50, 200), "times": (0.3, 0.01, 1e-5), "realizations": 3}
CURVES: dict[str, Any] = {"times": (1e-3, 0.01, 0.1, 1.0, 10.0), "datasets": 8, "draws": 20}

# What makes each experiment take a second or less, and leaves every claim something to read.
TINY: dict[str, dict[str, Any]] = {
    "fig1": {"dense": 300, "starts": 32, "grid": 21},
    "fig2": {"n_samples": 1000, "points": 4},
    "fig3": {"datasets": 6, "points": 4, "grid": 33},
    "fig4": CURVES,
    "fig5": {**NETWORKS, "sizes": (50, 200, 5000), "times": (1.0, 0.01, 1e-5)},
    "fig6": {"sweeps": {"digits": ImageSweep("mlp", (4, 12, 30), steps=30, held_out=20, points=3, samples=10)}},
    "fig8": {"dim": 20, "rank": 10, "alphas": (1e-3, 0.15, 3.0), "matrices": 3, "positions": 40},
    "fig9": SPECTRA,
    "fig10": SPECTRA,
    "fig12": CURVES,
    "fig13": SPECTRA,
    "fig14": SPECTRA,
    "fig15": {**NETWORKS, "dim": 45, "sizes": (100, 500), "times": (0.4, 1e-5)},
    "fig16": {**NETWORKS, "sizes": (50, 200, 5000), "times": (1.0, 0.01, 1e-5)},
    "order": {"n_samples": 100, "times": (0.01, 0.3, 3.0), "datasets": 5},
    "scaling": {"ranks": (4, 5), "dims": (16, 32), "datasets": 20},
    "algorithms": {"n_samples": 100, "times": (0.1, 0.01), "points": 3, "repeats": 3},
    "reverse": {"steps": (8, 16), "samples": 300, "n_samples": 30, "drawn": 40, "draw_steps": 30},
    "equations": {"datasets": 10},
}


def make_tiny(patch: pytest.MonkeyPatch) -> None:
    """Give the quick scale of every experiment its tiny settings."""
    for name, changes in TINY.items():
        experiment = EXPERIMENTS[name]
        settings = {"quick": replace(experiment.settings["quick"], **changes), "full": experiment.settings["full"]}
        patch.setitem(EXPERIMENTS, name, replace(experiment, settings=settings))


def reproduce(
    name: str, *, out: Path | None = None, force: bool = False, progress: Progress | None = None, **options: Any
) -> Result:
    """Carry out `geomem reproduce`, in this process: others would not have the tiny settings."""
    result = engine.run(ReproduceRequest(name, **options), out=out, force=force, workers=1, progress=progress)
    assert result is not None
    return result


def quick_settings(name: str, **changes: Any) -> Any:
    """The settings of the quick scale with some changes."""
    return replace(EXPERIMENTS[name].settings["quick"], **changes)


def content(folder: Path) -> dict[str, bytes]:
    """The files of a folder."""
    return {p.name: p.read_bytes() for p in folder.iterdir()}
