"""The screening of an audit: what it says of scores whose truth is known, how far a budget goes, and what it leaves."""

import numpy as np
import pytest

from closed_forms import TRUTH, record
from commands import geomem


def test_the_score_of_the_population_is_calibrated_and_tells_no_image_from_another(audited):
    found, _ = audited(TRUTH, times=(0.03, 0.3))
    screening = found["screening"]
    assert (screening["training"], screening["held_out"]) == (120, 60)
    for row in screening["levels"]:
        truth = float(TRUTH.survival(TRUTH.mean.reshape(TRUTH.shape), row["t"]).sum())
        for name in ("training", "held_out"):
            for kind in ("error", "freedom"):
                mean = row[kind][name]
                assert abs(mean["value"] - truth) < (mean["high"] - mean["low"])
        # Four errors: an interval is two to each side.
        assert abs(row["calibration"]["value"] - 1) < row["calibration"]["high"] - row["calibration"]["low"]
        assert abs(row["freedom"]["lost"]["value"]) < row["freedom"]["lost"]["high"] - row["freedom"]["lost"]["low"]
    for row in found["levels"]:
        assert abs(row["auc"]["value"] - 0.5) < row["auc"]["high"] - row["auc"]["low"]
    assert found["membership"]["auc"]["low"] < 0.5


def test_the_empirical_score_is_overconfident_and_tells_its_images(empirical, audited):
    found, out = audited(empirical, times=(0.03, 0.3))
    first = found["screening"]["levels"][0]
    assert first["empirical"]["auc"] == found["levels"][0]["auc"]["value"] == 1
    assert found["membership"]["auc"] == found["screening"]["membership"]["auc"]
    assert found["membership"]["auc"]["low"] > 0.8
    assert found["calibration"]["held_out"]["low"] > 2
    assert found["screening"]["lost"]["fraction"]["low"] > 0.5
    screened = record(out, "screened")
    for kind in ("error", "freedom"):
        model, exact = (screened[kind].sel(score=name, point=slice(0, 63)) for name in ("model", "empirical"))
        np.testing.assert_allclose(model, exact, rtol=1e-9, atol=1e-9)


def test_the_ranking_holds_images_once_the_best_known_first(empirical, audited):
    found, out = audited(empirical, times=(0.03, 0.3))
    ranking = found["screening"]["ranking"]
    assert len({row["row"] for row in ranking}) == len(ranking) == 100
    errors = [row["error"] for row in ranking]
    assert all(row["held_out_as_small"] == 0 for row in ranking)
    screened = record(out, "screened").sel(score="model", set="training")
    assert sorted(screened["row"].values) == list(range(120))
    j = int(np.argmin(np.abs(screened["t"].values - found["reference_t"])))
    assert errors == sorted(screened["error"].isel(t=j).values)[:100]


def test_a_small_budget_screens_few_images_of_each_kind_at_random(audited):
    found, out = audited(TRUTH, budget=1e-6)
    assert (found["screening"]["training"], found["screening"]["held_out"]) == (16, 16)
    rows = record(out, "screened")["row"].sel(set="training").values
    assert sorted(rows) != list(range(16))
    other, _ = audited(TRUTH, budget=1e-6, seed=1)
    assert {r["row"] for r in other["screening"]["ranking"]} != {r["row"] for r in found["screening"]["ranking"]}


def test_without_held_out_images_training_images_are_screened_alone(audited):
    found, out = audited(TRUTH, held_out=False)
    assert found["membership"] is found["calibration"] is found["lost"] is None
    screened = record(out, "screened")
    assert screened["set"].values.tolist() == ["training"]
    assert found["screening"]["training"] == 120
    assert found["screening"]["ranking"] == []


@pytest.mark.parametrize("text", ["soon", "0", "10d", ""])
def test_budgets_that_are_no_times_are_refused(text, here):
    result = geomem("audit", "model", "--trained-on", "data.npy", "--budget", text, cwd=here)
    assert result.returncode == 2
    assert "--budget" in result.stderr
    assert "write it as 30s, 10m or 2h" in result.stderr
