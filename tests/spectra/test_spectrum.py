"""What a spectrum says of itself, that it depends on no batching, and which requests are refused."""

import math

import pytest
import torch
from torch import nn

from geomem.errors import InputError
from geomem.scores import EmpiricalScore, GaussianScore, NetworkScore
from geomem.spectra import KINDS, PROBES, spectrum
from laws import deviation
from spectra.cases import TIMES, Plain, S, network, points


@pytest.mark.parametrize("probe", PROBES)
def test_result_says_what_it_is(probe):
    kind, radius = {
        "exact": ("exact", None),
        "smoothed": ("forward", TIMES.sqrt()),
        "score-matrix": ("score-matrix", (5 * TIMES).sqrt()),
        "antithetic": ("score-matrix", (5 * TIMES).sqrt()),
        "regression": ("regression", (5 * TIMES).sqrt()),
        "orthonormal": ("central", (5 * TIMES).sqrt()),
    }[probe]
    score = network()
    found = spectrum(score, points(score), TIMES, probe=probe)
    assert found.kind == kind
    assert kind in KINDS
    assert found.dim == 5
    assert torch.equal(found.t, TIMES)
    assert found.radius is None if radius is None else torch.allclose(found.radius, radius)
    assert torch.all(found.values.diff(dim=-1) <= 0)
    assert torch.all(found.survival.diff(dim=-1) <= 0)
    assert found.values.dtype == found.survival.dtype == torch.float64
    assert torch.equal(found.gaps, -found.values.diff(dim=-1))
    assert found.left is None
    assert found.right is None
    assert found.alignment is None
    assert not found.values.requires_grad
    assert all(p.grad is None for p in score.module.parameters())
    if radius is not None:
        own = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
        assert torch.equal(spectrum(score, points(score), TIMES, probe=probe, radius=own).radius, own)


def test_default_probe():
    score = network()
    assert spectrum(score, points(score), 0.1).kind == "central"
    assert spectrum(GaussianScore(S), points(score), 0.1).kind == "exact"
    assert spectrum(EmpiricalScore(points(score)), points(score), 0.1).kind == "exact"


@pytest.mark.parametrize("probe", PROBES)
def test_independent_of_batching(probe):
    """Neither how points are grouped, nor how many scores are evaluated at once, nor neighbours in a batch matter."""
    score = network()
    x, t = points(score, 4), torch.tensor([0.01, 0.1, 1.0, 10.0], dtype=torch.float64)
    whole = spectrum(score, x, t, probe=probe, vectors=True)
    for size in (1, 7, 40):
        again = spectrum(score, x, t, probe=probe, batch_size=size)
        assert deviation(again.values, whole.values, 1) < 1e-12
        assert torch.allclose(again.survival, whole.survival, atol=1e-12)
    for i in range(4):
        alone = spectrum(score, x[i], float(t[i]), probe=probe)
        assert alone.values.shape == (whole.values.shape[-1],)
        assert alone.t.shape == ()
        assert deviation(alone.values, whole.values[i], 1) < 1e-12
        assert torch.allclose(alone.survival, whole.survival[i], atol=1e-12)
    folded = spectrum(score, x.reshape(2, 2, 5), t.reshape(2, 2), probe=probe, vectors=True)
    assert folded.left.shape == (2, 2, *whole.left.shape[1:])
    assert deviation(folded.values.reshape(whole.values.shape), whole.values, 1) < 1e-12


def test_default_number_of_probes():
    """4d for Gaussian probes, d for orthonormal ones."""
    score = network()
    for probe, k in (("score-matrix", 20), ("antithetic", 20), ("regression", 20), ("orthonormal", 5)):
        default, asked = (spectrum(score, points(score), TIMES, probe=probe, probes=n) for n in (None, k))
        assert torch.equal(default.values, asked.values)


@pytest.mark.parametrize("batch", [(0,), (2, 0), (1,), ()], ids=str)
@pytest.mark.parametrize("probe", PROBES)
def test_batches_of_any_shape(probe, batch):
    score = network()
    found = spectrum(score, torch.ones(*batch, 5, dtype=torch.float64), 0.1, probe=probe, vectors=True)
    assert found.values.shape == found.survival.shape == (*batch, 5)
    assert found.t.shape == batch
    assert found.left.shape == (*batch, 5, 5)


@pytest.mark.parametrize("probe", PROBES)
def test_never_more_scores_at_once_than_asked(probe):
    score = Plain(lambda x: -x * (1 + x.square()))
    spectrum(score, points(score, 6), 0.1, probe=probe, batch_size=4)
    assert score.largest <= 4


@pytest.mark.parametrize("probe", ["score-matrix", "antithetic", "regression", "orthonormal"])
def test_random_directions_come_from_the_generator_alone(probe):
    score = network()
    x, before = points(score), torch.get_rng_state()

    def values(seed):
        generator = None if seed is None else torch.Generator().manual_seed(seed)
        return spectrum(score, x, 0.5, probe=probe, generator=generator).values

    assert torch.equal(values(None), values(0))
    assert torch.equal(values(5), values(5))
    assert not torch.equal(values(5), values(6))
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_refused(dtype):
    with pytest.raises(InputError, match=rf"x: has dtype {dtype}, too coarse for a spectrum; convert .* to float32"):
        spectrum(network(torch.float32), torch.zeros(2, 5, dtype=dtype), 0.1)


def test_autocast_and_tf32_stay_outside():
    score, x = network(torch.float32), torch.ones(2, 5)
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    seen = []

    class Failing(nn.Module):
        def forward(self, x, t):
            seen.append((matmul.allow_tf32, cudnn.allow_tf32, torch.is_autocast_enabled("cpu")))
            raise RuntimeError("out of order")

    try:
        matmul.allow_tf32 = cudnn.allow_tf32 = True
        with torch.autocast("cpu", dtype=torch.bfloat16):
            inside = spectrum(score, x, 0.5).values
            with pytest.raises(RuntimeError, match="out of order"):
                spectrum(NetworkScore(Failing(), (5,)), x, 0.5)
        assert seen == [(False, False, False)]
        assert matmul.allow_tf32
        assert cudnn.allow_tf32
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before
    assert torch.equal(inside, spectrum(score, x, 0.5).values)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"probe": "jacobian"}, "probe: 'jacobian' is not known; choose one of exact, smoothed, score-matrix"),
        ({"probe": "exact", "radius": 1.0}, "radius, probes: the exact Jacobian uses neither"),
        ({"probe": "exact", "probes": 5}, "radius, probes: the exact Jacobian uses neither"),
        ({"probe": "smoothed", "probes": 4}, "probes: the smoothed Jacobian has one column for each of the 5 axes"),
        (
            {"probe": "orthonormal", "probes": 6},
            "probes: at most 5 directions can be orthonormal in 5 dimensions, got 6",
        ),
        ({"probe": "orthonormal", "probes": 0}, "batch_size, probes: must be at least 1"),
        ({"probe": "orthonormal", "batch_size": 0}, "batch_size, probes: must be at least 1"),
        ({"probe": "regression", "probes": 5}, "probes: a regression of 5 columns needs more than 5 probes, got 5"),
        ({"probe": "smoothed", "radius": 0.0}, "radius: must be finite and above 0"),
        ({"probe": "smoothed", "radius": math.nan}, "radius: must be finite and above 0"),
        ({"probe": "smoothed", "radius": math.inf}, "radius: must be finite and above 0"),
        ({"probe": "smoothed", "radius": torch.ones(2)}, "radius: has shape"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        spectrum(GaussianScore(S), torch.zeros(3, 5), 0.1, **options)


@pytest.mark.parametrize("t", [0.0, -1.0, math.nan, math.inf])
@pytest.mark.parametrize("probe", PROBES)
def test_wrong_times_are_refused(probe, t):
    with pytest.raises(InputError, match=r"t: must be finite and above 0"):
        spectrum(GaussianScore(S), torch.zeros(5), t, probe=probe)
