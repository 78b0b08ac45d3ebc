"""The paper, reproduced: every figure on synthetic data as an experiment, and what its statements rest on."""

from geomem.paper.experiment import SCALES, Experiment, Records
from geomem.paper.experiments import EXPERIMENTS
from geomem.paper.run import expected_seconds, experiment_named, run, run_all

__all__ = [
    "EXPERIMENTS",
    "SCALES",
    "Experiment",
    "Records",
    "expected_seconds",
    "experiment_named",
    "run",
    "run_all",
]
