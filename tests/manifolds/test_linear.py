"""Linear manifolds: their covariance, samples and score against closed forms."""

import math

import pytest
import torch

from geomem.errors import InputError
from geomem.manifolds import LinearManifold, random_rotation
from laws import deviation


def covariance(manifold):
    u = manifold.score.basis
    u = torch.eye(manifold.dim, dtype=torch.float64) if u is None else u
    return u @ torch.diag(manifold.variances) @ u.T


def make(name, generator):
    rotation = random_rotation(6, generator=generator)
    return {
        "variances": lambda: LinearManifold([0.3, 0.0, 1.0, 0.0, 0.0, 2.0]),
        "rotated": lambda: LinearManifold([0.3, 0.0, 1.0, 0.0, 0.0, 2.0], rotation=rotation),
        "subspaces": lambda: LinearManifold.subspaces(6, [(2, 1.0), (1, 0.3)], rotation=rotation),
        "matrix": lambda: LinearManifold.from_matrix(torch.randn(6, 3, generator=generator, dtype=torch.float64)),
        "uniform": lambda: LinearManifold.uniform(6, 3, generator=generator, rotation=rotation),
    }[name]()


KINDS = ["variances", "rotated", "subspaces", "matrix", "uniform"]


@pytest.mark.parametrize("name", KINDS)
def test_samples_have_the_manifold_s_covariance(name, generator):
    manifold = make(name, generator)
    assert (manifold.dim, manifold.rank) == (6, 3)
    n = 20_000
    x = manifold.sample(n, generator=generator)
    c = covariance(manifold)
    # Standard error of an entry of a Gaussian's second moment, the mean known to be 0.
    error = torch.sqrt((c**2 + torch.outer(c.diagonal(), c.diagonal())) / n)
    z = ((x.T @ x) / n - c).abs() / error.clamp_min(1e-15)
    assert z.max() < 4.4  # level 1e-5 for each of 21 entries: 2e-4 together


@pytest.mark.parametrize("name", KINDS)
def test_samples_lie_on_the_manifold(name, generator):
    manifold = make(name, generator)
    z = manifold.score.coordinates(manifold.sample(50, generator=generator))
    flat = z[:, manifold.variances == 0].abs().max()
    assert flat == 0 if manifold.score.basis is None else flat < 1e-14


@pytest.mark.parametrize("name", KINDS)
def test_score_and_density_are_those_of_the_gaussian(name, generator):
    manifold = make(name, generator)
    x, t = torch.randn(5, 6, generator=generator, dtype=torch.float64), 0.2
    total = covariance(manifold) + t * torch.eye(6, dtype=torch.float64)
    truth = torch.distributions.MultivariateNormal(torch.zeros(6, dtype=torch.float64), total)
    assert deviation(manifold.score.log_density(x, t), truth.log_prob(x)) < 1e-13
    assert deviation(manifold.score(x, t), -torch.linalg.solve(total, x.T).T, 1) < 1e-13
    assert deviation(manifold.score.jacobian(x, t)[0], -torch.linalg.inv(total)) < 1e-13


def test_matrix_gives_its_own_covariance(generator):
    for f in (torch.randn(7, 3, generator=generator), torch.randn(3, 7, generator=generator), torch.eye(4)[:, :2]):
        manifold = LinearManifold.from_matrix(f)
        assert manifold.rank == min(f.shape)
        assert torch.allclose(covariance(manifold), f.double() @ f.double().T, atol=1e-13)
    rank_one = torch.outer(torch.arange(1.0, 6), torch.tensor([1.0, 2.0])).double()
    assert LinearManifold.from_matrix(rank_one).rank == 1


def test_subspaces_keep_their_order():
    assert LinearManifold.subspaces(6, [(1, 0.3), (2, 1.0)]).variances.tolist() == pytest.approx([0.3, 1, 1, 0, 0, 0])
    assert LinearManifold.subspaces(3, [(3, 2.0)]).rank == 3


def test_uniform_variances_fill_their_range(generator):
    s = LinearManifold.uniform(500, 400, low=0.5, high=2.0, generator=generator).variances
    drawn = s[:400]
    assert torch.all(s[400:] == 0)
    assert torch.all(drawn.diff() <= 0)
    assert torch.all((drawn >= 0.5) & (drawn < 2))
    # Kolmogorov-Smirnov at level 1e-4: sqrt(ln(2/level)/2) / sqrt n.
    steps = torch.arange(1, 401, dtype=torch.float64) / 400
    uniform = (drawn.flip(0) - 0.5) / 1.5
    assert (uniform - steps + 1 / 800).abs().max() < math.sqrt(math.log(2e4) / 2 / 400)


def test_same_generator_same_samples_and_global_generator_untouched():
    manifold = LinearManifold.subspaces(5, [(2, 1.0)])
    before = torch.get_rng_state()
    first = manifold.sample(3, generator=torch.Generator().manual_seed(3))
    assert torch.equal(first, manifold.sample(3, generator=torch.Generator().manual_seed(3)))
    assert not torch.equal(first, manifold.sample(3, generator=torch.Generator().manual_seed(4)))
    assert torch.equal(before, torch.get_rng_state())
    single = manifold.sample(3, generator=torch.Generator().manual_seed(3), dtype=torch.float32)
    assert single.dtype == torch.float32
    assert torch.equal(single, first.float())


@pytest.mark.repeated
def test_rotations_are_orthogonal_and_uniform(generator):
    draws = torch.stack([random_rotation(3, generator=generator) for _ in range(4000)])
    eye = torch.eye(3, dtype=torch.float64).expand_as(draws)
    assert torch.allclose(draws.mT @ draws, eye, atol=1e-13)
    # Of Haar's measure on O(d), traces have mean 0 and mean square 1 (Diaconis and Shahshahani 1994); fourth moment 3.
    trace = draws.diagonal(dim1=1, dim2=2).sum(1)
    n = draws.shape[0]
    assert trace.mean().abs() < 4 / math.sqrt(n)
    assert (trace.square().mean() - 1).abs() < 4 * math.sqrt(2 / n)
    # A reflection as often as not, 4 standard errors.
    assert (torch.linalg.det(draws).mean()).abs() < 4 / math.sqrt(n)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda g: LinearManifold([1.0, -0.1]), "variances: must be a vector of finite numbers that are not negative"),
        (lambda g: LinearManifold([1.0, math.nan]), "variances: must be a vector of finite numbers"),
        (lambda g: LinearManifold([math.inf]), "variances: must be a vector of finite numbers"),
        (lambda g: LinearManifold([0.0, 0.0]), "variances: all are 0"),
        (lambda g: LinearManifold.from_matrix(torch.zeros(3, 2)), "variances: all are 0"),
        (lambda g: LinearManifold([1.0, 0.0], rotation=torch.ones(2, 2)), "basis: must be an orthogonal matrix of 2"),
        (lambda g: LinearManifold([1.0, 0.0], rotation=torch.eye(3)), "basis: must be an orthogonal matrix of 2"),
        (lambda g: LinearManifold.subspaces(3, [(2, 1.0), (2, 0.3)]), "must each be at least 1 and fit into 3"),
        (lambda g: LinearManifold.subspaces(3, [(0, 1.0)]), "must each be at least 1"),
        (lambda g: LinearManifold.subspaces(3, [(1, -1.0)]), "not negative"),
        (lambda g: LinearManifold.uniform(3, 4, generator=g), "need 1 <= rank <= dim"),
        (lambda g: LinearManifold.uniform(3, 2, low=1.0, high=1.0, generator=g), "need 1 <= rank <= dim"),
        (lambda g: LinearManifold([1.0]).sample(0, generator=g), "n: at least 1 sample is needed, got 0"),
    ],
)
def test_wrong_input_is_refused(call, message, generator, unchecked):
    with pytest.raises(InputError, match=message):
        call(generator)
