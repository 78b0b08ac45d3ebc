"""The two data sets of the demo: real digits, and a linear manifold whose score is known."""

from dataclasses import dataclass

from torch import Tensor

from geomem.data import digits, nested_split
from geomem.jobs.demo.settings import CaseSettings, Scale
from geomem.manifolds import LinearManifold
from geomem.scores import GaussianScore
from geomem.seeds import derived_generator

__all__ = ["Case", "cases", "manifold"]


@dataclass(frozen=True)
class Case:
    """One data set: training rows in nested order, held-out points, and the Gaussian that theory works with.

    Attributes:
        name: "digits" or "manifold".
        data: Training rows (n, d); a training set of size N is its first N.
        held_out: Rows (m, d) that no network was trained on.
        gaussian: The true Gaussian, or the plug-in of mean and covariance of all rows.
        settings: Its training sets and networks, and where spectra are measured.
    """

    name: str
    data: Tensor
    held_out: Tensor
    gaussian: GaussianScore
    settings: CaseSettings


def cases(scale: Scale, seed: int) -> dict[str, Case]:
    """Both data sets, by name."""
    return {case.name: case for case in (_digits(scale, seed), _manifold(scale, seed))}


def manifold() -> LinearManifold:
    """The paper's linear manifold (Figs. 4, 9, 11)."""
    return LinearManifold.subspaces(30, [(2, 1.0), (5, 0.3)])


def _digits(scale: Scale, seed: int) -> Case:
    rows = digits().flatten(1)
    split = nested_split(rows.shape[0], scale.digits.sizes, held_out=scale.control, seed=seed)
    return Case("digits", rows[split.order], rows[split.held_out], GaussianScore.fit(rows), scale.digits)


def _manifold(scale: Scale, seed: int) -> Case:
    source = manifold()
    data = source.sample(max(scale.manifold.sizes), generator=derived_generator(seed, "data"))
    held_out = source.sample(scale.points, generator=derived_generator(seed, "held-out"))
    return Case("manifold", data, held_out, source.score, scale.manifold)
