"""The probability-flow sampler against the flow of a Gaussian, which is known in closed form."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from geomem.errors import InputError
from geomem.manifolds import LinearManifold, random_rotation
from geomem.scores import EmpiricalScore, GaussianScore
from geomem.scores.sampling import heun, noise_levels
from laws import deviation

S = torch.tensor([1.0, 0.3, 0.05, 0.0], dtype=torch.float64)
T_MIN, T_MAX = 1e-4, 25.0


def flow(x, s, t_min=T_MIN, t_max=T_MAX):
    """Where the flow takes x, each direction of variance s by sqrt((s + t)/(s + T)), then the denoised point there."""
    return x * torch.sqrt((s + t_min) / (s + t_max)) * s / (s + t_min)


@settings(derandomize=True, deadline=None, max_examples=50)
@given(
    steps=st.integers(2, 100),
    low=st.floats(1e-8, 1.0),
    ratio=st.floats(1.01, 1e8),
    rho=st.floats(1.0, 10.0),
)
def test_noise_levels(steps, low, ratio, rho):
    levels = noise_levels(steps, t_min=low, t_max=low * ratio, rho=rho)
    assert levels.dtype == torch.float64
    assert levels.shape == (steps,)
    assert torch.all(levels.diff() < 0)
    assert float(levels[0]) == pytest.approx(low * ratio, rel=1e-12)
    assert float(levels[-1]) == pytest.approx(low, rel=1e-12)
    even = (levels ** (0.5 / rho)).diff()
    assert torch.allclose(even, even.mean().expand_as(even), rtol=1e-6)


def test_noise_levels_are_karras_s():
    """sigma_i = (sigma_max^(1/rho) + i/(n-1) (sigma_min^(1/rho) - sigma_max^(1/rho)))^rho, rho = 7."""
    n, high, low = 18, 80.0, 0.002
    sigma = (high ** (1 / 7) + np.arange(n) / (n - 1) * (low ** (1 / 7) - high ** (1 / 7))) ** 7
    np.testing.assert_allclose(noise_levels(n, t_min=low**2, t_max=high**2).sqrt(), sigma, rtol=1e-12)


def test_converges_at_second_order(generator):
    score = GaussianScore(S, basis=random_rotation(4, generator=generator))
    x = torch.randn(20, 4, generator=generator, dtype=torch.float64) * math.sqrt(T_MAX)
    exact = flow(x @ score.basis, S) @ score.basis.T
    errors = [
        deviation(heun(score, x, noise_levels(steps, t_min=T_MIN, t_max=T_MAX)), exact) for steps in (33, 65, 129, 257)
    ]
    orders = np.log2(np.divide(errors[:-1], errors[1:]))
    assert np.all(np.abs(orders - 2) < 0.15)
    assert errors[-1] < 2e-4


def test_samples_have_the_right_covariance(generator):
    """From noise of variance T: U diag(s^2/(s+t) T/(s+T)) U^T up to the solver's error, and mean 0."""
    u = random_rotation(4, generator=generator)
    manifold = LinearManifold(S, rotation=u)
    n = 40_000
    x = torch.randn(n, 4, generator=generator, dtype=torch.float64) * math.sqrt(T_MAX)
    z = heun(manifold.score, x, noise_levels(120, t_min=T_MIN, t_max=T_MAX)) @ u
    variances = S**2 / (S + T_MIN) * T_MAX / (S + T_MAX)
    assert float(z[:, 3].abs().max()) < 1e-12
    z, variances = z[:, :3], variances[:3]
    covariance = z.T @ z / n
    error = torch.sqrt((torch.outer(variances, variances) + torch.diag(variances**2)) / n)
    # Level 1e-5 for each of 9 numbers; the solver's error, below 1e-3 of a variance, is a fifth of a standard error.
    assert float(((covariance - torch.diag(variances)) / error).abs().max()) < 4.4
    assert float((z.mean(0) / (variances / n).sqrt()).abs().max()) < 4.4
    # Gaussian in each direction: kurtosis 3, standard error sqrt(24/n).
    kurtosis = (z**4).mean(0) / (z**2).mean(0) ** 2
    assert float((kurtosis - 3).abs().max()) < 4.4 * math.sqrt(24 / n)


def test_empirical_score_leads_to_the_data(generator):
    """With the score of unlimited capacity the flow ends on the samples: memorization itself."""
    y = torch.randn(12, 3, 2, generator=generator, dtype=torch.float64)
    x = torch.randn(40, 3, 2, generator=generator, dtype=torch.float64) * math.sqrt(T_MAX)
    out = heun(EmpiricalScore(y), x, noise_levels(40, t_min=1e-4, t_max=T_MAX))
    nearest = torch.cdist(out.reshape(40, 6), y.reshape(12, 6)).min(1)
    assert float(nearest.values.max()) < 1e-6
    assert len(nearest.indices.unique()) > 6


def test_counts_dtype_and_batching(generator):
    calls = []

    class Counting:
        shape = (4,)

        def __call__(self, x, t):
            calls.append(float(t))
            return GaussianScore(S)(x, t)

    levels = noise_levels(10, t_min=0.01, t_max=4.0)
    x = torch.randn(6, 4, generator=generator)
    before = x.clone()
    out = heun(Counting(), x, levels)
    assert len(calls) == 2 * 9 + 1
    assert min(calls) == pytest.approx(0.01)
    assert out.dtype == torch.float32
    assert torch.equal(x, before)
    assert deviation(heun(Counting(), x[2:3], levels), out[2:3]) < 1e-6
    assert deviation(heun(Counting(), x.double(), levels), out.double()) < 1e-5
    assert heun(Counting(), x.clone().requires_grad_(True), levels).requires_grad is False


@pytest.mark.parametrize(
    "options", [{"steps": 1}, {"t_min": 0.0}, {"t_min": 5.0}, {"t_max": math.nan}, {"t_min": -1.0}], ids=str
)
def test_wrong_levels_are_refused(options):
    with pytest.raises(InputError, match="steps, t_min, t_max: need at least 2 steps and 0 < t_min < t_max"):
        noise_levels(**{"steps": 10, "t_min": 0.01, "t_max": 4.0, **options})
