"""Numbers of a sweep, by hand."""

import math

import numpy as np
import pytest

from geomem.intervals import quotient
from geomem.jobs.sweep.numbers import (
    blind_times,
    copies,
    copying,
    dimension,
    gap,
    reference_time,
    rows,
    screened,
    values_of,
)
from geomem.jobs.sweep.sections import short_table, size_table
from geomem.page import cell_text
from sweep.records import NEAR, made


def test_dimensions_are_means_over_points_of_all_trainings_with_student_s_interval() -> None:
    arrays = made()
    # 10, 12, 14, 16: mean 13, variance 20/3, Student's quantile of three degrees of freedom 3.18245.
    found = dimension(arrays, 64, 0.1, "training")
    half = 3.182446305 * math.sqrt(20 / 3 / 4)
    assert (found.value, found.low, found.high, found.n) == pytest.approx((13, 13 - half, 13 + half, 4))
    assert dimension(arrays, 64, 0.1, "held-out").value == 33
    arrays["dimension"].loc[{"size": 64, "t": 0.1, "set": "training", "score": "empirical", "seed": 1}] = np.nan
    some = dimension(arrays, 64, 0.1, "training", score="empirical", reading="largest_gap")
    assert (some.value, some.n) == (11, 2)
    assert some.low == pytest.approx(max(0, 11 - 12.70620474 * math.sqrt(2 / 2)))  # 10, 12; cut at 0
    assert some.high == pytest.approx(11 + 12.70620474)
    assert dimension(arrays, 64, 0.1, "training").n == 4  # the network's are untouched


def test_intervals_end_at_the_number_of_directions_and_one_point_has_none() -> None:
    arrays = made(seeds=(0,))
    arrays["dimension"].loc[{"size": 2, "point": 0}] = 64.0
    arrays["dimension"].loc[{"size": 2, "point": 1}] = 60.0
    assert dimension(arrays, 2, 0.1, "training").high == 64
    arrays["dimension"].loc[{"size": 2, "point": 1}] = np.nan
    one = dimension(arrays, 2, 0.1, "training")
    assert (one.value, one.n) == (64, 0)
    assert math.isnan(one.low)
    assert math.isnan(one.high)
    arrays["dimension"].loc[{"size": 2}] = np.nan
    assert math.isnan(dimension(arrays, 2, 0.1, "training").value)


def test_copies_are_counted_over_all_trainings_with_exact_intervals() -> None:
    arrays = made()
    arrays["sample_distance"].loc[{"size": 2}] = NEAR
    arrays["sample_distance"].loc[{"size": 64, "seed": 1}][:5] = NEAR
    rate, control = copies(arrays, 2)
    # Clopper-Pearson at all and at none of n: (1 - level)/2 to the power 1/n.
    assert (rate.count, rate.total, rate.high) == (20, 20, 1)
    assert rate.low == pytest.approx(0.025 ** (1 / 20))
    assert (control.count, control.total, control.low) == (0, 80, 0)
    assert control.high == pytest.approx(1 - 0.025 ** (1 / 80))
    assert copies(arrays, 64)[0].value == 0.25
    # A third is no copy, and samples that others have not are left out.
    arrays["sample_distance"].loc[{"size": 1000}] = np.array([1.0, 3.0])
    arrays["sample_distance"].loc[{"size": 1000, "seed": 0}] = np.nan
    assert (copies(arrays, 1000)[0].count, copies(arrays, 1000)[0].total) == (0, 10)


def test_each_size_and_time_has_a_row() -> None:
    arrays = made()
    table = rows(arrays)
    assert [(row["size"], row["t"]) for row in table] == [(n, t) for n in (2, 64, 1000) for t in (0.01, 0.1, 1.0)]
    for row in table:
        assert row["loss"] == pytest.approx(0.6)
        assert row["denoising"] == {"training": 1, "held-out": 2}
        assert row["by_seed"] == {"training": [11, 15], "held-out": [31, 35]}
        assert row["dimension"]["resolved"]["network"]["training"] == dimension(
            arrays, row["size"], row["t"], "training"
        )
    assert reference_time(arrays) == 0.1
    assert reference_time(made(times=(0.01, 0.1, 1.0, 2.0))) == 1.0
    at = [row for row in table if row["t"] == 0.1]
    whole = size_table(at, 0.1)
    titles = [column.title for column in whole.columns]
    shown = [
        [cell_text(cell, column.spec) for cell, column in zip(line, whole.columns, strict=True)] for line in whole.rows
    ]
    assert titles[:3] == ["N", "network, training", "network, held-out"]
    assert [line[0] for line in shown] == ["2", "64", "1,000"]
    assert [line[1:3] for line in shown] == [["13.0 [8.9, 17.1]", "33.0 [28.9, 37.1]"]] * 3
    assert [line[titles.index("copies among samples")] for line in shown] == ["0.0% [0.0, 16.8]"] * 3
    assert [line[titles.index("loss")] for line in shown] == ["0.6000"] * 3
    narrow = short_table(at)
    assert [line[:3] for line in narrow.rows] == [line[:3] for line in whole.rows]


def test_the_gap_is_of_held_out_images_with_welch_s_interval() -> None:
    arrays = made()
    found = gap(arrays, 64, 0.1)
    # Two groups of 4 with variance 20/3 each: 6 degrees of freedom, 2.44691.
    half = 2.446911851 * math.sqrt(2 * 20 / 3 / 4)
    assert found is not None
    assert (found.value, found.low, found.high) == pytest.approx((20, 20 - half, 20 + half))
    arrays["dimension"].loc[{"set": "training", "size": 64, "seed": 1}] = np.nan
    arrays["dimension"].loc[{"set": "training", "size": 64, "point": 0}] = np.nan
    assert gap(arrays, 64, 0.1) is None


def test_screened_images_say_what_is_lost_over_all_trainings() -> None:
    arrays = made()
    assert screened(arrays, 64, 0.1) is None
    axes, shape = ("size", "seed", "set", "image", "t"), (3, 2, 2, 5, 3)
    rng = np.random.default_rng(0)
    values = np.array([3.0, 12.0])[:, None, None] + rng.normal(size=shape)
    values[:, :, 0, 3:] = np.nan  # fewer training images
    more = arrays.assign(squares=(axes, values), error=(axes, 2 * values), freedom=(axes, values))
    found = screened(more, 64, 0.1)
    known, other = values[1, :, 0, :3, 1].ravel(), values[1, :, 1, :, 1].ravel()
    kept = quotient(known, other)
    assert (found["lost"].value, found["lost"].low) == pytest.approx((1 - kept.value, 1 - kept.high))
    assert found["training"].value == pytest.approx(known.mean())
    assert found["auc"].value == 1
    assert found["calibration"].value == pytest.approx(2)
    at = [row for row in rows(more) if row["t"] == 0.1]
    table = size_table(at, 0.1)
    assert [column.title for column in table.columns][1:4] == ["lost (%)", "AUC", "calibration ratio"]
    assert table.rows[1][1].value == pytest.approx(100 * found["lost"].value)
    np.testing.assert_array_equal(values_of(more, 64, 0.1, "held-out", "network", "squares"), other)


def test_copying_is_told_from_chance_or_not() -> None:
    arrays = made(sizes=(2, 64), seeds=(0,), controls=2)
    arrays["sample_distance"].loc[{"size": 2}] = NEAR
    assert [copying(*copies(arrays, size)) for size in (2, 64)] == ["unclear", "no"]
    more = made(sizes=(2,))
    more["sample_distance"].loc[{}] = NEAR
    assert copying(*copies(more, 2)) == "yes"


def test_times_at_which_models_leave_noise_alone_are_named() -> None:
    arrays = made()
    assert blind_times(arrays) == []
    arrays["dimension"].loc[{"size": 1000, "t": 0.01, "score": "network", "reading": "resolved"}] = 63.0
    assert blind_times(arrays) == [0.01]
