"""The numbers that the demo's page states, from its records."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import xarray as xr

from geomem.findings.plain import plain
from geomem.intervals import Interval, Rate, difference, mean
from geomem.jobs.demo.measure import EMPIRICAL, NETWORK, SCORES, THEORY
from geomem.measure import rate_of_copies
from geomem.measure.observe import HELD_OUT, SETS, TRAINING

__all__ = [
    "READ",
    "Agreement",
    "CaseNumbers",
    "Copies",
    "Numbers",
    "OriginNumbers",
    "Row",
    "numbers",
    "numbers_as_plain",
]

# The reading that the findings are about.
READ = "resolved"
_NOT_NEGATIVE = (0.0, np.inf)


@dataclass(frozen=True)
class Row:
    """Dimension of one score at one training-set size, at the reference t; `difference` is held-out less training."""

    size: int
    score: str
    training: Interval
    held_out: Interval
    difference: Interval


@dataclass(frozen=True)
class Agreement:
    """Theory against the empirical score: mean absolute difference over sizes and times, and where it is largest."""

    mean_absolute: float
    size: int
    t: float
    theory: Interval
    empirical: Interval


@dataclass(frozen=True)
class CaseNumbers:
    """One data set.

    Attributes:
        t: Reference t.
        dim: d.
        gaussian: Directions in which the data's variance exceeds t: what an exactly learned Gaussian would resolve.
        points: Points measured in each set, at most.
        rows: By size and score.
        agreement: By set.
    """

    t: float
    dim: int
    gaussian: int
    points: int
    rows: list[Row]
    agreement: dict[str, Agreement]

    def of(self, score: str) -> list[Row]:
        """The rows of one score, by size."""
        return [row for row in self.rows if row.score == score]

    @property
    def hardly_trained(self) -> bool:
        """Whether even the network of the smallest training set has not learned which directions the data lack."""
        return self.of(NETWORK)[0].held_out.low > self.gaussian


@dataclass(frozen=True)
class Copies:
    """Copies among the digits that one network draws, and among held-out digits, which cannot be copies."""

    size: int
    generated: Rate
    control: Rate

    @property
    def more(self) -> bool:
        """Whether the intervals do not meet."""
        return self.generated.low > self.control.high


@dataclass(frozen=True)
class OriginNumbers:
    """Singular values at the manifold's origin: median |ln(theory/simulation)| over those that the manifold moves, by t."""

    size: int
    t: list[float]
    errors: dict[str, list[float]]
    condensation_time: float

    def error(self, name: str, where: np.ndarray) -> float:
        """Median over some of the times."""
        return float(np.median(np.asarray(self.errors[name])[where]))

    @property
    def below(self) -> np.ndarray:
        """Times below the condensation time."""
        return np.asarray(self.t) < self.condensation_time

    @property
    def above(self) -> np.ndarray:
        """Times above twice the condensation time."""
        return np.asarray(self.t) > 2 * self.condensation_time


@dataclass(frozen=True)
class Numbers:
    """All numbers of the page."""

    digits: CaseNumbers
    manifold: CaseNumbers
    copies: list[Copies]
    origin: OriginNumbers


def numbers(records: Mapping[str, xr.Dataset], config: Mapping[str, Any]) -> Numbers:
    """The numbers, from the records and settings of a run."""
    return Numbers(
        _case(records["digits_points"], config["digits"]["focus"]),
        _case(records["manifold_points"], config["manifold"]["focus"]),
        _copies(records["digits_samples"]),
        _origin(records["manifold_origin"]),
    )


def numbers_as_plain(value: Any) -> Any:
    """Numbers as JSON holds them."""
    if isinstance(value, Numbers | CaseNumbers | Row | Agreement | Copies | OriginNumbers):
        return {f.name: numbers_as_plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, list):
        return [numbers_as_plain(v) for v in value]
    if isinstance(value, dict):
        return {k: numbers_as_plain(v) for k, v in value.items()}
    return plain(value)


def _case(points: xr.Dataset, focus: float) -> CaseNumbers:
    dim = points.sizes["direction"]
    dimension = points["dimension"].sel(reading=READ)
    rows = []
    for size in points["size"].values:
        for score in SCORES:
            at = dimension.sel(size=size, score=score, t=focus)
            training, held_out = (at.sel(set=name).values for name in (TRAINING, HELD_OUT))
            kept, kept_held_out = (mean(values, bounds=(0.0, float(dim))) for values in (training, held_out))
            rows.append(Row(int(size), score, kept, kept_held_out, difference(held_out, training)))
    gaussian = int((points["variance"] > focus).sum())
    agreement = {name: _agreement(dimension.sel(set=name)) for name in SETS}
    return CaseNumbers(float(focus), dim, gaussian, points.sizes["point"], rows, agreement)


def _agreement(dimension: xr.DataArray) -> Agreement:
    """Of resolved dimensions: the mean degrees of freedom below t_c hang on rare points between two samples."""
    theory, empirical = dimension.sel(score=THEORY), dimension.sel(score=EMPIRICAL)
    gap = theory.mean("point") - empirical.mean("point")
    worst = gap.isel(abs(gap).argmax(...))
    size, t = int(worst["size"]), float(worst["t"])
    there = (mean(values.sel(size=size, t=t), bounds=_NOT_NEGATIVE) for values in (theory, empirical))
    return Agreement(float(abs(gap).mean()), size, t, *there)


def _copies(samples: xr.Dataset) -> list[Copies]:
    return [
        Copies(int(size), *(rate_of_copies(samples[name].sel(size=size).values) for name in ("distance", "control")))
        for size in samples["size"].values
    ]


def _origin(origin: xr.Dataset) -> OriginNumbers:
    """At the paper's N."""
    size = int(origin["size"].sel(size=1000, method="nearest"))
    at = origin.sel(size=size)
    values = at["empirical"].values
    d = values.shape[-1]
    rank = int(np.sum(at["exact"].values[0] < at["exact"].values[0].max() * (1 - 1e-9)))
    moved = np.r_[:rank, d - rank : d]
    errors = {
        name: np.median(np.abs(np.log(at[name].values[:, moved] / values[:, moved])), axis=-1).tolist()
        for name in ("exact", "row", "correlated", "network")
    }
    return OriginNumbers(size, at["t"].values.tolist(), errors, float(at["condensation_time"]))
