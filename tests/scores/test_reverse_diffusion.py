"""Reverse diffusion against the recursion that its moments obey on a Gaussian, and against the samples it ends on."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch

from geomem.manifolds import random_rotation
from geomem.scores import EmpiricalScore, GaussianScore
from geomem.scores.sampling import heun, noise_levels, reverse_diffusion
from laws import deviation

S = np.array([1.0, 0.3, 0.05])
T_MIN, T_MAX = 1e-3, 25.0
# What a perfect sampler gives: the denoised points at t_min.
EXACT = S**2 / (S + T_MIN)


def levels(steps, t_min=T_MIN):
    return noise_levels(steps + 1, t_min=t_min, t_max=T_MAX)


def moments(steps):
    """Factor of an offset from the mean, and variance, after `steps` of Euler-Maruyama from p_{t_max}, denoised.

    The score is -(x - mu)/(s + t), so every step maps an offset by 1 - h/(s + t) and adds noise of variance h.
    """
    times = levels(steps).numpy()
    offset, variance = np.ones_like(S), S + times[0]
    for now, ahead in pairwise(times):
        factor = 1 - (now - ahead) / (S + now)
        offset, variance = offset * factor, variance * factor**2 + now - ahead
    return offset * S / (S + T_MIN), variance * (S / (S + T_MIN)) ** 2


def flow_factor(steps):
    """Factor of an offset from the mean by Heun's method, whose slope is sigma/(s + sigma^2) times the offset, denoised."""
    factor = np.ones_like(S)
    for now, ahead in pairwise(levels(steps).sqrt().numpy()):
        slope = now / (S + now**2)
        factor *= 1 + (ahead - now) * (slope + ahead / (S + ahead**2) * (1 + (ahead - now) * slope)) / 2
    return factor * S / (S + T_MIN)


def gaussian(generator):
    """A score with a mean and one direction without variance, and its eigenvectors."""
    u = random_rotation(4, generator=generator)
    mean = torch.tensor([1.0, -2.0, 0.5, 4.0], dtype=torch.float64)
    return GaussianScore(torch.tensor([*S, 0.0], dtype=torch.float64), mean=mean, basis=u)


@pytest.mark.repeated
@pytest.mark.parametrize("steps", [12, 24, 64])
def test_moments_obey_the_recursion(steps):
    """Within 4 standard errors, which are far less than the method's own error: only the right method has these moments."""
    n, offset = 20_000, 30.0
    generator = torch.Generator().manual_seed(steps)
    score = gaussian(generator)
    z = torch.randn(n, 4, generator=generator, dtype=torch.float64) * (score.variances + T_MAX).sqrt() + offset
    start = z @ score.basis.T + score.mean
    end = score.coordinates(reverse_diffusion(score, start, levels(steps), generator=generator)).numpy()
    factor, variance = moments(steps)
    assert np.abs(end[:, 3]).max() < 1e-12  # without variance every denoised point is the mean
    end = end[:, :3]
    assert np.all(np.abs(end.mean(0) - offset * factor) < 4 * np.sqrt(variance / n))
    assert np.all(np.abs(end.var(0, ddof=1) / variance - 1) < 4 * math.sqrt(2 / n))
    assert np.all(variance / EXACT - 1 > 6 * math.sqrt(2 / n))


@pytest.mark.repeated
def test_weak_error_falls_as_the_steps():
    """Twice the steps halve the error of a variance: by the recursion, and sampled, ± 4 standard errors of the ratio."""
    fine = [moments(steps)[1] / EXACT - 1 for steps in (400, 800)]
    np.testing.assert_allclose(fine[0] / fine[1], 2, rtol=0.02)
    n, copies, error, spread = 10_000, 8, [], []
    score = GaussianScore(torch.from_numpy(np.repeat(S, copies)))
    for steps in (32, 64):
        generator = torch.Generator().manual_seed(steps)
        start = torch.randn(n, 3 * copies, generator=generator, dtype=torch.float64) * (score.variances + T_MAX).sqrt()
        end = reverse_diffusion(score, start, levels(steps), generator=generator)
        ratio = end.var(0).reshape(3, copies).mean(1).numpy() / EXACT
        error.append(np.mean(ratio - 1))
        spread.append(np.mean(ratio) * math.sqrt(2 / (3 * n * copies)))
        np.testing.assert_allclose(error[-1], np.mean(moments(steps)[1] / EXACT - 1), atol=4 * spread[-1])
    ratio = error[0] / error[1]
    relative = math.hypot(spread[0] / error[0], spread[1] / error[1])
    assert relative < 0.08
    assert abs(ratio / 2.09 - 1) < 4 * relative
    assert ratio > 2 ** (0.5 + 0.1)  # an error of order one half would fall by less


def test_the_flow_s_error_falls_as_the_square_of_the_steps(generator):
    score = gaussian(generator)
    x = torch.randn(5, 4, generator=generator, dtype=torch.float64) * 5
    for steps in (8, 50):
        end = score.coordinates(heun(score, x + score.mean, levels(steps)))[:, :3]
        expected = score.coordinates(x + score.mean)[:, :3] * torch.from_numpy(flow_factor(steps))
        assert deviation(end, expected, 1) < 1e-11
    error = [(S + T_MAX) * flow_factor(steps) ** 2 / EXACT - 1 for steps in (200, 400)]
    np.testing.assert_allclose(error[0] / error[1], 4, rtol=0.02)


@pytest.mark.repeated
def test_empirical_score_ends_on_its_samples_and_the_exact_score_between_them(generator):
    """Samples of the empirical score are training points, each as often as the next (chi-squared, level 1e-4)."""
    data = torch.randn(8, 3, generator=generator, dtype=torch.float64)
    n, t_min = 800, 1e-4
    start = data[torch.arange(n) % 8] + math.sqrt(T_MAX) * torch.randn(n, 3, generator=generator, dtype=torch.float64)
    down = levels(150, t_min)
    found = torch.cdist(reverse_diffusion(EmpiricalScore(data), start, down, generator=generator), data).min(1)
    assert float((found.values < math.sqrt(t_min)).double().mean()) > 0.99
    counts = torch.bincount(found.indices, minlength=8).double()
    assert float(((counts - n / 8) ** 2 / (n / 8)).sum()) < 29.9  # 1 - 1e-4 quantile of 7 degrees of freedom
    exact = GaussianScore(torch.ones(3, dtype=torch.float64))
    distance = torch.cdist(reverse_diffusion(exact, start, down, generator=generator), data).amin(1)
    assert float((distance < math.sqrt(t_min)).double().mean()) < 0.01
    # It forgets where it started: the flow keeps the nearest sample of most starts, the diffusion of an eighth or so.
    one = start[:1].expand(100, 3)
    again = torch.cdist(reverse_diffusion(EmpiricalScore(data), one, down, generator=generator), data)
    assert len(again.argmin(1).unique()) == 8
    assert len(torch.cdist(heun(EmpiricalScore(data), one[:2], down), data).argmin(1).unique()) == 1


def test_noise_comes_from_its_generator_alone():
    score = GaussianScore(torch.from_numpy(S))
    x = torch.ones(50, 3, dtype=torch.float64)
    before = x.clone()
    torch.manual_seed(1)
    first = reverse_diffusion(score, x, levels(10), generator=torch.Generator().manual_seed(5))
    after = torch.rand(1)
    torch.manual_seed(1)
    assert torch.equal(after, torch.rand(1))
    assert torch.equal(x, before)
    assert torch.equal(first, reverse_diffusion(score, x, levels(10), generator=torch.Generator().manual_seed(5)))
    other = reverse_diffusion(score, x, levels(10), generator=torch.Generator().manual_seed(6))
    assert float((first - other).abs().min()) > 0
    assert len(first[:, 0].unique()) == 50  # rows have noise of their own


def test_counts_times_dtype_and_shape(generator):
    calls = []

    class Counting:
        shape = (3,)

        def __call__(self, x, t):
            calls.append(float(t))
            return GaussianScore(torch.from_numpy(S))(x, t)

    down = levels(10)
    x = torch.randn(6, 3, generator=generator).requires_grad_(True)
    low = reverse_diffusion(Counting(), x, down, generator=generator)
    assert calls == pytest.approx(down.tolist(), rel=1e-12)
    assert low.dtype == torch.float32
    assert low.requires_grad is False
    images = EmpiricalScore(torch.randn(4, 2, 2, generator=generator, dtype=torch.float64))
    out = reverse_diffusion(images, torch.zeros(5, 2, 2, dtype=torch.float64), down, generator=generator)
    assert out.shape == (5, 2, 2)
    assert out.dtype == torch.float64
