"""The posterior at training points: values, laws, and simulations of the empirical posterior."""

import numpy as np
import pytest

from geomem.theory import condensation_time, half_weight_time, training_point
from theory.cases import corner

# --- half-weight times ---


def test_half_weight_times_of_set_b(set_b):
    clean, noisy = half_weight_time(set_b, 1000, np.sqrt(set_b)), half_weight_time(set_b, 1000)
    assert (round(float(clean), 4), round(float(noisy), 4)) == (0.7099, 0.3157)
    assert round(float(condensation_time(set_b, 1000)), 4) == 0.0999  # the sheet's contrast: held-out points


def test_half_weight_time_solves_its_equation():
    rng = np.random.default_rng(1)
    s, n = np.array([3.0, 0.0, 0.2, 1e-3]), np.array([2, 50, 10**6])
    x = 2 * rng.standard_normal((5, 1, 4))
    t = half_weight_time(s, n, x)
    assert t.shape == (5, 3)
    keep = s > 0
    terms = np.log1p(s[keep] / t[..., None]) + x[..., keep] ** 2 / (s[keep] + t[..., None])
    np.testing.assert_allclose(0.5 * terms.sum(-1), np.broadcast_to(np.log(n), (5, 3)), rtol=1e-12)
    noisy = half_weight_time(s, n)
    np.testing.assert_allclose(0.5 * np.log1p(s[keep] / noisy[:, None]).sum(-1), np.log(n), rtol=1e-12)
    np.testing.assert_allclose(half_weight_time(s, n, np.zeros(4)), noisy, rtol=1e-13)  # x = 0 and no x agree
    assert np.all(np.diff(t, axis=-1) < 0)
    np.testing.assert_array_equal(half_weight_time(s, n, x + np.array([0, 9, 0, 0])), t)  # outside the support
    np.testing.assert_allclose(half_weight_time(7 * s, n, np.sqrt(7) * x), 7 * t, rtol=1e-12)
    np.testing.assert_array_equal(half_weight_time([0.0, 0.0], n), np.zeros(3))


def test_own_weight_is_a_half_at_the_half_weight_time(set_b):
    n, x = np.array([2, 10, 1000, 10**8]), corner(set_b)
    own = training_point(set_b, n, half_weight_time(set_b, n, x), x).own_weight
    np.testing.assert_allclose(own, n / (2 * n - 1), rtol=1e-11)  # ln N stands for ln(N-1): 1/2 as N grows


def test_noisy_training_points_have_half_their_weight_at_the_stated_time(set_b):
    """At y + sqrt(t) eps the planted sample's weight, by simulation; it passes from 1 to 0 around t = .3157."""
    s, rng = set_b[:15], np.random.default_rng(2)
    medians = []
    for t in float(half_weight_time(set_b, 1000)) * np.array([0.5, 1.0, 2.0]):
        own = []
        for _ in range(300):
            y = rng.standard_normal((1000, 15)) * np.sqrt(s)
            x = y[0] + np.sqrt(t) * rng.standard_normal(15)
            logits = -np.sum((y - x) ** 2, -1) / (2 * t)
            own.append(1 / np.exp(logits - logits[0]).sum())
        medians.append(np.median(own))
    # 4000 data sets: medians .998, .674 +- .007, .082, means .915, .584, .224 at .5, 1, 2 times t. The formula puts the
    # noise's mean for its sums, so it names a typical time, not the one where the median or the mean is 1/2.
    assert medians[0] > 0.9
    assert 0.5 < medians[1] < 0.8
    assert medians[2] < 0.2


# --- a training point ---

# Sheet, 2b, "simulated own weight": formula and simulation. They agree with medians over random training points, which
# are .989/.991, .830/.832, .172/.173 in 10,000 data sets; the means are .977/.977, .791/.792, .223/.224.
SHEET_B = {0.3: (0.991, 0.990), 0.5: (0.814, 0.805), 1.0: (0.166, 0.172)}


@pytest.fixture(scope="module")
def own_points(simulate, set_b):
    """The first of N = 1000 samples as the query, over 500 data sets, by t."""
    times = [0.3, 0.5, 0.7, 1.0, 2.0]
    return dict(zip(times, simulate(set_b, 1000, times, 500, seed=51, planted="own"), strict=True))


def test_own_weight_at_random_training_points_is_the_simulated_one(own_points, set_b):
    for t, run in own_points.items():
        formula = training_point(set_b, 1000, t, np.pad(run.position, ((0, 0), (0, 15)))).own_weight
        paired = formula - run.own
        # The formula puts the bulk's mean for the bulk: a bias of -.0003, -.0017, -.0019, -.0010, -.0001 (10,000 sets,
        # standard errors below .0004).
        assert abs(paired.mean()) < 0.002 + 4 * paired.std(ddof=1) / np.sqrt(500), t
        # Point by point too, best where many samples share the bulk (N L >> 1): .883, .976, .989, .994, .997.
        assert np.corrcoef(formula, run.own)[0, 1] > (0.8 if t < 0.5 else 0.96), t
        if t in SHEET_B:
            # Both are medians of some hundred draws: ranks within 4 sqrt(2) standard errors of a median's rank.
            low, high = (250 + sign * int(4 * np.sqrt(2 * 500) / 2) for sign in (-1, 1))
            for values, printed in zip((formula, run.own), SHEET_B[t], strict=True):
                assert np.sort(values)[low] < printed < np.sort(values)[high], t


@pytest.fixture(scope="module")
def planted(simulate, set_b):
    times = [0.5, 0.7, 1.0, 2.0, 4.0]
    x = corner(set_b)
    return x, dict(zip(times, simulate(set_b, 1000, times, 500, seed=52, x=x, planted=True), strict=True))


def test_training_covariance_against_simulation(planted, set_b):
    x, runs = planted
    for t, run in runs.items():
        at = training_point(set_b, 1000, t, x)
        predicted, simulated = at.covariance[:15, :15], run.covariance.mean(0)
        se = run.covariance.std(0, ddof=1) / np.sqrt(500)
        # 120 entries at 5 times at 4.7 standard errors (1.6e-3 in all), and the bias of putting the bulk's mean for the
        # bulk: the formula's trace is too large by 1.8 +- .6, 1.1 +- .2, .4, .2 and .2%.
        slack = 0.02 * np.sqrt(np.outer(np.diag(predicted), np.diag(predicted)))
        assert np.all(np.abs(simulated - predicted) < 4.7 * se + slack), t
        trace = np.trace(run.covariance, axis1=1, axis2=2)
        assert abs(at.survival.sum() * t / trace.mean() - 1) < 0.01 + 4 * trace.std() / np.sqrt(500) / trace.mean(), t
        assert abs(run.own.mean() - at.own_weight) < 4 * run.own.std() / np.sqrt(500) + 0.005, t


def test_training_survival_is_the_spectrum_of_the_covariance():
    rng = np.random.default_rng(3)
    s = np.array([1.0, 0.0, 0.3, 2.0])
    x = rng.standard_normal((5, 1, 1, 4)) * np.sqrt(s)
    n, t = np.array([[2], [1000]]), np.array([0.1, 0.5, 2.0])
    at = training_point(s, n, t, x)
    assert at.own_weight.shape == at.t.shape == (5, 2, 3)
    assert at.covariance.shape == (5, 2, 3, 4, 4)
    own = at.own_weight[..., None]
    v, u = s * t[:, None] / (s + t[:, None]), x * t[:, None] / (s + t[:, None])
    cov = ((1 - own) * v)[..., None] * np.eye(4) + (own * (1 - own))[..., None] * u[..., None] * u[..., None, :]
    np.testing.assert_allclose(at.covariance, cov, atol=1e-14)
    survival = np.linalg.eigvalsh(cov)[..., ::-1] / t[:, None]
    np.testing.assert_allclose(at.survival, survival, atol=1e-13)
    np.testing.assert_allclose(at.survival.sum(-1), np.trace(cov, axis1=-2, axis2=-1) / t, rtol=1e-12)
    assert np.all(at.survival >= 0)


def test_own_weight_is_the_sheets_formula():
    s, x = np.array([1.0, 0.0, 0.3]), np.array([0.5, 0.0, -1.0])
    t, n = np.array([1e-3, 0.2, 5.0]), 37
    likelihood = np.prod((1 + s / t[:, None]) ** -0.5 * np.exp(-(x**2) / (2 * (s + t[:, None]))), -1)
    np.testing.assert_allclose(training_point(s, n, t, x).own_weight, 1 / (1 + 36 * likelihood), rtol=1e-13)


def test_training_point_limits():
    s, x = np.array([1.0, 0.3, 0.0]), np.array([1.0, -0.5, 0.0])
    alone = training_point(s, 1, 0.3, x)
    assert alone.own_weight == 1
    np.testing.assert_array_equal(alone.survival, 0)
    pinned = training_point(s, 10, 1e-14, x)
    np.testing.assert_allclose(pinned.own_weight, 1, rtol=1e-12)
    np.testing.assert_allclose(pinned.survival, 0, atol=1e-9)
    free = training_point(s, 10**9, 5.0, x)  # one of very many: the exact score's survival
    np.testing.assert_allclose(free.own_weight, 0, atol=1e-8)
    np.testing.assert_allclose(free.survival, s / (s + 5), atol=1e-8)
