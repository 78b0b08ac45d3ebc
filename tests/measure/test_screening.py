"""Screening: unbiased for any denoiser, with the variance that its head states, whatever the batches."""

import math

import numpy as np
import pytest
import torch

from geomem.errors import InputError
from geomem.manifolds import random_rotation
from geomem.measure.screening import screen
from geomem.scores import EmpiricalScore, GaussianScore, NetworkScore
from geomem.training import ResidualMLP

D = 12
S = torch.tensor([3.0, 1.0, 0.5, 0.1] + [0.0] * 8, dtype=torch.float64)


@pytest.fixture
def gaussian():
    g = torch.Generator().manual_seed(0)
    return GaussianScore(S, basis=random_rotation(D, generator=g), mean=torch.randn(D, generator=g))


@pytest.fixture(scope="module")
def network():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return NetworkScore(ResidualMLP(D, hidden=16).double(), (D,))


def drawn(score, n, seed=1):
    """Images of the law that the score is of."""
    g = torch.Generator().manual_seed(seed)
    z = torch.randn(n, D, generator=g, dtype=torch.float64) * score.variances.sqrt()
    return score.mean + z @ score.basis.T


def within(values, expected, errors=4.0):
    """Whether the mean of values is what is expected, within some standard errors."""
    values = np.asarray(values)
    return abs(values.mean() - expected) <= errors * values.std(ddof=1) / math.sqrt(values.size)


@pytest.mark.parametrize("t", [0.05, 0.5, 4.0])
def test_both_are_the_sum_of_survival_for_the_ideal_denoiser(gaussian, t):
    found = screen(gaussian, drawn(gaussian, 4000), [t])
    truth = float(gaussian.survival(gaussian.mean, t).sum())
    assert within(found["error"], truth)
    assert within(found["freedom"], truth)


@pytest.mark.parametrize("t", [0.1, 1.0])
def test_freedom_is_the_mean_trace_of_any_denoiser(network, t):
    """By Stein's lemma, at one image, of a network that denoises nothing; and SURE ties error and freedom there."""
    g = torch.Generator().manual_seed(3)
    image = torch.randn(D, generator=g, dtype=torch.float64)
    found = screen(network, image.expand(3000, D), [t])
    noisy = image + math.sqrt(t) * torch.randn(3000, D, generator=g, dtype=torch.float64)
    jacobian = torch.func.vmap(torch.func.jacrev(lambda x: x + t * network(x[None], t)[0]))(noisy)
    traces = jacobian.diagonal(dim1=1, dim2=2).sum(1).detach().numpy()
    apart = found["freedom"].values.mean() - traces.mean()
    error = math.hypot(*(a.std() / math.sqrt(a.size) for a in (found["freedom"].values, traces)))
    assert abs(apart) < 4 * error
    # SURE, by the traces of automatic differentiation at other draws.
    moved = (t * network(noisy, t)).detach().square().sum(1).numpy()
    sure, errors = moved / t - D + 2 * traces, found["error"].values
    spread = math.hypot(*(a.std() / math.sqrt(a.size) for a in (sure, errors)))
    assert abs(sure.mean() - errors.mean()) < 4 * spread


def test_a_mirrored_pair_has_the_variance_of_the_trace_alone(gaussian):
    """2 |sym A|^2 at any image, however far from the mean it lies, where one draw would add |b|^2/t."""
    t, far = 0.5, gaussian.mean + 50 * gaussian.basis[:, -1]
    found = screen(gaussian, far.expand(20000, D), [t])["freedom"].values[:, 0]
    kappa = gaussian.survival(gaussian.mean, t)
    expected = 2 * float(kappa.square().sum())
    # The variance of a variance is about (kurtosis - 1) / n; sums of few squares have a kurtosis below 15.
    assert found.var() == pytest.approx(expected, rel=4 * math.sqrt(14 / 20000))


def test_results_depend_on_the_place_alone(gaussian):
    images, times = drawn(gaussian, 150), [0.1, 1.0]
    whole = screen(gaussian, images, times, pairs=2)
    parts = [
        screen(gaussian, images[a:b], times, pairs=2, first=a, batch_size=size)
        for a, b, size in ((0, 50, 1), (50, 130, 7), (130, 150, 64))
    ]
    for name in whole:
        together = np.concatenate([part[name].values for part in parts])
        np.testing.assert_allclose(together, whole[name].values, rtol=1e-12, atol=1e-12)
    assert parts[1]["point"].values.tolist() == list(range(50, 130))
    other = screen(gaussian, images, times, pairs=2, seed=1)
    assert not np.allclose(other["freedom"], whole["freedom"])


def test_a_model_that_memorized_has_freedom_where_it_was_not_trained_and_more_error_than_that():
    g = torch.Generator().manual_seed(0)
    law = GaussianScore(torch.cat([torch.ones(6), torch.zeros(6)]).double(), basis=random_rotation(D, generator=g))
    training, held_out = drawn(law, 40, seed=2), drawn(law, 400, seed=3)
    memorized = EmpiricalScore(training)
    at_training, at_held_out = (screen(memorized, x, [0.1], pairs=2) for x in (training, held_out))
    assert float(at_training["freedom"].mean()) < 0.5 < float(at_held_out["freedom"].mean())
    ratio = float(at_held_out["error"].mean() / at_held_out["freedom"].mean())
    assert ratio > 2
    ideal = screen(law, held_out, [0.1], pairs=2)
    assert 0.9 < float(ideal["error"].mean() / ideal["freedom"].mean()) < 1.1


def test_evaluations_reported_are_made(gaussian):
    made = []

    class Noted:
        shape = (D,)

        def __call__(self, x, t):
            made.append(len(x))
            return gaussian(x, t)

    shares = []
    found = screen(Noted(), drawn(gaussian, 20), [0.1, 0.2, 0.3], pairs=2, batch_size=12, tell=shares.append)
    assert sum(made) == found.attrs["evaluations"] == 20 * 3 * 2 * 2
    assert max(made) <= 12
    assert shares[-1] == 1
    assert shares == sorted(shares)


def test_wrong_input_is_refused(gaussian):
    with pytest.raises(InputError, match=r"images: have shape \(3,\); give \(n, 12\)"):
        screen(gaussian, torch.zeros(3), [0.1])

    class Broken:
        shape = (D,)

        def __call__(self, x, t):
            return x * math.nan

    with pytest.raises(InputError, match="not finite"):
        screen(Broken(), torch.zeros(2, D), [0.1])


@pytest.mark.parametrize("t", [0.05, 0.5, 4.0])
def test_squares_are_the_sum_of_squared_survival(gaussian, t):
    found = screen(gaussian, drawn(gaussian, 4000), [t])
    assert within(found["squares"], float(gaussian.survival(gaussian.mean, t).square().sum()))


def test_squares_count_singular_values_where_a_denoiser_is_not_symmetric():
    """At one image, of a linear denoiser D(x) = B x: the mean is the squared Frobenius norm of B, whatever the image."""
    g = torch.Generator().manual_seed(5)
    b = torch.randn(D, D, generator=g, dtype=torch.float64) / 3

    class Linear:
        shape = (D,)

        def __call__(self, x, t):
            return (x @ b.T - x) / t

    image = torch.randn(D, generator=g, dtype=torch.float64)
    assert within(screen(Linear(), image.expand(4000, D), [0.7])["squares"], float(b.square().sum()))


@pytest.mark.parametrize("floor", [0.0, 0.003, 0.01, 0.03])
def test_noise_left_in_thousands_of_directions_dilutes_the_trace_and_not_the_squares(floor):
    """Of 30 directions all are lost; a denoiser leaves a little of the noise in each of the 3,042 others."""
    d, wide, n = 3072, 30, 40
    pinned = torch.full((d,), floor / (1 - floor), dtype=torch.float64)
    free = pinned.clone()
    free[:wide] = 99.0  # survival 0.99 at t = 1
    means = []
    for variances in (pinned, free):
        found = screen(GaussianScore(variances), torch.zeros(n, d, dtype=torch.float64), [1.0])
        means.append({kind: float(found[kind].mean()) for kind in ("freedom", "squares")})
    lost = {kind: 1 - means[0][kind] / means[1][kind] for kind in means[0]}
    truth = 1 - floor * d / (0.99 * wide + floor * (d - wide))
    assert abs(lost["freedom"] - truth) < 0.05
    assert lost["squares"] > 0.9
    if floor >= 0.01:
        assert lost["freedom"] < 0.55
