"""The empirical score around a point: the same values as everywhere, whatever was left out to be fast."""

import math
import warnings

import numpy as np
import pytest
import torch

import geomem.scores.kernel as kernel
import geomem.scores.pruning as pruning
from geomem.errors import InputError
from geomem.scores import EmpiricalScore
from geomem.spectra import spectrum
from laws import deviation
from test_empirical import direct, near_duplicates

TIMES = (1e-6, 1e-4, 1e-2, 0.1, 0.3, 1.0, 3.0, 10.0, 1e4)


def images(n, generator, d=144):
    """Clustered data of decaying variances, like images: near neighbours, and others far away."""
    scale = torch.arange(1, d + 1, dtype=torch.float64).pow(-0.8) * 3
    centres = torch.randn(12, d, generator=generator, dtype=torch.float64) * scale
    which = torch.randint(12, (n,), generator=generator)
    return centres[which] + 0.3 * scale * torch.randn(n, d, generator=generator, dtype=torch.float64)


def agrees(found, x, t, y, *, score, effective):
    agrees_with(direct(y, x, t), found, x, t, score=score, effective=effective)


def agrees_with(expected, found, x, t, *, score, effective):
    s, log_density, n_eff, _ = expected
    assert deviation(found(x, t).double(), s, 1) <= score
    assert float((found.effective_samples(x, t).double() / n_eff - 1).abs().max()) <= effective
    scale = log_density.abs().clamp_min(1)
    assert float(((found.log_density(x, t).double() - log_density) / scale).abs().max()) <= max(score, 1e-10)


@pytest.fixture
def taken(monkeypatch):
    """Counts the samples that products were made for."""
    counts = {"_add_float32": 0, "_add_float64": 0, "screened": 0}
    add, low, high = kernel._Work.add, kernel._Work._add_float32, kernel._Work._add_float64

    def counted(self, rows, squares):
        counts["screened"] += rows.shape[0]
        add(self, rows, squares)

    def single(self, rows, z, base):
        counts["_add_float32"] += z.shape[0]
        low(self, rows, z, base)

    def double(self, z, base):
        counts["_add_float64"] += z.shape[0]
        high(self, z, base)

    monkeypatch.setattr(kernel._Work, "add", counted)
    monkeypatch.setattr(kernel._Work, "_add_float32", single)
    monkeypatch.setattr(kernel._Work, "_add_float64", double)
    return counts


@pytest.fixture(scope="module", params=["sample", "between", "apart"])
def differences(request):
    """Samples, a point, and at every t noisy points with the direct answers there in float64 and in float32."""
    g = torch.Generator().manual_seed(0)
    y = images(1200, g)
    x0 = {"sample": y[5], "between": (y[5] + y[6]) / 2, "apart": images(1, g)[0]}[request.param]
    eps = torch.randn(24, 144, generator=g, dtype=torch.float64)
    queries = [(t, x0 + math.sqrt(t) * eps) for t in TIMES]
    return y, x0, [(t, x, direct(y, x, t), direct(y.float(), x.float(), t)) for t, x in queries]


@pytest.mark.parametrize("bf16", [True, False], ids=["bf16", "no-bf16"])
@pytest.mark.parametrize("chance", [0.0, 1e-6])
def test_agrees_with_direct_differences(chance, bf16, differences, monkeypatch):
    """At every t, in both precisions, proven or for random directions; bfloat16 screens on any machine."""
    monkeypatch.setattr(kernel, "multiplies_bf16", lambda device: bf16)
    y, x0, queries = differences
    near = EmpiricalScore(y).around(x0, chance=chance)
    single = EmpiricalScore(y.float()).around(x0, chance=chance)
    nearest = float((y - x0).square().sum(1).min())
    for t, x, expected, rounded in queries:
        # The logits' own condition: rounding of D in float64, seen at this t.
        conditioned = nearest / t * 1e-15
        agrees_with(expected, near, x, t, score=1e-10 + conditioned, effective=1e-10 + 10 * conditioned)
        agrees_with(rounded, single, x.float(), t, score=1e-6, effective=1e-5)


def test_digits_on_near_duplicates(generator):
    """Images that differ in a few grey levels: several stand behind each noisy one also at small t."""
    y = near_duplicates(800, generator, pixels=400)
    x0 = (y[3] + y[5]) / 2
    shared = 0
    for t in (1e-5, 1e-4, 1e-3, 1e-2):
        eps = torch.randn(16, 400, generator=generator, dtype=torch.float64)
        x = x0 + math.sqrt(t) * eps
        expected = direct(y, x, t)
        shared += int((expected[2] > 1.1).sum())
        agrees_with(expected, EmpiricalScore(y).around(x0), x, t, score=1e-10, effective=1e-9)
        agrees(EmpiricalScore(y.float()).around(x0, chance=1e-6), x.float(), t, y.float(), score=1e-6, effective=1e-5)
    assert shared > 24


def test_directions_that_know_the_data_need_the_proof(generator):
    """x on another sample: far in the tail of random directions, and taken into account without `chance`."""
    y = torch.randn(4000, 100, generator=generator, dtype=torch.float64)
    near, score = EmpiricalScore(y).around(y[0]), EmpiricalScore(y)
    for other in (1, 2, 3):
        distance = float((y[other] - y[0]).square().sum())
        for t in (1e-3, distance / 100, 1.0):
            x = y[other][None]
            assert deviation(near(x, t) + 1, score(x, t) + 1, 1) <= 1e-10
            assert float((near.effective_samples(x, t) / score.effective_samples(x, t) - 1).abs().max()) <= 1e-9
            assert deviation(near(x.float(), t) + 1, score(x.float(), t) + 1, 1) <= 1e-6


def test_little_is_taken_at_small_t(generator, taken):
    y = images(20_000, generator)
    x0, eps = y[5], torch.randn(100, 144, generator=generator, dtype=torch.float64)
    near = EmpiricalScore(y).around(x0, chance=1e-6)
    for t, most in ((1e-4, 100), (1e-2, 2000)):
        taken.update(screened=0)
        near(x0 + math.sqrt(t) * eps, t)
        assert 0 < taken["screened"] < most
    taken.update(screened=0)
    near(x0 + 10 * eps, 100.0)
    assert taken["screened"] >= 20_000


def test_many_tiles_add_no_error(generator, monkeypatch):
    """Sums in float32 go on from 0 now and then; in between nothing is lost."""
    y = images(3000, generator)
    x = y[0] + 3 * torch.randn(20, 144, generator=generator, dtype=torch.float64)
    score = EmpiricalScore(y.float(), memory=2**21)
    expected = score.around(y[0])(x.float(), 9.0)
    for every in (1, 3):
        monkeypatch.setattr(kernel, "_SETTLE", every)
        assert deviation(score.around(y[0])(x.float(), 9.0), expected, 1) <= 2e-7
        agrees(score.around(y[0]), x.float(), 9.0, y.float(), score=1e-6, effective=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_is_left_out_stays_within_the_bound(dtype, generator):
    """The weight that pruning omits, over 90 draws: never above what the precision allows."""
    y = images(2000, generator).to(dtype)
    omitted = kernel.PRECISIONS[dtype].omitted
    worst, pruned = 0.0, 0
    for trial in range(90):
        x0, t = images(1, generator)[0].to(dtype), [0.003, 0.03, 0.3][trial % 3]
        data = kernel.near(y, x0.double())
        p = math.sqrt(t) * torch.randn(20, 144, generator=generator, dtype=torch.float64)
        work = kernel._Work(data, p, t, (1,), dtype, 1e-6)
        work.add(y[data.order[:64]], data.ordered[:64])
        j = work.needed(64)
        logits = (-data.ordered / 2 + p @ (y[data.order].double() - x0.double()).T) / t
        share = torch.exp(logits - logits[:, :64].amax(1, keepdim=True))
        worst = max(worst, float(share[:, j:].sum(1).max()) if j < 2000 else 0.0)
        pruned += j < 2000
    assert pruned > 22
    assert worst <= omitted


def test_every_time_and_batch(generator):
    """Mixed times in one call, batch shapes, images as events, and no dependence on other queries."""
    y = images(1500, generator).reshape(-1, 12, 12)
    x0 = y[7]
    near, score = EmpiricalScore(y, memory=2**20).around(x0), EmpiricalScore(y)
    t = torch.tensor([1e-3, 0.1, 1.0, 0.1, 30.0, 1e-3], dtype=torch.float64)
    x = x0 + t.sqrt()[:, None, None] * torch.randn(6, 12, 12, generator=generator, dtype=torch.float64)
    assert near.shape == (12, 12)
    for name, events in (
        ("__call__", 2),
        ("log_density", 0),
        ("effective_samples", 0),
        ("jacobian", 2),
        ("survival", 1),
    ):
        whole = getattr(near, name)(x, t)
        assert deviation(whole, getattr(score, name)(x, t), events) <= 1e-10, name
        assert (
            deviation(getattr(near, name)(x.reshape(2, 3, 12, 12), t.reshape(2, 3)).reshape(whole.shape), whole, events)
            <= 1e-10
        )
        assert (
            deviation(torch.stack([getattr(near, name)(x[i], float(t[i])) for i in range(6)]), whole, events) <= 1e-10
        )
    assert near(x.float(), t).dtype == torch.float32


def test_mirrored_is_half_the_difference(generator):
    y = images(1500, generator)
    near = EmpiricalScore(y).around(y[3])
    for t in (1e-3, 0.1, 1.0, 10.0):
        p = math.sqrt(t) * torch.randn(30, 144, generator=generator, dtype=torch.float64)
        expected = (near(y[3] + p, t) - near(y[3] - p, t)) / 2
        assert deviation(near.mirrored(p, t, torch.float64), expected, 1) <= 1e-10
        assert deviation(near.mirrored(p, t, torch.float32), expected, 1) <= 2e-6


def test_clouds_of_low_precision_are_seen_from_their_middle(generator, taken):
    y = images(2000, generator).float()
    score, eps = EmpiricalScore(y), torch.randn(100, 144, generator=generator)
    x = y[9] + 0.1 * eps
    agrees(score, x, 0.01, y, score=1e-6, effective=1e-5)
    assert taken["screened"] > 0
    taken.update(screened=0)
    agrees(score, y[:100] + 0.1 * eps, 0.01, y, score=1e-6, effective=1e-5)  # many points: no middle to see them from
    assert taken["screened"] == 0


def test_probes_see_the_score_from_their_point(generator, taken, monkeypatch):
    """All probes give what they gave for scores taken one by one, also at repeated points with several times."""
    y = images(2000, generator, d=64)
    x, t = y[[4, 4, 5]], torch.tensor([0.01, 0.3, 0.3], dtype=torch.float64)
    score = EmpiricalScore(y)
    plain = type("Plain", (), {"shape": (64,), "__call__": lambda self, x, t: score(x, t)})()
    monkeypatch.setattr("geomem.spectra.probes._WORTH", 1)
    for probe in ("smoothed", "score-matrix", "antithetic", "regression", "orthonormal"):
        taken.update(screened=0)
        found, expected = spectrum(score, x, t, probe=probe), spectrum(plain, x, t, probe=probe)
        assert taken["screened"] > 0
        assert deviation(found.values, expected.values, 1) <= 1e-8, probe
        assert torch.allclose(found.survival, expected.survival, atol=1e-8), probe


def test_mapped_from_a_file_and_streamed(generator, tmp_path):
    """Data that are read from disk tile by tile give the same answers."""
    y = images(5000, generator).float()
    np.save(tmp_path / "images.npy", y.numpy())
    with warnings.catch_warnings():  # PyTorch says that it cannot be written to
        warnings.simplefilter("ignore")
        mapped = torch.from_numpy(np.load(tmp_path / "images.npy", mmap_mode="r"))
    x = y[:4] + 0.3 * torch.randn(4, 144, generator=generator)
    for t in (1e-3, 0.1, 5.0):
        there, here = EmpiricalScore(mapped, memory=2**20), EmpiricalScore(y)
        for name in ("__call__", "log_density", "effective_samples"):
            assert deviation(getattr(there, name)(x, t), getattr(here, name)(x, t)) <= 1e-6, name
        near = there.around(y[0])
        assert deviation(near(x[:1], t), here(x[:1], t)) <= 1e-6


def test_a_query_that_is_no_number_leaves_the_others_alone(generator):
    y = images(1500, generator)
    near = EmpiricalScore(y).around(y[0])
    x = y[0] + 0.1 * torch.randn(6, 144, generator=generator, dtype=torch.float64)
    for t in (1e-3, 1.0):
        alone = near(x[1:], t)
        for value in (math.nan, math.inf):
            x[0, 1] = value
            assert deviation(near(x, t)[1:], alone, 1) < 1e-10
            assert not bool(torch.isfinite(near(x, t)[0]).any())


@pytest.mark.parametrize(
    ("x0", "chance", "message"),
    [
        (torch.zeros(2, 3), 0.0, "x0: must be one finite point"),
        (torch.zeros(4), 0.0, "x: has shape"),
        (torch.tensor([0.0, math.nan, 0.0]), 0.0, "x0: must be one finite point"),
        (torch.zeros(3), 1.0, "chance: must be 0 or a probability below 1, got 1.0"),
        (torch.zeros(3), -0.1, "chance: must be 0"),
    ],
)
def test_wrong_points_are_refused(x0, chance, message):
    with pytest.raises(InputError, match=message):
        EmpiricalScore(torch.zeros(5, 3)).around(x0, chance=chance)


@pytest.mark.parametrize("d", [1, 2, 3, 8])
def test_few_dimensions(d, generator):
    """On a lattice, also where pulls all but cancel: near the mean, at a sample, and for whole batches in float32."""
    y = torch.randint(0, 4, (3000, d), generator=generator).double() + 0.01 * torch.randn(3000, d, generator=generator)
    for x0 in (y.mean(0), y[0]):
        for t in (1e-4, 1e-2, 1.0, 100.0):
            x = x0 + 0.3 * math.sqrt(t) * torch.randn(70, d, generator=generator, dtype=torch.float64)
            expected = direct(y.float(), x[::4].float(), t)[0]
            for score in (EmpiricalScore(y.float()), EmpiricalScore(y.float()).around(x0.float())):
                assert deviation(score(x.float(), t)[::4], expected, 1) <= 1e-6


@pytest.mark.parametrize("t", [2.0, 2.78, 3.86, 100.0, 1e4])
def test_pulls_that_cancel_keep_their_digits(t, generator):
    """All at a sample itself, and close to the mean at large t: the score is a small part of what it is a sum of."""
    y = images(1500, generator).float()
    score = EmpiricalScore(y)
    for x in (y[3].expand(80, 144), y.mean(0) + 1e-4 * torch.randn(80, 144, generator=generator)):
        expected = direct(y[:], x[:4], t)[0]
        assert deviation(score(x, t)[:4], expected, 1) <= 1e-6
        assert deviation(score.around(x[0], chance=1e-6)(x[:4], t), expected, 1) <= 1e-6


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_samples_in_half_precision_are_the_numbers_they_are(dtype, generator):
    y = images(1500, generator).to(dtype)
    for x0 in (y[3].float(), y[3].double() + 1e-3, torch.full((144,), 1e6)):
        x = x0.double() + torch.randn(20, 144, generator=generator, dtype=torch.float64)
        for t in (0.1, 1.0, 5.0):
            near = EmpiricalScore(y).around(x0)
            agrees(near, x.float(), t, y.float(), score=1e-6, effective=1e-5) if x0.abs().max() < 1e3 else None
            assert bool(torch.isfinite(near(x.float(), t)).all())


def test_the_centre_itself_and_what_happens_to_it_later(generator):
    y = images(1500, generator)
    x0 = y[3].clone()
    near = EmpiricalScore(y).around(x0, chance=1e-6)
    found = near(y[3], 0.5)
    assert deviation(found + 1, direct(y, y[3:4], 0.5)[0][0] + 1) <= 1e-10
    x0 += 1
    assert torch.equal(near(y[3], 0.5), found)


def test_more_dimensions_than_samples(generator):
    y = torch.randn(1000, 4100, generator=generator)
    score = EmpiricalScore(y)
    assert deviation(score(y[:2] + 1, 4000.0), direct(y, y[:2] + 1, 4000.0)[0], 1) <= 1e-6


def test_a_time_for_each_query_takes_no_pass_for_each(generator, taken):
    y = images(1500, generator).float()
    t = torch.linspace(1, 50, 100, dtype=torch.float64)
    x = y[3] + t.sqrt().float()[:, None] * torch.randn(100, 144, generator=generator)
    expected = direct(y, x, t)
    for found in (EmpiricalScore(y), EmpiricalScore(y).around(y[3])):
        agrees_with(expected, found, x, t, score=1e-6, effective=1e-5)
    assert taken["screened"] == 0


def test_screens_never_drop_what_they_cannot_exclude(generator, monkeypatch):
    """Products in low precision are off by less than the slack, also for flat vectors and in one dimension."""
    monkeypatch.setattr(kernel, "multiplies_bf16", lambda device: True)
    for d in (1, 2, 3, 100, 784):
        p = torch.rand(300, d, generator=generator, dtype=torch.float64) + 0.5
        y = torch.rand(300, d, generator=generator, dtype=torch.float64) + 0.5
        data = kernel.near(y, torch.zeros(d, dtype=torch.float64))
        for screen in kernel._Work(data, p, 1.0, (1,), torch.float64, 0.0).screens:
            low = (p.to(screen.dtype) @ y.to(screen.dtype).T).double()
            bound = screen.error * p.norm(dim=1)[:, None] * y.norm(dim=1)
            worst = float(((low - p @ y.T).abs() / bound).max())
            assert worst < 1
            assert worst > (0.05 if screen.dtype == torch.bfloat16 else 0)  # and the slack is not far too large


@pytest.mark.parametrize("t", [0.01, 0.1, 0.5])
def test_pruning_is_the_bound_that_is_stated(t, generator):
    """For random directions the number that is taken is the least place for which the inequality holds."""
    y = images(2000, generator)
    data = kernel.near(y, images(1, generator)[0])
    p, chance = math.sqrt(t) * torch.randn(20, 144, generator=generator, dtype=torch.float64), 1e-6
    work = kernel._Work(data, p, t, (1,), torch.float32, chance)
    work.add(y[data.order[:64]], data.ordered[:64])
    taken = work.needed(64)
    weight = torch.logsumexp((p @ (y[data.order[:64]] - data.centre).T - data.ordered[:64] / 2) / t, 1)
    omitted, s2 = kernel.PRECISIONS[torch.float32].omitted, float(p.square().sum(1).max()) / (144 * t)
    places = [math.ceil(16 * 2 ** (i / 4)) for i in range(math.ceil(4 * math.log2(2000)))]
    u2 = data.ordered / t

    def holds(j, theta):
        rest = torch.logsumexp(-theta * (1 - theta * s2) * u2[j:] / 2, 0) if j < 2000 else -math.inf
        left = float(rest) - theta * (math.log(omitted) + float(weight.min()))
        return left <= math.log(chance / (20 * len(places) * len(pruning.THETAS)))

    thetas = [min(1.0, product / s2) for product in pruning.THETAS]
    assert any(holds(taken, theta) for theta in thetas)
    before = max([place for place in places if place < taken], default=0)
    if 64 < before < 2000:
        assert not all(holds(before, theta) for theta in thetas)


def test_weights_and_survival_can_be_differentiated(generator):
    y = images(300, generator, d=10)
    score = EmpiricalScore(y)
    for f in (score.weights, score.survival):
        x = (y[:1] + 0.1).requires_grad_()
        (gradient,) = torch.autograd.grad(f(x, 0.5)[0, 0], x)
        step = torch.zeros_like(x.detach())
        step[0, 0] = 1e-5
        with torch.no_grad():
            rise = (f(x + step, 0.5) - f(x - step, 0.5))[0, 0] / 2e-5
        assert float(gradient[0, 0]) == pytest.approx(float(rise), rel=1e-5, abs=1e-9)
