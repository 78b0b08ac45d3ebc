"""What spectra of a network cost: memory bounded before, the batch that fits, seconds measured."""

import itertools

import pytest
import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

from geomem.errors import InputError
from geomem.noise import t_from_sigma
from geomem.scores import EmpiricalScore, GaussianScore, NetworkScore
from geomem.spectra import (
    MEMORY,
    PROBES,
    batch_within,
    decomposition_seconds,
    measured_cost,
    spectrum,
    usual_batch,
)
from geomem.spectra.cost import _memory
from laws import deviation
from models import unet


class Shown(nn.Module):
    """A UNet2DModel's sample, and the largest batch that it was asked for."""

    def __init__(self, network):
        super().__init__()
        self.network, self.largest = network, 0

    def forward(self, x, t):
        self.largest = max(self.largest, x.shape[0])
        return self.network(x, t).sample


ATTENTION = {
    "sample_size": 16,
    "down_block_types": ("AttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "AttnUpBlock2D"),
    "attention_head_dim": 4,
}


def network(dtype=torch.float32, **options):
    module = unet(**options).to(dtype)
    n = module.config.sample_size
    return NetworkScore(Shown(module), (1, n, n))


class Wide(nn.Module):
    """1,000 numbers for each that it is given."""

    def __init__(self):
        super().__init__()
        self.up, self.down = nn.Linear(2, 2000), nn.Linear(2000, 2)

    def forward(self, x, t):
        return self.down(self.up(x))


def hooks(module):
    return sum(len(part._forward_hooks) + len(part._forward_pre_hooks) for part in module.modules())


def allocated(score, batch):
    """Most bytes of an evaluation that were held at once, inputs aside, as the allocator counts them."""
    x = torch.zeros(batch, *score.shape)
    with torch.no_grad():
        score(x, 1.0)
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
            score(x, 1.0)
    events = [e for e in seen.profiler.kineto_results.events() if e.name() == "[memory]"]
    sizes = [e.nbytes() for e in sorted(events, key=lambda e: e.start_ns())]
    assert sizes
    return max(torch.tensor(sizes).cumsum(0).tolist())


def test_batch_shrinks_with_memory():
    score = network()
    one = _memory(score, torch.float32, "cpu")
    assert batch_within(score, one) == 1
    assert batch_within(score, 2 * one - 1) == 1
    assert batch_within(score, 7 * one) == 7
    assert batch_within(score, 10**15) == 4096
    assert batch_within(score, MEMORY) == min(4096, MEMORY // one)


def test_not_even_one_fits():
    score = network(**ATTENTION)
    one = _memory(score, torch.float32, "cpu")
    message = r"^memory: one evaluation may need [\d.]+ MiB, but the budget is [\d.]+ MiB"
    for call in (
        lambda: batch_within(score, one - 1),
        lambda: measured_cost(score, 1.0, memory=one - 1),
        lambda: spectrum(score, torch.zeros(score.shape), 1.0, memory=one - 1),
    ):
        with pytest.raises(InputError, match=message):
            call()
    assert spectrum(score, torch.zeros(score.shape), 1.0, memory=one - 1, batch_size=2, probes=1).values.shape == (1,)


def test_largest_output_counts():
    """2,000 numbers of 4 bytes are held whatever else is."""
    assert _memory(NetworkScore(Wide(), (2,)), torch.float32, "cpu") >= 2000 * 4
    assert _memory(NetworkScore(Wide().double(), (2,)), torch.float32, "cpu") >= 2000 * 8


@pytest.mark.parametrize("options", [{}, ATTENTION], ids=["convolutions", "attention"])
@pytest.mark.parametrize("batch", [1, 8])
def test_bound_is_above_what_is_held(batch, options):
    score = network(**options)
    bound = batch * _memory(score, torch.float32, "cpu")
    held = allocated(score, batch)
    assert held <= bound
    assert bound < 20 * held


@pytest.mark.parametrize("probe", PROBES)
def test_memory_does_not_change_results(probe):
    score = network(torch.float64)
    x = torch.randn(2, *score.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    t = torch.tensor([0.1, 5.0], dtype=torch.float64)
    probes = 70 if probe in ("score-matrix", "antithetic", "regression") else None
    one = _memory(score, torch.float64, "cpu")
    whole = spectrum(score, x, t, probe=probe, probes=probes)
    score.module.largest = 0
    tight = spectrum(score, x, t, probe=probe, probes=probes, memory=3 * one)
    assert score.module.largest <= 3
    assert deviation(tight.values, whole.values, 1) < 1e-12
    assert torch.allclose(tight.survival, whole.survival, rtol=0, atol=1e-12)


def test_measured_cost_within_memory():
    score = network()
    one = _memory(score, torch.float32, "cpu")
    for memory in (one, 5 * one, 70 * one):
        score.module.largest = 0
        found = measured_cost(score, 1.0, memory=memory)
        assert 1 <= found.batch <= memory // one
        assert score.module.largest <= memory // one
        assert 0 < found.seconds < 1
        assert found.memory == one


def test_measured_cost_of_closed_forms():
    for score in (GaussianScore(torch.ones(3)), EmpiricalScore(torch.eye(3, dtype=torch.float64))):
        found = measured_cost(score, 1.0)
        assert found.batch == 1024
        assert found.seconds > 0


def test_the_usual_batch_depends_on_the_shape_alone():
    for shape, batch in (((1, 8, 8), 512), ((1, 28, 28), 41), ((3, 64, 64), 4)):
        score = GaussianScore(torch.ones(shape).flatten(), shape=shape)
        assert usual_batch(score, MEMORY) == batch
    assert usual_batch(network(), 3 * _memory(network(), torch.float32, "cpu")) == 3


def test_slow_scores_are_timed_once(monkeypatch):
    now, asked = 0.0, []

    class Slow:
        shape = (2**12,)

        def __call__(self, x, t):
            nonlocal now
            now += 0.5 * x.shape[0]
            asked.append(x.shape[0])
            return torch.zeros_like(x)

    monkeypatch.setattr("geomem.spectra.cost.perf_counter", lambda: now)
    found = measured_cost(Slow(), 1.0)
    assert (found.batch, found.seconds) == (8, 0.5)
    assert asked == [8]


def test_decompositions_take_longer_in_more_dimensions(monkeypatch):
    ticks = itertools.count()
    monkeypatch.setattr("geomem.spectra.cost.perf_counter", lambda: float(next(ticks)))
    assert decomposition_seconds(20) == 1
    assert decomposition_seconds(2 * 384, vectors=True) == 8


def test_hooks_are_taken_off():
    score = network()
    batch_within(score, MEMORY)
    measured_cost(score, 1.0, memory=MEMORY)
    assert hooks(score.module) == 0

    class Failing(nn.Module):
        def forward(self, x, t):
            raise RuntimeError("out of order")

    broken = NetworkScore(nn.Sequential(Failing()), (2,))
    broken.module.forward = lambda x, t: broken.module[0](x, t)
    with pytest.raises(RuntimeError, match="out of order"):
        batch_within(broken, MEMORY)
    assert hooks(broken.module) == 0


def test_asked_within_reach():
    """A network that knows nothing of t = 1 is measured where it can be asked."""
    for reach in ((4.0, 9.0), (1e-4, 1e-2)):
        score = NetworkScore(Shown(unet()), (1, 8, 8), reach=reach)
        assert batch_within(score, MEMORY) > 1


def test_asked_at_a_step():
    """A network of whole steps is measured at one of them."""
    times = t_from_sigma(torch.tensor([0.5, 1.5, 4.0], dtype=torch.float64).numpy())

    def told(t):
        if not torch.isin(t, torch.as_tensor(times)).all():
            raise InputError("t: lies between two steps")
        return t

    score = NetworkScore(Shown(unet()), (1, 8, 8), condition=told, times=times)
    assert batch_within(score, MEMORY) > 1
