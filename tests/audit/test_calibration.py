"""The calibration of the verdict: its page says what its record does, and the words are those that the rules give."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from geomem.records import Run

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("calibration", DOCS / "calibration.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def found() -> xr.Dataset:
    return Run.existing(DOCS / "gallery" / "calibration").load("calibration")


def test_the_page_is_made_from_the_record(script, found):
    assert script.page(found) == (DOCS / "calibration.md").read_text(encoding="utf-8")


def test_sixty_models_over_sizes_and_lengths(found):
    assert found.sizes["model"] >= 60
    assert (
        len({*zip(*(found[k].values.tolist() for k in ("data", "size", "steps")), strict=True)}) == found.sizes["model"]
    )
    assert found["steps"].max() == 30 * found["steps"].min()
    assert (found["samples"] == 1000).all()


def test_words_follow_from_the_recorded_shares(found):
    """The thresholds of the rules, beside the intervals that they were applied to."""
    for word, low in (("memorizing", 0.5), ("losing dimensions", 0.25)):
        some = found["word"].values == word
        assert (found["lost_low"].values[some] > low).all()
    general = found["word"].values == "generalizing"
    assert (found["lost_high"].values[general] < 0.1).all()
    assert (found["auc_low"].values[general] <= 0.55).all()


def test_no_model_that_copies_is_called_generalizing_and_most_that_memorize_copy(script, found):
    truth, words = script.copying(found), found["word"].values
    assert not truth[words == "generalizing"].any()
    assert truth[words == "memorizing"].mean() > 0.5


def test_the_threshold_is_the_one_that_errs_least(script):
    values = np.array([0.0, 0.1, 0.2, 0.7, 0.8, 0.3])
    truth = np.array([False, False, False, True, True, False])
    assert script.threshold(values, truth) == pytest.approx(0.5)
    # One of three that copy lies below one that does not: a false alarm of four costs less than one of three missed.
    assert script.threshold(np.append(values, 0.25), np.append(truth, True)) == pytest.approx(0.225)


def test_a_model_copies_if_its_interval_lies_above_the_control_s(script):
    columns = {"copies": [50, 3, 0], "samples": [1000] * 3, "control": [1, 2, 0], "controls": [400] * 3}
    made = xr.Dataset({key: ("model", values) for key, values in columns.items()})
    assert script.copying(made).tolist() == [True, False, False]
