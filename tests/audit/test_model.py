"""What an audit asks of a model: scores that are known in closed form, small networks, and two reference models."""

import functools
import itertools
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from PIL import Image
from torch import nn

import geomem.page
from geomem.data import DataSet
from geomem.data.layout import channels_first
from geomem.errors import InputError, OutputError
from geomem.intervals import mean
from geomem.jobs.audit import probing
from geomem.jobs.audit.model_summary import summarise_model
from geomem.jobs.audit.options import ModelOptions
from geomem.jobs.audit.run import run
from geomem.measure.points import Axes, drawn, grid, points, preset_time, probed
from geomem.models import load
from geomem.models.model import Model, fingerprint, opened
from geomem.noise import ddpm_times
from geomem.scores import EmpiricalScore, GaussianScore, NetworkScore
from geomem.spectra import PROBES, Cost
from models import saved, unet

SHAPE, D = (4, 4), 16
# Ten directions wide enough to be kept at t = 0.1, six that are not.
VARIANCES = torch.tensor([2.0, 1.5, 1.2, 1.0, 1.0, 0.8, 0.7, 0.6, 0.5, 0.4, *[0.01] * 6], dtype=torch.float64)
TRUTH = GaussianScore(VARIANCES, shape=SHAPE)
MNIST_T = float(ddpm_times()[0])


def population(seed, n, shape=SHAPE, variances=VARIANCES):
    z = np.random.default_rng(seed).normal(size=(n, variances.numel()))
    return (z * variances.sqrt().numpy()).reshape(n, *shape).astype(np.float32)


class Nothing(nn.Module):
    """Predicts no noise whatever it is given."""

    def __init__(self):
        super().__init__()
        self.one = nn.Parameter(torch.ones(()))

    def forward(self, x, t):
        return 0 * self.one * x


NOTHING = NetworkScore(Nothing(), SHAPE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("closed")
    np.save(folder / "data.npy", population(0, 120))
    np.save(folder / "unseen.npy", population(1, 60))
    return folder


@pytest.fixture(scope="module", autouse=True)
def no_pages():
    """Pages have their own tests, and take longer than all else here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(geomem.page, "audit_page", lambda run, arrays, summary: run.path / "index.html")
        yield


@pytest.fixture(scope="module")
def audited(folder, tmp_path_factory):
    """Audits a score with new images; the model's part of the summary, and the run's folder. The same is made once."""

    @functools.cache
    def audit(score, *, control=True, seed=0, source=folder, again=0, **options):
        asked = ModelOptions(**{"points": 10, "draws": 0, "times": (0.03, 0.1, 0.3), **options})
        other, out = source / "unseen.npy" if control else None, tmp_path_factory.mktemp("run")
        result = run(source / "data.npy", model=score, control=other, quick=True, seed=seed, options=asked, out=out)
        return result.summary["model"], out

    return audit


@pytest.fixture(scope="module")
def empirical(folder):
    return EmpiricalScore(torch.from_numpy(np.load(folder / "data.npy")).double())


def of(folder, name):
    """Arrays of a run, the axes of points in order."""
    found = xr.load_dataset(folder / f"{name}.nc", engine="h5netcdf")
    return found.transpose(*(axis for axis in ("set", "point", "t", "direction") if axis in found.dims), ...)


# --- verdicts on scores that are known ---


def test_the_empirical_score_itself_is_memorizing(empirical, audited):
    found, out = audited(empirical)
    assert (found["word"], found["reason"]) == ("memorizing", "lost")
    assert found["loss"]["model"] == found["loss"]["empirical"]
    model, exact = of(out, "model"), of(out, "empirical")
    for name in ("survival", "singular_value", "pull", "denoising"):
        np.testing.assert_allclose(model[name], exact[name], rtol=1e-9, atol=1e-9)


def test_samples_of_the_empirical_score_are_copies_and_settle_it(empirical, folder, audited):
    found, out = audited(empirical, draws=40, points=2)
    assert (found["word"], found["reason"]) == ("memorizing", "copies")
    rows = np.load(folder / "data.npy").reshape(-1, D)
    samples = of(out, "drawn")["image"].values
    nearest = np.linalg.norm(samples[:, None] - rows, axis=-1).min(1)
    assert np.median(nearest) < 1e-3


def test_the_score_of_the_population_is_generalizing(audited):
    found, out = audited(TRUTH, points=30)
    assert (found["word"], found["reason"]) == ("generalizing", "lost")
    assert found["loss"]["model"]["share"]["value"] == 0
    for row in found["times"]:
        kept = int((row["t"] < VARIANCES).sum())
        assert row["model"]["training"]["value"] == row["model"]["other"]["value"] == kept
    survival = of(out, "model")["survival"].transpose("t", "direction", "set", "point").values
    for t, values in zip(of(out, "model")["t"].values, survival, strict=True):
        np.testing.assert_allclose(values.max((1, 2)), (VARIANCES / (VARIANCES + t)).numpy(), atol=1e-6)


def test_a_model_is_fit_however_few_the_images_are_for_their_dimensions(audited, tmp_path):
    """The best linear filter of 48 images in 64 dimensions has learned them by heart; the population's score has not."""
    variances = torch.full((64,), 1.0, dtype=torch.float64)
    for name, seed, n in (("data.npy", 2, 48), ("unseen.npy", 3, 48)):
        np.save(tmp_path / name, population(seed, n, (64,), variances))
    found, _ = audited(GaussianScore(variances), source=tmp_path, points=30, times=(0.1, 0.3))
    assert found["word"] == "generalizing", found["reason"]


def test_a_score_that_does_not_denoise_is_unfit(audited):
    found, _ = audited(NOTHING)
    assert (found["word"], found["reason"]) == ("undecided", "unfit")
    for key in ("training", "held_out"):
        # Nothing is taken off the noise: its squared length is left, of mean d t.
        assert found["denoising"][key]["value"] == pytest.approx(D * found["t"], rel=4 * math.sqrt(2 / D / 16))
    assert all(row["model"]["training"]["value"] == D for row in found["times"])


@pytest.mark.parametrize("points", [2, 7])
def test_too_few_pairs_are_undecided(empirical, audited, points):
    found, _ = audited(empirical, points=points)
    assert (found["word"], found["reason"], found["pairs_needed"]) == ("undecided", "few", 8)


def test_without_new_images_the_population_s_score_is_undecided(audited):
    found, out = audited(TRUTH, control=False)
    assert (found["word"], found["reason"], found["pairs_needed"]) == ("undecided", "unseen", None)
    assert not found["held_out"]
    assert found["denoising"]["held_out"] is None
    assert {"partner", "twin"}.isdisjoint(of(out, "points"))


def test_without_new_images_the_empirical_score_is_compared_with_that_of_the_others(empirical, folder, audited):
    found, out = audited(empirical, control=False)
    rows, data = of(out, "points")["row"].sel(set="training").values, torch.from_numpy(np.load(folder / "data.npy"))
    left_out = of(out, "empirical").sel(set="left out")
    for i, row in enumerate(rows):
        others = EmpiricalScore(torch.cat([data[:row], data[row + 1 :]]).double())
        for j, t in enumerate(left_out["t"].values):
            pull = t * float(others(data[row].double(), t).square().sum())
            assert float(left_out["pull"][i, j]) == pytest.approx(pull, rel=1e-9)
    assert (found["word"], found["reason"]) == ("undecided", "unseen")


def test_noise_levels_of_the_verdict_follow_from_the_data_alone(empirical, audited):
    levels = {audited(score)[0]["t"] for score in (TRUTH, empirical, NOTHING)}
    assert len(levels) == 1


# --- points and pairs ---


def model_of(score):
    return Model(score, "a score", "", 0, "cpu")


def chosen(count, real, unseen=None, *, keep=None, near=0.0, seed=0):
    every = np.arange(len(real))
    settings = asked(TRUTH, points=count)
    data = [None if rows is None else DataSet("unseen", "", rows) for rows in (real, unseen)]
    kept = every if keep is None else keep
    return points(model_of(TRUTH), data[0], every, kept, data[1], settings, near=near, seed=seed)


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


def test_as_many_points_as_there_are_of_both_kinds():
    found = chosen(32, population(0, 50), population(1, 20))
    assert [rows.size for rows in found.rows.values()] == [20, 20]
    assert sorted(found.partner) == list(range(20))
    few = chosen(32, population(0, 50), population(1, 60), keep=np.arange(12))
    assert [rows.size for rows in few.rows.values()] == [12, 12]
    assert list(chosen(8, population(0, 50)).rows) == ["training"]


def test_near_copies_among_the_new_images_are_passed_over():
    real, unseen = population(0, 40), population(1, 30)
    unseen[::2] = real[:15] + 1e-3
    found = chosen(10, real, unseen, near=0.1)
    assert np.all(found.rows["held-out"] % 2 == 1)
    assert found.rows["training"].size == found.rows["held-out"].size == 10
    assert 0 < found.near_copies <= 15
    with pytest.raises(InputError, match=r"--control: .* are near copies of training images"):
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


@pytest.mark.parametrize("factor", [0.2, 4.0])
def test_new_images_of_another_kind_decide_nothing(factor, empirical, folder, audited, tmp_path):
    shutil.copy(folder / "data.npy", tmp_path)
    np.save(tmp_path / "unseen.npy", np.float32(factor) * np.load(folder / "unseen.npy"))
    found, _ = audited(empirical, source=tmp_path, times=(0.1,))
    assert (found["word"], found["reason"]) == ("undecided", "other")
    farther = found["kinds"]["centre"]["value"]
    assert farther > 0.9 if factor > 1 else farther < 0.1


def test_twins_are_the_nearest_other_new_images(audited):
    seen = of(audited(TRUTH)[1], "points")
    held = seen["picture"].sel(set="held-out").values.astype(float)
    distance = np.linalg.norm(held[:, None] - held, axis=-1) + np.diag([np.inf] * len(held))
    np.testing.assert_array_equal(seen["twin"], distance.argmin(1))


def test_results_depend_neither_on_memory_nor_on_when_they_were_made(empirical, audited):
    options = {"draws": 6, "points": 3}
    found = [audited(empirical, memory=memory, again=k, **options) for k, memory in enumerate((2.0, 2e-5, 2.0))]
    for name in ("points", "model", "empirical", "drawn"):
        first, little, again = (of(out, name) for _, out in found)
        xr.testing.assert_allclose(first, little, rtol=1e-9, atol=1e-9)
        xr.testing.assert_identical(first, again)
    assert found[0][0] == found[2][0]


def test_another_seed_chooses_other_points(audited):
    rows = [
        of(audited(TRUTH, seed=seed, points=points)[1], "points")["row"].values for seed, points in ((0, 10), (1, 3))
    ]
    for first, second in zip(*rows, strict=True):
        assert set(first[:3]) != set(second)


# --- noise levels ---


def network(times=None, reach=None):
    return NetworkScore(Nothing(), SHAPE, times=times, reach=reach)


def asked(score, **options):
    return ModelOptions(**options).settings(model_of(score), quick=True, draws=False)


def test_times_are_the_model_s_own_levels_within_its_reach():
    levels = np.array([0.01, 0.1, 1.0, 10.0])
    model = model_of(network(levels))
    assert grid(model, asked(model.score, times=(0.05, 0.02, 4.0)), 1.0, quick=False).tolist() == [0.01, 0.1, 10.0]
    # Five around the middle, 10^-1.5 to 10^0.5 times: some fall on one level.
    assert grid(model, asked(model.score), 0.9, quick=False).tolist() == [0.01, 0.1, 1.0]
    assert grid(model, asked(model.score), 1e-9, quick=False).tolist() == [0.01]
    assert grid(model, asked(model.score), 1e9, quick=False).tolist() == [10.0]
    within = model_of(network(reach=(0.02, 0.5)))
    found = grid(within, asked(within.score), 1.0, quick=False)
    assert found.tolist() == pytest.approx([10**-1.5, 0.1, 10**-0.5, 0.5])


def test_any_level_is_taken_where_a_score_knows_all():
    for quick, powers in ((False, (-1.5, -1, -0.5, 0, 0.5)), (True, (-1, -0.5, 0))):
        found = grid(model_of(TRUTH), asked(TRUTH), 0.5, quick=quick)
        assert found.tolist() == pytest.approx([0.5 * 10**k for k in powers])


@pytest.mark.parametrize(("preset", "step"), [("mnist", 0), ("cifar10", 15), ("celeba", 0)])
def test_presets_read_at_their_step_of_the_model_s_schedule_or_ddpm_s(preset, step):
    own = np.geomspace(0.003, 50, 100)
    for score, times in ((network(own), own), (TRUTH, ddpm_times())):
        model = model_of(score)
        settings = asked(score, preset=preset, times=(1.0,))
        assert preset_time(model, settings) == pytest.approx(times[step], rel=1e-12)
        assert preset_time(model, settings) in grid(model, settings, 1.0, quick=False)
    short = network(own[:10])
    assert preset_time(model_of(short), asked(short, preset=preset)) == pytest.approx(own[min(step, 9)])
    assert preset_time(model_of(TRUTH), asked(TRUTH)) is None


def test_a_time_out_of_the_model_s_reach_is_refused():
    with pytest.raises(InputError, match=r"--times: 20 is out of reach"):
        asked(network(np.array([0.1, 10.0])), times=(1.0, 20.0))


# --- what is measured at a point ---


def test_presets_take_their_thresholds(audited, tmp_path):
    """Singular values 1/(s + t) with gaps at 50 and at 124 of 144: past the first 100 the second one is found."""
    t = MNIST_T
    variances = torch.tensor([1.0] * 20 + [t] * 74 + [0.0] * 50, dtype=torch.float64)
    for name, seed in (("data.npy", 0), ("unseen.npy", 1)):
        np.save(tmp_path / name, population(seed, 60, (144,), variances))
    found, out = audited(GaussianScore(variances), source=tmp_path, preset="mnist", points=3, times=(0.1,))
    assert found["preset_t"] == pytest.approx(t, rel=1e-12)
    (row,) = [r for r in found["rules"] if r["rule"] == "second_difference" and r["t"] == found["preset_t"]]
    assert row["model"][0]["mean"]["value"] == 20
    summary = summarise_model({name: of(out, name) for name in ("points", "model", "empirical")}, None, None)
    (usual,) = [
        r
        for r in summary["rules"]
        if r["rule"] == "second_difference" and r["t"] == pytest.approx(found["preset_t"], rel=1e-9)
    ]
    assert usual["model"][0]["mean"].value == 94


def test_few_directions_give_degrees_of_freedom_with_an_error(audited):
    (_, full), (some, few), (every, _) = (audited(TRUTH, directions=k) for k in (None, 7, D))
    found = of(few, "model")
    assert "survival" not in found
    assert (some["reading"], every["reading"]) == ("degrees of freedom", "resolved")
    assert {row["rule"] for row in some["rules"]} == {"degrees_of_freedom", "flipd"}
    assert np.all(found["error"] > 0)
    assert some["error"] == pytest.approx(float(found["error"].sel(t=some["t"]).max()))
    assert np.all(
        abs(found["degrees_of_freedom"] - of(full, "model")["survival"].sum("direction")) < 4 * found["error"]
    )


@pytest.mark.parametrize("directions", [None, 7])
def test_directions_kept_and_lost_are_those_of_the_population(directions, audited):
    """Ten directions are wide; the six others are too narrow to be seen as lost before them."""
    found, out = audited(TRUTH, directions=directions)
    seen, t = of(out, "model"), found["t"]
    expected = (VARIANCES / (VARIANCES + t)).numpy()
    kept, lost = seen["kept_survival"].values, seen["lost_survival"].values
    np.testing.assert_allclose(kept, np.broadcast_to(expected[:3], kept.shape), atol=0.05)
    assert np.nanmax(lost) < 0.5
    guess = seen["picture"].values * np.tile(expected, (1, 1, 1))
    np.testing.assert_allclose(seen["guess"].values, guess, atol=1e-5)


@pytest.mark.parametrize("probe", PROBES)
def test_every_probe_measures_the_same_dimensions_of_the_population(probe, audited):
    found, _ = audited(TRUTH, probe=probe, points=2, times=(0.07,))
    assert found["loss"]["model"]["training"]["value"] == 10


@pytest.mark.parametrize("directions", [None, 7])
def test_flipd_is_degrees_of_freedom_and_the_pull(empirical, audited, directions):
    found, out = audited(empirical, directions=directions)
    seen, looked = of(out, "model"), of(out, "points")
    score = empirical
    x = torch.from_numpy(looked["picture"].values).double().reshape(2, -1, *SHAPE)
    for j, t in enumerate(seen["t"].values):
        pull = t * score(x, t).square().flatten(2).sum(-1).numpy()
        np.testing.assert_allclose(seen["pull"][..., j], pull, rtol=1e-9)
        rules = {r["rule"]: r["model"] for r in found["rules"] if r["t"] == t}
        for k in range(2):
            dof, flipd = (rules[rule][k]["mean"]["value"] for rule in ("degrees_of_freedom", "flipd"))
            assert flipd - dof == pytest.approx(pull[k].mean(), rel=1e-9)


@pytest.mark.parametrize("t", [0.02, 0.3, 2.0])
def test_denoising_error_of_the_exact_score_is_the_best_there_is(t):
    settings = asked(TRUTH)
    x = torch.from_numpy(population(5, 120)).double()
    errors = [
        float(probed(TRUTH, y, np.array([t]), settings, seed=i, batch=64)["denoising"][0]) for i, y in enumerate(x)
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


def test_every_number_comes_from_the_saved_arrays(empirical, audited):
    found, out = audited(empirical)
    chosen, seen = of(out, "points"), of(out, "model")
    partner = chosen["partner"].values
    resolved = (seen["survival"].values > 0.5).sum(-1).astype(float)
    for j, row in enumerate(found["times"]):
        training, held_out = resolved[0, :, j], resolved[1, partner, j]
        for key, values in (("training", training), ("other", held_out), ("lost", held_out - training)):
            assert row["model"][key]["value"] == pytest.approx(values.mean(), rel=1e-12)
        assert row["model"]["lost"]["low"] == pytest.approx(mean(held_out - training).low)
        assert row["model"]["share"]["value"] == pytest.approx(1 - training.mean() / held_out.mean(), rel=1e-12)
    j = int(np.argmin(np.abs(seen["t"].values - found["t"])))
    by_place = {image["place"]: image for image in found["images"]}
    lost = [image["lost"]["value"] for image in found["images"]]
    assert lost == sorted(lost, reverse=True)
    for i in range(10):
        assert by_place[i]["row"] == int(chosen["row"][0, i])
        assert by_place[i]["dimension"] == resolved[0, i, j]
        assert by_place[i]["other"] == resolved[1, partner[i], j]
        assert by_place[i]["lost"]["value"] == resolved[1, partner[i], j] - resolved[0, i, j]
        assert by_place[i]["image"] == str(chosen["label"].values[0, i])
        assert by_place[i]["partner"] == str(chosen["label"].values[1, partner[i]])


# --- images as models take them ---

LAYOUTS = {
    "height, width": ((2, 3), (1, 2, 3), (0,)),
    "height, width, 1": ((2, 3, 1), (1, 2, 3), (0,)),
    "1, height, width": ((1, 2, 3), (1, 2, 3), (0,)),
    "height, width, 3": ((4, 5, 3), (3, 4, 5), (2, 0, 1)),
    "3, height, width": ((3, 4, 5), (3, 4, 5), (0, 1, 2)),
    "3 by 3 pixels, channels last": ((4, 3, 3), (3, 4, 3), (2, 0, 1)),
    "latents": ((4, 2, 3), (4, 2, 3), (0, 1, 2)),
    "a vector": ((12,), (12,), (0,)),
    "an image as a vector": ((3, 4), (12,), None),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_channels_come_first(name):
    shape, wanted, order = LAYOUTS[name]
    rows = torch.arange(2 * math.prod(shape), dtype=torch.float32).reshape(2, -1)
    found = channels_first(rows, shape, wanted)
    moved = rows.reshape(2, *shape)
    if order is not None and len(order) == 3:
        moved = moved.permute(0, *(k + 1 for k in order))
    assert torch.equal(found, moved.reshape(2, *wanted))


@pytest.mark.parametrize(
    ("shape", "wanted"),
    [
        ((10, 10), (1, 8, 8)),
        ((8, 8), (3, 8, 8)),
        ((8, 8, 3), (1, 8, 8)),
        ((64,), (1, 8, 8)),  # a vector says nothing of height and width
        ((2, 32), (1, 8, 8)),
        ((8, 8), (63,)),
        ((4, 2, 3), (4, 3, 2)),
        ((8, 8, 4), (4, 8, 8)),
        ((5, 4, 3), (3, 4, 5)),  # sides in another order
    ],
)
def test_images_of_another_form_are_refused(shape, wanted):
    with pytest.raises(InputError, match="are no events of shape"):
        channels_first(torch.zeros(2, math.prod(shape)), shape, wanted)


def colour(n, seed):
    return np.random.default_rng(seed).integers(0, 256, (n, 8, 8, 3), dtype=np.uint8)


@pytest.mark.parametrize("form", ["array", "channels first", "folder"])
def test_colour_images_meet_a_model_of_three_channels(form, tmp_path):
    names = {}
    for name, images in (("data", colour(50, 0)), ("unseen", colour(20, 1))):
        names[name] = tmp_path / f"{name}.npy"
        if form == "folder":
            names[name] = tmp_path / name
            names[name].mkdir()
            for i, image in enumerate(images):
                Image.fromarray(image).save(names[name] / f"{i:02}.png")
        else:
            np.save(names[name], images if form == "array" else images.transpose(0, 3, 1, 2))
    folder = saved(tmp_path / "model", unet(in_channels=3, out_channels=3))
    asked = ModelOptions(points=2, draws=3, times=(0.1,), directions=8)
    run(names["data"], model=folder, control=names["unseen"], quick=True, options=asked, out=tmp_path / "run")
    chosen = of(tmp_path / "run", "points")
    for name, images in (("training", colour(50, 0)), ("held-out", colour(20, 1))):
        at = chosen.sel(set=name)
        expected = images[at["row"].values].transpose(0, 3, 1, 2) / 127.5 - 1
        np.testing.assert_allclose(at["picture"].values, expected.reshape(2, -1), atol=1e-6)
    copies = of(tmp_path / "run", "copies")
    samples = of(tmp_path / "run", "drawn")["image"].values.reshape(3, 3, 8, 8)
    data = colour(50, 0) / 127.5 - 1
    shown = samples if form == "channels first" else samples.transpose(0, 2, 3, 1)
    data = data.transpose(0, 3, 1, 2) if form == "channels first" else data
    nearest = np.linalg.norm((shown[:, None] - data).reshape(3, 50, -1), axis=-1).min(1)
    np.testing.assert_allclose(copies["distance"].values[:, 0], nearest, rtol=1e-5)


def test_a_class_conditional_model_is_asked_for_its_class(tmp_path):
    np.save(tmp_path / "data.npy", colour(50, 0)[..., 0])
    np.save(tmp_path / "unseen.npy", colour(20, 1)[..., 0])
    folder = saved(tmp_path / "model", unet(num_class_embeds=3))
    pulls = {}
    for label in (0, 2):
        asked = ModelOptions(points=2, draws=0, times=(0.1,), directions=8, label=label)
        out = tmp_path / str(label)
        run(
            tmp_path / "data.npy",
            model=folder,
            control=tmp_path / "unseen.npy",
            quick=True,
            options=asked,
            out=out,
        )
        seen, looked = of(out, "model"), of(out, "points")
        x = torch.from_numpy(looked["picture"].values).float().reshape(2, 2, 1, 8, 8)
        t = float(seen["t"][0])
        with torch.no_grad():
            pull = t * load(folder, label=label)(x, t).square().flatten(2).sum(-1)
        np.testing.assert_allclose(seen["pull"][..., 0], pull.numpy(), rtol=1e-4)
        pulls[label] = pull
        assert json.loads((out / "config.json").read_text())["model"]["label"] == label
    assert not torch.allclose(pulls[0], pulls[2])


def test_names_of_folders_are_no_options_of_scores_that_are_given():
    data = DataSet("a", "", population(0, 40))
    for options in ({"label": 1, "scheduler": None}, {"label": None, "scheduler": "x"}):
        with pytest.raises(InputError, match="for models that are opened from a folder"):
            opened(TRUTH, data, device=None, **options)


# --- fingerprints and samples ---


def test_fingerprints_tell_models_apart_and_not_their_copies(tmp_path):
    first = saved(tmp_path / "a", unet(0))
    shutil.copytree(first, tmp_path / "copy")
    other = saved(tmp_path / "b", unet(1))
    conditional = saved(tmp_path / "c", unet(0, num_class_embeds=3))
    digests = [
        fingerprint(load(first)),
        fingerprint(load(other)),
        *(fingerprint(load(conditional, label=label)) for label in (0, 1)),
        fingerprint(TRUTH),
        fingerprint(GaussianScore(VARIANCES)),
        fingerprint(GaussianScore(VARIANCES * 1.001, shape=SHAPE)),
    ]
    assert len(set(digests)) == len(digests)
    assert fingerprint(load(tmp_path / "copy")) == digests[0]
    assert fingerprint(GaussianScore(VARIANCES.clone(), shape=SHAPE)) == fingerprint(TRUTH)


def test_fingerprints_of_one_module_tell_what_it_is_told_and_where_it_was_trained():
    module = Nothing()
    scores = [NetworkScore(module, SHAPE, condition=told) for told in ("t", "sigma", "log-sigma")]
    scores += [NetworkScore(module, SHAPE, times=np.array([0.1, middle, 1.0])) for middle in (0.2, 0.3)]
    assert len({fingerprint(score) for score in scores}) == 5


def test_another_model_under_the_same_name_is_another_run(folder, tmp_path):
    options = ModelOptions(points=2, draws=0, times=(0.1,))
    run(folder / "data.npy", model=TRUTH, quick=True, options=options, out=tmp_path)
    with pytest.raises(OutputError, match="holds another run"):
        run(
            folder / "data.npy",
            model=GaussianScore(2 * VARIANCES, shape=SHAPE),
            quick=True,
            options=options,
            out=tmp_path,
        )


@pytest.mark.parametrize("kind", ["exact", "network"])
def test_samples_do_not_depend_on_their_batch(kind, tmp_path):
    score = TRUTH if kind == "exact" else load(saved(tmp_path / "m"), dtype=torch.float64)
    model = model_of(score)
    axes = Axes.of(torch.randn(100, *score.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64))
    settings = asked(score)
    whole = drawn(model, axes.mean, settings.sampling_steps, range(6), seed=3)
    parts = torch.cat(
        [
            drawn(model, axes.mean, settings.sampling_steps, part, seed=3)
            for part in (range(1), range(1, 5), range(5, 6))
        ]
    )
    assert whole.shape == (6, *score.shape)
    assert torch.allclose(whole, parts, rtol=1e-5, atol=1e-6)
    assert not torch.allclose(whole[0], whole[1])
    assert not torch.allclose(whole, drawn(model, axes.mean, settings.sampling_steps, range(6), seed=4))


def test_samples_have_the_variances_of_the_population():
    axes = Axes(torch.zeros(D, dtype=torch.float64), VARIANCES.numpy(), np.eye(D))
    found = drawn(model_of(TRUTH), axes.mean, asked(TRUTH).sampling_steps, range(800), seed=0).flatten(1).double()
    assert torch.allclose(found.var(0) / VARIANCES, torch.ones(D, dtype=torch.float64), atol=0.3)


@pytest.mark.parametrize(("first", "then"), [(4, 20), (16, 4)])
def test_samples_are_as_many_as_asked_for_when_an_interrupted_run_goes_on_in_other_batches(
    first, then, folder, tmp_path, monkeypatch
):
    """The fastest batch is measured anew by every process."""
    counted = Cost(first, 1e-3, 1000)
    monkeypatch.setattr(probing, "measured_cost", lambda *_, **__: counted)

    def stop(label, share):
        if "drawing samples" in label and "drawing samples 1 " not in label:
            raise KeyboardInterrupt

    options = ModelOptions(points=2, draws=20, times=(0.1,))
    arguments = {"model": TRUTH, "quick": True, "options": options}
    with pytest.raises(KeyboardInterrupt):
        run(folder / "data.npy", out=tmp_path / "run", progress=stop, **arguments)
    counted = Cost(then, 1e-3, 1000)
    run(folder / "data.npy", out=tmp_path / "run", **arguments)
    run(folder / "data.npy", out=tmp_path / "straight", **arguments)
    xr.testing.assert_allclose(of(tmp_path / "run", "drawn"), of(tmp_path / "straight", "drawn"), rtol=1e-5, atol=1e-6)
    assert of(tmp_path / "run", "drawn").sizes["sample"] == 20


# --- reference models, trained and saved by plain diffusers code ---

# With as many points as decide: few dimensions lost take more to tell from none than most of them.
WORDS = {"memorizing": 20, "generalizing": 32}


@pytest.fixture(scope="module")
def verdicts(reference):
    """Of both models, by name and seed: summary and folder."""
    found = {}
    for name, seed in itertools.product(WORDS, range(5)):
        out = reference / f"{name}-{seed}"
        result = run(
            reference / name / "training.npy",
            model=reference / name / "model",
            control=reference / "unseen.npy",
            quick=True,
            seed=seed,
            options=ModelOptions(points=WORDS[name], draws=24, times=(0.2,)),
            out=out,
        )
        found[name, seed] = result.summary, out
    return found


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("name", WORDS)
def test_reference_models_are_what_they_were_made_to_be(verdicts, name, seed):
    summary, out = verdicts[name, seed]
    assert summary["model"]["word"] == name
    assert summary["title"].startswith(f"This model is {name}")
    alone = summarise_model({key: of(out, key) for key in ("points", "model", "empirical")}, None, None)
    assert (alone["word"], alone["reason"]) == (name, "lost")


@pytest.mark.parametrize("name", WORDS)
def test_four_points_say_nothing_of_the_reference_models(reference, name, tmp_path):
    result = run(
        reference / name / "training.npy",
        model=reference / name / "model",
        control=reference / "unseen.npy",
        quick=True,
        options=ModelOptions(points=4, draws=0),
        out=tmp_path / "run",
    )
    found = result.summary["model"]
    assert (found["word"], found["reason"], found["pairs_needed"]) == ("undecided", "few", 8)
    assert len(found["times"]) == 3


def test_the_reference_models_were_opened_as_diffusers_saved_them(reference):
    for name in WORDS:
        assert {p.name for p in Path(reference / name / "model").iterdir()} == {"model_index.json", "unet", "scheduler"}
