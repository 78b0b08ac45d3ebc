"""The paper, reproduced: every figure on synthetic data as an experiment, and what its statements rest on."""

from geomem.reproduce.experiment import SCALES, Experiment, Records
from geomem.reproduce.experiments import EXPERIMENTS
from geomem.reproduce.run import expected_seconds, experiment_named, run, run_all

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
