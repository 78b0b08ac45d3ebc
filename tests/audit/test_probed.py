"""Whole spectra in an audit, for whoever names a probe: what they say of scores that are known in closed form."""

import math

import numpy as np
import pytest
import torch

from closed_forms import TRUTH, TWO_MODES, VARIANCES, D, record
from geomem.intervals import mean
from geomem.scores import EmpiricalScore
from geomem.spectra import PROBES

COMMON = ("survival", "singular_value", "pull", "denoising", "dimension")


@pytest.fixture(scope="module")
def probed(audited):
    """Audits with the whole spectra of a probe."""

    def made(score, **options):
        return audited(score, **{"probe": "orthonormal", **options})

    return made


def evaluations(out):
    """Evaluations of the whole spectra."""
    return int(record(out, "cost")["evaluations"].sel(stage="model"))


def test_the_empirical_score_has_its_own_spectra(empirical, probed):
    found, out = probed(empirical)
    assert [row["model"] for row in found["probed"]["levels"]] == [
        row["empirical"] for row in found["probed"]["levels"]
    ]
    model, exact = (record(out, name).isel(score=0) for name in ("model", "empirical"))
    for name in COMMON:
        np.testing.assert_allclose(model[name], exact[name], rtol=1e-9, atol=1e-9)


def test_the_population_has_as_many_at_training_images_as_at_others(probed, modes):
    found, _ = probed(TWO_MODES, source=modes)
    for row in found["probed"]["levels"]:
        assert row["model"]["training"]["value"] == row["model"]["compared"]["value"] == 10


def test_dimensions_of_the_population_are_those_of_its_variances(probed):
    found, out = probed(TRUTH)
    for row in found["probed"]["levels"]:
        kept = int((row["t"] < VARIANCES).sum())
        assert row["model"]["training"]["value"] == row["model"]["compared"]["value"] == kept
    survival = record(out, "model")["survival"].isel(score=0).transpose("t", "direction", "set", "point").values
    for t, values in zip(record(out, "model")["t"].values, survival, strict=True):
        np.testing.assert_allclose(values.max((1, 2)), (VARIANCES / (VARIANCES + t)).numpy(), atol=1e-6)


def test_without_held_out_images_the_empirical_score_is_compared_with_that_of_the_others(empirical, folder, probed):
    _, out = probed(empirical, held_out=False)
    rows = record(out, "points")["row"].sel(set="training").values
    data = torch.from_numpy(np.load(folder / "data.npy"))
    left_out = record(out, "empirical").sel(score="left-out", set="training")
    for i, row in enumerate(rows):
        others = EmpiricalScore(torch.cat([data[:row], data[row + 1 :]]).double())
        for j, t in enumerate(left_out["t"].values):
            pull = t * float(others(data[row].double(), t).square().sum())
            assert float(left_out["pull"][i, j]) == pytest.approx(pull, rel=1e-9)


def test_every_number_comes_from_the_saved_records(empirical, probed):
    summary, out = probed(empirical)
    found = summary["probed"]
    chosen, seen = record(out, "points"), record(out, "model").isel(score=0)
    partner = chosen["partner"].values
    resolved = (seen["survival"].transpose("set", "point", "t", "direction").values > 0.5).sum(-1).astype(float)
    for j, row in enumerate(found["levels"]):
        training, held_out = resolved[0, :, j], resolved[1, partner, j]
        for key, values in (("training", training), ("compared", held_out), ("dimensions", held_out - training)):
            assert row["model"][key]["value"] == pytest.approx(values.mean(), rel=1e-12)
        assert row["model"]["dimensions"]["low"] == pytest.approx(mean(held_out - training).low)
        assert row["model"]["fraction"]["value"] == pytest.approx(1 - training.mean() / held_out.mean(), rel=1e-12)
    assert found["t"] == summary["reference_t"]
    j = int(np.argmin(np.abs(seen["t"].values - found["t"])))
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
    assert found["flagged"] == sum(image["lost"]["low"] > 0 for image in found["images"])


@pytest.mark.parametrize("probe", PROBES)
def test_every_probe_measures_the_same_dimensions_of_the_population(probe, probed):
    found, out = probed(TRUTH, probe=probe, points=2, times=(0.07,))
    assert found["probed"]["lost"]["training"]["value"] == 10
    each = {"orthonormal": 2, "smoothed": 1, "score-matrix": 4, "antithetic": 8, "regression": 8, "exact": 2}[probe] * D
    again = 2 * 16 if probe in ("score-matrix", "antithetic") else 0
    assert evaluations(out) == 4 * (each + 17 + again + 1)


def test_few_directions_give_degrees_of_freedom_with_an_error(probed):
    (_, full), (some, few), (every, _) = (probed(TRUTH, directions=k) for k in (None, 7, D))
    found = record(few, "model").isel(score=0)
    assert "survival" not in found
    assert (some["probed"]["reading"], every["probed"]["reading"]) == ("degrees_of_freedom", "resolved")
    error = found["degrees_of_freedom_error"]
    assert np.all(error > 0)
    assert some["probed"]["reading_error"] == pytest.approx(float(error.sel(t=some["probed"]["t"]).max()))
    dof = found["dimension"].sel(reading="degrees_of_freedom")
    exact = record(full, "model").isel(score=0)["survival"].sum("direction")
    assert np.all(abs(dof - exact) < 4 * error)
    # Quickly, directions are not shown where that costs more than the spectra.
    assert "kept" not in found
    assert evaluations(few) == 20 * 3 * (14 + 17)


@pytest.mark.parametrize("options", [{}, {"directions": 7, "quick": False}])
def test_directions_kept_and_lost_are_those_of_the_population(options, probed):
    """Ten directions are wide; the six others are too narrow to be seen as lost before them."""
    found, out = probed(TRUTH, **options)
    seen, t = record(out, "model").isel(score=0), found["probed"]["t"]
    expected = (VARIANCES / (VARIANCES + t)).numpy()
    kept, lost = seen["kept_survival"].values, seen["lost_survival"].values
    np.testing.assert_allclose(kept, np.broadcast_to(expected[:3], kept.shape), atol=0.05)
    assert np.nanmax(lost) < 0.5
    guess = seen["picture"].values * np.tile(expected, (1, 1, 1))
    np.testing.assert_allclose(seen["guess"].values, guess, atol=1e-5)


@pytest.mark.parametrize("directions", [None, 7])
def test_flipd_is_degrees_of_freedom_and_the_pull(directions, empirical, probed):
    _, out = probed(empirical, directions=directions)
    seen = record(out, "model").isel(score=0)
    flipd, dof = (seen["dimension"].sel(reading=name) for name in ("flipd", "degrees_of_freedom"))
    np.testing.assert_allclose(flipd - dof, seen["pull"], rtol=1e-9, atol=1e-9)
