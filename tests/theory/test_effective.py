"""Effective numbers of samples: the sheet's values, bounds, and simulations."""

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geomem.theory import condensation_time, effective_samples, log_moment_ratio
from theory.cases import METHODS, positive

# --- closed values ---


def test_sheet_values_of_set_a(set_a):
    np.testing.assert_allclose(effective_samples(set_a, 1000, 0.01), 1.69070151837, rtol=1e-11)
    np.testing.assert_allclose(effective_samples(set_a, 1000, 0.1, method="annealed"), 22.9505070134, rtol=1e-11)
    # t_P = 0.0371581361083 is the slope of the power-law part, and its kink.
    small = 1e-6
    annealed = effective_samples(set_a, 1000, small, method="annealed")
    slope = (effective_samples(set_a, 1000, small, method="finite") - annealed) / small
    np.testing.assert_allclose(1 / slope, 0.0371581361083, rtol=1e-9)
    for t, share in ((0.0371581361083 * 0.999, 0.999), (0.0371581361083 * 1.001, 1.0)):
        extra = effective_samples(set_a, 1000, t, method="finite") - effective_samples(
            set_a, 1000, t, method="annealed"
        )
        np.testing.assert_allclose(extra, share, rtol=1e-9)
    t = np.array([0.05, 0.1, 0.2, 1.0])
    annealed = effective_samples(set_a, 1000, t, method="annealed")
    np.testing.assert_allclose(annealed, [4.37, 23.0, 101, 654], rtol=2.5e-3)  # the sheet prints three digits
    np.testing.assert_array_equal(effective_samples(set_a, 1000, t), 1000)  # what the paper says there


def test_rem_is_the_mended_eq_16():
    s, x = [1.0, 0.3, 0.0], [0.5, -1.0, 3.0]
    t_c = float(condensation_time(s, 1000, x))
    t = t_c * np.array([1e-6, 0.25, 0.5, 0.9])
    np.testing.assert_allclose(effective_samples(s, 1000, t, x), 1 / (1 - t / t_c), rtol=1e-12)
    np.testing.assert_array_equal(effective_samples(s, 1000, [t_c * (1 - 1e-5), t_c * 1.01, 50 * t_c], x), 1000)


def exact_log_moment_ratio(s, t, x):
    """ln E[L^2] - 2 ln E[L] in 60 digits, from E[L^l] = prod (1+ls/t)^(-1/2) exp(-l x^2 / 2(t+ls))."""
    with mp.workdps(60):
        t = mp.mpf(t)
        rows = [(mp.mpf(a), mp.mpf(b)) for a, b in zip(s, x, strict=True)]
        first, second = (
            mp.fsum(-mp.log(1 + lam * a / t) / 2 - lam * b**2 / (2 * (t + lam * a)) for a, b in rows) for lam in (1, 2)
        )
        return float(second - 2 * first)


@given(s=st.lists(positive, min_size=1, max_size=6), t=positive, data=st.data())
@settings(derandomize=True, deadline=None, max_examples=80)
def test_log_moment_ratio_is_the_second_moment_of_the_likelihood(s, t, data):
    x = data.draw(st.lists(st.floats(-3, 3), min_size=len(s), max_size=len(s)))
    # The cumulants carry |x|^2/t each, which cancels: round-off of their size is allowed.
    size = (1 + np.sum(np.square(x)) / t) * len(s)
    np.testing.assert_allclose(
        log_moment_ratio(s, t, x), exact_log_moment_ratio(s, t, x), rtol=1e-12, atol=2e-15 * size
    )


def test_log_moment_ratio_keeps_its_digits_off_the_origin_at_small_t():
    """t_c reaches 1e-44, so times far below 1e-16 are asked for; zeta(2) - 2 zeta(1) is all round-off there."""
    s, x = [1.0] * 5, [1.0, -0.5, 2.0, 1.0, 1.0]
    for t in (1e-5, 1e-12, 1e-18, 1e-40):
        np.testing.assert_allclose(log_moment_ratio(s, t, x), exact_log_moment_ratio(s, t, x), rtol=1e-13)
        assert effective_samples(s, 1000, t, x, method="annealed") < 1.01  # 1000 at 1e-18 where it cancels


def test_log_moment_ratio_at_the_origin(set_a):
    product = np.prod((1 + set_a / 0.1) / np.sqrt(1 + 2 * set_a / 0.1))
    np.testing.assert_allclose(np.exp(log_moment_ratio(set_a, 0.1)), product, rtol=1e-13)
    np.testing.assert_allclose(np.exp(log_moment_ratio(set_a, 0.1)) / 1000, 0.0455114772242, rtol=1e-11)


# --- laws ---


@given(
    s=st.lists(positive, min_size=3, max_size=6),
    n=st.integers(1, 10**6),
    t=st.lists(positive, min_size=2, max_size=5, unique=True),
    far=st.floats(0, 3),
)
@settings(derandomize=True, deadline=None, max_examples=100)
def test_between_one_and_n_and_rising_with_t_at_the_origin(s, n, t, far):
    for method in METHODS:
        for x in (None, far * np.sqrt(s)):
            active = effective_samples(s, n, np.sort(t), x, method=method)
            assert np.all((active >= 1) & (active <= n * (1 + 1e-12)))
            if x is None:
                assert np.all(np.diff(active) >= -1e-12 * active[1:])


@pytest.mark.parametrize("method", METHODS)
def test_limits_and_shapes(method):
    s = [1.0, 0.5, 0.2, 0.0]
    assert effective_samples(s, 1, 0.3, method=method) == 1
    np.testing.assert_allclose(effective_samples(s, 500, 1e9, method=method), 500, rtol=1e-6)
    assert effective_samples(s, 500, 1e-9, method=method) == pytest.approx(1, abs=1e-6)
    shape = effective_samples(s, np.array([[10], [500]]), [0.1, 1, 2], np.ones((4, 1, 1, 4)), method=method).shape
    assert shape == (4, 2, 3)
    assert effective_samples(s, 500, 0.1, method=method).shape == ()
    inside, outside = (effective_samples(s, 500, 0.1, [1, 0.5, 0, v], method=method) for v in (0, 9))
    assert inside == outside


@pytest.mark.parametrize("method", ["rem", "annealed"])
def test_identical_samples_all_count(method):
    np.testing.assert_allclose(effective_samples([0.0, 0.0], 70, [1e-3, 1.0], method=method), 70, rtol=1e-14)


# --- simulation of N~ ---

SIMULATED_A = {0.05: 5.26, 0.1: 23.5, 0.2: 101, 1.0: 654}  # sheet, section 3: 1/E[Y] at the origin


@pytest.fixture(scope="module")
def at_origin(simulate, sets):
    """E[Y] with its standard error, by t/t_c, over 800 data sets of N = 1000."""
    grid = np.array([0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0])
    out = {}
    for name, s in sets.items():
        times = grid * float(condensation_time(s, 1000))
        power = [r.power for r in simulate(s, 1000, times, 800, seed=31, covariance=False)]
        y, se = (np.array(v) for v in zip(*((p.mean(), p.std(ddof=1) / np.sqrt(p.size)) for p in power), strict=True))
        out[name] = (times, y, se)
    return out


def test_simulation_reproduces_the_sheets_numbers(simulate, set_a):
    runs = simulate(set_a, 1000, list(SIMULATED_A), 400, seed=32, covariance=False)
    for (t, printed), run in zip(SIMULATED_A.items(), runs, strict=True):
        mean, se = run.power.mean(), run.power.std(ddof=1) / 20
        # 4 standard errors of ours; the sheet's own error is unknown, but it prints three digits of as many sets.
        assert abs(1 / printed - mean) < 4 * np.sqrt(2) * se + 0.005 * mean, t
        finite = effective_samples(set_a, 1000, t, method="finite")
        assert abs(finite * mean - 1) < 0.05 + 4 * se / mean, t


def test_finite_is_within_eight_percent_of_simulation_on_a(at_origin, set_a):
    times, y, se = at_origin["A"]
    ratio = effective_samples(set_a, 1000, times, method="finite") * y
    # The sheet says 5%. 3000 data sets gave at t/t_c = .1 1.006, .5 1.003, 1 1.021, 1.5 1.076 +- .010, 2 1.056, 3 1.049:
    # nearly all of 8%, so that is the bound, plus 4 standard errors (ten comparisons).
    assert np.all(np.abs(ratio - 1) < 0.08 + 4 * se / y)
    beyond = times > 2.5 * condensation_time(set_a, 1000)
    assert np.all(np.abs(ratio[beyond] - 1) < 0.05 + 4 * (se / y)[beyond])


def test_finite_is_within_a_quarter_of_simulation_on_b(at_origin, set_b):
    times, y, se = at_origin["B"]
    ratio = effective_samples(set_b, 1000, times, method="finite") * y
    # The sheet says 20% near t_c. 3000 data sets: t/t_c = .5 1.064, 1 .895, 1.25 .795, 1.5 .775 +- .009, 2 .849, 3 .969.
    assert np.all(np.abs(ratio - 1) < 0.23 + 4 * se / y)
    assert ratio[np.argmin(np.abs(times / condensation_time(set_b, 1000) - 1.5))] < 0.85  # where it is worst


@pytest.mark.parametrize("name", ["A", "B"])
def test_annealed_meets_simulation_far_above_t_c(at_origin, sets, name):
    times, y, se = at_origin[name]
    far = times > 4 * condensation_time(sets[name], 1000)
    ratio = effective_samples(sets[name], 1000, times, method="annealed") * y
    # First-order bias of a self-normalised sum, R0/N times a number of order 1: R0/N is .027 at 5 t_c on A.
    noise = np.exp(log_moment_ratio(sets[name], times)) / 1000
    assert np.all(np.abs(ratio - 1)[far] < (noise + 4 * se / y)[far])
    assert np.all(effective_samples(sets[name], 1000, times[far]) * y[far] > 2)  # the paper's N is far off there


def test_finite_away_from_the_origin(simulate, set_a):
    x = np.sqrt(set_a) * np.where(np.arange(30) % 2, 1, -1)
    times = float(condensation_time(set_a, 1000, x)) * np.array([0.25, 0.5, 1.0, 2.0, 5.0])
    for t, run in zip(times, simulate(set_a, 1000, times, 400, seed=33, x=x, covariance=False), strict=True):
        y, se = run.power.mean(), run.power.std(ddof=1) / 20
        assert abs(effective_samples(set_a, 1000, t, x, method="finite") * y - 1) < 0.08 + 4 * se / y
