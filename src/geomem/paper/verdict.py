"""What a verdict on a statement is, and the statistics that verdicts are made of."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from geomem.intervals import Interval, resampled
from geomem.seeds import derived_seed

__all__ = ["Claim", "Evidence", "Records", "Table", "Verdict", "bootstrap", "graded", "interval"]

# Experiment to its records by name.
Records = Mapping[str, Mapping[str, xr.Dataset]]
HOLDS, IN_PART, FAILS, UNDECIDED = "holds", "holds in part", "does not hold", "undecided"


@dataclass(frozen=True)
class Table:
    """Numbers behind a verdict."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Evidence:
    """What was found: how much of the statement holds, in sentences with numbers, and perhaps a table."""

    verdict: str
    found: tuple[str, ...]
    table: Table | None = None


@dataclass(frozen=True)
class Claim:
    """A statement of the paper in our words, and how it is judged.

    Attributes:
        key: Short name, which documents link to.
        statement: The statement.
        place: Where the paper makes it.
        statistic: What decides, and by which rule.
        needs: Experiments whose records are read.
        judge: From the records of those experiments to what was found.
    """

    key: str
    statement: str
    place: str
    statistic: str
    needs: tuple[str, ...]
    judge: Callable[[Records], Evidence]


@dataclass(frozen=True)
class Verdict:
    """A claim with what was found."""

    claim: Claim
    evidence: Evidence

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "claim": self.claim.key,
            "place": self.claim.place,
            "statement": self.claim.statement,
            "verdict": self.evidence.verdict,
            "found": list(self.evidence.found),
        }


def graded(parts: Sequence[bool]) -> str:
    """The verdict on a statement from those on its parts; undecided where there are none."""
    if not parts:
        return UNDECIDED
    return HOLDS if all(parts) else IN_PART if any(parts) else FAILS


def bootstrap(
    statistic: Callable[[np.ndarray], Any], units: int, *, draws: int = 400, seed: str = "claims"
) -> tuple[Any, np.ndarray]:
    """A statistic of all units' indices, and of resampled ones (draws, ...)."""
    rng = np.random.default_rng(derived_seed(0, seed, units))
    return statistic(np.arange(units)), np.array([statistic(rng.integers(0, units, units)) for _ in range(draws)])


def interval(statistic: Callable[[np.ndarray], float], units: int, **options: Any) -> Interval:
    """A number with its 95% bootstrap interval over independent units."""
    value, draws = bootstrap(statistic, units, **options)
    return resampled(float(value), draws, units)
