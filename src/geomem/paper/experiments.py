"""The table of experiments: every figure of the paper on synthetic data, and its statements that have no figure."""

from geomem.errors import InputError
from geomem.paper import (
    algorithms,
    condensation,
    curves,
    errata,
    gap,
    images,
    latent,
    network_spectra,
    network_variances,
    order,
    plane,
    predictions,
    reverse,
    scaling,
    sizes,
)
from geomem.paper.experiment import Experiment

__all__ = ["BY_SUBJECT", "EXPERIMENTS", "experiment_named"]

# Theory and simulation, then networks, then images; documents state the claims in this order.
BY_SUBJECT: tuple[Experiment, ...] = (
    *latent.EXPERIMENTS,
    *gap.EXPERIMENTS,
    *reverse.EXPERIMENTS,
    *curves.EXPERIMENTS,
    *sizes.EXPERIMENTS,
    *predictions.EXPERIMENTS,
    *order.EXPERIMENTS,
    *plane.EXPERIMENTS,
    *condensation.EXPERIMENTS,
    *scaling.EXPERIMENTS,
    *network_spectra.EXPERIMENTS,
    *network_variances.EXPERIMENTS,
    *algorithms.EXPERIMENTS,
    *images.EXPERIMENTS,
    *errata.EXPERIMENTS,
)


def _figure(experiment: Experiment) -> int:
    """Number of its figure; what has none comes last."""
    number = experiment.name.removeprefix("fig")
    return int(number) if number.isdigit() else 99


EXPERIMENTS: dict[str, Experiment] = {e.name: e for e in sorted(BY_SUBJECT, key=_figure)}


def experiment_named(name: str) -> Experiment:
    """The experiment of a name such as "fig4" or "fig11".

    Raises:
        InputError: For an unknown name, with those there are.
    """
    for experiment in EXPERIMENTS.values():
        if name == experiment.name or name in experiment.also:
            return experiment
    raise InputError(f"{name!r}: is no experiment; choose one of {', '.join(EXPERIMENTS)}, or all (see --list).")
