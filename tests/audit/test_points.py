"""Where models are measured: points, pairs, noise levels, and principal axes."""

import itertools
import math

import numpy as np
import pytest
import torch

from closed_forms import SHAPE, TRUTH, VARIANCES, D, model_of, network, population, record
from geomem.data import DataSet
from geomem.errors import InputError
from geomem.measure.directions import Axes
from geomem.measure.observe import observe
from geomem.measure.points import chosen_points, noise_levels, preset_level
from geomem.noise import ddpm_times


def chosen(count, real, held_out=None, *, keep=None, near=0.0, seed=0):
    every = np.arange(len(real))
    data = [None if rows is None else DataSet("unseen", "", rows) for rows in (real, held_out)]
    kept = every if keep is None else keep
    return chosen_points(model_of(TRUTH), data[0], every, kept, data[1], count, near=near, seed=seed)


@pytest.mark.parametrize("seed", range(4))
def test_pairs_are_the_permutation_of_least_squared_distance(seed):
    real = population(seed, 30)
    found = chosen(6, real, population(seed + 9, 25), keep=np.arange(5, 30), seed=seed)
    assert all(rows.size == len(set(rows.tolist())) == 6 for rows in found.rows.values())
    assert found.rows["training"].min() >= 5
    first, second = (found.images[name].double() for name in ("training", "held-out"))
    assert torch.equal(first, torch.from_numpy(real[found.rows["training"]]).to(first))
    distance = (first[:, None] - second).flatten(2).square().sum(-1).numpy()
    totals = {p: distance[range(6), p].sum() for p in itertools.permutations(range(6))}
    assert tuple(found.partner) == min(totals, key=totals.get)
    within, between = found.distances()
    assert within == pytest.approx(math.sqrt(min(totals.values()) / 6))
    assert between == pytest.approx(math.sqrt(distance.mean()))


def test_as_many_points_as_there_are_of_both_kinds():
    found = chosen(32, population(0, 50), population(1, 20))
    assert [rows.size for rows in found.rows.values()] == [20, 20]
    assert sorted(found.partner) == list(range(20))
    few = chosen(32, population(0, 50), population(1, 60), keep=np.arange(12))
    assert [rows.size for rows in few.rows.values()] == [12, 12]
    assert list(chosen(8, population(0, 50)).rows) == ["training"]


def test_near_copies_among_the_held_out_images_are_passed_over():
    real, unseen = population(0, 40), population(1, 30)
    unseen[::2] = real[:15] + 1e-3
    found = chosen(10, real, unseen, near=0.1)
    assert np.all(found.rows["held-out"] % 2 == 1)
    assert found.rows["training"].size == found.rows["held-out"].size == 10
    assert found.near_copies == 15
    assert sorted(found.candidates) == list(range(1, 30, 2))
    with pytest.raises(InputError, match=r"--held-out: .* are near copies of training images"):
        chosen(10, real, real[:25] + 1e-3, near=0.1)


def test_nearest_is_the_distance_to_another_training_image():
    real, unseen = population(0, 40), population(1, 30)
    found = chosen(10, real, unseen)
    rows = real.reshape(40, -1).astype(float)
    between = np.linalg.norm(rows[:, None] - rows, axis=-1) + np.diag([np.inf] * 40)
    np.testing.assert_allclose(found.nearest["training"], between.min(1)[found.rows["training"]], rtol=1e-6)
    new = unseen.reshape(30, -1)[found.rows["held-out"]]
    expected = np.linalg.norm(new[:, None] - rows, axis=-1).min(1)
    np.testing.assert_allclose(found.nearest["held-out"], expected, rtol=1e-6)


def test_twins_are_the_nearest_other_held_out_images(audited):
    seen = record(audited(TRUTH)[1], "points")
    held = seen["picture"].sel(set="held-out").values.astype(float)
    distance = np.linalg.norm(held[:, None] - held, axis=-1) + np.diag([np.inf] * len(held))
    np.testing.assert_array_equal(seen["twin"], distance.argmin(1))


# --- noise levels ---


def test_levels_are_the_model_s_own_within_its_reach():
    model = model_of(network(np.array([0.01, 0.1, 1.0, 10.0])))
    assert noise_levels(model, 1.0, times=(0.05, 0.02, 4.0)).tolist() == [0.01, 0.1, 10.0]
    # Five around the middle, 10^-1.5 to 10^0.5 times: some fall on one level.
    assert noise_levels(model, 0.9).tolist() == [0.01, 0.1, 1.0]
    assert noise_levels(model, 1e-9).tolist() == [0.01]
    assert noise_levels(model, 1e9).tolist() == [10.0]
    within = model_of(network(reach=(0.02, 0.5)))
    assert noise_levels(within, 1.0).tolist() == pytest.approx([10**-1.5, 0.1, 10**-0.5, 0.5])


def test_any_level_is_taken_where_a_score_knows_all():
    for quick, powers in ((False, (-1.5, -1, -0.5, 0, 0.5)), (True, (-1, -0.5, 0))):
        found = noise_levels(model_of(TRUTH), 0.5, quick=quick)
        assert found.tolist() == pytest.approx([0.5 * 10**k for k in powers])


@pytest.mark.parametrize(("preset", "step"), [("mnist", 0), ("cifar10", 15), ("celeba", 0)])
def test_presets_read_at_their_step_of_the_model_s_schedule_or_ddpm_s(preset, step):
    own = np.geomspace(0.003, 50, 100)
    for score, times in ((network(own), own), (TRUTH, ddpm_times())):
        model = model_of(score)
        assert preset_level(model, preset) == pytest.approx(times[step], rel=1e-12)
        assert preset_level(model, preset) in noise_levels(model, 1.0, times=(1.0,), preset=preset)
    assert preset_level(model_of(network(own[:10])), preset) == pytest.approx(own[min(step, 9)])
    assert preset_level(model_of(TRUTH), None) is None


# --- linear filters ---


@pytest.mark.parametrize("t", [0.02, 0.3, 2.0])
def test_denoising_error_of_the_exact_score_is_the_best_there_is(t):
    x = torch.from_numpy(population(5, 120)).double()
    errors = [
        float(observe({"": TRUTH}, {"": y[None]}, [t], draws=16, seed=i)["denoising"].squeeze())
        for i, y in enumerate(x)
    ]
    best = float((VARIANCES * t / (VARIANCES + t)).sum())
    assert np.mean(errors) == pytest.approx(best, abs=4 * np.std(errors) / math.sqrt(120))
    rows = torch.from_numpy(population(6, 3000)).double()
    exact = Axes(torch.zeros(D, dtype=torch.float64), VARIANCES.numpy(), np.eye(D))
    assert exact.linear_error(rows, t) == pytest.approx(best, rel=0.03)
    assert Axes.of(rows[:1500]).linear_error(rows[1500:], t) == pytest.approx(best, rel=0.05)


def test_a_linear_filter_of_few_axes_leaves_all_that_is_across_them():
    """By hand: gains s/(s + t) along two axes, nothing of the third comes through."""
    axes = Axes(torch.tensor([1.0, 0.0, 0.0]).double(), np.array([3.0, 1.0]), np.eye(3)[:, :2])
    images = torch.tensor([[3.0, 2.0, 5.0], [1.0, -4.0, 0.0]])
    # At t = 1: gains 3/4 and 1/2, so 1/16 and 1/4 of the squared coordinates (4, 4), (0, 16) are left, and 25, 0 across.
    expected = (4 / 16 + 4 / 4 + 25 + 16 / 4) / 2 + 9 / 16 + 1 / 4
    assert axes.linear_error(images, 1.0) == pytest.approx(expected, rel=1e-12)


def test_shapes_of_points_are_the_model_s():
    found = chosen(3, population(0, 40))
    assert found.images["training"].shape == (3, *SHAPE)
