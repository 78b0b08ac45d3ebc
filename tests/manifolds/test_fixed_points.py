"""Fixed points of scores whose zeros are known: Gaussians, pairs of samples, and a circle of samples."""

import math

import pytest
import torch
from scipy.optimize import brentq
from scipy.special import i0e, i1e
from torch import nn

from geomem.errors import InputError
from geomem.manifolds import fixed_points, random_rotation
from geomem.scores import EmpiricalScore, GaussianScore, NetworkScore
from laws import ExactDenoiser, deviation

S = torch.tensor([2.0, 0.5, 0.1, 0.0], dtype=torch.float64)
ON_AXIS = torch.tensor([[-1.0, 0.0], [1.0, 0.0]], dtype=torch.float64)


def column(*values):
    return torch.tensor(values, dtype=torch.float64)[:, None]


def maximum(t):
    """x > 0 with x = tanh(x/t): the maximum of two samples at -1 and 1, for t < 1."""
    return brentq(lambda x: x - math.tanh(x / t), 1e-3, 2.0, xtol=1e-15)


class PairDenoiser(nn.Module):
    """The noise that samples at -1 and 1 predict, eps = (x - tanh(x/t))/sqrt t: exact, with two maxima and a minimum."""

    def __init__(self, dtype):
        super().__init__()
        self.one = nn.Parameter(torch.ones((), dtype=dtype))

    def forward(self, x, t):
        t = t[:, None]
        return self.one * (x - torch.tanh(x / t)) / t.sqrt()


@pytest.mark.parametrize("t", [0.1, 0.5, 0.8])
def test_two_samples_have_two_maxima_and_an_unstable_midpoint(t):
    found = fixed_points(EmpiricalScore(column(-1.0, 1.0)), t, column(0.9, 0.0, -0.05, -1.5, 0.3))
    x = maximum(t)
    assert found.converged.all()
    assert found.points.flatten().tolist() == pytest.approx([x, 0, -x, -x, x], abs=1e-7)
    assert found.stable.tolist() == [True, False, True, True, True]
    # Var(y|x)/t = (1 - tanh^2)/t, which at the midpoint is 1/t > 1.
    at = (1 - x**2) / t
    assert found.survival.flatten().tolist() == pytest.approx([at, 1 / t, at, at, at], abs=1e-5)


def test_two_samples_merge_into_one_maximum_where_t_exceeds_their_variance():
    found = fixed_points(EmpiricalScore(column(-1.0, 1.0)), 1.5, column(-4.0, 0.2, 3.0))
    assert found.converged.all()
    assert found.stable.all()
    assert float(found.points.abs().max()) < 1e-6
    assert found.survival.flatten().tolist() == pytest.approx([1 / 1.5] * 3)


@pytest.mark.parametrize("t", [1e-3, 0.1, 10.0])
def test_a_gaussian_leads_to_its_mean_from_anywhere(t, generator):
    """Directions without variance too; events keep their shape."""
    mean = torch.tensor([[3.0, -1.0], [0.0, 2.0]], dtype=torch.float64)
    score = GaussianScore(S, mean=mean, basis=random_rotation(4, generator=generator))
    starts = mean + 5 * torch.randn(6, 2, 2, generator=generator, dtype=torch.float64)
    before = starts.clone()
    found = fixed_points(score, t, starts, steps=2 + int(30 / math.sqrt(t)))
    assert torch.equal(starts, before)
    assert found.converged.all()
    assert found.stable.all()
    assert deviation(found.points, mean.expand(6, 2, 2), 2) < 1e-6
    assert torch.allclose(found.survival, (S / (S + t)).expand(6, 4), rtol=0, atol=1e-12)
    assert float(found.pull.max()) <= 1e-7


def test_no_step_is_longer_than_the_scale_of_the_jacobian():
    """Newton's step to the mean of an isotropic Gaussian is the whole way; in n steps it goes n sqrt t at most."""
    t, start = 0.04, torch.tensor([[3.0, 4.0], [0.06, -0.08]], dtype=torch.float64)
    score = GaussianScore(torch.ones(2, dtype=torch.float64))
    for steps in (1, 4):
        found = fixed_points(score, t, start, steps=steps)
        assert found.points[0].tolist() == pytest.approx([3 * (1 - steps * 0.04), 4 * (1 - steps * 0.04)], rel=1e-12)
        assert found.converged.tolist() == [False, True]
        length = float(found.points[0].norm())
        assert float(found.pull[0]) == pytest.approx(math.sqrt(t) * length / (1 + t), rel=1e-12)
    assert fixed_points(score, t, start, steps=25).converged.all()


def test_a_circle_keeps_its_starts_spread_on_a_stable_ring():
    """For uniform angles y|x is von Mises of concentration r/t: r = I_1/I_0, tangential survival 1, radial (1-r^2-t)/t."""
    t, count = 0.1, 400
    angle = 2 * math.pi * torch.arange(count, dtype=torch.float64) / count
    r = brentq(lambda r: r - i1e(r / t) / i0e(r / t), 0.5, 1.0, xtol=1e-15)
    at = 2 * math.pi * (torch.arange(16, dtype=torch.float64) + 0.3) / 16
    radii = torch.linspace(0.7, 1.4, 16, dtype=torch.float64)
    starts = radii[:, None] * torch.stack([at.cos(), at.sin()], 1)
    found = fixed_points(EmpiricalScore(torch.stack([angle.cos(), angle.sin()], 1)), t, starts)
    assert found.converged.all()
    assert found.stable.all()
    assert deviation(found.points, r * torch.stack([at.cos(), at.sin()], 1), 1) < 1e-6
    assert torch.allclose(found.survival[:, 0], torch.ones(16, dtype=torch.float64), rtol=0, atol=1e-6)
    assert torch.allclose(found.survival[:, 1], torch.full((16,), (1 - r**2 - t) / t).double(), rtol=0, atol=1e-5)


def test_few_samples_on_a_circle_draw_the_starts_to_themselves():
    """At t far below their distance each start ends on the sample whose cell it lies in."""
    angle = 2 * math.pi * torch.arange(5, dtype=torch.float64) / 5
    samples = torch.stack([angle.cos(), angle.sin()], 1)
    around = 2 * math.pi * (torch.arange(15, dtype=torch.float64) + 0.3) / 15
    starts = torch.stack([around.cos(), around.sin()], 1)
    found = fixed_points(EmpiricalScore(samples), 0.01, starts)
    assert found.converged.all()
    assert found.stable.all()
    assert deviation(found.points, samples[torch.cdist(starts, samples).argmin(1)], 1) < 1e-6


def test_a_saddle_is_left_unless_the_start_lies_on_its_ridge():
    t, x = 0.3, maximum(0.3)
    off = 1e-4
    starts = torch.tensor([[off, 0.5], [0.0, 0.5], [-off, -0.2], [-off, 0.0]], dtype=torch.float64)
    found = fixed_points(EmpiricalScore(ON_AXIS), t, starts)
    assert found.converged.all()
    expected = torch.tensor([[x, 0], [0, 0], [-x, 0], [-x, 0]], dtype=torch.float64)
    assert torch.allclose(found.points, expected, rtol=0, atol=1e-6)
    assert found.stable.tolist() == [True, False, True, True]
    assert found.survival[1].tolist() == pytest.approx([1 / t, 0], abs=1e-12)


def test_results_are_in_the_order_of_the_starts_and_independent_of_each_other(generator):
    """Starts that need different numbers of steps, shuffled: each ends at its own sample, as it does alone."""
    samples = column(-3.0, 0.0, 4.0)
    starts = column(3.1, -0.4, -3.0, 4.9, 0.0, -9.0)
    found = fixed_points(EmpiricalScore(samples), 0.05, starts)
    assert found.points.flatten().round(decimals=6).tolist() == [4, 0, -3, 4, 0, -3]
    for i in torch.randperm(6, generator=generator):
        alone = fixed_points(EmpiricalScore(samples), 0.05, starts[i : i + 1])
        assert torch.equal(alone.points[0], found.points[i])
        assert torch.equal(alone.pull[0], found.pull[i])


def test_a_network_is_differentiated(generator):
    starts = column(0.9, 0.0, -0.05, 0.3)
    t = 0.5
    exact = fixed_points(EmpiricalScore(column(-1.0, 1.0)), t, starts)
    found = fixed_points(NetworkScore(PairDenoiser(torch.float64), (1,)), t, starts)
    for name in ("points", "survival"):
        assert torch.allclose(getattr(found, name), getattr(exact, name), rtol=0, atol=1e-9), name
    assert torch.equal(found.stable, exact.stable)
    assert found.converged.all()
    assert not found.points.requires_grad
    truth = GaussianScore(S, mean=torch.arange(4).double(), basis=random_rotation(4, generator=generator))
    network = NetworkScore(ExactDenoiser(truth, "v", "vp", torch.float64), (4,), prediction="v", noise="vp")
    far = 3 * torch.randn(5, 4, generator=generator, dtype=torch.float64)
    found = fixed_points(network, 0.2, far)
    assert found.converged.all()
    assert deviation(found.points, truth.mean.expand(5, 4), 1) < 1e-6
    assert torch.allclose(found.survival, (S / (S + 0.2)).expand(5, 4), rtol=0, atol=1e-9)


def test_a_network_of_single_precision_converges_to_its_own_round_off():
    network = NetworkScore(PairDenoiser(torch.float32), (1,))
    found = fixed_points(network, 0.5, torch.tensor([[0.3], [-2.0]]), tolerance=1e-5)
    assert found.points.dtype == torch.float32
    assert found.converged.all()
    assert found.stable.all()
    assert found.points.flatten().tolist() == pytest.approx([maximum(0.5), -maximum(0.5)], abs=1e-5)


def test_directions_without_curvature_are_left_alone():
    """A ridge with a slope far below the tolerance, which divided by its curvature of nothing would lead far away."""

    class Ridge:
        shape = (2,)

        def __call__(self, x, t):
            return torch.stack([-x[..., 0] / 2, 1e-9 + 0 * x[..., 1]], -1)

    starts = torch.tensor([[1.5, -3.0], [0.2, 0.0], [0.0, 4.0]], dtype=torch.float64)
    found = fixed_points(Ridge(), 0.25, starts)
    assert found.converged.all()
    assert found.stable.all()
    assert torch.allclose(found.points, starts * torch.tensor([0.0, 1.0]), rtol=0, atol=1e-7)
    assert torch.allclose(found.survival, torch.tensor([1.0, 1 - 0.25 / 2]).double().expand(3, 2))


@pytest.mark.parametrize("options", [{"tolerance": 0.0}, {"tolerance": -1e-7}, {"tolerance": math.nan}, {"steps": 0}])
def test_wrong_options_are_refused(options):
    with pytest.raises(InputError, match="tolerance, steps: must be above 0"):
        fixed_points(EmpiricalScore(ON_AXIS), 0.1, ON_AXIS, **options)


@pytest.mark.parametrize("t", [0.0, -1.0, math.nan, math.inf])
def test_wrong_times_are_refused(t):
    with pytest.raises(InputError, match="t: must be finite and above 0"):
        fixed_points(EmpiricalScore(ON_AXIS), t, ON_AXIS)


@pytest.mark.parametrize(
    ("starts", "words"),
    [
        (torch.zeros(3, 3), r"has shape \(3, 3\), but this score takes"),
        (torch.zeros(2), r"starts: has shape \(2,\); give rows"),
        (torch.zeros(4, 3, 2), r"starts: has shape \(4, 3, 2\); give rows"),
        (torch.zeros(3, 2, dtype=torch.int64), "floating-point"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_wrong_starts_are_refused(starts, words):
    with pytest.raises(InputError, match=words):
        fixed_points(EmpiricalScore(ON_AXIS), 0.1, starts)
