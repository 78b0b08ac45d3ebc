"""Means over points with confidence intervals, and differences between groups of points."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import betaincinv, stdtrit

from geomem.errors import InputError

__all__ = ["Interval", "Rate", "difference", "mean", "quotient", "ratio", "resampled"]


@dataclass(frozen=True)
class Interval:
    """An estimate with its confidence interval over `n` points (for a difference, those of the smaller group)."""

    value: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        """Value with interval, for people."""
        return f"{self:.1f}"

    def __format__(self, spec: str) -> str:
        """Value with interval, each number formatted by `spec` (".1f" if empty)."""
        value, low, high = (format(v, spec or ".1f") for v in (self.value, self.low, self.high))
        return f"{value} [{low}, {high}]"


@dataclass(frozen=True)
class Rate:
    """A proportion, with its exact (Clopper-Pearson) confidence interval."""

    count: int
    total: int
    low: float
    high: float

    @classmethod
    def of(cls, count: int, total: int, *, confidence: float = 0.95) -> "Rate":
        """The rate of `count` among `total`, with its interval; `total` is at least 1."""
        tail = (1 - confidence) / 2
        low = float(betaincinv(count, total - count + 1, tail)) if count else 0.0
        high = float(betaincinv(count + 1, total - count, 1 - tail)) if count < total else 1.0
        return cls(count, total, low, high)

    @property
    def value(self) -> float:
        """The share."""
        return self.count / self.total

    def __str__(self) -> str:
        """Percent with interval, for people."""
        return f"{100 * self.value:.1f}% [{100 * self.low:.1f}, {100 * self.high:.1f}]"


def mean(values: ArrayLike, *, confidence: float = 0.95, bounds: tuple[float, float] = (-np.inf, np.inf)) -> Interval:
    """Mean of independent points with Student's interval, clipped to the `bounds` of possible values; NaN are ignored.

    Raises:
        InputError: For fewer than two numbers.

    >>> print(mean([1.0, 2.0, 3.0]))
    2.0 [-0.5, 4.5]
    """
    a = _numbers(values)
    half = float(stdtrit(a.size - 1, 0.5 + confidence / 2) * a.std(ddof=1) / np.sqrt(a.size))
    centre = float(a.mean())
    return Interval(centre, max(centre - half, bounds[0]), min(centre + half, bounds[1]), a.size)


def difference(first: ArrayLike, second: ArrayLike, *, confidence: float = 0.95) -> Interval:
    """Difference of the means of two groups, first minus second, with Welch's interval; NaN are ignored.

    Raises:
        InputError: For fewer than two numbers in a group.
    """
    a, b = _numbers(first), _numbers(second)
    value, n = float(a.mean() - b.mean()), min(a.size, b.size)
    if a.std() == 0 and b.std() == 0:
        return Interval(value, value, value, n)
    # Squared standard errors of both means, and the degrees of freedom of Welch and Satterthwaite.
    va, vb = a.var(ddof=1) / a.size, b.var(ddof=1) / b.size
    freedom = (va + vb) ** 2 / (va**2 / (a.size - 1) + vb**2 / (b.size - 1))
    half = float(stdtrit(freedom, 0.5 + confidence / 2) * np.sqrt(va + vb))
    return Interval(value, value - half, value + half, n)


def ratio(above: ArrayLike, below: ArrayLike, *, confidence: float = 0.95) -> Interval:
    """Ratio of the means of two values of the same points, with Fieller's interval.

    The interval holds all ratios rho for which Student's interval of the mean of (above - rho below) contains 0. It is exact for
    normal values, and infinite if the mean of `below` is not significantly different from 0.

    Raises:
        InputError: For fewer than two points, or unequal numbers.

    >>> print(f"{ratio([1.0, 2.0, 3.1, 2.0], [2.0, 4.1, 6.0, 4.2]):.2f}")
    0.50 [0.43, 0.53]
    """
    a, b = np.asarray(above, dtype=np.float64).ravel(), np.asarray(below, dtype=np.float64).ravel()
    if a.size != b.size or a.size < 2:
        raise InputError(
            f"above, below: a ratio needs values at the same two or more points, got {a.size} and {b.size}."
        )
    n = a.size
    q = float(stdtrit(n - 1, 0.5 + confidence / 2)) ** 2 / n
    (vaa, vab), (_, vbb) = np.cov(a, b) * q
    # (A - rho B)^2 <= vaa - 2 rho vab + rho^2 vbb.
    second, first, last = b.mean() ** 2 - vbb, a.mean() * b.mean() - vab, a.mean() ** 2 - vaa
    if second <= 0:
        return Interval(float(a.mean() / b.mean()) if b.mean() else np.nan, -np.inf, np.inf, n)
    root = np.sqrt(max(0.0, first**2 - second * last))
    return Interval(float(a.mean() / b.mean()), float((first - root) / second), float((first + root) / second), n)


def quotient(above: ArrayLike, below: ArrayLike, *, confidence: float = 0.95) -> Interval:
    """Ratio of the means of two independent groups, with Fieller's interval; NaN are ignored.

    The interval holds all ratios rho for which (A - rho B)^2 <= q^2 (v_A + rho^2 v_B), with A, B the means, v their squared standard
    errors and q Student's quantile for the smaller group. It is infinite if B is not significantly different from 0.

    Raises:
        InputError: For fewer than two numbers in a group.

    >>> print(f"{quotient([1.0, 1.2, 0.8, 1.0], [2.0, 2.1, 1.9, 2.0]):.2f}")
    0.50 [0.37, 0.64]
    """
    a, b = _numbers(above), _numbers(below)
    n = min(a.size, b.size)
    q = float(stdtrit(n - 1, 0.5 + confidence / 2)) ** 2
    top, bottom = float(a.mean()), float(b.mean())
    va, vb = q * a.var(ddof=1) / a.size, q * b.var(ddof=1) / b.size
    value = top / bottom if bottom else np.nan
    second, last = bottom**2 - vb, top**2 - va
    if second <= 0:
        return Interval(value, -np.inf, np.inf, n)
    root = np.sqrt(max(0.0, (top * bottom) ** 2 - second * last))
    return Interval(value, float((top * bottom - root) / second), float((top * bottom + root) / second), n)


def resampled(value: float, draws: ArrayLike, n: int, *, confidence: float = 0.95) -> Interval:
    """An estimate with the percentile interval of its bootstrap draws, which may be infinite.

    >>> print(resampled(2.0, [1.0, 2.0, 2.0, 3.0], 7, confidence=0.5))
    2.0 [1.0, 2.0]
    """
    tail = (1 - confidence) / 2
    low, high = np.quantile(np.asarray(draws, dtype=np.float64), [tail, 1 - tail], method="inverted_cdf")
    return Interval(float(value), float(min(low, value)), float(max(high, value)), n)


def _numbers(values: ArrayLike) -> np.ndarray:
    a = np.asarray(values, dtype=np.float64).ravel()
    a = a[~np.isnan(a)]
    if a.size < 2:
        raise InputError(f"values: an interval needs at least two points, got {a.size}.")
    return a
