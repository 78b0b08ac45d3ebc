"""The control of copies, rows compared with all others, the verdict's categories, and the coverage of rates."""

import numpy as np
import pytest
from scipy.stats import binom, fisher_exact

from geomem.errors import InputError
from geomem.measure.copies import Rate, copy_rate, neighbour_distances, rate_of_copies, superiority, verdict


def brute(data, own):
    """Distances (n, N - 1) from the chosen rows to all others, and which rows these are."""
    every = np.linalg.norm(data[own][:, None] - data, axis=-1)
    every[np.arange(len(own)), own] = np.inf
    order = np.argsort(every, axis=1, kind="stable")
    return np.take_along_axis(every, order, 1)[:, :2], order[:, :2]


@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_neighbours_of_rows_of_the_data_are_other_rows(offset):
    rng = np.random.default_rng(0)
    data = rng.normal(size=(60, 5)) + offset
    own = rng.permutation(60)[:25]
    distance, rows = neighbour_distances(data[own], data, own=own)
    expected, order = brute(data, own)
    np.testing.assert_array_equal(rows, order)
    np.testing.assert_allclose(distance, expected, rtol=1e-9)
    assert not np.any(rows == own[:, None])
    single, _ = neighbour_distances(data.astype(np.float32)[own], data.astype(np.float32), own=own)
    assert single.dtype == np.float64


@pytest.mark.parametrize("copies", [2, 3, 4, 10])
def test_equal_rows_are_each_others_neighbours(copies):
    """Among `copies` equal rows the nearest others are at 0; from four on, the own row may be none of the three found."""
    rng = np.random.default_rng(1)
    data = rng.normal(size=(40, 6))
    data[rng.permutation(40)[:copies]] = data[0]
    data[0] = data[1] + 5 if copies == 2 else data[0]
    own = np.arange(40)
    distance, rows = neighbour_distances(data, data, own=own)
    expected, _ = brute(data, own)
    np.testing.assert_allclose(distance, expected, atol=1e-12)
    assert not np.any(rows[:, 0] == rows[:, 1])
    np.testing.assert_allclose(np.linalg.norm(data[rows] - data[:, None], axis=-1), distance, atol=1e-12)
    equal = np.all(data[:, None] == data, axis=-1).sum(1)
    assert np.all(distance[equal >= 3] == 0)
    assert np.all(distance[equal == 2, 0] == 0)
    assert np.all(distance[equal == 2, 1] > 0.1)
    assert not np.any(rows[equal <= 2] == own[equal <= 2, None])


def test_a_row_and_its_near_duplicate_look_like_a_copy_and_others_do_not():
    rng = np.random.default_rng(2)
    data = rng.normal(size=(50, 20))
    data[7] = data[31] + 1e-9 * rng.normal(size=20)
    distance, rows = neighbour_distances(data, data, own=np.arange(50))
    assert rate_of_copies(distance).count == 2
    assert (rows[7, 0], rows[31, 0]) == (31, 7)
    assert distance[7, 0] == pytest.approx(np.linalg.norm(data[7] - data[31]), rel=1e-6)


def test_a_row_needs_two_others():
    with pytest.raises(InputError, match="data: the second-nearest neighbour needs at least 3 samples, got 2"):
        neighbour_distances(np.zeros((1, 2)), np.zeros((2, 2)), own=[0])
    distance, rows = neighbour_distances([[0.0]], [[0.0], [1.0], [3.0]], own=[0])
    np.testing.assert_array_equal(distance, [[1, 3]])
    np.testing.assert_array_equal(rows, [[1, 2]])


def side(count, total, seed=0):
    """Distances (total, 2) of which `count` are copies; the ratios of the others are spread evenly over [.5, 1]."""
    ratio = 0.5 + 0.5 * (np.arange(total) + 0.5) / total
    ratio[np.random.default_rng(seed).permutation(total)[:count]] = 0.2
    return np.stack([ratio, np.ones(total)], 1)


@pytest.mark.parametrize(
    ("made", "control", "expected"),
    [
        ((30, 100), (2, 100), "yes"),
        ((9, 100), (0, 100), "yes"),
        ((8, 100), (1, 100), "likely"),  # 3.5% to 15% against 0% to 5.4%, p = .017
        ((4, 5), (10, 100), "yes"),
        ((0, 100), (0, 100), "no sign"),
        ((5, 100), (5, 100), "no sign"),
        ((0, 10), (0, 1000), "too few"),  # up to 31% unseen
        ((0, 1000), (0, 10), "too few"),  # a control that says nothing
        ((0, 5), (0, 5), "too few"),
        ((3, 30), (2, 30), "too few"),
        ((0, 35), (0, 35), "too few"),  # interval to exactly .1000 at 35: 1 - .025^(1/35)
        ((0, 36), (0, 36), "no sign"),
    ],
)
def test_verdicts_by_rates(made, control, expected):
    found = verdict(side(*made), side(*control, seed=1))
    assert found.copies == expected
    table = [[made[0], made[1] - made[0]], [control[0], control[1] - control[0]]]
    assert found.p == pytest.approx(fisher_exact(table, alternative="greater")[1], rel=1e-12)
    assert found.identical == 0


def test_samples_that_are_nearer_throughout_are_likely_copies_without_one_below_the_threshold():
    control = side(0, 100)
    made = control * [0.8, 1.0]
    assert rate_of_copies(made).count == 0
    found = verdict(made, control)
    assert found.nearer.low > 0.6
    assert found.copies == "likely"


def test_one_identical_sample_decides_and_far_ones_are_not_judged():
    made, control = side(0, 100), side(0, 100)
    assert verdict(np.concatenate([made, [[0.0, 1.0]]]), control).copies == "identical"
    assert verdict(2.9 * made, control).copies == "no sign"
    assert verdict(3.1 * made, control).copies == "far"


def test_superiority_is_the_share_of_pairs_ties_half():
    rng = np.random.default_rng(3)
    a, b = rng.integers(0, 6, 40).astype(float), rng.integers(0, 6, 25).astype(float)
    share = np.mean((a[:, None] > b) + 0.5 * (a[:, None] == b))
    found = superiority(a, b)
    assert found.value == pytest.approx(share, rel=1e-12)
    assert found.low < share < found.high
    assert superiority(b, a).value == pytest.approx(1 - share, rel=1e-12)


def test_superiority_covers_one_half_where_both_are_alike():
    rng = np.random.default_rng(4)
    inside = 0
    for _ in range(600):
        found = superiority(rng.normal(size=40), rng.normal(size=60))
        inside += found.low <= 0.5 <= found.high
    # 95% of 600, within 4.5 standard errors below; the normal interval errs a little at 40.
    assert inside > 600 * 0.95 - 4.5 * np.sqrt(600 * 0.95 * 0.05)


def test_verdicts_err_rarely_where_nothing_is_copied():
    """Both sides of one law: Fisher's test errs in at most 5%, the ranks' in far fewer, so "yes" or "likely" in at most 6%."""
    rng = np.random.default_rng(5)

    def draw(n):
        return np.stack([rng.beta(5, 1.5, n), np.ones(n)], 1)

    wrong = sum(verdict(draw(60), draw(200)).copies in ("yes", "likely") for _ in range(400))
    assert wrong <= 400 * 0.06


@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_intervals_of_rates_cover_the_truth_at_least_as_often_as_stated(confidence):
    """Exactly, by summing the binomial law over the counts whose interval holds p."""
    for n in (5, 30, 100):
        rates = [Rate.of(k, n, confidence=confidence) for k in range(n + 1)]
        low, high = np.array([r.low for r in rates]), np.array([r.high for r in rates])
        for p in (0.001, 0.03, 0.1, 0.37, 0.5, 0.95):
            covered = binom.pmf(np.arange(n + 1), n, p)[(low <= p) & (p <= high)].sum()
            assert covered >= confidence


def test_rates_of_none_and_of_all():
    none, every = Rate.of(0, 20), Rate.of(20, 20)
    assert (none.low, every.high, none.value, every.value) == (0, 1, 0, 1)
    assert none.high == pytest.approx(1 - 0.025 ** (1 / 20), rel=1e-9)
    assert every.low == pytest.approx(0.025 ** (1 / 20), rel=1e-9)
    assert str(every) == "100.0% [83.2, 100.0]"


def test_rate_of_copies_counts_ratios_below_a_third():
    distance = np.array([[0.0, 1.0], [0.3, 1.0], [1 / 3, 1.0], [0.4, 1.0], [0.0, 0.0]])
    assert rate_of_copies(distance).count == 2  # neither the third itself nor two equal data
    assert rate_of_copies(distance, ratio=0.2).count == 1
    data = np.random.default_rng(3).normal(size=(30, 4))
    samples = np.concatenate([data[:5] + 1e-3, np.random.default_rng(4).normal(size=(20, 4))])
    assert copy_rate(samples, data) == rate_of_copies(neighbour_distances(samples, data)[0])
