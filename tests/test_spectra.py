"""Spectra: every probe against the Jacobian it estimates, vectors, batching, and what each result says of itself."""

import math
from dataclasses import dataclass

import pytest
import torch
from torch import nn

import laws
from geomem.errors import InputError
from geomem.manifolds import LinearManifold, random_rotation
from geomem.scores import EmpiricalScore, GaussianScore, NetworkScore
from geomem.spectra import KINDS, PROBES, differentiated_jacobian, spectrum
from geomem.training import ResidualMLP
from laws import deviation

S = torch.tensor([1.0, 0.5, 0.3, 0.0, 0.0], dtype=torch.float64)
TIMES = torch.tensor([0.01, 0.3, 5.0], dtype=torch.float64)


def linear(name):
    """A score with a constant Jacobian, and the Gaussian whose score it is."""
    g = torch.Generator().manual_seed(1)
    u, mean = random_rotation(5, generator=g), torch.randn(5, generator=g, dtype=torch.float64)
    truth = {
        "axes": lambda: GaussianScore(S),
        "rotated": lambda: GaussianScore(S, basis=u, mean=mean),
        "network": lambda: GaussianScore(S, basis=u, mean=mean),
        "images": lambda: GaussianScore(torch.cat([S, S[:1]]), shape=(2, 3)),
    }[name]()
    if name != "network":
        return truth, truth
    module = laws.ExactDenoiser(truth, "v", "vp", torch.float64)
    return NetworkScore(module, (5,), prediction="v", noise="vp"), truth


def points(score, n=3, seed=2):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(n, *score.shape, generator=g, dtype=torch.float64)


def network(dtype=torch.float64):
    """A score whose Jacobian depends on x and is not symmetric."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return NetworkScore(ResidualMLP(5, hidden=16).to(dtype), (5,))


@dataclass
class Plain:
    """A score from a function of x (n, 5), which notes how many points it is asked for at once."""

    function: object
    shape: tuple[int, ...] = (5,)
    largest: int = 0

    def __call__(self, x, t):
        self.largest = max(self.largest, x.shape[0] if x.ndim > 1 else 1)
        return self.function(x)


EXACT = ["exact", "smoothed", "regression", "orthonormal"]
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


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_refused(dtype):
    with pytest.raises(InputError, match=rf"x: is of {dtype}, too coarse for a spectrum; convert .* to float32"):
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
        ({"probe": "exact", "radius": 1.0}, "radius, probes: the exact Jacobian has none"),
        ({"probe": "exact", "probes": 5}, "radius, probes: the exact Jacobian has none"),
        ({"probe": "smoothed", "probes": 4}, "probes: the smoothed Jacobian has one column for each of the 5 axes"),
        ({"probe": "orthonormal", "probes": 6}, "probes: at most 5 directions are orthonormal here, got 6"),
        ({"probe": "orthonormal", "probes": 0}, "batch_size, probes: must be at least 1"),
        ({"probe": "orthonormal", "batch_size": 0}, "batch_size, probes: must be at least 1"),
        ({"probe": "regression", "probes": 5}, "probes: a regression of 5 columns needs more probes than that, got 5"),
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
