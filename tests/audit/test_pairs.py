"""What pairs of images have lost: by hand, and at every boundary."""

import math

import numpy as np
import pytest
from scipy.stats import binom
from scipy.stats import t as student

from geomem.measure.pairs import lost, lost_by_image

# --- the share and its interval ---


def test_share_and_means_by_hand():
    found = lost(np.array([1.0, 2, 3, 2]), np.array([4.0, 4, 6, 6]))
    assert (found.training.value, found.held_out.value, found.dimensions.value) == (2, 5, 3)
    assert found.share.value == pytest.approx(0.6, rel=1e-12)
    assert found.pairs == found.share.n == 4
    # Differences 3, 2, 3, 4: variance 2/3; Student's 3.182446 with three degrees of freedom.
    half = 3.182446305284263 * math.sqrt(2 / 3 / 4)
    assert (found.dimensions.low, found.dimensions.high) == (pytest.approx(3 - half), pytest.approx(3 + half))


@pytest.mark.parametrize("k", [4, 8, 32])
def test_both_ends_of_the_share_are_where_students_test_turns(k):
    """Fieller: at the ends rho the mean of (difference - rho held-out) is as far from 0 as its interval is wide."""
    rng = np.random.default_rng(k)
    held_out = 10 + rng.normal(size=k)
    training = 4 + 0.5 * held_out + rng.normal(size=k)
    share = lost(training, held_out).share
    for rho in (share.low, share.high):
        rest = held_out - training - rho * held_out
        statistic = rest.mean() / (rest.std(ddof=1) / math.sqrt(k))
        assert abs(statistic) == pytest.approx(student.ppf(0.975, k - 1), rel=1e-9)
    assert share.low < share.value < share.high


def test_means_are_not_below_nothing():
    found = lost(np.array([0.0, 0, 0, 1]), np.array([0.0, 0, 0, 3]))
    assert found.training.low == found.held_out.low == 0
    assert found.dimensions.low < 0


@pytest.mark.parametrize("k", [8, 12, 16, 32])
def test_where_all_training_images_lost_everything_some_that_did_not_may_have_been_missed(k):
    """Of images of which a share p keeps its dimensions, none is among k with probability (1 - p)^k = 1/40."""
    share = lost(np.zeros(k), 3.0 + np.arange(k) % 3).share
    assert (share.value, share.high) == (1, 1)
    assert (share.low) ** k == pytest.approx(0.025, rel=1e-9)


def test_the_widened_interval_is_never_narrower():
    """Where the held-out images scatter more than that, theirs is kept."""
    training, held_out = np.full(8, 3.0), np.array([3.0, 30, 3, 3, 30, 3, 3, 30])
    share = lost(training, held_out).share
    rest = held_out - training - share.low * held_out
    statistic = rest.mean() / (rest.std(ddof=1) / math.sqrt(8))
    assert statistic == pytest.approx(student.ppf(0.975, 7), rel=1e-9)
    assert share.low < share.value - (1 - 0.025 ** (1 / 8))
    equal = lost(training, training).share
    assert (equal.value, equal.high) == (0, 0)
    assert equal.low == pytest.approx(0.025 ** (1 / 8) - 1)


def test_one_training_image_that_differs_is_not_widened():
    training, held_out = np.array([1.0, *np.zeros(15)]), 5.0 + np.arange(16) % 2
    share = lost(training, held_out).share
    assert share.low > share.value - (1 - 0.025 ** (1 / 16))


def test_no_dimensions_to_lose_have_no_share():
    share = lost(np.zeros(8), np.zeros(8)).share
    assert (share.low, share.high) == (-math.inf, math.inf)


@pytest.mark.parametrize("k", [8, 32])
def test_halved_images_have_less_than_half_of_their_partner_s_dimension(k):
    held_out = np.full(k, 6.0)
    training = np.where(np.arange(k) < 3, [2.9, 0.0, 1.0, *[3.0] * (k - 3)], 3.0)
    halved = lost(training, held_out).halved
    assert (halved.count, halved.total) == (3, k)
    # Exact: three or fewer of k where the upper end is the truth come out in one of twenty.
    assert binom.cdf(3, k, halved.high) == pytest.approx(0.05, rel=1e-9)


# --- image by image, and the noise level ---


def test_lost_by_image_reaches_as_far_as_twins_differ():
    twins = np.array([[5.0, 6], [5, 3], [4, 4], [7, 5], [6, 7]])
    found = lost_by_image(np.array([1.0, 5, 4, 2, 9]), np.array([5.0, 5, 4, 7, 6]), twins)
    assert [f.value for f in found] == [4, 0, 0, 5, -3]
    # Mean square of -1, 2, 0, 2, -1 is 2; Student's 2.776445 with four degrees of freedom.
    half = 2.7764451051977987 * math.sqrt(2)
    assert [f.value - f.low for f in found] == pytest.approx([half] * 5)
    assert [f.high - f.value for f in found] == pytest.approx([half] * 5)


def test_an_image_that_lost_nothing_is_flagged_one_time_in_forty():
    """Three images of one law: the chance that the training one is as far below its partner as the interval reaches."""
    rng = np.random.default_rng(0)
    flagged = []
    for _ in range(200):
        training, held_out, twin = rng.normal(10, 2, (3, 40))
        flagged += [f.low > 0 for f in lost_by_image(training, held_out, np.stack([held_out, twin], 1))]
    assert np.mean(flagged) == pytest.approx(0.025, abs=0.008)
