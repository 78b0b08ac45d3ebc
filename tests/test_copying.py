"""Copies and their intervals on configurations with known answers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta
from scipy.stats import t as student

from geomem.errors import InputError
from geomem.measure import copy_rate, difference, mean, neighbour_distances

DATA = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 4.0]])


def test_two_nearest_of_known_points():
    samples = [[0.1, 0.0], [0.9, 0.0], [0.0, 3.0], [0.0, 0.0]]
    distance, rows = neighbour_distances(samples, DATA)
    np.testing.assert_array_equal(rows, [[0, 1], [1, 0], [2, 0], [0, 1]])
    np.testing.assert_allclose(distance, [[0.1, 0.9], [0.1, 0.9], [1.0, 3.0], [0.0, 1.0]], rtol=1e-14)


def test_copies_are_much_nearer_to_one_than_to_any_other():
    """d_1/d_2 = 0.1/0.9 and 0.24/0.76 copy; 0.26/0.74 does not; nor does a ratio of a third, which is not below it."""
    samples = [[0.1, 0.0], [0.24, 0.0], [0.26, 0.0], [0.5, 0.0], [0.0, 3.0]]
    rate = copy_rate(samples, DATA, ratio=1 / 3)
    assert (rate.count, rate.total, rate.value) == (2, 5, 0.4)
    assert copy_rate(samples, DATA, ratio=0.5).count == 4
    assert copy_rate(samples, DATA, ratio=0.05).count == 0
    assert copy_rate(DATA, DATA).count == 3


def test_images_are_compared_whole():
    rng = np.random.default_rng(0)
    data = rng.normal(size=(20, 8, 8))
    rate = copy_rate(data[:5] + 1e-3, data)
    assert (rate.count, rate.total) == (5, 5)
    distance, rows = neighbour_distances(data[:5] + 1e-3, data)
    np.testing.assert_array_equal(rows[:, 0], np.arange(5))
    np.testing.assert_allclose(distance[:, 0], 8e-3, rtol=1e-10)


def test_distances_are_those_of_brute_force():
    rng = np.random.default_rng(1)
    samples, data = rng.normal(size=(30, 5)), rng.normal(size=(40, 5))
    every = np.linalg.norm(samples[:, None] - data, axis=-1)
    distance, rows = neighbour_distances(samples, data)
    np.testing.assert_array_equal(rows, np.argsort(every, 1)[:, :2])
    np.testing.assert_allclose(distance, np.sort(every, 1)[:, :2], rtol=1e-13)


@pytest.mark.parametrize("gap", [1e-2, 1e-6, 1e-9])
def test_small_distances_keep_their_digits(gap):
    """Copies to many digits, where |a|^2 + |b|^2 - 2 a.b has none left."""
    data = np.random.default_rng(2).normal(size=(10, 64)) + 10
    samples = data[:4].copy()
    samples[:, 0] += gap
    exact = samples[:, 0] - data[:4, 0]
    distance, _ = neighbour_distances(samples, data)
    np.testing.assert_allclose(distance[:, 0], exact, rtol=1e-12)
    assert copy_rate(samples, data).count == 4


def test_order_of_the_two_nearest_is_that_of_their_true_distances():
    """Pairs of data 1e-8 apart, and samples nearer by far to one of them than the search's product form can tell."""
    rng = np.random.default_rng(4)
    first = 10 + rng.normal(size=(30, 64))
    second = first + 1e-8 * np.eye(64)[0]
    data = np.concatenate([first, second])
    distance, rows = neighbour_distances(second, data)
    np.testing.assert_array_equal(rows, np.stack([np.arange(30, 60), np.arange(30)], 1))
    assert np.all(distance[:, 0] == 0)
    np.testing.assert_allclose(distance[:, 1], 1e-8, rtol=1e-6)


def test_the_two_nearest_are_found_among_near_duplicates():
    """Neighbours at 1e-5 and 1e-4 of images of norm 80, near the limit 80 sqrt(eps) of the search's product form."""
    rng = np.random.default_rng(3)
    base = 10 + rng.normal(size=64)
    data = base + 1e-5 * rng.normal(size=(40, 64))
    samples = data[:10] + 1e-6 * rng.normal(size=(10, 64))
    every = np.linalg.norm(samples[:, None] - data, axis=-1)
    _, rows = neighbour_distances(samples, data)
    np.testing.assert_array_equal(rows, np.argsort(every, 1)[:, :2])
    assert copy_rate(samples, data).count == 10


@settings(derandomize=True, deadline=None, max_examples=60)
@given(n=st.integers(1, 300), share=st.floats(0, 1), confidence=st.sampled_from([0.5, 0.9, 0.95, 0.999]))
def test_intervals_are_clopper_pearson_s(n, share, confidence):
    k = round(share * n)
    samples = np.concatenate([np.full((k, 1), 0.1), np.full((n - k, 1), 0.5)])
    rate = copy_rate(samples, np.array([[0.0], [1.0]]), confidence=confidence)
    tail = (1 - confidence) / 2
    low = beta.ppf(tail, k, n - k + 1) if k else 0.0
    high = beta.ppf(1 - tail, k + 1, n - k) if k < n else 1.0
    assert (rate.count, rate.total) == (k, n)
    assert rate.low == pytest.approx(low, rel=1e-9, abs=1e-12)
    assert rate.high == pytest.approx(high, rel=1e-9)
    assert rate.low <= rate.value <= rate.high


def test_no_copy_still_leaves_room_for_some():
    rate = copy_rate(np.full((100, 1), 0.5), [[0.0], [1.0]])
    assert rate.low == 0
    assert rate.high == pytest.approx(1 - 0.025 ** (1 / 100), rel=1e-9)
    assert str(rate) == "0.0% [0.0, 3.6]"


@pytest.mark.parametrize(
    ("samples", "data", "message"),
    [
        ([[0.0]], [[1.0]], "data: the second-nearest neighbour needs at least 2 samples, got 1"),
        ([[0.0, 1.0]], [[1.0], [2.0]], r"samples: have shape \(1, 2\), the data \(2, 1\)"),
        (np.zeros((0, 1)), [[1.0], [2.0]], r"samples: have shape \(0, 1\)"),
        ([[np.nan]], [[1.0], [2.0]], "samples: "),
        ([[0.0]], [[1.0], [np.inf]], "data: "),
    ],
)
def test_wrong_input_is_refused(samples, data, message):
    with pytest.raises(InputError, match=message):
        copy_rate(samples, data)


def test_intervals_of_means_are_student_s_and_welch_s():
    """Against their definitions; NaN, an estimate that there is none of, is left out."""
    rng = np.random.default_rng(5)
    a, b = rng.normal(3, 1, size=12), rng.normal(2, 4, size=20)
    half = student.ppf(0.975, 11) * a.std(ddof=1) / np.sqrt(12)
    found = mean([*a, np.nan])
    assert (found.value, found.n) == (pytest.approx(a.mean()), 12)
    assert (found.low, found.high) == pytest.approx((a.mean() - half, a.mean() + half))
    assert mean(a, bounds=(2.9, 3.1)).low >= 2.9
    assert mean(a, bounds=(2.9, 3.1)).high <= 3.1
    u, v = a.var(ddof=1) / 12, b.var(ddof=1) / 20
    freedom = (u + v) ** 2 / (u**2 / 11 + v**2 / 19)
    half = student.ppf(0.95, freedom) * np.sqrt(u + v)
    found = difference(a, [*b, np.nan], confidence=0.9)
    assert (found.value, found.n) == (pytest.approx(a.mean() - b.mean()), 12)
    assert (found.low, found.high) == pytest.approx((found.value - half, found.value + half))
    same = difference([1.0, 1.0], [0.5, 0.5, 0.5])
    assert (same.value, same.low, same.high) == (0.5, 0.5, 0.5)


@pytest.mark.parametrize("values", [[], [1.0], [1.0, np.nan]])
def test_an_interval_needs_two_points(values):
    with pytest.raises(InputError, match="values: an interval needs at least two points"):
        mean(values)
    with pytest.raises(InputError, match="values: an interval needs at least two points"):
        difference([1.0, 2.0], values)
