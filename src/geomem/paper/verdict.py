"""Verdicts: what a statement of the paper is, what records say about it, and the statistics that decide."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from geomem.intervals import Interval, resampled
from geomem.seeds import derived_seed

__all__ = ["Claim", "Evidence", "Records", "Runs", "Table", "Verdict", "bootstrap", "graded", "interval", "judged"]

# The records of one run, by name; and those of several, by the experiment's name.
Records = Mapping[str, xr.Dataset]
Runs = Mapping[str, Records]
HOLDS, IN_PART, FAILS, UNDECIDED = "holds", "holds in part", "does not hold", "undecided"


@dataclass(frozen=True)
class Table:
    """Numbers behind a verdict."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Evidence:
    """How much of a statement holds, with the numbers in sentences and perhaps a table."""

    verdict: str
    found: tuple[str, ...]
    table: Table | None = None


@dataclass(frozen=True)
class Claim:
    """A statement of the paper in our words, and how it is judged.

    The experiments that carry a claim are those whose records it is judged on.

    Attributes:
        key: Short name, which documents link to.
        statement: The statement.
        place: Where the paper makes it.
        statistic: What decides, and by which rule.
        judge: From the records of those experiments, or of some of them, to the evidence.
    """

    key: str
    statement: str
    place: str
    statistic: str
    judge: Callable[[Runs], Evidence]


@dataclass(frozen=True)
class Verdict:
    """A claim with its evidence."""

    claim: Claim
    evidence: Evidence

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "claim": self.claim.key,
            "place": self.claim.place,
            "statement": self.claim.statement,
            "verdict": self.evidence.verdict,
            "found": list(self.evidence.found),
        }

    def line(self) -> str:
        """The claim, the verdict and the numbers in one line."""
        return f"{self.claim.statement} ({self.claim.place}): {self.evidence.verdict}. {' '.join(self.evidence.found)}"


def judged(claims: Sequence[Claim], runs: Runs) -> list[Verdict]:
    """Verdicts on claims that all rest on these runs."""
    return [Verdict(claim, claim.judge(runs)) for claim in claims]


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
