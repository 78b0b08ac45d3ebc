"""Verdicts on scores that are known in closed form, and the numbers behind them."""

import shutil

import numpy as np
import pytest
import torch

from closed_forms import NOTHING, TRUTH, TWO_MODES, D, population, record
from geomem.intervals import Interval
from geomem.jobs.audit.numbers import _confidence, numbers_of, spent
from geomem.jobs.audit.words import box_of
from geomem.records import Run
from geomem.scores import EmpiricalScore, GaussianScore

NAMES = ["duplicates", "points", "cost", "screened", "chosen", "closer"]


def verdict(summary):
    return summary["verdict"]["word"], summary["verdict"]["reason"]


def test_the_empirical_score_itself_is_memorizing(empirical, audited):
    found, _ = audited(empirical)
    assert verdict(found) == ("memorizing", "lost")
    for mine, ideal in (("training", "training"), ("compared", "held_out")):
        low, high = (found["empirical"][ideal][end] for end in ("low", "high"))
        assert low - 1e-9 <= found["lost"][mine]["value"] <= high + 1e-9
    assert found["title"].startswith("This model is memorizing: at training images it has lost 1")


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
    found, _ = audited(TWO_MODES, source=modes, times=(0.1,))
    assert verdict(found) == ("generalizing", "lost")
    assert found["lost"]["fraction"]["low"] < 0 < found["lost"]["fraction"]["high"] < 0.1
    assert "of its degrees of freedom are lost" in found["title"]
    assert found["calibration"]["held_out"]["low"] < 1.05


def test_a_model_of_other_images_loses_nothing_and_its_pairs_have_no_bias(audited, folder):
    """The empirical score of a third set of images: its dimension differs from place to place, but not between the two sets."""
    other = EmpiricalScore(torch.from_numpy(population(7, 200)).double())
    shares, values = [], []
    for seed in range(6):
        found, _ = audited(other, times=(0.3, 1.0), points=60, seed=seed)
        lost = found["closer"]["lost"]["dimensions"]
        shares.append(lost["value"])
        values.append((lost["high"] - lost["low"]) / 4)
        assert found["membership"]["auc"]["low"] < 0.55
        assert found["lost"]["fraction"]["low"] < 0.05
    assert found["closer"]["pairs"] == 30
    assert np.std(shares) > 0
    assert abs(np.mean(shares)) < 4 * np.mean(values) / np.sqrt(len(shares))


def test_the_exact_score_of_a_gaussian_is_no_better_than_a_linear_filter(audited):
    """So nothing is said of it: a network that has learned no more would do as well."""
    assert verdict(audited(TRUTH)[0]) == ("undecided", "unfit")


def test_a_model_is_fit_however_few_the_images_are_for_their_dimensions(audited, tmp_path):
    """The best linear filter of 48 images in 64 dimensions has learned them by heart; the population's score has not."""
    variances = torch.full((64,), 1.0, dtype=torch.float64)
    for name, seed, n in (("data.npy", 2, 48), ("held-out.npy", 3, 48)):
        np.save(tmp_path / name, population(seed, n, (64,), variances))
    found, _ = audited(GaussianScore(variances), source=tmp_path, times=(0.1, 0.3))
    assert found["denoising"]["fits"]
    assert found["verdict"]["reason"] != "unfit"
    assert found["unit"] == "sample"


def test_a_score_that_does_not_denoise_is_unfit(audited):
    found, _ = audited(NOTHING)
    assert verdict(found) == ("undecided", "unfit")
    assert found["short"][0].startswith("Its squared denoising error")
    for key in ("training", "held_out"):
        # Nothing is taken off the noise: its squared length is left, of mean d t.
        assert found["denoising"][key]["value"] == pytest.approx(D * found["reference_t"], rel=0.15)
    # Its squared length is what freedom and squares are of one draw, too.
    assert all(abs(row["training"]["value"] / D - 1) < 0.15 for row in found["levels"])


def test_without_held_out_images_nothing_is_decided(audited, modes):
    found, out = audited(TWO_MODES, source=modes, held_out=False)
    assert found["verdict"] == {"word": "undecided", "reason": "unseen", "images_needed": None}
    assert not found["held_out"]
    assert found["lost"] is found["membership"] is found["calibration"] is None
    assert found["denoising"]["held_out"] is found["denoising"]["gap"] is None
    assert "--held-out" in found["next"]
    assert {"partner", "twin"}.isdisjoint(record(out, "points"))
    assert "lost" not in found["findings"]
    assert set(record(out, "chosen")["set"].values) == {"training"}


@pytest.mark.parametrize("factor", [0.2, 4.0])
def test_held_out_images_of_another_kind_decide_nothing(factor, empirical, folder, audited, tmp_path):
    shutil.copy(folder / "data.npy", tmp_path)
    np.save(tmp_path / "held-out.npy", np.float32(factor) * np.load(folder / "held-out.npy"))
    found, _ = audited(empirical, source=tmp_path, times=(0.1,))
    assert verdict(found) == ("undecided", "other")
    farther = found["kinds"]["centre"]["value"]
    assert farther > 0.9 if factor > 1 else farther < 0.1
    assert "50% if alike" in found["findings"]["kinds"]["text"]


@pytest.mark.parametrize("held_out", [True, False])
def test_where_no_image_can_be_looked_at_closely_the_verdict_is_given_all_the_same(empirical, audited, held_out):
    found, out = audited(empirical, budget=1e-7, held_out=held_out)
    assert found["closer"]["images"] == []
    assert found["closer"]["lost"] is None
    assert "Raise --budget" in found["findings"]["closer.none"]["text"]
    assert record(out, "closer").sizes["point"] == 0
    assert found["screening"]["training"] >= 8


# --- held-out images alone ---


@pytest.mark.parametrize(("memorizes", "said"), [(True, "as that of models that memorize"), (False, "that generalize")])
def test_held_out_images_alone_tell_overconfidence_and_nothing_more(memorizes, said, empirical, folder, modes, audited):
    source, score = (folder, empirical) if memorizes else (modes, TWO_MODES)
    found, out = audited(score, source=source, trained_on=None)
    assert found["verdict"] == {"word": "undecided", "reason": "alone", "images_needed": None}
    assert found["confidence"] == ("too sure" if memorizes else "right")
    assert said in found["title"]
    assert found["calibration"]["held_out"]["value"] == pytest.approx(1, abs=0.1) or memorizes
    assert "--trained-on" in found["next"]
    assert "not its cause" in found["sure"]
    assert found["lost"] is found["membership"] is found["empirical"] is None
    assert set(record(out, "chosen")["set"].values) == {"held-out"}
    assert not (out / "drawn.nc").exists()


def test_an_untrained_model_at_held_out_images_alone_is_unfit(audited):
    found, _ = audited(NOTHING, trained_on=None)
    assert verdict(found) == ("undecided", "unfit")


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [(1.3, 2.0, "too sure"), (0.95, 1.1, "right"), (1.1, 2.4, "open"), (-np.inf, np.inf, "open"), (0.3, 0.5, "open")],
)
def test_a_calibration_ratio_says_something_by_its_whole_interval_alone(low, high, said):
    assert _confidence({"held_out": Interval(1.0, low, high, 40)}) == said


def test_few_held_out_images_that_are_no_near_copies_are_few_and_not_none(empirical, folder, audited, tmp_path):
    data = np.load(folder / "data.npy")
    step = np.float32(0.5 * float(record(audited(empirical)[1], "duplicates").attrs["threshold"]) / np.sqrt(D))
    np.save(tmp_path / "data.npy", data)
    np.save(tmp_path / "held-out.npy", np.concatenate([np.load(folder / "held-out.npy")[:6], data[:20] + step]))
    found, _ = audited(empirical, source=tmp_path)
    assert verdict(found) == ("undecided", "few")
    assert "6 held-out images" in found["title"]


def test_a_limit_holds_for_held_out_images_alone(modes, audited):
    found, _ = audited(TWO_MODES, source=modes, trained_on=None, limit=50)
    assert found["screening"]["held_out"] == 50


def test_the_number_of_points_that_are_looked_at_does_not_decide(empirical, audited):
    assert verdict(audited(empirical, points=2)[0]) == ("memorizing", "lost")


# --- overfitting ---


def test_a_model_that_knows_its_images_without_losing_much_overfits(audited, modes):
    _, out = audited(TWO_MODES, source=modes, times=(0.1,))
    numbers = numbers_of(Run.existing(out).load_all(NAMES), 0)
    numbers["verdict"] = {"word": "overfitting", "reason": "lost", "images_needed": None}
    assert box_of(numbers).verdict.startswith("This model has begun to overfit: its error tells training images")
    assert "do not train it longer" in box_of(numbers).next
    records = Run.existing(out).load_all(NAMES)
    known = records["screened"]["error"].sel(score="model", set="training")
    known -= 0.15 * float(known.mean())
    again = numbers_of(records, 0)
    assert verdict(again) == ("overfitting", "lost")
    assert again["membership"]["auc"].low > 0.55


def test_a_model_no_better_than_a_linear_filter_is_undecided(audited, modes):
    """The whole interval of its error must lie below the filter's."""
    records = Run.existing(audited(TWO_MODES, source=modes, times=(0.1,))[1]).load_all(NAMES)
    fit = numbers_of(records, 0)["denoising"]["training"]
    for linear, word in ((fit.high * 1.01, "generalizing"), ((fit.value + fit.high) / 2, "undecided")):
        records["points"]["screening_linear_error"][:] = linear
        assert numbers_of(records, 0)["verdict"]["word"] == word


# --- numbers come from the records ---


def test_every_number_comes_from_the_saved_records(empirical, audited):
    found, out = audited(empirical)
    screened = record(out, "screened").sel(score="model")
    for j, row in enumerate(found["levels"]):
        for key, name in (("training", "training"), ("compared", "held-out")):
            values = screened["squares"].sel(set=name).isel(t=j).values
            assert row[key]["value"] == pytest.approx(np.nanmean(values), rel=1e-12)
        assert row["fraction"]["value"] == pytest.approx(1 - row["training"]["value"] / row["compared"]["value"])
    telling = [row["word"] for row in found["levels"] if row["empirical"]["lost"]["value"] > 0.5]
    assert found["agreement"] == {"count": telling.count("memorizing"), "of": len(telling)}
    chosen, closer = record(out, "chosen"), record(out, "closer")
    half = chosen.sizes["point"] // 2
    for row in found["closer"]["images"]:
        i = row["place"]
        assert (row["image"], row["partner"]) == tuple(chosen["label"].values[[i, i + half]])
        assert (row["dimension"], row["compared"]) == tuple(closer["dimension"].values[[i, i + half]])
    assert found["cost"]["evaluations"] == int(record(out, "cost")["evaluations"].sum() + closer["evaluations"].sum())


def test_near_copies_among_the_held_out_images_are_left_out(empirical, folder, audited, tmp_path):
    data = np.load(folder / "data.npy")
    near = float(record(audited(empirical)[1], "duplicates").attrs["threshold"])
    step = np.float32(0.5 * near / np.sqrt(D))
    np.save(tmp_path / "data.npy", data)
    np.save(tmp_path / "held-out.npy", np.concatenate([np.load(folder / "held-out.npy"), data[:7] + step]))
    found, _ = audited(empirical, source=tmp_path)
    assert found["screening"]["near_copies"] == 7
    assert found["screening"]["held_out"] == 60
    assert found["findings"]["near_copies"]["text"].startswith("7 held-out images left out")


def test_results_depend_neither_on_memory_nor_on_when_they_were_made(empirical, audited):
    options = {"draws": 6, "points": 3}
    found = [audited(empirical, memory=memory, again=k, **options) for k, memory in enumerate((2.0, 2e-5, 2.0))]
    for name in ("points", "screened", "chosen", "drawn"):
        first, little, again = (record(out, name).drop_attrs() for _, out in found)
        np.testing.assert_equal(first.equals(again), True)
        for key in first:
            if first[key].dtype.kind == "f":
                np.testing.assert_allclose(first[key], little[key], rtol=1e-9, atol=1e-9)
    same = [{k: v for k, v in summary.items() if k not in ("cost", "findings")} for summary, _ in found]
    assert same[0] == same[2]


def test_another_seed_chooses_other_points(audited):
    rows = [record(audited(TRUTH, seed=seed)[1], "chosen")["row"].values for seed in (0, 1)]
    assert set(rows[0]) != set(rows[1])


def test_time_spent_is_read_from_the_log():
    log = [("screened_0", 2.0), ("screened_8", 5.0), ("drawn_0", 1.0), ("drawn_16", 0.5), ("points", 0.25)]
    lines = [{"part": part, "seconds": seconds} for part, seconds in log]
    # The second part of drawn was made by a run that began anew.
    assert spent([{"step": 3}, *lines]) == 5 + 1 + 0.5 + 0.25


def test_an_interval_without_an_end_is_a_dash():
    from geomem.jobs.audit.words import percent

    assert percent(Interval(0.0, -np.inf, np.inf, 3)) == "–"
