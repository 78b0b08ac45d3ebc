"""Intervals of means, differences, ratios and rates."""

import numpy as np
import pytest
from scipy import stats

from geomem.errors import InputError
from geomem.intervals import Rate, difference, mean, quotient, ratio


@pytest.mark.repeated
@pytest.mark.parametrize(
    ("n", "correlation", "confidence"),
    [(5, -0.7, 0.95), (5, 0.0, 0.8), (5, 0.9, 0.95), (40, -0.7, 0.8), (40, 0.0, 0.95)],
)
def test_coverage(n, correlation, confidence):
    """For normal values the interval holds the true ratio as often as it says, also where it is infinite."""
    g, draws, truth = np.random.default_rng(0), 2000, 3.0 / 2.0
    a, b = g.standard_normal((2, draws, n))
    above = 3 + 1.5 * (correlation * b + np.sqrt(1 - correlation**2) * a)
    below = 2 + b
    held = np.empty(draws)
    for i in range(draws):
        found = ratio(above[i], below[i], confidence=confidence)
        assert found.low <= found.value <= found.high
        held[i] = found.low <= truth <= found.high
    unbounded = 0.02 if n == 5 else 0.0  # an infinite interval stands for a set that may be smaller
    error = np.sqrt(confidence * (1 - confidence) / draws)
    assert confidence - 4 * error <= held.mean() <= confidence + 4 * error + unbounded


@pytest.mark.repeated
@pytest.mark.parametrize(("m", "n", "below"), [(6, 9, 2.0), (40, 40, 2.0), (30, 200, 0.4)])
def test_quotients_of_independent_groups_cover(m, n, below):
    g, draws = np.random.default_rng(0), 2000
    held = 0
    for _ in range(draws):
        found = quotient(1 + 0.5 * g.standard_normal(m), below + g.standard_normal(n))
        held += found.low <= 1 / below <= found.high
    # Student's quantile is that of the smaller group, which is cautious.
    assert 0.94 <= held / draws <= 1.0 if m < 10 else 0.94 <= held / draws <= 0.975


def test_infinite_where_the_denominator_may_be_zero():
    below = [-1.0, 1.2, -0.9, 1.1]
    assert mean(below).low < 0 < mean(below).high
    found = ratio([1.0, 2.0, 3.0, 4.0], below)
    assert (found.low, found.high) == (-np.inf, np.inf)
    assert found.value == pytest.approx(2.5 / 0.1)


def test_no_value_where_the_denominator_is_zero():
    found = ratio([1.0, 2.0], [1.0, -1.0])
    assert np.isnan(found.value)
    assert (found.low, found.high) == (-np.inf, np.inf)


def test_constant_denominator_scales_the_mean():
    above = np.array([1.0, 2.0, 3.5, 2.2, 0.7])
    for below in (4.0, -4.0):
        found = ratio(above, np.full(5, below))
        ends = sorted((mean(above).low / below, mean(above).high / below))
        assert found.value == pytest.approx(above.mean() / below)
        assert [found.low, found.high] == pytest.approx(ends, rel=1e-9)
        assert found.n == 5


def test_proportional_values_have_one_ratio():
    below = np.array([1.0, 2.0, 3.5, 2.2])
    found = ratio(3 * below, below)
    assert [found.low, found.value, found.high] == pytest.approx([3, 3, 3], abs=1e-6)


def test_ends_are_where_the_difference_is_just_told_from_zero():
    above, below = np.array([1.0, 2.0, 3.5, 2.2]), np.array([2.0, 4.5, 6.1, 4.9])
    found = ratio(above, below, confidence=0.9)
    low, high = (mean(above - rho * below, confidence=0.9) for rho in (found.low, found.high))
    assert low.low == pytest.approx(0, abs=1e-9)
    assert high.high == pytest.approx(0, abs=1e-9)


def test_units_drop_out():
    above, below = np.array([1.0, 2.0, 3.5, 2.2]), np.array([2.0, 4.5, 6.1, 4.9])
    first, scaled = ratio(above, below), ratio(above * 1e6, below * 1e-3)
    assert [scaled.low, scaled.high] == pytest.approx([first.low * 1e9, first.high * 1e9])


@pytest.mark.parametrize(("above", "below"), [([1.0], [2.0]), ([], []), ([1.0, 2.0], [1.0, 2.0, 3.0])])
def test_wrong_points_are_refused(above, below):
    message = f"^above, below: a ratio needs values at the same two or more points, got {len(above)} and {len(below)}"
    with pytest.raises(InputError, match=message):
        ratio(above, below)


# --- against SciPy ---


@pytest.mark.parametrize(("count", "total"), [(0, 1), (1, 1), (0, 40), (3, 40), (39, 40), (40, 40), (70, 100_000)])
def test_rates_have_the_exact_binomial_interval(count, total):
    for confidence in (0.5, 0.95):
        found = Rate.of(count, total, confidence=confidence)
        expected = stats.binomtest(count, total).proportion_ci(confidence, method="exact")
        assert [found.low, found.high] == pytest.approx([expected.low, expected.high], rel=1e-9, abs=1e-12)
        assert found.value == count / total


@pytest.mark.parametrize(("n", "m"), [(2, 2), (5, 40), (40, 7)])
def test_means_and_differences_have_the_intervals_of_student_and_welch(n, m):
    g = np.random.default_rng(0)
    a, b = 2 + 3 * g.standard_normal(n), g.standard_normal(m)
    found, expected = mean(a), stats.ttest_1samp(a, 0).confidence_interval()
    assert [found.low, found.high] == pytest.approx([expected.low, expected.high], rel=1e-9)
    found, expected = difference(a, b, confidence=0.8), stats.ttest_ind(a, b, equal_var=False).confidence_interval(0.8)
    assert [found.low, found.high] == pytest.approx([expected.low, expected.high], rel=1e-9)


def test_a_group_of_equal_values_has_no_spread_of_its_own():
    a = np.array([1.0, 2.0, 4.0, 2.0])
    found = difference(a, np.full(9, 3.0))
    assert [found.low, found.high] == pytest.approx([mean(a).low - 3, mean(a).high - 3])
    assert difference(np.full(4, 2.0), np.full(3, 1.5)).low == 0.5
