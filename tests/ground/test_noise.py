"""One time and its names: conversions there and back, and the schedules' published ends."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from geomem.errors import InputError
from geomem.noise import (
    NOISE_KINDS,
    coefficients,
    ddpm_step,
    ddpm_times,
    t_from_alpha_bar,
    t_from_flow,
    t_from_integrated_beta,
    t_from_sigma,
)

TIMES = st.floats(1e-10, 1e8)
few = settings(derandomize=True, deadline=None, max_examples=60)


@pytest.mark.parametrize("kind", NOISE_KINDS)
@few
@given(t=TIMES)
def test_coefficients_have_their_time_and_constraint(kind, t):
    a, b = coefficients(t, kind)
    assert b**2 / a**2 == pytest.approx(t, rel=1e-14)
    constraint = {"ve": a, "vp": a**2 + b**2, "flow": a + b}[kind]
    assert constraint == pytest.approx(1, rel=1e-15)


@few
@given(t=TIMES)
def test_every_name_of_a_time_gives_it_back(t):
    # Between 1 - x and x a round trip loses the digits that x near 1 never had.
    (a_vp, _), (_, b_flow) = coefficients(t, "vp"), coefficients(t, "flow")
    eps = np.finfo(float).eps
    assert t_from_sigma(coefficients(t, "ve")[1]) == pytest.approx(t, rel=1e-15)
    assert t_from_alpha_bar(a_vp**2) == pytest.approx(t, rel=8 * eps * (1 + 1 / t))
    assert t_from_flow(b_flow) == pytest.approx(t, rel=8 * eps * (1 + math.sqrt(t)))
    assert float(t_from_integrated_beta(math.log1p(t))) == pytest.approx(t, rel=8 * eps * (1 + math.log1p(t)))


@pytest.mark.parametrize("kind", NOISE_KINDS)
def test_coefficients_keep_the_kind_of_number(kind):
    t = [0.01, 1.0, 50.0]
    expected = [coefficients(v, kind) for v in t]
    single = coefficients(torch.tensor(t, dtype=torch.float32), kind)
    assert all(c.dtype == torch.float32 for c in single)
    for tensors in (coefficients(torch.tensor(t, dtype=torch.float64), kind), coefficients(np.array(t), kind)):
        for got, want in zip(tensors, zip(*expected, strict=True), strict=True):
            np.testing.assert_allclose(np.asarray(got), want, rtol=1e-15)


def test_small_integrated_beta_keeps_its_digits():
    b = np.array([1e-15, 1e-9, 1e-3])
    np.testing.assert_allclose(t_from_integrated_beta(b), b + b**2 / 2 + b**3 / 6 + b**4 / 24, rtol=1e-14)


def test_ddpm_schedule():
    times = ddpm_times()
    assert times.shape == (1000,)
    assert np.all(np.diff(times) > 0)
    assert times[0] == pytest.approx(1.00010001e-4, rel=1e-9)
    assert times[0] == pytest.approx(1e-4 / (1 - 1e-4), rel=1e-14)
    alpha_bar = np.cumprod(1 - np.linspace(1e-4, 2e-2, 1000, dtype=np.longdouble))
    np.testing.assert_allclose(times, t_from_alpha_bar(alpha_bar).astype(float), rtol=1e-12)
    a, b = coefficients(times, "vp")
    np.testing.assert_allclose(a, np.sqrt(alpha_bar.astype(float)), rtol=1e-12)
    np.testing.assert_allclose(b, np.sqrt(1 - alpha_bar).astype(float), rtol=1e-12)


def test_ddpm_step_inverts_the_schedule():
    times = ddpm_times(50)
    np.testing.assert_allclose(ddpm_step(times, times), np.arange(50), atol=1e-12)
    between = np.sqrt(times[:-1] * times[1:])
    np.testing.assert_allclose(ddpm_step(between, times), np.arange(49) + 0.5, rtol=1e-12)


@pytest.mark.parametrize("t", [1e-5, 3e4, math.nan, math.inf, -1.0, 0.0, [0.1, 1e-5]])
def test_time_outside_the_schedule_is_refused(t):
    with pytest.raises(InputError, match=r"t: lies outside the schedule, which goes from 0\.00010001 \(step 0\)"):
        ddpm_step(t, ddpm_times())


def test_unknown_options_are_refused():
    with pytest.raises(InputError, match="noise: 'edm' is not known; choose one of 've', 'vp', 'flow'"):
        coefficients(1.0, "edm")
    for wrong in ({"steps": 0}, {"beta_min": 0.0}, {"beta_max": 1.0}, {"beta_min": 0.1, "beta_max": 0.01}):
        with pytest.raises(InputError, match="beta_min"):
            ddpm_times(**wrong)
