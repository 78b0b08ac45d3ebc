"""Crossings of curves in log time, and the bootstrap: exact cases, variance, coverage."""

import math

import numpy as np
import pytest
from scipy.stats import norm
from scipy.stats import t as t_law

from geomem.errors import InputError
from geomem.intervals import resampled
from geomem.measure.condensation import crossing, resampled_means

# --- crossings ---

TIMES = np.geomspace(0.01, 100, 13)


def test_crossing_of_lines_in_log_time_is_exact():
    centre = np.array([[0.02, 0.3], [1.0, 77.0]])
    for rising in (False, True):
        slope = 0.1 if rising else -0.1
        curves = 0.5 + slope * np.log(TIMES / centre[..., None])
        np.testing.assert_allclose(crossing(TIMES, curves, 0.5, rising=rising), centre, rtol=1e-12)
        np.testing.assert_array_equal(
            crossing(TIMES, -curves, -0.5, rising=not rising), crossing(TIMES, curves, 0.5, rising=rising)
        )


def test_crossing_is_the_first_of_several():
    falls = [0.9, 0.4, 0.9, 0.1]
    t = [1.0, 2.0, 4.0, 8.0]
    assert crossing(t, falls, 0.5) == pytest.approx(2**0.8)
    assert crossing(t, falls, 0.5, rising=True) == 1
    assert crossing(t, [*falls[1:], 0.9], 0.5, rising=True) == pytest.approx(2**0.2)


def test_crossing_at_the_ends_and_on_grid_times():
    t = [1.0, 2.0, 4.0]
    assert crossing(t, [0.4, 0.3, 0.2], 0.5) == 1
    assert crossing(t, [0.5, 0.5, 0.5], 0.5) == 1
    assert crossing(t, [0.9, 0.8, 0.7], 0.5) == np.inf
    assert crossing(t, [0.1, 0.2, 0.3], 0.5, rising=True) == np.inf
    assert crossing(t, [0.9, 0.5, 0.4], 0.5) == pytest.approx(2, rel=1e-15)
    assert crossing(t, [0.9, 0.9, 0.5], 0.5) == pytest.approx(4, rel=1e-15)


# --- bootstrap ---


def test_bootstrap_means_have_the_variance_of_what_they_draw_again():
    """One subset: (1/p) of the points' variance, widened by Student's factor. Values of the form a_s + b_p: the two variances add.

    The subsets' is the unbiased estimate, since they are few.
    """
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=4), rng.normal(size=30)
    one = resampled_means(b[None, :, None], 20_000, rng)[:, 0]
    wider = (t_law.ppf(0.975, 29) / norm.ppf(0.975)) ** 2
    expected = wider * b.var(ddof=1) / 30
    assert abs(one.mean() - b.mean()) < 4 * math.sqrt(expected / 20_000)
    assert one.var() == pytest.approx(expected, rel=4 * math.sqrt(2 / 20_000))
    both = resampled_means(a[:, None] + b, 20_000, rng)
    expected = a.var(ddof=1) / 4 + wider * b.var(ddof=1) / 30
    assert both.shape == (20_000,)
    assert both.var() == pytest.approx(expected, rel=4.5 * math.sqrt(2 / 20_000))


def test_bootstrap_keeps_trailing_axes_and_draws_them_together():
    values = np.random.default_rng(2).normal(size=(3, 10, 4))
    draws = resampled_means(values, 50, np.random.default_rng(3))
    assert draws.shape == (50, 4)
    for k in range(4):
        np.testing.assert_allclose(
            draws[:, k], resampled_means(values[..., k], 50, np.random.default_rng(3)), atol=1e-14
        )
    constant = resampled_means(np.full((3, 10, 2), 7.0), 50, np.random.default_rng(3))
    np.testing.assert_allclose(constant, 7, rtol=1e-14)


def test_data_sets_of_different_numbers_of_subsets_share_the_draws_of_points():
    """Curves for two sizes are then drawn again together: what all points have in common drops out of their difference."""
    b = np.random.default_rng(4).normal(size=25)
    few, many = (resampled_means(np.tile(b, (k, 1)), 300, np.random.default_rng(5)) for k in (1, 6))
    np.testing.assert_allclose(few, many, rtol=1e-12)
    assert few.std() > 0


def test_bootstrap_needs_two_points():
    for points in (0, 1):
        with pytest.raises(InputError, match=f"values: resampling needs at least two points, got {points}"):
            resampled_means(np.zeros((3, points)), 10, np.random.default_rng(6))


@pytest.mark.parametrize("subsets", [1, 3])
def test_bootstrap_intervals_cover_the_mean(subsets):
    """40 points of an exponential law, seen with noise in each subset: 95% intervals, 600 data sets.

    Percentile intervals of skewed means cover a little less, about 93%; four standard errors of 0.9% are allowed.
    """
    rng, inside = np.random.default_rng(7), 0
    for _ in range(600):
        values = rng.exponential(size=40) + 0.3 * rng.normal(size=(subsets, 40))
        draws = resampled_means(values, 400, rng)
        found = resampled(float(values.mean()), draws, 40)
        inside += found.low <= 1 <= found.high
    assert 0.89 < inside / 600 < 0.98
