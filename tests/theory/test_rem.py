"""Condensation from the Random Energy Model: the sheet's values, an independent evaluation, and the laws."""

import warnings

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geomem.errors import NumericalWarning
from geomem.theory import condensation_time, condensation_time_along, information, rem, required_samples
from theory.cases import exact_information, positive, problems

A = [1.0] * 2 + [0.3] * 5 + [0.0] * 23
E1 = [1.0] + [0.0] * 29
N1000 = {"n_samples": 1000}
TABLE = [  # sheet, section 2: variances, x, load, exact, Eq. 15
    pytest.param(A, None, N1000, 0.0244780339033562, 0.297772491546674, id="A"),
    pytest.param(A, E1, N1000, 0.028565896975731, 0.401311438128115, id="A-e1"),
    pytest.param([1.0], None, {"alpha": 0.1}, 0.973318460266937, 1.58113883008419, id="one"),
    pytest.param([1, 2, 3], [1, -1, 0.5], {"alpha": 0.05}, 4.33143853414306, 5.98609499868932, id="three"),
    pytest.param([1, 2, 3], [1, -1, 0.5], {"alpha": 1e-8}, 13383.5246994105, 13385.3153368408, id="small-load"),
    pytest.param([4, 0.25, 0, 0], [0.5, 2, 7, 0], {"alpha": 0.3}, 0.659047233263232, 2.04442840422452, id="outside"),
    pytest.param([2.0] + [0.0] * 49, None, {"alpha": 1.0}, 2.73707894234771e-44, 0.14142135623731, id="1e-44"),
]

loads = st.floats(-8, np.log10(5)).map(lambda e: 10.0**e)


def assert_root(s, t_c, nats, x=None, rel="1e-12"):
    """The falling function d h crosses `nats` within `rel` of t_c."""
    with mp.workdps(60):
        t, eps = mp.mpf(float(t_c)), mp.mpf(rel)
        assert exact_information(s, t * (1 - eps), x) > nats > exact_information(s, t * (1 + eps), x)


# --- condensation time ---


@pytest.mark.parametrize(("s", "x", "load", "exact", "expansion"), TABLE)
def test_condensation_time_has_the_sheets_values(s, x, load, exact, expansion):
    np.testing.assert_allclose(condensation_time(s, x=x, **load), exact, rtol=1e-12)
    np.testing.assert_allclose(condensation_time(s, x=x, **load, method="expansion"), expansion, rtol=1e-12)


@given(problem=problems(), alpha=loads)
@settings(derandomize=True, deadline=None, max_examples=100)
def test_condensation_time_solves_its_equation_to_1e_12(problem, alpha):
    s, x = problem
    t_c = condensation_time(s, alpha=alpha, x=x)
    with mp.workdps(60):
        nats = mp.mpf(alpha) * len(s)
    assert_root(s, t_c, nats, x)


@pytest.mark.parametrize("alpha", [1e-8, 1e-5, 1e-3, 0.1, 0.7, 1, 2, 5])
@pytest.mark.parametrize("x", [None, [0.3, -2.0] + [1.0] * 18], ids=["origin", "off"])
def test_condensation_time_is_exact_where_it_is_tiny(alpha, x):
    s = [3.0, 0.5] + [0.0] * 18  # at alpha = 5 t_c is e^-101
    with mp.workdps(60):
        assert_root(s, condensation_time(s, alpha=alpha, x=x), mp.mpf(alpha) * 20, x)


@given(problem=problems(), n=st.integers(2, 10**9))
@settings(derandomize=True, deadline=None, max_examples=60)
def test_condensation_time_from_a_number_of_samples(problem, n):
    s, x = problem
    with mp.workdps(60):
        # The load ln N / d is rounded to float64, which moves ln t by up to 2 ln N / m ulps.
        assert_root(s, condensation_time(s, n, x), mp.log(n), x, rel="1e-12")


def test_condensation_time_is_infinite_without_load_and_zero_without_variance():
    assert condensation_time([1.0, 0.5], n_samples=1) == np.inf
    np.testing.assert_array_equal(condensation_time([1.0, 0.5], alpha=[-1.0, 0.0, -0.0]), np.inf)
    assert condensation_time([1.0, 0.5], alpha=0.0, method="expansion") == np.inf
    np.testing.assert_array_equal(condensation_time([0.0, 0.0], n_samples=[2, 1000]), [0, 0])
    np.testing.assert_array_equal(condensation_time([0.0, 0.0], 10, x=np.ones((4, 2))), np.zeros(4))


def test_condensation_time_below_float64_is_zero_and_says_so():
    with pytest.warns(NumericalWarning, match="1e-308"):
        assert condensation_time([1.0] + [0.0] * 399, alpha=5.0) == 0


def test_condensation_time_broadcasts_positions_against_loads():
    rng = np.random.default_rng(1)
    s, n = np.array([2.0, 0.0, 0.1]), np.array([1, 3, 1000])
    x = rng.standard_normal((4, 1, 3))
    for method in ("exact", "expansion"):
        t_c = condensation_time(s, n, x, method=method)
        assert t_c.shape == (4, 3)
        alone = [[condensation_time(s, m, row[0], method=method) for m in n] for row in x]
        np.testing.assert_allclose(t_c, np.array(alone), rtol=1e-14)
        assert np.isinf(t_c[:, 0]).all()
        assert np.isfinite(t_c[:, 1:]).all()
    assert condensation_time(s, 10).shape == ()
    assert condensation_time(s, np.full((2, 1), 10.0), np.zeros((5, 3))).shape == (2, 5)
    assert condensation_time(s, 10, np.zeros((0, 3))).shape == (0,)


def test_condensation_time_does_not_depend_on_how_rows_are_blocked(monkeypatch):
    rng = np.random.default_rng(2)
    s, x = np.array([1.0, 0.3, 0.0, 5.0]), rng.standard_normal((53, 4))
    n = np.where(np.arange(53) % 7 == 0, 1, 500)
    whole = condensation_time(s, n, x)
    for block in (1, 10, 99):
        monkeypatch.setattr(rem, "_BLOCK", block)
        np.testing.assert_allclose(condensation_time(s, n, x), whole, rtol=1e-14)


@given(problem=problems(), loads=st.lists(loads, min_size=2, max_size=5, unique=True), scale=positive)
@settings(derandomize=True, deadline=None, max_examples=60)
def test_condensation_time_falls_with_the_load_scales_and_stays_below_eq_15(problem, loads, scale):
    s, x = problem
    alpha = np.sort(loads)
    t_c = condensation_time(s, alpha=alpha, x=x)
    assert np.all(np.diff(t_c) <= 0)
    upper = condensation_time(s, alpha=alpha, x=x, method="expansion")
    assert np.all(t_c <= upper * (1 + 1e-14))
    assert np.all(np.diff(upper) <= 0)
    scaled = condensation_time(scale * s, alpha=alpha, x=None if x is None else np.sqrt(scale) * np.array(x))
    np.testing.assert_allclose(scaled, scale * t_c, rtol=1e-11)


def test_condensation_time_falls_strictly_with_n():
    t_c = condensation_time(A, np.array([2, 3, 10, 100, 1000, 10**6]), E1)
    assert np.all(np.diff(t_c) < 0)


@pytest.mark.parametrize("x", [None, [1.0, -1.0, 0.5]], ids=["origin", "off"])
def test_condensation_time_approaches_its_second_order_at_small_load(x):
    s, x2 = np.array([1.0, 2.0, 3.0]), np.square([0.0] * 3 if x is None else x)
    alpha = np.array([1e-4, 1e-6, 1e-8])
    first = condensation_time(s, alpha=alpha, x=x, method="expansion")
    exact = condensation_time(s, alpha=alpha, x=x)
    second = first - np.sum(s**3 / 3 + x2 * s**2) / np.sum(s**2 / 2 + x2 * s)
    # The error falls as 1/t_15, tenfold from one load to the next; at 1e-8 round-off of t_15 ~ 1e4 is 1e-12.
    np.testing.assert_allclose((exact - second)[1:] / (exact - second)[:-1], 0.1, rtol=0.02)
    np.testing.assert_allclose(exact[2], second[2], rtol=1e-7)


def test_condensation_time_ignores_positions_outside_the_support():
    s = [0.0, 4.0, 0.0, 0.25]
    inside = condensation_time(s, 50, [0, 0.5, 0, 2])
    assert condensation_time(s, 50, [7, 0.5, -1e9, 2]) == inside
    # N is what counts, not d: dropping the zeros changes alpha = ln N / d and h alike.
    np.testing.assert_allclose(condensation_time([4.0, 0.25], 50, [0.5, 2]), inside, rtol=1e-14)


def test_condensation_time_respects_the_order_of_variances():
    rng = np.random.default_rng(3)
    s, x = np.array([3.0, 0.0, 0.5, 0.1]), np.array([0.1, 2.0, 1.5, -0.4])
    for order in (rng.permutation(4) for _ in range(4)):
        np.testing.assert_allclose(condensation_time(s[order], 30, x[order]), condensation_time(s, 30, x), rtol=1e-14)
    assert condensation_time(s, 30, [0, 0, 2, 0]) != condensation_time(s, 30, [2, 0, 0, 0])
    assert condensation_time(s, 30, [0, 0, 0, 2.0]) != condensation_time(s[::-1], 30, [0, 0, 0, 2.0])


# --- required samples ---


@given(problem=problems(), n=st.floats(1.01, 1e12))
@settings(derandomize=True, deadline=None, max_examples=60)
def test_required_samples_inverts_the_condensation_time(problem, n):
    s, x = problem
    t_c = condensation_time(s, n, x)
    np.testing.assert_allclose(required_samples(s, t_c, x), n, rtol=1e-10)
    more, fewer = condensation_time(s, np.array([n * 1.01, n * 0.999 + 0.001]), x)
    assert more < t_c < fewer


def test_required_samples_beyond_float64_are_infinite_and_say_so():
    with pytest.warns(NumericalWarning, match="1e308"):
        n = required_samples([1.0] * 200, np.array([1e-8, 1.0]))
    assert n[0] == np.inf
    assert np.isfinite(n[1])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert required_samples([0.0, 0.0], 1.0) == 1


# --- along x = sqrt(t) v ---


@given(problem=problems(), nats=st.floats(0.05, 30))
@settings(derandomize=True, deadline=None, max_examples=80)
def test_time_along_a_direction_is_the_largest_self_consistent_time(problem, nats):
    s, v = problem
    v = np.zeros(s.size) if v is None else np.array(v)
    t = float(condensation_time_along(s, alpha=nats / s.size, direction=v))
    np.testing.assert_allclose(condensation_time(s, alpha=nats / s.size, x=np.sqrt(t) * v), t, rtol=1e-9)
    # Beyond it the noisy position never condenses again: no crossing above, up to the stated half a percent.
    # A direction's part of the information varies over a factor of e in t or more: steps of 0.7% miss no crossing.
    later = t * np.geomspace(1.006, 1e6, 2_000)
    assert np.all(information(s, later, np.sqrt(later)[:, None] * v) * s.size < nats)


def test_time_along_returns_the_largest_of_three_roots():
    s, v, nats = [1.0], [10.0], 6.9
    t = np.geomspace(1e-9, 1e3, 400_001)
    above = information(s, t, np.sqrt(t)[:, None] * v) > nats
    crossings = np.flatnonzero(np.diff(above))
    assert len(crossings) == 3
    found = condensation_time_along(s, alpha=nats, direction=v)
    assert t[crossings[-1]] <= found <= t[crossings[-1] + 1]


def test_time_along_has_the_limits_of_the_plain_time():
    assert condensation_time_along(A, 1) == np.inf
    np.testing.assert_array_equal(condensation_time_along([0.0, 0.0], [10, 20]), [0, 0])
    np.testing.assert_allclose(condensation_time_along(A, 1000), condensation_time(A, 1000), rtol=1e-13)
    rows = condensation_time_along(A, np.array([[1], [100], [1000]]), np.eye(30)[[0, 2, 29]])
    assert rows.shape == (3, 3)
    np.testing.assert_array_equal(rows[0], np.inf)
    np.testing.assert_allclose(rows[2, 2], condensation_time(A, 1000), rtol=1e-13)  # outside the support
    alone = [[condensation_time_along(A, n, np.eye(30)[j]) for j in (0, 2, 29)] for n in (100, 1000)]
    np.testing.assert_allclose(rows[1:], np.array(alone), rtol=1e-13)


def test_the_larger_of_two_variances_is_more_vulnerable_only_above_their_geometric_mean():
    # Sheet, section 2: x^2 s/(t+s)^2 at x = e_j sqrt t is s t/(t+s)^2, the same at s and at t^2/s.
    s = np.array([1.0, 0.3])
    for t, larger_first in ((0.9 * np.sqrt(0.3), False), (1.1 * np.sqrt(0.3), True)):
        h = information(s, t, np.sqrt(t) * np.eye(2))
        assert (h[0] > h[1]) == larger_first
