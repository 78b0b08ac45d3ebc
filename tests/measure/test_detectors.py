"""Detectors against closed forms of Gaussian scores; laws of batching, conditions, costs and orientation."""

import math
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from geomem.errors import InputError
from geomem.manifolds import random_rotation
from geomem.measure.curvature import curvature, curvature_picture, flipd, flipd_guided, lhsd, lost_directions
from geomem.measure.detection import detect
from geomem.measure.detectors import DETECTORS
from geomem.measure.differences import difference_picture, magnitude, sharpness, sima
from geomem.measure.membership import auc
from geomem.measure.noisy import STARTS, Noisy
from geomem.measure.screening import screen
from geomem.models import load
from geomem.scores import GaussianScore, NetworkScore
from geomem.scores.pair import pair
from geomem.training import ResidualMLP
from laws import ExactDenoiser
from models import saved, unet

D, T = 12, 0.5
# The condition has taken the variance of four directions, and most of that of a fifth.
HAD = torch.tensor([9.0, 8.0, 7.0, 6.0, 5.0, 1.0, 0.2, 0.0, 0.0, 0.0, 0.0, 0.0], dtype=torch.float64)
KEPT = torch.tensor([9.0, 0.0, 0.0, 6.0, 0.4, 0.0, 0.2, 0.0, 0.0, 0.0, 0.0, 0.0], dtype=torch.float64)


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def gaussians(basis=None):
    return GaussianScore(KEPT, mean=drawn(D, seed=7), basis=basis), GaussianScore(
        HAD, mean=drawn(D, seed=8), basis=basis
    )


def noisy(n=3, k=2, start="image", scores=None, t=T):
    return Noisy(pair(*(scores or gaussians())), drawn(n, D, seed=1), t, drawn(n, k, D, seed=2), start)


def survivals(t=T):
    return KEPT / (KEPT + t), HAD / (HAD + t)


def known(at):
    """Scores (n, k, d) and Jacobians' diagonals of both at x."""
    s, r = gaussians()
    return -(at.x - s.mean) / (KEPT + at.t), -(at.x - r.mean) / (HAD + at.t), -1 / (KEPT + at.t), -1 / (HAD + at.t)


def expected(name, at):
    """Closed form of each detector (n), from the formulas of their papers."""
    s, r, js, jr = known(at)
    clean = at.images
    s0, r0 = (
        known(replace(at, noise=torch.zeros_like(clean)[:, None], _held={}, start="image"))[i][:, 0] for i in (0, 1)
    )
    ks, kr = survivals(at.t)
    ds, t = s - r, at.t
    moved = [at.x + t * score - clean[:, None] for score in (s, r)]
    own = [(survival * at.noise).square().sum(2).mean(1) for survival in (ks, kr)]
    return {
        "magnitude": math.sqrt(t) * ds.norm(dim=2).mean(1),
        "sharpness": ((js - jr) * ds).square().sum(2).mean(1),
        "curvature": ((kr - ks).sum() / t).expand(at.n),
        "difference_squared": ds.square().sum(2).mean(1),
        "flipd": -(ks.sum() + t * s0.square().sum(1)),
        "flipd_reference": -(kr.sum() + t * r0.square().sum(1)),
        "flipd_guided": -((kr + 7.5 * (ks - kr)).sum() + t * (r0 + 7.5 * (s0 - r0)).square().sum(1)),
        "lhsd": -(1 / (1 + ((1 - ks) / 0.6) ** 8)).sum().expand(at.n),
        "loss": -moved[0].square().sum(2).mean(1) / t,
        "loss_difference": (moved[1].square() - moved[0].square()).sum(2).mean(1) / t,
        "sima": -math.sqrt(t) * s0.pow(4).sum(1).pow(0.25),
        "fraction_lost": 1 - own[0] / own[1],
        "freedom_lost": (at.noise * (kr - ks) * at.noise).sum(2).mean(1),
        "directions_lost": torch.full((at.n,), float(((kr > 0.5) & (ks <= 0.5)).sum()), dtype=torch.float64),
    }[name]


@pytest.mark.parametrize(
    ("name", "start"), [(name, start) for name, d in DETECTORS.items() if d.levels == "one" for start in d.starts]
)
def test_closed_forms(name, start):
    at = noisy(start=start)
    torch.testing.assert_close(DETECTORS[name].function(at), expected(name, at), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("start", STARTS)
def test_anisotropy_takes_its_alignment_at_the_least_level_and_its_norm_at_the_largest(start):
    levels = [noisy(start=start, t=t) for t in (9.0, 0.01, 0.5)]
    s, r, _, _ = known(levels[1])
    cosine = ((s - r) * r).sum(2) / ((s - r).norm(dim=2) * r.norm(dim=2))
    found = partial(DETECTORS["anisotropy"].function, a=3.0, b=0.2)(levels)
    torch.testing.assert_close(found, 3 * cosine.mean(1) + 0.2 * expected("magnitude", levels[0]))


def test_points_start_where_they_say():
    at = noisy()
    assert torch.equal(at.x, at.images[:, None] + math.sqrt(T) * at.noise)
    assert torch.equal(noisy(start="noise").x, math.sqrt(T) * at.noise)
    assert torch.equal(noisy(start="unit noise").x, math.sqrt(1 + T) * at.noise)
    assert torch.equal(at.mirrored.x, at.images[:, None] - math.sqrt(T) * at.noise)
    assert torch.equal(noisy(start="noise").clean.x[:, 0], at.images)


def test_pictures_say_where():
    at = noisy()
    s, r, js, jr = known(at)
    torch.testing.assert_close(curvature_picture(at), (js - jr).neg().expand(at.n, D))
    torch.testing.assert_close(difference_picture(at), (s - r).square().mean(1))
    torch.testing.assert_close(curvature_picture(at).sum(1), curvature(at))


def test_curvature_is_unbiased_where_a_jacobian_is_not_diagonal():
    at = noisy(n=400, k=1, scores=gaussians(random_rotation(D, generator=torch.Generator().manual_seed(3))))
    values = curvature(at, probes=2).numpy()
    ks, kr = survivals()
    assert values.std() > 0
    assert abs(values.mean() - float((kr - ks).sum()) / T) < 4 * values.std(ddof=1) / math.sqrt(len(values))


def test_lhsd_of_all_steps_is_the_sum_over_the_spectrum():
    """The compression to a whole space has the spectrum itself; random starts leave the variance of a trace."""
    at = noisy(n=400, k=1, scores=gaussians(random_rotation(D, generator=torch.Generator().manual_seed(3))))
    values = lhsd(at, starts=2, steps=D).numpy()
    truth = float(expected("lhsd", noisy(n=1)))
    assert abs(values.mean() - truth) < 4 * values.std(ddof=1) / math.sqrt(len(values))


def test_options_reach_their_formulas():
    at = noisy()
    ks, _ = survivals()
    torch.testing.assert_close(lhsd(at, c=0.3, p=2.0), -(1 / (1 + ((1 - ks) / 0.3) ** 2)).sum().expand(at.n))
    torch.testing.assert_close(sima(at, p=1.0), -math.sqrt(T) * at.clean.score[:, 0].abs().sum(1))
    torch.testing.assert_close(flipd_guided(at, guidance=1.0), flipd(at))
    table = {"sima": replace(DETECTORS["sima"], function=partial(sima, p=1.0))}
    found = detect(at.pair, at.images, [T], detectors=table)
    np.testing.assert_allclose(found["sima"].values[:, 0], sima(at, p=1.0).numpy())


def test_a_score_is_no_different_from_itself():
    score, _ = gaussians()
    at = noisy(scores=(score, score))
    for name in (
        "magnitude",
        "sharpness",
        "curvature",
        "loss_difference",
        "fraction_lost",
        "freedom_lost",
        "directions_lost",
    ):
        assert DETECTORS[name].function(at).tolist() == [0.0] * at.n, name


def test_sharpness_of_a_curved_score_is_its_derivative():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        scores = [NetworkScore(ResidualMLP(D, hidden=16).double(), (D,)) for _ in range(2)]
    at = noisy(scores=scores)
    difference = at.pair.difference
    with torch.no_grad():
        x = at.x.flatten(0, 1)
        # Differences whose own error is below 1e-6.
        step = 1e-4 * difference(x, T)
        rise = (difference(x + step, T) - difference(x - step, T)) / 2e-4
        truth = rise.square().sum(1).reshape(at.n, -1).mean(1)
        # A one-sided step of a hundredth of the length of the noise.
        torch.testing.assert_close(sharpness(at), truth, rtol=0.05, atol=0)


def test_lost_directions_are_those_of_the_condition():
    basis = random_rotation(D, generator=torch.Generator().manual_seed(3))
    found = lost_directions(pair(*gaussians(basis)), drawn(D), T)
    ks, kr = survivals()
    lost = torch.nonzero((kr > 0.5) & (ks <= 0.5)).flatten()
    order = lost[(kr - ks)[lost].argsort(descending=True)]
    assert found.free == int((kr > 0.5).sum())
    torch.testing.assert_close(found.score, ks[order])
    torch.testing.assert_close(found.reference, kr[order])
    torch.testing.assert_close(
        (found.vectors @ basis[:, order]).abs(), torch.eye(len(order)).double(), rtol=0, atol=1e-6
    )


def test_lost_directions_that_a_score_has_turned():
    """Half of two free directions is kept, along their diagonal: the other diagonal is lost."""
    turned = torch.eye(3, dtype=torch.float64)
    turned[:2, :2] = torch.tensor([[1.0, 1.0], [1.0, -1.0]]) / math.sqrt(2)
    kept = GaussianScore(torch.tensor([9.0, 0.0, 0.0]), basis=turned, shape=(3, 1, 1))
    had = GaussianScore(torch.tensor([9.0, 9.0, 0.0]), shape=(3, 1, 1))
    found = lost_directions(pair(kept, had), torch.zeros(3, 1, 1), 1.0)
    assert found.vectors.shape == (1, 3, 1, 1)
    torch.testing.assert_close(found.vectors.flatten().abs(), torch.tensor([1.0, 1.0, 0.0]).double() / math.sqrt(2))
    torch.testing.assert_close(found.score, torch.zeros(1).double(), rtol=0, atol=1e-9)
    torch.testing.assert_close(found.reference, torch.tensor([0.9]).double())


def test_nothing_is_lost_where_nothing_was_free():
    pinned = GaussianScore(torch.zeros(D))
    found = lost_directions(pair(pinned, pinned), torch.zeros(D), 1.0)
    assert (found.free, found.vectors.shape, found.score.shape) == (0, (0, D), (0,))
    at = noisy(scores=(pinned, pinned))
    assert DETECTORS["fraction_lost"].function(at).tolist() == [0.0] * at.n


class AroundImages:
    """For each point a Gaussian of its own mean and width: narrow around an image that is memorized."""

    def __init__(self, means, widths):
        self.means, self.widths, self.shape = means, widths, tuple(means.shape[1:])

    def __call__(self, x, t):
        rows = x.reshape(-1, *self.shape)
        each = len(rows) // len(self.means)
        times = torch.as_tensor(t, dtype=x.dtype).expand(x.shape[: x.ndim - 1]).reshape(-1, 1)
        means, widths = (a.repeat_interleave(each, 0) for a in (self.means, self.widths))
        return (-(rows - means) / (widths[:, None] + times)).reshape(x.shape)

    def select(self, places):
        return AroundImages(self.means[list(places)], self.widths[list(places)])


TIMES = [0.05, 1.0, 20.0]


def half_memorized(n):
    """Images of which every second one is memorized, and a pair that knows them."""
    images = drawn(n, D, seed=4)
    memorized = torch.arange(n) % 2 == 0
    means = torch.where(memorized[:, None], images, 0.3 * images)
    widths = torch.where(memorized, 1e-4, 0.8).double()
    return images, memorized.numpy(), pair(AroundImages(means, widths), GaussianScore(torch.ones(D)))


@pytest.fixture(scope="module")
def found():
    images, _, both = half_memorized(30)
    return detect(both, images, TIMES, batch_size=64)


# The reference knows no condition.
@pytest.mark.parametrize("name", sorted(DETECTORS.keys() - {"flipd_reference"}))
def test_what_is_memorized_ranks_above_what_is_not(found, name):
    _, memorized, _ = half_memorized(30)
    values = found[name]
    values = (values.sel(t=TIMES[0]) if "t" in values.dims else values).values
    assert auc(-values[memorized], -values[~memorized]).value > 0.95


def test_results_depend_on_the_place_alone(found):
    images, _, both = half_memorized(30)
    for a, b, size in ((0, 1, 1), (3, 10, 5), (20, 30, 16)):
        part = detect(both.select(range(a, b)), images[a:b], TIMES, first=a, batch_size=size)
        assert part["point"].values.tolist() == list(range(a, b))
        for name in DETECTORS:
            np.testing.assert_allclose(part[name].values, found[name].values[a:b], rtol=1e-9, atol=1e-9, err_msg=name)
    other = detect(both, images, TIMES, names=["magnitude"], seed=1)
    assert not np.allclose(other["magnitude"], found["magnitude"])


def test_draws_are_averaged_in_batches_smaller_than_an_image_needs():
    images, _, both = half_memorized(4)
    wide, narrow = (detect(both, images, TIMES[:1], draws=5, batch_size=size) for size in (64, 2))
    for name in DETECTORS:
        np.testing.assert_allclose(narrow[name].values, wide[name].values, rtol=1e-9, atol=1e-9, err_msg=name)


def test_the_fraction_is_that_of_screening():
    """Screening measures the two scores one by one, with noise of its own."""
    scores = gaussians()
    images = drawn(1, D).expand(600, D)
    lost = detect(pair(*scores), images, [T], names=["freedom_lost"], draws=2)["freedom_lost"].values
    apart = [screen(score, images, [T], pairs=2)["freedom"].values for score in scores]
    spread = math.hypot(lost.std(), (apart[1] - apart[0]).std()) / math.sqrt(600)
    assert abs(lost.mean() - (apart[1] - apart[0]).mean()) < 4 * spread


@pytest.fixture(scope="module")
def networks():
    """Two networks without a closed form."""
    s, r = gaussians()
    return pair(*(NetworkScore(ExactDenoiser(g, "noise", "ve", torch.float64), (D,)) for g in (s, r)))


@pytest.mark.parametrize("draws", [1, 3])
@pytest.mark.parametrize("name", list(DETECTORS))
def test_evaluations_counted_are_those_stated(networks, name, draws):
    detector, images = DETECTORS[name], drawn(5, D)
    free = int((HAD / (HAD + T) > 0.5).sum())
    found = detect(networks, images, [T, 1.01 * T], names=[name], draws=draws)
    levels = 2 if detector.levels == "one" else 1
    assert found.attrs["evaluations"] == len(images) * levels * detector.evaluations(D, draws, free)


def test_together_they_cost_less_than_alone(networks):
    free = int((HAD / (HAD + T) > 0.5).sum())
    alone = sum(detector.evaluations(D, 1, free) for detector in DETECTORS.values())
    made = detect(networks, drawn(5, D), [T, 1.01 * T]).attrs["evaluations"] / 10
    assert made < 0.8 * alone


def test_what_is_said_of_the_values():
    both = pair(*gaussians())
    found = detect(both, drawn(3, D), [T], draws=2, seed=3)
    assert {k: found.attrs[k] for k in ("draws", "seed", "start")} == {"draws": 2, "seed": 3, "start": "image"}
    assert list(found.data_vars) == list(DETECTORS)
    for name, detector in DETECTORS.items():
        assert found[name].dims == (("point", "t") if detector.levels == "one" else ("point",))
        assert found[name].attrs == {
            "long_name": detector.words,
            "units": detector.units,
            "source": detector.source,
            "sign": detector.sign,
        }
    alone = detect(both, drawn(3, D), [T], start="noise")
    assert set(alone.data_vars) == {name for name, detector in DETECTORS.items() if "noise" in detector.starts}
    shares = []
    detect(both, drawn(9, D), [T], names=["loss"], batch_size=4, tell=shares.append)
    assert shares == sorted(shares)
    assert shares[-1] == 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"names": ["magnitud"]}, "names: 'magnitud' is not known; choose from magnitude, sharpness"),
        ({"start": "pure"}, "start: 'pure' is not known; choose one of image, noise, unit noise"),
        ({"start": "noise", "names": ["loss"]}, "'loss' needs images, and cannot start at 'noise'"),
        ({"draws": 0}, "draws, batch_size, times"),
        ({"times": []}, "draws, batch_size, times"),
        ({"images": torch.zeros(3)}, r"images: have shape \(3,\); give \(n, 12\)"),
        ({"images": torch.full((2, D), math.nan)}, "not finite"),
    ],
)
def test_wrong_input_is_refused(options, words):
    given = {"images": torch.zeros(2, D), "times": [T], **options}
    with pytest.raises(InputError, match=words):
        detect(pair(*gaussians()), **given)


def test_lost_directions_of_several_points_are_refused():
    with pytest.raises(InputError, match=r"x: has shape \(2, 12\); give one point \(12\)"):
        lost_directions(pair(*gaussians()), torch.zeros(2, D), T)


def test_float32_networks_are_seen_as_in_float64():
    s, r = gaussians()
    low = pair(*(NetworkScore(ExactDenoiser(g, "noise", "ve", torch.float32), (D,)) for g in (s, r)))
    images = drawn(4, D)
    expected = detect(pair(s, r), images.float().double(), [T])
    for name, values in detect(low, images, [T]).items():
        np.testing.assert_allclose(values.values, expected[name].values, rtol=2e-3, atol=2e-3, err_msg=name)


def test_magnitude_is_the_norm_of_the_difference_of_predicted_noises():
    """eps^ = -sqrt t s: in the words of Wen et al."""
    at = noisy()
    predicted = [-math.sqrt(T) * score for score in at.both]
    torch.testing.assert_close(magnitude(at), (predicted[0] - predicted[1]).norm(dim=2).mean(1))


def test_classes_of_a_network_follow_their_images(tmp_path):
    """Both scores are of one network; each image is seen alone as among others, up to the rounding of float32."""
    score = load(saved(tmp_path, unet(num_class_embeds=3)), label=0)
    both = pair(score.conditioned([0, 1, 2, 1]), score.conditioned([2]))
    images = torch.randn(4, *score.shape, generator=torch.Generator().manual_seed(0))
    whole = detect(both, images, [0.1, 1.0])
    # The third image is of the class that all are compared with.
    assert (whole["magnitude"].values == 0).all(1).tolist() == [False, False, True, False]
    for i in range(4):
        one = detect(both.select([i]), images[i : i + 1], [0.1, 1.0], first=i, batch_size=3)
        for name in DETECTORS:
            size = float(abs(whole[name]).max())
            np.testing.assert_allclose(
                one[name].values[0], whole[name].values[i], rtol=1e-3, atol=1e-3 * size, err_msg=name
            )


@pytest.mark.parametrize("resolved", [0, 7])
def test_directions_lost_in_many_dimensions(resolved):
    """Where a basis of all dimensions is never made, and at a score that knows products in closed form."""
    had, kept = torch.zeros(300), torch.zeros(300)
    had[:resolved] = torch.linspace(5, 9, resolved)
    kept[: resolved // 2] = had[: resolved // 2]
    both = pair(GaussianScore(kept), GaussianScore(had))
    found = detect(both, torch.zeros(2, 300), [1.0], names=["directions_lost"])
    assert found["directions_lost"].values.tolist() == [[resolved - resolved // 2]] * 2
    assert found.attrs["evaluations"] < 2 * DETECTORS["directions_lost"].evaluations(300, 1, resolved)
