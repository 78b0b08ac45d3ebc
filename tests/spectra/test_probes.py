"""Every probe against the Jacobian that it estimates, its vectors, and what its random directions smear."""

import math

import pytest
import torch

import laws
from geomem.manifolds import LinearManifold, random_rotation
from geomem.scores import EmpiricalScore, NetworkScore
from geomem.spectra import PROBES, differentiated_jacobian, spectrum
from laws import deviation
from spectra.cases import EXACT, TIMES, Plain, linear, network, points

LINEAR = ["axes", "rotated", "network", "images"]


@pytest.mark.parametrize("name", LINEAR)
@pytest.mark.parametrize("probe", EXACT)
def test_exact_on_a_linear_score(probe, name):
    score, truth = linear(name)
    laws.probe_is_exact_on_linear_score(probe, score, truth, points(score), TIMES)


@pytest.mark.parametrize("name", LINEAR)
@pytest.mark.parametrize("probe", PROBES)
def test_survival_of_a_linear_score(probe, name):
    score, truth = linear(name)
    laws.survival_of_linear_score(probe, score, truth, points(score), TIMES)


@pytest.mark.parametrize("distance", [0.0, 30.0], ids=["on-manifold", "off-manifold"])
@pytest.mark.parametrize("probe", ["score-matrix", "antithetic"])
def test_gaussian_probes_smear_and_only_unmirrored_ones_add_an_outlier(probe, distance, generator):
    """A point off the manifold by 30 sqrt t has a mean score of theta = 30 standard deviations, normal to it.

    That shows as a singular value of sqrt((theta^2 + 1)(theta^2 + p/K))/theta, the limit for a rank-one signal
    in noise; mirrored probes cancel it.
    """
    manifold = LinearManifold.subspaces(40, [(4, 1.0)], rotation=random_rotation(40, generator=generator))
    t = 1e-4
    x = manifold.score.basis[:, -1] * distance * math.sqrt(t)
    ratio = 36 / 160
    outlier = math.sqrt((distance**2 + 1) * (distance**2 + ratio)) / distance if distance else 0.0
    seen = outlier if probe == "score-matrix" else 0.0
    laws.gaussian_probes_smear(probe, manifold.score, x, t, outlier=seen)


def test_smear_narrows_with_more_probes(generator):
    """As K^-1/2: 16 times the probes, a quarter of the spread."""
    score = LinearManifold.subspaces(20, [(2, 1.0)]).score
    spread = {}
    for k in (80, 1280):
        options = {"probe": "antithetic", "probes": k, "generator": generator}
        values = [spectrum(score, torch.zeros(20).double(), 1e-4, **options).values for _ in range(20)]
        spread[k] = float(torch.stack([v[0] - v[17] for v in values]).mean())
    # Mean of 20 draws whose edges fluctuate by about a tenth of the spread.
    assert abs(spread[80] / spread[1280] - 4) < 0.4


@pytest.mark.parametrize("probe", EXACT)
def test_vectors_rebuild_the_jacobian(probe):
    """J = sum lambda_j v_j w_j^T (Eq. 6), unit vectors; without them the same values and survival."""
    score = network()
    x = points(score)
    found = spectrum(score, x, TIMES, probe=probe, vectors=True)
    plain = spectrum(score, x, TIMES, probe=probe)
    assert deviation(found.values, plain.values, 1) < 1e-12
    assert torch.allclose(found.survival, plain.survival, atol=1e-12)
    j = torch.einsum("bk,bki,bkj->bij", found.values, found.left, found.right)
    eye = torch.eye(5, dtype=torch.float64)
    for vectors in (found.left, found.right):
        assert torch.allclose(vectors @ vectors.mT, eye.expand(3, 5, 5), atol=1e-12)
    sym = eye + TIMES[:, None, None] * (j + j.mT) / 2
    assert torch.allclose(torch.linalg.eigvalsh(sym).flip(-1), found.survival, atol=1e-12)
    if probe == "exact":
        assert deviation(j, differentiated_jacobian(score, x, TIMES), 2) < 1e-12
        assert float((j - j.mT).abs().max()) > 1e-3
    if probe == "smoothed":
        r = TIMES.sqrt()[:, None, None]
        moved = score(x[:, None] + r * eye, TIMES[:, None].expand(3, 5))
        columns = (moved - score(x, TIMES)[:, None]).detach() / r
        assert deviation(j, columns.mT, 2) < 1e-12


@pytest.mark.parametrize("probe", EXACT)
def test_gaussian_pulls_straight_back(probe):
    score, _ = linear("rotated")
    found = spectrum(score, points(score), TIMES, probe=probe, vectors=True)
    assert torch.allclose(found.alignment, torch.full((3, 5), -1.0, dtype=torch.float64), atol=1e-9)


def test_alignment_is_positive_where_the_score_pushes_away():
    """At the midpoint of two samples survival is |y1 - y2|^2/4t = 4, so one eigenvalue of J is (4 - 1)/t."""
    score = EmpiricalScore(torch.tensor([[2.0, 0.0, 0.0], [-2.0, 0.0, 0.0]], dtype=torch.float64))
    found = spectrum(score, torch.zeros(3).double(), 1.0, vectors=True)
    assert found.values.tolist() == pytest.approx([3, 1, 1])
    assert found.alignment.tolist() == pytest.approx([1, -1, -1])


@pytest.mark.parametrize("probe", ["score-matrix", "antithetic"])
def test_score_matrices_have_left_vectors_only(probe, generator):
    u = random_rotation(12, generator=generator)
    score = LinearManifold.subspaces(12, [(2, 1.0)], rotation=u).score
    found = spectrum(score, torch.zeros(12).double(), 1e-4, probe=probe, vectors=True)
    assert found.right is None
    assert found.alignment is None
    assert torch.allclose(found.left @ found.left.mT, torch.eye(12, dtype=torch.float64), atol=1e-12)
    # The last two span the tangent space, up to t/s.
    assert torch.allclose(torch.linalg.svdvals(found.left[-2:] @ u[:, :2]), torch.ones(2).double(), atol=1e-6)


@pytest.mark.parametrize("n", [1, 10, 1000])
@pytest.mark.parametrize("t", [1e-6, 0.1, 100.0])
def test_smoothed_columns_and_rows_off_the_manifold(n, t, generator):
    """At x = 0 every column and row outside the support is exactly -e_j/t, however few samples and whatever t."""
    manifold = LinearManifold.subspaces(7, [(1, 1.0), (2, 0.3)])
    score = EmpiricalScore(manifold.sample(n, generator=generator))
    found = spectrum(score, torch.zeros(7).double(), t, probe="smoothed", vectors=True)
    scaled = t * torch.einsum("k,ki,kj->ij", found.values, found.left, found.right)
    expected = -torch.eye(7, dtype=torch.float64)
    assert torch.allclose(scaled[:, 3:], expected[:, 3:], rtol=0, atol=1e-12)
    assert torch.allclose(scaled[3:], expected[3:], rtol=0, atol=1e-12)


def test_fewer_probes_than_dimensions(generator):
    """J restricted to three orthonormal directions: values interlace with all, and survival is not known."""
    score, truth = linear("rotated")
    x = points(score)
    found = spectrum(score, x, TIMES, probe="orthonormal", probes=3, vectors=True, generator=generator)
    plain = spectrum(
        score, x, TIMES, probe="orthonormal", probes=3, generator=torch.Generator().manual_seed(0), batch_size=2
    )
    assert found.survival is None
    assert found.dim == 5
    assert deviation(plain.values, found.values, 1) < 1e-12
    j = truth.jacobian(x, TIMES)
    all_values = torch.linalg.svdvals(j)
    assert torch.all(found.values <= all_values[:, :3] * (1 + 1e-12))
    assert torch.all(found.values >= all_values[:, 2:] * (1 - 1e-12))
    assert found.left.shape == found.right.shape == (3, 3, 5)
    answered = torch.einsum("bij,bkj->bki", j, found.right)
    assert deviation(answered, found.values[..., None] * found.left, 2) < 1e-10


@pytest.mark.parametrize("probe", ["score-matrix", "antithetic"])
def test_few_gaussian_probes_leave_survival_out(probe):
    score, truth = linear("rotated")
    for k, known in ((3, False), (5, False), (6, True)):
        found = spectrum(score, points(score), TIMES, probe=probe, probes=k)
        assert found.values.shape == (3, min(k, 5))
        assert (found.survival is not None) == known
    assert torch.allclose(found.survival, truth.survival(points(score), TIMES), atol=1e-8)


def test_mirrored_probes_are_free_of_curvature():
    """For s = -x + c x^2 central differences are exact at any radius; forward ones are off by c r."""
    score = Plain(lambda x: -x + 0.1 * x.square())
    x = points(score)
    expected = (-1 + 0.2 * x).abs().sort(-1, descending=True).values
    for options in ({"probe": "exact"}, {"probe": "orthonormal", "radius": 3.0}):
        assert deviation(spectrum(score, x, 0.5, **options).values, expected, 1) < 1e-12
    shifted = (-1 + 0.2 * x + 0.1 * 3).abs().sort(-1, descending=True).values
    assert deviation(spectrum(score, x, 0.5, probe="smoothed", radius=3.0).values, shifted, 1) < 1e-12


def test_float32_points_and_networks():
    """float32 in, float64 out, right to what float32 scores can give: eps |s|/|J r| at each radius."""
    score, truth = linear("network")
    low = NetworkScore(laws.ExactDenoiser(truth, "noise", "ve", torch.float32), (5,))
    x = points(score).float()
    for probe in EXACT:
        found = spectrum(low, x, TIMES, probe=probe)
        assert found.values.dtype == torch.float64
        assert deviation(found.values, torch.linalg.svdvals(truth.jacobian(x.double(), TIMES)), 1) < 1e-5


@pytest.mark.parametrize("t", [1e-2, 1e-4, 1e-6])
@pytest.mark.parametrize("vectors", [False, True], ids=["values", "vectors"])
def test_closed_forms_keep_their_digits_for_float32_points(t, vectors):
    """The tangent values 1/(s+t) of a closed form do not depend on the precision of the point."""
    manifold = LinearManifold.subspaces(6, [(2, 1.0), (1, 0.3)])
    found = spectrum(manifold.score, torch.zeros(6), t, vectors=vectors)
    expected = (1 / (manifold.variances + t)).sort(descending=True).values
    assert torch.allclose(found.values, expected, rtol=1e-6)
