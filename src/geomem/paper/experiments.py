"""The table of experiments: every figure of the paper on synthetic data, and its statements that have no figure."""

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

__all__ = ["BY_SUBJECT", "EXPERIMENTS"]

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
