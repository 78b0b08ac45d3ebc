"""Traces from a few directions: exact with all, unbiased with an honest error, better than independent directions."""

import math

import pytest
import torch
from torch import nn

from geomem.errors import InputError
from geomem.manifolds import random_frame, random_rotation
from geomem.scores import EmpiricalScore, GaussianScore, NetworkScore
from geomem.spectra import spectrum, trace
from geomem.spectra.dimension import degrees_of_freedom
from geomem.training import ResidualMLP

D = 12
S = torch.tensor([4.0, 2.0, 1.0, 1.0, 0.5, 0.3, 0.1, 0.1, 0.01, 0.0, 0.0, 0.0], dtype=torch.float64)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def gaussian():
    return GaussianScore(S, basis=random_rotation(D, generator=seeded(1)), mean=torch.arange(12.0).double())


def network(dtype=torch.float64):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return NetworkScore(ResidualMLP(D, hidden=16).to(dtype), (D,))


def points(n=3, shape=(D,)):
    return torch.randn(n, *shape, generator=seeded(2), dtype=torch.float64)


TIMES = torch.tensor([0.01, 0.3, 5.0], dtype=torch.float64)


def exact(t):
    return -(1 / (S + t[..., None])).sum(-1)


def test_all_directions_give_the_trace():
    found = trace(gaussian(), points(), TIMES, probes=D)
    assert torch.allclose(found.value, exact(TIMES), rtol=1e-9)
    assert found.error.tolist() == [0, 0, 0]
    assert (found.probes, found.dim) == (D, D)
    assert torch.equal(found.t, TIMES)


@pytest.mark.parametrize("name", ["gaussian", "network", "empirical"])
def test_degrees_of_freedom_are_those_of_the_spectrum(name):
    """With all directions, whichever they are; steps must be short where the score is not linear."""
    score = {"gaussian": gaussian, "network": network, "empirical": lambda: EmpiricalScore(points(30))}[name]()
    x, radius = points(), None if name == "gaussian" else 1e-4 * TIMES.sqrt()
    found = trace(score, x, TIMES, probes=D, radius=radius, generator=seeded(5)).degrees_of_freedom
    for probe in ("exact", "orthonormal"):
        whole = spectrum(score, x, TIMES, probe=probe, radius=None if probe == "exact" else radius)
        expected = torch.as_tensor(degrees_of_freedom(whole).value)
        assert torch.allclose(found, expected, rtol=1e-6, atol=1e-6)
    if name == "gaussian":
        assert torch.allclose(found, (S / (S + TIMES[:, None])).sum(-1), rtol=1e-9)


@pytest.mark.repeated
@pytest.mark.parametrize("k", [2, 5, 11])
def test_unbiased_with_an_honest_error(k):
    """Over many draws the mean is the trace, the mean squared error sigma^2/k (d-k)/(d-1), and `error` its estimate."""
    score, t, draws = gaussian(), torch.tensor(0.3, dtype=torch.float64), 1000
    x, truth = points(1)[0], exact(torch.tensor(0.3, dtype=torch.float64))
    g = seeded(7)
    found = [trace(score, x, t, probes=k, generator=g) for _ in range(draws)]
    off = torch.stack([f.value for f in found]) - truth
    claimed = torch.stack([f.error for f in found]).square()
    assert abs(float(off.mean())) < 4 * float(off.std()) / math.sqrt(draws)
    # q^T J q of a random direction: variance 2/(d+2) times that of the eigenvalues.
    eigenvalues = -1 / (S + t)
    single = 2 / (D + 2) * eigenvalues.var(unbiased=False)
    expected = D**2 * single / k * (D - k) / (D - 1)
    # Squares of nearly normal numbers have variance 2; claims of k - 1 degrees of freedom more.
    assert float(off.square().mean() / expected) == pytest.approx(1, abs=5 * math.sqrt(3 / draws))
    assert float(claimed.mean() / expected) == pytest.approx(1, abs=5 * math.sqrt(3 / draws / min(k - 1, 3)))
    assert float(off.square().mean() / claimed.mean()) == pytest.approx(1, abs=0.15)


@pytest.mark.repeated
def test_z_scores_have_unit_variance():
    """Where k is large enough for the error to be known well; Student's t of k - 1 degrees has variance (k-1)/(k-3)."""
    d, k, draws = 100, 40, 800
    s = torch.linspace(0, 3, d, dtype=torch.float64)
    score, t = GaussianScore(s), torch.tensor(0.5, dtype=torch.float64)
    truth, g = -(1 / (s + t)).sum(), seeded(8)
    found = [trace(score, torch.zeros(d).double(), t, probes=k, generator=g) for _ in range(draws)]
    z = torch.stack([(f.value - truth) / f.error for f in found])
    assert abs(float(z.mean())) < 4 / math.sqrt(draws)
    assert float(z.var()) == pytest.approx((k - 1) / (k - 3), abs=4 * math.sqrt(2 / draws))


@pytest.mark.repeated
def test_better_than_independent_directions():
    """By (d-k)/(d-1), what drawing without replacement gains; few of many directions would not tell it from 1."""
    score, t, k, draws = gaussian(), 0.3, 10, 1000
    x, truth, g = torch.zeros(D).double(), exact(torch.tensor(0.3, dtype=torch.float64)), seeded(9)
    ours = torch.stack([trace(score, x, t, probes=k, generator=g).value for _ in range(draws)]) - truth
    q = torch.randn(20 * draws, k, D, generator=g, dtype=torch.float64)
    q = q / q.norm(dim=-1, keepdim=True)
    products = torch.einsum("nki,ij,nkj->nk", q, score.jacobian(x, t), q)
    theirs = D * products.mean(1) - truth
    gain = float(ours.square().mean() / theirs.square().mean())
    # The mean of squares of nearly normal numbers: sqrt(2/draws), to which the many independent ones add little.
    assert gain == pytest.approx((D - k) / (D - 1), rel=5 * math.sqrt(2.1 / draws))


@pytest.mark.parametrize("batch_size", [1, 3, 8, 4096])
def test_independent_of_batch_size(batch_size):
    largest = 0

    class Watched(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = network().module

        def forward(self, x, t):
            nonlocal largest
            largest = max(largest, x.shape[0])
            return self.inner(x, t)

    x = points()
    whole = trace(network(), x, TIMES, probes=5)
    found = trace(NetworkScore(Watched(), (D,)), x, TIMES, probes=5, batch_size=batch_size)
    assert torch.allclose(found.value, whole.value, rtol=1e-10)
    assert torch.allclose(found.error, whole.error, rtol=1e-8)
    assert largest <= batch_size


def test_batches_of_any_shape():
    score = EmpiricalScore(points(20, (2, 6)))
    x, t = points(4, (2, 6)), torch.tensor([0.1, 0.3, 1.0, 5.0], dtype=torch.float64)
    flat = trace(score, x, t, probes=5)
    folded = trace(score, x.reshape(2, 2, 2, 6), t.reshape(2, 2), probes=5)
    assert folded.value.shape == folded.error.shape == folded.t.shape == folded.degrees_of_freedom.shape == (2, 2)
    assert torch.allclose(folded.value.flatten(), flat.value, rtol=1e-10)
    alone = trace(score, x[1], 0.3, probes=5)
    assert alone.value.shape == ()
    assert float(alone.value) == pytest.approx(float(flat.value[1]), rel=1e-10)
    assert trace(score, x[:0], 0.3, probes=5).value.shape == (0,)


def test_radius_of_each_point():
    """For s = -x + c x^3 central differences along q give -1 + c (3 x^2 + r^2 q^2) . q^2."""

    class Cubic:
        shape = (D,)

        def __call__(self, x, t):
            return -x + 0.1 * x**3

    x, r = points(4), torch.tensor([0.1, 0.5, 1.0, 2.0], dtype=torch.float64)
    q = random_frame(D, 5, generator=seeded(0))
    expected = D * torch.stack(
        [(-1 + 0.1 * ((3 * x[i, :, None] ** 2 + r[i] ** 2 * q**2) * q**2).sum(0)).mean() for i in range(4)]
    )
    assert torch.allclose(trace(Cubic(), x, 1.0, probes=5, radius=r).value, expected, rtol=1e-9)
    folded = trace(Cubic(), x.reshape(2, 2, D), 1.0, probes=5, radius=r.reshape(2, 2)).value
    assert torch.allclose(folded.flatten(), expected, rtol=1e-9)
    single = trace(Cubic(), x, 1.0, probes=5, radius=0.5).value
    assert float(single[1]) == pytest.approx(float(expected[1]))


def test_float32_network():
    low = NetworkScore(network(torch.float32).module, (D,))
    high, found = (trace(score, points(), TIMES, probes=5) for score in (network(), low))
    assert found.value.dtype == torch.float64
    assert torch.allclose(found.value, high.value, rtol=1e-4, atol=1e-4)
    assert torch.allclose(trace(low, points().float(), TIMES, probes=5).value, high.value, rtol=1e-4, atol=1e-4)


def test_directions_come_from_the_generator_alone():
    score, x, before = gaussian(), points(), torch.get_rng_state()
    values = [trace(score, x, TIMES, probes=3, generator=g).value for g in (None, seeded(0), seeded(1))]
    assert torch.equal(values[0], values[1])
    assert not torch.equal(values[0], values[2])
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("probes", [-1, 0, 1, D + 1])
def test_wrong_numbers_of_probes_are_refused(probes):
    with pytest.raises(InputError, match=rf"^probes: needs 2 to {D} directions, got {probes}"):
        trace(gaussian(), points(), TIMES, probes=probes)


@pytest.mark.parametrize("radius", [0.0, -1.0, math.nan, math.inf])
def test_wrong_radii_are_refused(radius):
    with pytest.raises(InputError, match=r"^radius: must be finite and above 0"):
        trace(gaussian(), points(), TIMES, probes=3, radius=radius)


def test_radius_of_another_shape_is_refused():
    with pytest.raises(InputError, match=r"^radius: has shape"):
        trace(gaussian(), points(), TIMES, probes=3, radius=torch.ones(2))


def test_half_precision_is_refused():
    with pytest.raises(InputError, match="too coarse"):
        trace(network(torch.float32), points().half(), TIMES, probes=3)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_scores_that_are_not_finite_are_refused(bad):
    class Damaged:
        shape = (D,)

        def __call__(self, x, t):
            return torch.where(t[:, None] > 1, torch.full_like(x, bad), -x)

    assert bool(torch.isfinite(trace(Damaged(), points(1), 0.5, probes=3).value).all())
    with pytest.raises(InputError, match=r"^score: is not finite \(NaN or infinity\) near t = 5; its weights may be"):
        trace(Damaged(), points(), TIMES, probes=3)


@pytest.mark.parametrize(("d", "k"), [(5, 1), (5, 3), (5, 5), (200, 7)])
def test_frames_are_orthonormal(d, k):
    q = random_frame(d, k, generator=seeded(1))
    assert q.shape == (d, k)
    assert torch.allclose(q.T @ q, torch.eye(k, dtype=torch.float64), rtol=0, atol=1e-13)
    if k == d:
        assert torch.equal(q, random_rotation(d, generator=seeded(1)))


@pytest.mark.repeated
def test_frames_favour_no_direction():
    """Entries of a uniform direction have mean 0 and squares 1/d, fourth powers 3/(d(d+2)); columns are alike."""
    d, k, draws, g = 5, 3, 2000, seeded(2)
    q = torch.stack([random_frame(d, k, generator=g) for _ in range(draws)])
    margin = 5 / math.sqrt(draws)
    assert float(q.mean(0).abs().max()) < margin / math.sqrt(d)
    assert float((d * q.square().mean(0) - 1).abs().max()) < margin * math.sqrt(3 * d / (d + 2) - 1)
    assert float((q**4).mean()) == pytest.approx(3 / (d * (d + 2)), rel=0.03)
