"""What verdicts are made of: grades of parts, and bootstrap intervals."""

import math

import numpy as np
import pytest
from scipy.stats import norm

from geomem.paper.verdict import FAILS, HOLDS, IN_PART, bootstrap, graded, interval
from paper.by_hand import rng


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([True], HOLDS),
        ([True, True], HOLDS),
        ([False, True], IN_PART),
        ([True, False], IN_PART),
        ([False], FAILS),
        ([False, False], FAILS),
        ([np.True_, np.False_], IN_PART),
    ],
)
def test_graded(parts: list[bool], expected: str) -> None:
    assert graded(parts) == expected


def test_bootstrap_resamples_units_with_replacement() -> None:
    """The identity first; the spread of a mean is its standard error, within 4 of its own at 2,000 draws."""
    x = rng().standard_normal(50) ** 3
    seen: list[np.ndarray] = []
    value, draws = bootstrap(lambda rows: (seen.append(rows), x[rows].mean())[1], 50, draws=2000)
    assert value == x.mean()
    assert seen[0].tolist() == list(range(50))
    assert draws.shape == (2000,)
    assert all(rows.shape == (50,) and set(rows) <= set(range(50)) for rows in seen)
    assert np.mean([len(set(rows)) for rows in seen[1:]]) / 50 == pytest.approx(1 - 0.98**50, abs=0.01)
    assert draws.std() / (x.std() / math.sqrt(50)) == pytest.approx(1, abs=4 / math.sqrt(4000))
    again = bootstrap(lambda rows: x[rows].mean(), 50, draws=2000)[1]
    assert np.array_equal(again, draws)
    assert not np.array_equal(bootstrap(lambda rows: x[rows].mean(), 50, draws=2000, seed="other")[1], draws)
    pair, spread = bootstrap(lambda rows: np.array([x[rows].sum(), 1.0]), 50, draws=7)
    assert (pair.shape, spread.shape) == ((2,), (7, 2))


def test_interval_holds_ninety_five_percent_of_the_draws() -> None:
    """Of the mean of Gaussian units it is 1.96 standard errors to either side; of a constant it is that number."""
    x = rng().standard_normal(400)
    found = interval(lambda rows: float(x[rows].mean()), 400, draws=4000)
    error = norm.ppf(0.975) * x.std() / 20
    assert found.value == x.mean()
    assert (found.high - found.value, found.value - found.low) == pytest.approx((error, error), rel=0.1)
    assert found.n == 400
    constant = interval(lambda rows: 3.0, 10)
    assert (constant.value, constant.low, constant.high, constant.n) == (3.0, 3.0, 3.0, 10)
