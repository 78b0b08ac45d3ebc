"""Leading survivals against dense Jacobians: never more than there are, all that there are, and what they cost."""

import math

import pytest
import torch

from geomem.errors import InputError
from geomem.manifolds import random_rotation
from geomem.scores import EmpiricalScore, GaussianScore, NetworkScore
from geomem.spectra import differentiated_jacobian
from geomem.spectra.leading import leading
from geomem.spectra.products import products
from geomem.training import ResidualMLP


def network(d=40, dtype=torch.float64):
    """A score whose Jacobian depends on x and is not symmetric, with survivals on both sides of 1/2."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = ResidualMLP(d, hidden=24).to(dtype)
        for p in module.parameters():
            p.data.add_(0.3 * torch.randn(p.shape, dtype=torch.float64).to(dtype) / math.sqrt(p.shape[-1]))
    return NetworkScore(module, (d,), prediction="denoised")


def gaussian(variances, seed=0):
    s = torch.as_tensor(variances, dtype=torch.float64)
    return GaussianScore(s, basis=random_rotation(len(s), generator=torch.Generator().manual_seed(seed)))


def symmetric(score, x, t):
    """sym(I + t J), dense."""
    j = differentiated_jacobian(score, x, torch.full((len(x),), t, dtype=torch.float64)).double()
    a = torch.eye(j.shape[-1], dtype=torch.float64) + t * j
    return (a + a.mT) / 2


def points(score, n=3, seed=2):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(n, *score.shape, generator=g, dtype=torch.float64)


@pytest.fixture(scope="module")
def samples():
    g = torch.Generator().manual_seed(5)
    return EmpiricalScore(torch.randn(50, 3, 4, generator=g, dtype=torch.float64))


# --- products ---


@pytest.mark.parametrize("name", ["gaussian", "empirical", "network", "function"])
def test_products_are_those_of_the_dense_jacobian(name, samples):
    net = network()
    score = {
        "gaussian": gaussian([1.0, 0.5, 0.0, 0.0]),
        "empirical": samples,
        "network": net,
        "function": Untracked(net),
    }[name]
    x, t = points(score), 0.3
    dense = torch.eye(math.prod(score.shape), dtype=torch.float64) + t * jacobian(
        net if name == "function" else score, x, t
    )
    v = torch.randn(3, dense.shape[-1], generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    a = products(score, x, t)
    tol = 1e-4 if name == "function" else 1e-9
    torch.testing.assert_close(a.plain(v), torch.einsum("nij,nj->ni", dense, v), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(a.rough(v), torch.einsum("nij,nj->ni", dense, v), rtol=1e-2, atol=1e-2)
    other = dense if name == "function" else dense.mT
    torch.testing.assert_close(a.transposed(v), torch.einsum("nij,nj->ni", other, v), rtol=tol, atol=tol)
    some = a.kept(torch.tensor([2, 0]))
    torch.testing.assert_close(some.transposed(v[[2, 0]]), a.transposed(v)[[2, 0]], rtol=1e-9, atol=1e-12)


class Untracked:
    """A score without gradients."""

    def __init__(self, score):
        self.score, self.shape = score, score.shape

    @torch.no_grad()
    def __call__(self, x, t):
        return self.score(x, t)


def jacobian(score, x, t):
    times = torch.full((len(x),), t, dtype=torch.float64)
    if hasattr(score, "jacobian"):
        return score.jacobian(x, times).reshape(len(x), math.prod(score.shape), -1)
    return differentiated_jacobian(score, x, times)


# --- count, values, vectors ---


@pytest.mark.parametrize(
    "variances",
    [
        [1.0] * 5 + [0.0] * 35,
        [3.0, 2.0, 1.0] + [0.3] * 10 + [0.0] * 27,  # ten at the threshold itself: none is above it
        [3.0, 2.0, 1.0] + [0.3001] * 10 + [0.0] * 27,
        [1.0] * 40,
        [0.0] * 40,
        [1.0] * 39 + [0.0],
        list(torch.logspace(1, -4, 40)),
    ],
    ids=["flat", "at", "just above", "all", "none", "all but one", "smooth"],
)
def test_it_is_exact_for_gaussians(variances):
    score, t = gaussian(variances), 0.3
    x = points(score)
    found = leading(score, x, t)
    truth = score.survival(x[0], t)
    expected = truth[truth > 0.5 + 1e-12]
    assert found.count.tolist() == [len(expected)] * 3
    for i in range(3):
        torch.testing.assert_close(found.values[i], expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("t", [0.05, 0.3, 2.0])
def test_it_finds_those_of_a_network_whose_jacobian_is_not_symmetric(t):
    score = network()
    x = points(score, n=6)
    dense = symmetric(score, x, t)
    assert (
        float((dense - differentiated_jacobian(score, x, torch.full((6,), t)) * t - torch.eye(40)).abs().max()) > 1e-3
    )
    truth = torch.linalg.eigvalsh(dense).flip(-1)
    found = leading(score, x, t)
    counts = (truth > 0.5).sum(1)
    assert torch.equal(found.count, counts)
    for i, m in enumerate(counts.tolist()):
        assert torch.all(found.values[i, :m] <= truth[i, :m] + 1e-9)


class Bottleneck(torch.nn.Module):
    """Denoises onto a curved manifold of 12 dimensions, with some response to noise along all directions and no symmetry."""

    def __init__(self, d):
        super().__init__()
        g = torch.Generator().manual_seed(0)
        rows = torch.linalg.qr(torch.randn(d, 12, generator=g, dtype=torch.float64))[0].T
        self.encode = torch.nn.Parameter(rows)
        self.decode = torch.nn.Parameter(rows + 0.01 * torch.randn(12, d, generator=g, dtype=torch.float64))
        self.gains = torch.nn.Parameter(torch.linspace(2.0, 0.2, 12, dtype=torch.float64))
        self.rest = torch.nn.Parameter(0.1 * torch.randn(d, d, generator=g, dtype=torch.float64) / d**0.5)

    def forward(self, x, t):
        return (torch.tanh(x @ self.encode.T) * self.gains) @ self.decode + x @ self.rest


def test_a_wide_network_is_searched_without_completing_its_basis():
    """600 directions, of which a few survive: counts and values of the dense matrix, at a fraction of its cost, and a bound."""
    score, t = NetworkScore(Bottleneck(600), (600,), prediction="denoised"), 0.1
    x = points(score, n=4) / 10
    dense = symmetric(score, x, t)
    truth = torch.linalg.eigvalsh(dense).flip(-1)
    counts = (truth > 0.5).sum(1)
    assert 4 <= int(counts.min()) <= int(counts.max()) <= 12
    found = leading(score, x, t, residuals=True, certificate=40)
    assert not found.exact.any()
    assert torch.equal(found.count, counts)
    for i, m in enumerate(counts.tolist()):
        torch.testing.assert_close(found.values[i, :m], truth[i, :m], rtol=0, atol=0.1)
        assert float((truth[i, :m] - found.values[i, :m]).min()) > -1e-9
        assert float(truth[i, m]) <= float(found.bound[i]) < 1.0
    plain = leading(score, x, t)
    assert int(plain.evaluations.max()) < 6 * int(counts.max()) + 60
    alone = leading(score, x, t, together=1)
    torch.testing.assert_close(alone.values, plain.values, rtol=1e-9, atol=1e-9)


def test_copies_of_one_eigenvalue_are_all_found():
    """Ten times the same above a smooth tail, which a Krylov space of one vector sees once."""
    score = gaussian([0.45] * 10 + list(torch.linspace(0.2, 0.001, 590)))
    assert leading(score, points(score), 0.3).count.tolist() == [10, 10, 10]


def test_it_never_counts_too_many_and_vectors_are_orthonormal():
    score = network()
    x = points(score, n=4)
    for above in (0.2, 0.5, 0.9):
        found = leading(score, x, 0.3, above=above, residuals=True)
        truth = (torch.linalg.eigvalsh(symmetric(score, x, 0.3)) > above).sum(1)
        assert torch.all(found.count <= truth)
        for i, m in enumerate(found.count.tolist()):
            v = found.vectors[i, :m]
            torch.testing.assert_close(v @ v.T, torch.eye(m, dtype=torch.float64), rtol=0, atol=1e-10)
            assert not torch.isnan(found.residuals[i, :m]).any()
            assert torch.isnan(found.values[i, m:]).all()


def test_residuals_say_how_far_vectors_are_from_eigenvectors():
    score = network()
    x = points(score, n=2)
    found = leading(score, x, 0.3, residuals=True)
    dense = symmetric(score, x, 0.3)
    for i, m in enumerate(found.count.tolist()):
        v = found.vectors[i, :m]
        expected = (v @ dense[i] - found.values[i, :m, None] * v).norm(dim=1)
        torch.testing.assert_close(found.residuals[i, :m], expected, rtol=1e-3, atol=1e-4)


def test_small_bases_suffice_where_few_survive():
    """Three survivals among 600 directions."""
    score = gaussian([4.0, 2.0, 1.0, *torch.logspace(-2, -6, 597)])
    found = leading(score, points(score), 0.3)
    assert found.count.tolist() == [3, 3, 3]
    assert not found.exact.any()
    assert int(found.evaluations.max()) <= 6 * 3 + 60


# --- certificate ---


def test_the_certificate_bounds_what_was_not_counted():
    score = gaussian([4.0, 2.0, 1.0] + [0.1] * 20 + [0.0] * 577)
    found = leading(score, points(score), 0.3, certificate=30)
    rest = float(score.survival(torch.zeros(600), 0.3)[3])
    assert torch.all((found.bound >= rest - 1e-9) & (found.bound < 0.5))


def test_a_missed_eigenvalue_is_not_certified_away():
    """Lanczos on the complement of all but one finds that one."""
    score = gaussian([4.0, 2.0, 1.0] + [0.01] * 297)
    found = leading(score, points(score), 0.3, above=0.9, certificate=30)
    assert found.count.tolist() == [1, 1, 1]
    assert torch.all((found.bound >= 2 / 2.3 - 1e-9) & (found.bound < 0.95))


def test_few_steps_certify_nothing():
    score = gaussian([4.0, 2.0, 1.0] + [0.01] * 297)
    assert torch.isinf(leading(score, points(score), 0.3, certificate=2).bound).all()


# --- laws ---


def test_results_do_not_depend_on_batching():
    score = network()
    x = points(score, n=5)
    whole, alone = leading(score, x, 0.3), leading(score, x, 0.3, together=1)
    assert torch.equal(whole.count, alone.count)
    torch.testing.assert_close(whole.values, alone.values, rtol=0, atol=0.05, equal_nan=True)


class Counted:
    """A score that counts the points it is evaluated at."""

    def __init__(self, score):
        self.score, self.shape, self.calls, self.backward = score, score.shape, 0, 0

    def __call__(self, x, t):
        self.calls += x.shape[0]
        out = self.score(x, t)
        if out.requires_grad:
            out.register_hook(self._note)
        return out

    def _note(self, gradient):
        self.backward += gradient.shape[0]


@pytest.mark.parametrize("options", [{}, {"residuals": True}, {"certificate": 8}, {"together": 2}])
def test_the_cost_reported_is_the_calls_made(options):
    score = Counted(network())
    found = leading(score, points(score.score, n=5), 0.3, **options)
    assert int(found.evaluations.sum()) == score.calls + score.backward


def test_float32_networks_are_searched_in_their_own_precision():
    score, exact = network(dtype=torch.float32), network()
    x = points(exact, n=3)
    assert torch.equal(leading(score, x.float(), 0.3).count, leading(exact, x, 0.3).count)


def test_wrong_arguments_are_refused(unchecked):
    score = gaussian([1.0, 0.0])
    with pytest.raises(InputError, match="above: must be above 0"):
        leading(score, torch.zeros(1, 2), 0.3, above=0)
    with pytest.raises(InputError, match=r"give points \(n, 2\)"):
        leading(score, torch.zeros(2), 0.3)
