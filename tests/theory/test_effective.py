"""Effective numbers of samples and the score's fluctuations: the sheet's values, bounds, and simulations."""

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq

from geomem.theory import condensation_time, effective_samples, log_moment_ratio, score_distribution

METHODS = ("rem", "annealed", "finite")
positive = st.floats(-3, 3).map(lambda e: 10.0**e)


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
        power = [r.power for r in simulate(s, 1000, times, 800, seed=31)]
        y, se = (np.array(v) for v in zip(*((p.mean(), p.std(ddof=1) / np.sqrt(p.size)) for p in power), strict=True))
        out[name] = (times, y, se)
    return out


def test_simulation_reproduces_the_sheets_numbers(simulate, set_a):
    runs = simulate(set_a, 1000, list(SIMULATED_A), 400, seed=32)
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
    for t, run in zip(times, simulate(set_a, 1000, times, 400, seed=33, x=x), strict=True):
        y, se = run.power.mean(), run.power.std(ddof=1) / 20
        assert abs(effective_samples(set_a, 1000, t, x, method="finite") * y - 1) < 0.08 + 4 * se / y


# --- the score's distribution ---


def test_score_distribution_is_eq_39_corrected(set_a):
    x = np.linspace(-1, 1, 30)
    t_c = float(condensation_time(set_a, 1000, x))
    for t in (t_c / 3, 4 * t_c):
        frozen = max(t, t_c)
        for method in METHODS:
            law = score_distribution(set_a, 1000, t, x, method=method)
            active = effective_samples(set_a, 1000, t, x, method=method)
            np.testing.assert_allclose(law.mean, (x * set_a / (set_a + frozen) - x) / t, rtol=1e-12, atol=1e-13)
            variance = np.where(set_a > 0, 1 / (1 / np.maximum(set_a, 1e-300) + 1 / frozen), 0) / (active * t**2)
            np.testing.assert_allclose(law.variance, variance, rtol=1e-12)
    np.testing.assert_allclose(score_distribution(set_a, 10**6, 4.0, x).mean, -x / (set_a + 4.0), rtol=1e-12)


def test_score_distribution_shapes(set_a):
    law = score_distribution(set_a, np.array([[100], [1000]]), [0.01, 0.1, 1.0], np.zeros((5, 1, 1, 30)))
    assert law.mean.shape == law.variance.shape == (5, 2, 3, 30)
    alone = score_distribution(set_a, 1000, 0.1)
    assert alone.mean.shape == (30,)
    np.testing.assert_allclose(law.variance[2, 1, 1], alone.variance, rtol=1e-12)


@pytest.mark.parametrize("method", ["rem", "finite"])
@pytest.mark.parametrize("count", [2, 5])
def test_score_distribution_is_the_law_of_eq_17(set_a, method, count):
    """Averages of exactly N~ draws of the frozen posterior, at the time where N~ is that whole number."""
    x = np.sqrt(set_a) * np.where(np.arange(30) % 3, 1, -0.5)
    t_c = float(condensation_time(set_a, 1000, x))
    t = brentq(
        lambda u: float(effective_samples(set_a, 1000, u, x, method=method)) - count, 1e-4 * t_c, 10 * t_c, xtol=1e-14
    )
    frozen = max(t, t_c)
    rng, draws = np.random.default_rng(41), 20_000
    s = set_a[:7]
    y = x[:7] * s / (s + frozen) + rng.standard_normal((draws, count, 7)) * np.sqrt(s * frozen / (s + frozen))
    score = (y.mean(1) - x[:7]) / t
    law = score_distribution(set_a, 1000, t, x, method=method)
    # 14 comparisons at 4.5 standard errors: 1e-4 in all.
    z_mean = (score.mean(0) - law.mean[:7]) / np.sqrt(law.variance[:7] / draws)
    z_variance = (score.var(0, ddof=1) / law.variance[:7] - 1) / np.sqrt(2 / draws)
    assert np.abs(z_mean).max() < 4.5
    assert np.abs(z_variance).max() < 4.5
    np.testing.assert_allclose(law.mean[7:], -x[7:] / t)
    np.testing.assert_array_equal(law.variance[7:], 0)


@pytest.fixture(scope="module")
def scores(simulate, sets):
    """Empirical posterior means at the origin and at x_i = +-sqrt(s_i), over 1000 data sets of N = 1000."""
    out = {}
    for name, s in sets.items():
        for place, x in (("origin", np.zeros(30)), ("off", np.sqrt(s) * np.where(np.arange(30) % 2, 1, -1))):
            times = float(condensation_time(s, 1000, x)) * np.array([0.1, 0.5, 1.0, 2.0, 5.0, 10.0])
            out[name, place] = (x, times, simulate(s, 1000, times, 1000, seed=42, x=x))
    return out


@pytest.mark.parametrize("name", ["A", "B"])
@pytest.mark.parametrize("place", ["origin", "off"])
def test_simulated_score_variance_far_above_t_c_is_that_of_squared_weights(scores, sets, name, place):
    """What the simulation obeys: (R0/N) [v(t/2) + (q-p)^2] / t^2, the posterior of L^2 and not of L."""
    x, times, runs = scores[name, place]
    s, x = sets[name][sets[name] > 0], x[sets[name] > 0]
    for t, run in list(zip(times, runs, strict=True))[-2:]:
        shift = x * s / (s + t / 2) - x * s / (s + t)
        noise = np.exp(log_moment_ratio(s, t, x)) / 1000
        ratio = run.mean.var(0, ddof=1) / (noise * (s * t / (2 * s + t) + shift**2))
        # 7 or 15 axes at 4.5 standard errors of a variance, and the next order in R0/N.
        assert np.all(np.abs(ratio - 1) < 4.5 * np.sqrt(2 / 1000) + 2 * noise), t


@pytest.mark.parametrize("name", ["A", "B"])
def test_score_variance_against_simulation(scores, sets, name):
    """How far Eq. 17's variance with method "finite" is from the empirical score's, at every t.

    Formula over simulation, [s = 1, s = .3] at the origin, 1000 data sets (about 4% error each, less on average):

        t/t_c      .1         .5         1          2           3           5           10          30
        A      .74 .71    .77 .75    .77 .76    1.35 1.28   1.67 1.51   1.88 1.57   1.91 1.51   1.58 1.29
        B      .77 .78    .78 .79    .97 .99    1.78 1.60   1.74 1.48   1.64 1.35   1.47 1.22   1.22 1.09

    Above t_c Eq. 17 draws from the posterior of variance v(t), but a weighted mean's variance is sum w^2 y^2, in which
    the posterior of L^2 with v(t/2) appears (the test above): too large by (2s+t)/(s+t), up to 2. Below t_c the few
    active samples lie farther away than the posterior frozen at t_c says. So a factor of 2 is what can be claimed.
    """
    _, times, runs = scores[name, "origin"]
    rank = int(np.count_nonzero(sets[name]))
    ratio = np.array(
        [
            score_distribution(sets[name], 1000, t, method="finite").variance[:rank] * t**2 / run.mean.var(0, ddof=1)
            for t, run in zip(times, runs, strict=True)
        ]
    )
    assert np.all((ratio > 0.5) & (ratio < 2.3))
    rem = score_distribution(sets[name], 1000, times[2:4, None] * 1.001).variance[..., :rank]
    truth = np.array([run.mean.var(0) / t**2 for t, run in zip(times[2:4], runs[2:4], strict=True)])
    assert np.all(rem[:, 0] < 0.05 * truth)  # "rem" counts all N just above t_c: 0.2% to 1.4% of the variance


@pytest.mark.parametrize("name", ["A", "B"])
def test_score_mean_against_simulation(scores, sets, name):
    """The mean: the exact score well above t_c, and below 2 t_c too small.

    Its projection on x, formula over simulation, 2000 data sets (errors .015 falling to .001):

        t/t_c   .1     .5     1      2      3      5      10
        A      .732   .716   .660   .907   .967   .990   .997
        B      .843   .828   .775   .963   .992   .999   1.000

    The nearest of N samples lies farther from x than the posterior frozen at t_c, the limit d -> infinity, says.
    """
    x, times, runs = scores[name, "off"]
    keep = sets[name] > 0
    for t, run in zip(times, runs, strict=True):
        predicted = score_distribution(sets[name], 1000, t, x, method="finite").mean[keep] * t
        simulated = run.mean.mean(0) - x[keep]
        se = run.mean.std(0, ddof=1) / np.sqrt(1000)
        if t >= 5 * times[2] * 0.99:
            noise = np.exp(log_moment_ratio(sets[name], t, x)) / 1000
            assert np.all(np.abs(predicted - simulated) < 4.5 * se + noise * np.abs(x[keep])), t
        share = (predicted @ x[keep]) / (simulated @ x[keep])
        assert 0.6 < share < 1.03, (t, share)
