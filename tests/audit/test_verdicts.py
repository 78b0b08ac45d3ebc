"""Verdicts on scores that are known in closed form, and the numbers behind them."""

import math
import shutil

import numpy as np
import pytest
import torch
import xarray as xr

from closed_forms import NOTHING, TRUTH, TWO_MODES, VARIANCES, D, population, record, two_modes
from geomem.intervals import Interval, mean
from geomem.jobs.audit.numbers import numbers_of
from geomem.jobs.audit.words import box_of
from geomem.records import Run
from geomem.scores import EmpiricalScore, GaussianScore
from geomem.spectra import PROBES

COMMON = ("survival", "singular_value", "pull", "denoising", "dimension")


@pytest.fixture(scope="module")
def modes(tmp_path_factory):
    """data.npy and held-out.npy of the law that `closed_forms.TWO_MODES` is the score of."""
    folder = tmp_path_factory.mktemp("modes")
    np.save(folder / "data.npy", two_modes(0, 120))
    np.save(folder / "held-out.npy", two_modes(1, 60))
    return folder


def verdict(summary):
    return summary["verdict"]["word"], summary["verdict"]["reason"]


def test_the_empirical_score_itself_is_memorizing(empirical, audited):
    found, out = audited(empirical)
    assert verdict(found) == ("memorizing", "lost")
    assert found["lost"] == found["empirical"]
    assert found["title"].startswith("This model is memorizing: at training images it has lost 1")
    model, exact = (record(out, name).isel(score=0) for name in ("model", "empirical"))
    for name in COMMON:
        np.testing.assert_allclose(model[name], exact[name], rtol=1e-9, atol=1e-9)


def test_samples_of_the_empirical_score_are_copies_and_settle_it(empirical, folder, audited):
    found, out = audited(empirical, draws=40, points=2)
    assert verdict(found) == ("memorizing", "copies")
    rows = np.load(folder / "data.npy").reshape(-1, D)
    samples = record(out, "drawn")["image"].values
    nearest = np.linalg.norm(samples[:, None] - rows, axis=-1).min(1)
    assert np.median(nearest) < 1e-3
    assert found["title"].startswith("This model is memorizing: 40 of 40 samples equal a training image exactly")


def test_given_samples_are_compared_in_place_of_drawn_ones(folder, audited, tmp_path):
    np.save(tmp_path / "samples.npy", np.load(folder / "data.npy")[:30])
    found, out = audited(TRUTH, samples=str(tmp_path / "samples.npy"), draws=None)
    assert verdict(found) == ("memorizing", "copies")
    assert found["copies"]["identical"] == 30
    assert "30 of 30 samples equal a training image exactly" in found["title"]
    assert not (out / "drawn.nc").exists()


def test_the_score_of_the_population_is_generalizing(audited, modes):
    found, _ = audited(TWO_MODES, source=modes, points=30)
    assert verdict(found) == ("generalizing", "lost")
    assert found["lost"]["fraction"]["value"] == 0
    assert "at most 0% of its dimensions are lost" in found["title"]
    for row in found["levels"]:
        assert row["model"]["training"]["value"] == row["model"]["compared"]["value"] == 10


def test_dimensions_of_the_population_are_those_of_its_variances(audited):
    found, out = audited(TRUTH, points=30)
    for row in found["levels"]:
        kept = int((row["t"] < VARIANCES).sum())
        assert row["model"]["training"]["value"] == row["model"]["compared"]["value"] == kept
    survival = record(out, "model")["survival"].isel(score=0).transpose("t", "direction", "set", "point").values
    for t, values in zip(record(out, "model")["t"].values, survival, strict=True):
        np.testing.assert_allclose(values.max((1, 2)), (VARIANCES / (VARIANCES + t)).numpy(), atol=1e-6)


def test_the_exact_score_of_a_gaussian_is_no_better_than_a_linear_filter(audited):
    """So nothing is said of it: a network that has learned no more would do as well."""
    assert verdict(audited(TRUTH, points=30)[0]) == ("undecided", "unfit")


def test_a_model_is_fit_however_few_the_images_are_for_their_dimensions(audited, tmp_path):
    """The best linear filter of 48 images in 64 dimensions has learned them by heart; the population's score has not."""
    variances = torch.full((64,), 1.0, dtype=torch.float64)
    for name, seed, n in (("data.npy", 2, 48), ("held-out.npy", 3, 48)):
        np.save(tmp_path / name, population(seed, n, (64,), variances))
    found, _ = audited(GaussianScore(variances), source=tmp_path, points=30, times=(0.1, 0.3))
    assert found["verdict"]["word"] == "generalizing", found["verdict"]["reason"]
    assert found["unit"] == "sample"


def test_a_score_that_does_not_denoise_is_unfit(audited):
    found, _ = audited(NOTHING)
    assert verdict(found) == ("undecided", "unfit")
    assert found["short"][0].startswith("Its squared denoising error")
    for key in ("training", "held_out"):
        # Nothing is taken off the noise: its squared length is left, of mean d t.
        assert found["denoising"][key]["value"] == pytest.approx(
            D * found["reference_t"], rel=4 * math.sqrt(2 / D / 16)
        )
    assert all(row["model"]["training"]["value"] == D for row in found["levels"])


@pytest.mark.parametrize("points", [2, 7])
def test_too_few_pairs_are_undecided(empirical, audited, points):
    found, _ = audited(empirical, points=points)
    assert found["verdict"] == {"word": "undecided", "reason": "few", "pairs_needed": 8}


def test_without_held_out_images_nothing_is_decided(audited, modes):
    found, out = audited(TWO_MODES, source=modes, held_out=False)
    assert found["verdict"] == {"word": "undecided", "reason": "unseen", "pairs_needed": None}
    assert not found["held_out"]
    assert found["denoising"]["held_out"] is found["denoising"]["gap"] is None
    assert "--held-out" in found["next"]
    assert {"partner", "twin"}.isdisjoint(record(out, "points"))
    assert "lost" not in found["findings"]


def test_without_held_out_images_the_empirical_score_is_compared_with_that_of_the_others(empirical, folder, audited):
    found, out = audited(empirical, held_out=False)
    rows = record(out, "points")["row"].sel(set="training").values
    data = torch.from_numpy(np.load(folder / "data.npy"))
    left_out = record(out, "empirical").sel(score="left-out", set="training")
    for i, row in enumerate(rows):
        others = EmpiricalScore(torch.cat([data[:row], data[row + 1 :]]).double())
        for j, t in enumerate(left_out["t"].values):
            pull = t * float(others(data[row].double(), t).square().sum())
            assert float(left_out["pull"][i, j]) == pytest.approx(pull, rel=1e-9)
    assert verdict(found) == ("undecided", "unseen")


def test_the_reference_t_follows_from_the_data_alone(empirical, audited):
    assert len({audited(score)[0]["reference_t"] for score in (TRUTH, empirical, NOTHING)}) == 1


@pytest.mark.parametrize("factor", [0.2, 4.0])
def test_held_out_images_of_another_kind_decide_nothing(factor, empirical, folder, audited, tmp_path):
    shutil.copy(folder / "data.npy", tmp_path)
    np.save(tmp_path / "held-out.npy", np.float32(factor) * np.load(folder / "held-out.npy"))
    found, _ = audited(empirical, source=tmp_path, times=(0.1,))
    assert verdict(found) == ("undecided", "other")
    farther = found["kinds"]["centre"]["value"]
    assert farther > 0.9 if factor > 1 else farther < 0.1
    assert "50% if alike" in found["findings"]["kinds"]["text"]


# --- denoising: the paired gap ---


def test_an_overfitted_model_is_never_said_to_treat_images_alike(empirical, audited):
    """The empirical score fits its own images: the gap within pairs is significant, and stated."""
    found, out = audited(empirical)
    gap = found["denoising"]["gap"]
    errors = record(out, "model")["denoising"].isel(score=0).sel(t=found["reference_t"])
    partner = record(out, "points")["partner"].values
    expected = mean(errors.sel(set="held-out").values[partner] - errors.sel(set="training").values)
    assert (gap["value"], gap["low"]) == (pytest.approx(expected.value), pytest.approx(expected.low))
    assert gap["low"] > 0
    assert "it fits training images better" in found["findings"]["denoising"]["text"]


NAMES = ["duplicates", "points", "cost", "empirical", "model"]


def test_a_generalizing_model_with_a_gap_is_said_to_have_one(audited, modes):
    found, out = audited(TWO_MODES, source=modes, points=30)
    numbers = numbers_of(Run.existing(out).load_all(NAMES), 0)
    assert "significantly better" not in found["sure"]
    for row in numbers["levels"]:
        row["denoising"]["gap"] = Interval(1.0, 0.5, 1.5, 30)
    assert "denoises its training images significantly better" in box_of(numbers).sure
    assert "begun to overfit" in box_of(numbers).next


def test_a_model_no_better_than_a_linear_filter_is_undecided(audited, modes):
    """The whole interval of its error must lie below the filter's."""
    records = Run.existing(audited(TWO_MODES, source=modes, points=30)[1]).load_all(NAMES)
    fit = numbers_of(records, 0)["denoising"]["training"]
    for linear, word in ((fit.high * 1.01, "generalizing"), ((fit.value + fit.high) / 2, "undecided")):
        records["points"]["linear_error"][:] = linear
        assert numbers_of(records, 0)["verdict"]["word"] == word


# --- numbers come from the records ---


def test_every_number_comes_from_the_saved_records(empirical, audited):
    found, out = audited(empirical)
    chosen, seen = record(out, "points"), record(out, "model").isel(score=0)
    partner = chosen["partner"].values
    resolved = (seen["survival"].transpose("set", "point", "t", "direction").values > 0.5).sum(-1).astype(float)
    for j, row in enumerate(found["levels"]):
        training, held_out = resolved[0, :, j], resolved[1, partner, j]
        for key, values in (("training", training), ("compared", held_out), ("dimensions", held_out - training)):
            assert row["model"][key]["value"] == pytest.approx(values.mean(), rel=1e-12)
        assert row["model"]["dimensions"]["low"] == pytest.approx(mean(held_out - training).low)
        assert row["model"]["fraction"]["value"] == pytest.approx(1 - training.mean() / held_out.mean(), rel=1e-12)
    j = int(np.argmin(np.abs(seen["t"].values - found["reference_t"])))
    by_place = {image["place"]: image for image in found["images"]}
    lost = [image["lost"]["value"] for image in found["images"]]
    assert lost == sorted(lost, reverse=True)
    for i in range(10):
        assert by_place[i]["row"] == int(chosen["row"][0, i])
        assert by_place[i]["dimension"] == resolved[0, i, j]
        assert by_place[i]["compared"] == resolved[1, partner[i], j]
        assert by_place[i]["lost"]["value"] == resolved[1, partner[i], j] - resolved[0, i, j]
        assert by_place[i]["image"] == str(chosen["label"].values[0, i])
        assert by_place[i]["partner"] == str(chosen["label"].values[1, partner[i]])
    pictures = chosen["picture"].values
    squares = np.linalg.norm(pictures[0][:, None] - pictures[1], axis=-1) ** 2
    expected = math.sqrt(squares[np.arange(10), partner].mean() / squares.mean())
    assert found["pairs"]["distance_ratio"] == pytest.approx(expected)
    telling = [row["word"] for row in found["levels"] if row["empirical"]["fraction"]["value"] > 0.5]
    assert found["agreement"] == {"count": telling.count("memorizing"), "of": len(telling)}
    assert found["flagged"] == sum(image["lost"]["low"] > 0 for image in found["images"])


@pytest.mark.parametrize("probe", PROBES)
def test_every_probe_measures_the_same_dimensions_of_the_population(probe, audited):
    found, _ = audited(TRUTH, probe=probe, points=2, times=(0.07,))
    assert found["lost"]["training"]["value"] == 10
    each = {"orthonormal": 2, "smoothed": 1, "score-matrix": 4, "antithetic": 8, "regression": 8, "exact": 2}[probe] * D
    again = 2 * 16 if probe in ("score-matrix", "antithetic") else 0
    screened = 2 * len(found["screening"]["levels"]) * (120 + 60)
    assert found["cost"]["evaluations"] == 4 * (each + 17 + again + 1) + screened


def test_few_directions_give_degrees_of_freedom_with_an_error(audited):
    (_, full), (some, few), (every, _) = (audited(TRUTH, directions=k) for k in (None, 7, D))
    found = record(few, "model").isel(score=0)
    assert "survival" not in found
    assert (some["reading"], every["reading"]) == ("degrees_of_freedom", "resolved")
    error = found["degrees_of_freedom_error"]
    assert np.all(error > 0)
    assert some["reading_error"] == pytest.approx(float(error.sel(t=some["reference_t"]).max()))
    dof = found["dimension"].sel(reading="degrees_of_freedom")
    exact = record(full, "model").isel(score=0)["survival"].sum("direction")
    assert np.all(abs(dof - exact) < 4 * error)
    # Quickly, directions are not shown where that costs more than the spectra.
    assert "kept" not in found
    screened = 2 * len(some["screening"]["levels"]) * (120 + 60)
    assert some["cost"]["evaluations"] == 20 * 3 * (14 + 17) + screened


@pytest.mark.parametrize("options", [{}, {"directions": 7, "quick": False}])
def test_directions_kept_and_lost_are_those_of_the_population(options, audited):
    """Ten directions are wide; the six others are too narrow to be seen as lost before them."""
    found, out = audited(TRUTH, **options)
    seen, t = record(out, "model").isel(score=0), found["reference_t"]
    expected = (VARIANCES / (VARIANCES + t)).numpy()
    kept, lost = seen["kept_survival"].values, seen["lost_survival"].values
    np.testing.assert_allclose(kept, np.broadcast_to(expected[:3], kept.shape), atol=0.05)
    assert np.nanmax(lost) < 0.5
    guess = seen["picture"].values * np.tile(expected, (1, 1, 1))
    np.testing.assert_allclose(seen["guess"].values, guess, atol=1e-5)


@pytest.mark.parametrize("directions", [None, 7])
def test_flipd_is_degrees_of_freedom_and_the_pull(directions, empirical, audited):
    _, out = audited(empirical, directions=directions)
    seen = record(out, "model").isel(score=0)
    flipd, dof = (seen["dimension"].sel(reading=name) for name in ("flipd", "degrees_of_freedom"))
    np.testing.assert_allclose(flipd - dof, seen["pull"], rtol=1e-9, atol=1e-9)


def test_results_depend_neither_on_memory_nor_on_when_they_were_made(empirical, audited):
    options = {"draws": 6, "points": 3}
    found = [audited(empirical, memory=memory, again=k, **options) for k, memory in enumerate((2.0, 2e-5, 2.0))]
    for name in ("points", "model", "empirical", "drawn"):
        first, little, again = (record(out, name) for _, out in found)
        xr.testing.assert_allclose(first, little, rtol=1e-9, atol=1e-9)
        xr.testing.assert_identical(first, again)
    same = [{k: v for k, v in summary.items() if k not in ("cost", "findings")} for summary, _ in found]
    assert same[0] == same[2]


def test_another_seed_chooses_other_points(audited):
    rows = [
        record(audited(TRUTH, seed=seed, points=points)[1], "points")["row"].values
        for seed, points in ((0, 10), (1, 3))
    ]
    for first, second in zip(*rows, strict=True):
        assert set(first[:3]) != set(second)
