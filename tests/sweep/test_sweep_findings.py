"""What a sweep says, from records by hand: verdict, how sure, what to do, and each finding by its key."""

import math

import numpy as np
import pytest
import xarray as xr

from geomem.findings.finding import Findings
from geomem.jobs.sweep.findings import box, findings
from geomem.jobs.sweep.numbers import reference_time, rows
from geomem.page import Box
from sweep.records import NEAR, made


def said(arrays: xr.Dataset) -> Findings:
    return findings(arrays, rows(arrays))


def boxed(arrays: xr.Dataset, missing: int = 0) -> Box:
    t = reference_time(arrays)
    return box(arrays, [row for row in rows(arrays) if row["t"] == t], missing)


def alike(arrays: xr.Dataset, *sizes: int) -> None:
    """No difference between held-out and training images."""
    for size in sizes:
        at = {"set": "training", "size": size}
        arrays["dimension"].loc[{"set": "held-out", "size": size}] = arrays["dimension"].sel(at).values


def test_memorizing_at_few_images_is_said_with_where_it_ends() -> None:
    arrays = made()
    arrays["sample_distance"].loc[{"size": 2}] = NEAR
    arrays["dimension"].loc[{"size": 2, "score": "network"}] = 0.0
    alike(arrays, 1000)
    found = said(arrays)
    assert found["copies.last"].text.startswith("At N = 2, 100.0% [83.2, 100.0] of samples copy a training image")
    assert found["copies.last"].value.count == 20
    assert found["copies.none"].text.endswith("no more often than held-out images at N = 64, 1,000.")
    assert found["dimension.first"].text.startswith("At N = 2, models resolve 0.0 [0.0, 0.0] of 64 dimensions")
    assert "13.0 [8.9, 17.1]" in found["dimension.last"].text
    verdict = boxed(arrays)
    assert (
        verdict.verdict
        == "Models copy their training images at N = 2, and have fewer dimensions at them than at held-out ones at N = 64"
    )
    assert "2 trainings" in verdict.sure
    assert verdict.next.startswith("Train on 1,000 images or more; sizes between 64 and 1,000")
    assert "--seeds" not in verdict.next


def test_the_gap_is_said_with_its_interval_and_its_side() -> None:
    arrays = made()
    half = 2.446911851 * math.sqrt(2 * 20 / 3 / 4)
    assert f"20.0 [{20 - half:.1f}, {20 + half:.1f}] dimensions fewer than held-out" in said(arrays)["gap"].text
    assert boxed(arrays).verdict == (
        "Models have fewer dimensions at their training images at every N up to 1,000, but copy none"
    )
    swapped = arrays.copy(deep=True)
    swapped["dimension"].loc[{}] = arrays["dimension"].sel(set=["held-out", "training"]).values
    assert f"20.0 [{20 - half:.1f}, {20 + half:.1f}] dimensions more than held-out" in said(swapped)["gap"].text


def test_no_copies_and_no_difference_are_no_sign() -> None:
    arrays = made(seeds=(0,), points=4)
    alike(arrays, 2, 64, 1000)
    found = said(arrays)
    assert found["gap"].text.startswith("At N = 1,000, no difference is found")
    assert "-0.0" not in found["gap"].text
    assert list(found)[:2] == ["copies.none", "gap"]
    verdict = boxed(arrays)
    assert verdict.verdict == "No sign of memorization from N = 2 to 1,000"
    assert verdict.next == (
        "To see where memorization begins, add smaller sizes or train longer (--steps). Use --seeds 3 to see how much trainings differ."
    )
    assert "how much trainings differ is not known" in verdict.sure
    one = made(sizes=(64,))
    alike(one, 64)
    assert boxed(one).verdict == "No sign of memorization at N = 64"
    assert "dimension.first" not in said(one)


def test_copies_everywhere_leave_no_size_without() -> None:
    arrays = made(sizes=(2, 64))
    arrays["sample_distance"].loc[{}] = NEAR
    alike(arrays, 2, 64)
    found = said(arrays)
    assert "copies.none" not in found
    assert boxed(arrays).verdict == "Models copy their training images at every N up to 64"
    assert boxed(arrays).next.startswith("Train on more than 64 images")
    more = made()
    more["sample_distance"].loc[{"size": [2, 64]}] = NEAR
    alike(more, 2, 64, 1000)
    assert boxed(more).verdict == "Models copy their training images up to N = 64"
    both = made()
    both["sample_distance"].loc[{"size": [2, 64]}] = NEAR
    alike(both, 1000)
    assert (
        boxed(both).verdict
        == "Models copy their training images, and have fewer dimensions at them than at held-out ones, up to N = 64"
    )


def test_copies_beside_few_held_out_images_are_not_denied() -> None:
    arrays = made(sizes=(2, 64), seeds=(0,), controls=2)
    arrays["sample_distance"].loc[{"size": 2}] = NEAR
    found = said(arrays)
    assert found["copies.unclear"].text.startswith(
        "Too few samples or held-out images to tell copies from chance: 100.0%"
    )
    assert found["copies.none"].text.endswith("at N = 64.")
    assert "Copies at N = 2: too few images to tell." in boxed(arrays).sure
    assert boxed(arrays).next.startswith("Draw more samples (--samples)")


def test_missing_models_come_first() -> None:
    assert boxed(made(), missing=1).next == "1 model is missing: run the same command again."
    assert boxed(made(), missing=2).next == "2 models are missing: run the same command again."


def test_dimensions_that_alg_3_does_not_find_are_said_to_be_none() -> None:
    arrays = made()
    at = {"reading": "second_difference", "score": "network"}
    assert "(median over images) of 23 at N = 2" in said(arrays)["alg3"].text  # of 10, 12, 14, 16, 30, 32, 34, 36
    arrays["dimension"].loc[at | {"size": 64}] = np.nan
    assert "N = 64" not in said(arrays)["alg3"].text
    arrays["dimension"].loc[at] = np.nan
    assert said(arrays)["alg3"].text == "Alg. 3 finds no kink in any spectrum at t = 0.01, the smallest."


@pytest.mark.parametrize(("t", "verdict"), [(0.01, False), (0.1, True)])
def test_models_that_do_not_react_to_noise_give_no_verdict(t: float, verdict: bool) -> None:
    arrays = made()
    assert "blind" not in said(arrays)
    arrays["dimension"].loc[{"size": 1000, "t": t, "score": "network", "reading": "resolved"}] = 63.0
    assert said(arrays)["blind"].text.startswith(f"At t = {t:g}, the models of N = 1,000 do not react to noise so weak")
    assert (boxed(arrays).verdict == "No verdict: these models leave nearly all directions free") == verdict
    assert boxed(arrays).next.startswith("Train longer (--steps)") == verdict


def test_a_single_point_has_no_interval() -> None:
    arrays = made(seeds=(0,))
    arrays["dimension"].loc[{"size": 2, "point": 1, "set": "training"}] = np.nan
    assert said(arrays)["dimension.first"].text.startswith("At N = 2, models resolve 10.0 of 64 dimensions")
    arrays["dimension"].loc[{"size": 1000, "point": 1}] = np.nan
    assert "gap" not in said(arrays)
