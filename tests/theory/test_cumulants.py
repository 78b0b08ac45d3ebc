"""The cumulant, its derivative and the information of the Random Energy Model: closed values, high precision, limits."""

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geomem.theory import cumulant, cumulant_derivative, information
from theory.cases import exact_information, positive, problems


def test_cumulant_has_its_closed_values():
    assert cumulant([3.0, 1.0], 1.0) == pytest.approx(-0.25 * np.log(8), rel=1e-14)
    # d = 1, s = t = 1, l = 2, x = 3: -ln(3)/2 + 4 * 9 / (2 * 3)
    assert cumulant([1.0], 1.0, 2.0, [3.0]) == pytest.approx(-0.5 * np.log(3) + 6, rel=1e-14)
    assert cumulant([1.0, 0.0], 0.3, 0.0, [2.0, 5.0]) == 0
    assert cumulant([0.0, 0.0], 0.3, 1.7, [2.0, 5.0]) == 0


@pytest.mark.parametrize("lam", [0.5, 1.0, 2.0])
def test_cumulant_and_its_derivative_against_monte_carlo(lam):
    rng = np.random.default_rng(11)
    s, x, t, draws = np.array([1.0, 0.3, 2.0, 0.0]), np.array([0.5, -0.4, 0.8, 3.0]), 1.5, 400_000
    y = rng.standard_normal((draws, 4)) * np.sqrt(s)
    energy = 0.5 * np.sum(y**2, -1) - y @ x
    w = np.exp(-lam * energy / t)
    # Delta method for ln of a mean and for a ratio of means; 5 standard errors (six comparisons in all).
    se = w.std() / w.mean() / np.sqrt(draws)
    assert abs(4 * cumulant(s, t, lam, x) - np.log(w.mean())) < 5 * se
    slope = -(w @ energy) / w.sum() / t
    slope_se = np.std(w * (energy / t + slope)) / w.mean() / np.sqrt(draws)
    assert abs(4 * cumulant_derivative(s, t, lam, x) - slope) < 5 * slope_se
    assert 5 * max(se, slope_se) < 0.05


@given(problem=problems(), t=positive, lam=st.floats(0.1, 3))
@settings(derandomize=True, deadline=None, max_examples=80)
def test_cumulant_derivative_is_the_slope_of_the_cumulant(problem, t, lam):
    s, x = problem
    x = np.zeros(s.size) if x is None else np.array(x)

    def zeta(ll):  # Eq. 27 in high precision
        terms = [
            -mp.log(1 + ll * mp.mpf(a) / t) / 2 + ll**2 * mp.mpf(b) ** 2 * a / (2 * mp.mpf(t) ** 2 * (1 + ll * a / t))
            for a, b in zip(s.tolist(), x.tolist(), strict=True)
        ]
        return mp.fsum(terms) / s.size

    with mp.workdps(40):
        slope, value = float(mp.diff(zeta, lam)), float(zeta(mp.mpf(lam)))
        size = float(sum(a / t * (1 + b**2 / t) for a, b in zip(s, x, strict=True))) / s.size  # terms of both signs
    np.testing.assert_allclose(cumulant_derivative(s, t, lam, x), slope, rtol=1e-12, atol=1e-13 * (1 + 10 * size))
    np.testing.assert_allclose(cumulant(s, t, lam, x), value, rtol=1e-12, atol=1e-13 * (1 + 10 * size))


def test_cumulant_derivative_has_the_expansion_of_eq_30_at_large_t():
    s, x, lam, t = np.array([1.0, 0.5, 0.0]), np.array([0.7, -1.0, 4.0]), 1.3, np.array([1e3, 1e4])
    r2, r4, omega2 = s.sum() / 3, (s**2).sum() / 3, (x**2 * s).sum() / 3
    expansion = -r2 / (2 * t) + lam * r4 / (2 * t**2) + lam * omega2 / t**2
    error = np.abs(cumulant_derivative(s, t, lam, x) - expansion)
    assert np.all(error < 5 / t**3)  # the printed stray lambda would leave an error of 0.3 lambda / t


@given(problem=problems(), t=positive)
@settings(derandomize=True, deadline=None, max_examples=80)
def test_information_is_zeta_prime_minus_zeta_and_a_divergence(problem, t):
    s, x = problem
    at = np.zeros(s.size) if x is None else np.array(x)
    h = information(s, t, x)
    # The difference cancels: its error is set by the terms' size.
    size = np.abs(cumulant_derivative(s, t, 1.0, x)) + np.abs(cumulant(s, t, 1.0, x)) + np.sum(at**2 * s) / t**2
    size = size + np.sum(s / t)
    difference = cumulant_derivative(s, t, 1.0, x) - cumulant(s, t, 1.0, x)
    np.testing.assert_allclose(difference, h, rtol=1e-12, atol=1e-13 * size)
    keep = s > 0
    v, mu = s[keep] * t / (s[keep] + t), at[keep] * s[keep] / (s[keep] + t)
    divergence = 0.5 * np.sum(v / s[keep] + mu**2 / s[keep] - 1 - np.log(v / s[keep])) / s.size
    np.testing.assert_allclose(h, divergence, rtol=1e-10, atol=1e-14)
    with mp.workdps(60):
        np.testing.assert_allclose(h, float(exact_information(s, t, x)) / s.size, rtol=1e-13)


def test_information_keeps_its_digits_where_r_is_small():
    t = 10.0 ** np.arange(-12, 13)
    with mp.workdps(60):
        exact = [float(exact_information([1.0], v)) for v in t]
    # h is a function of ln t, and h ~ t^-2 doubles the rounding of ln t <= 28: 2 x 28 x 2^-52 = 1.2e-14.
    np.testing.assert_allclose(information([1.0], t), exact, rtol=1.3e-14)
    around = 9 * np.linspace(0.99, 1.01, 41)  # r = 0.1, where the series takes over
    with mp.workdps(60):
        exact = [float(exact_information([1.0], v)) for v in around]
    np.testing.assert_allclose(information([1.0], around), exact, rtol=1e-14)


def test_cumulants_broadcast():
    s = [1.0, 0.3, 0.0]
    t, lam, x = np.ones((4, 1)), np.array([1.0, 2.0]), np.zeros((5, 1, 1, 3))
    for function in (cumulant, cumulant_derivative):
        assert function(s, t, lam, x).shape == (5, 4, 2)
    assert information(s, t, np.zeros((2, 3))).shape == (4, 2)
    assert information(s, 1.0).shape == ()
    np.testing.assert_array_equal(information([0.0, 0.0], t), np.zeros((4, 1)))
