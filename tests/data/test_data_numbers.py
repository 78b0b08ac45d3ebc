"""Samples needed, read off curves of times by size; numbers as a page states them; summaries as JSON holds them."""

import json
import math

import numpy as np
import pytest
import xarray as xr

from geomem.findings.plain import plain
from geomem.intervals import Interval, Rate
from geomem.jobs.data.needed import Curves, _interpolated, needed_numbers, samples_at
from geomem.jobs.data.words import number, samples_needed, sigma

SIZES = np.array([16, 64, 256, 1024])


def power_law(sizes, exponent=-0.4, at=100.0, time=0.5):
    """The time at which one direction survives, t = time (N/at)^exponent."""
    return time * (np.asarray(sizes) / at) ** exponent


# --- the size at which a curve reaches a time ---


@pytest.mark.parametrize("exponent", [-0.1, -0.4, -2.0])
def test_samples_at_is_the_inverse_of_a_power_law(exponent):
    """Between the sizes and beyond them, where the last three carry the curve on."""
    times = power_law(SIZES, exponent)
    for n in (16, 17, 64, 100, 500, 1024, 3000, 100_000):
        assert samples_at(float(power_law(n, exponent)), SIZES, times) == pytest.approx(n, rel=1e-9)


def test_samples_at_a_time_above_all_is_the_smallest_size():
    times = power_law(SIZES)
    for t in (times[0], 1.01 * times[0], 1e6):
        assert samples_at(t, SIZES, times) == pytest.approx(16, rel=1e-12)


def test_samples_at_is_carried_on_a_thousand_fold_at_most():
    times = power_law(SIZES)
    assert samples_at(float(power_law(1024 * 990)), SIZES, times) == pytest.approx(1024 * 990, rel=1e-9)
    assert samples_at(float(power_law(1024 * 1010)), SIZES, times) == math.inf
    assert samples_at(1e-30, SIZES, times) == math.inf


def test_samples_at_is_linear_in_logarithms_between_sizes():
    times = np.array([8.0, 4.0, 1.0, 0.5])
    assert samples_at(2.0, SIZES, times) == pytest.approx(128, rel=1e-12)  # half-way from 4 to 1 in logarithms
    assert samples_at(math.sqrt(32), SIZES, times) == pytest.approx(32, rel=1e-12)
    assert samples_at(0.5, SIZES, times) == pytest.approx(1024, rel=1e-12)


def test_samples_at_beyond_the_data_uses_the_last_three_sizes():
    """A bent curve: the slope is the least-squares line through the last three in logarithms, from the last point on."""
    times = np.array([100.0, 4.0, 1.0, 0.5])
    u, v = np.log(times[1:]), np.log(SIZES[1:])
    slope = np.sum((v - v.mean()) * (u - u.mean())) / np.sum((v - v.mean()) ** 2)
    for t in (0.4, 0.25):
        assert samples_at(t, SIZES, times) == pytest.approx(1024 * math.exp(math.log(t / 0.5) / slope), rel=1e-9)


def test_a_curve_that_does_not_fall_never_reaches_a_time_below_it():
    for times in ([1.0, 1.0, 1.0, 1.0], [1.0, 2.0, 3.0, 4.0], [4.0, 1.0, 1.1, 1.3]):
        assert samples_at(0.5, SIZES, np.array(times)) == math.inf


def test_a_curve_that_rises_in_between_is_read_at_its_first_passing():
    """Noise may let a larger size come out later: a time counts as reached from the first size on that reached it."""
    times = np.array([8.0, 2.0, 4.0, 1.0])
    assert samples_at(2.0, SIZES, times) <= 256
    assert samples_at(4.0, SIZES, times) == pytest.approx(32, rel=1e-12)
    assert 256 < samples_at(1.5, SIZES, times) < 1024
    found = [samples_at(t, SIZES, times) for t in np.geomspace(9, 0.3, 50)]
    assert np.all(np.diff(found) >= -1e-9)


def test_sizes_that_never_pass_are_left_out():
    times = power_law(SIZES)
    late = np.where(SIZES < 64, np.inf, times)
    assert samples_at(float(power_law(300)), SIZES, late) == pytest.approx(300, rel=1e-9)
    assert samples_at(float(power_law(5000)), SIZES, late) == pytest.approx(5000, rel=1e-9)
    assert samples_at(float(times[0]), SIZES, late) == pytest.approx(64, rel=1e-12)
    for times in ([np.inf] * 4, [np.inf] * 3 + [1.0]):
        assert samples_at(0.5, SIZES, np.array(times)) == math.inf
    assert samples_at(0.5, SIZES, np.array([np.inf, np.inf, 1.0, 0.7])) == pytest.approx(
        1024 * 4 ** (math.log(0.7 / 0.5) / math.log(1 / 0.7)), rel=1e-9
    )


def test_interval_of_samples_is_that_of_the_draws():
    """Draws that are whole curves, shifted in time: their inverses are known, and the quantiles with them."""
    shifts = np.linspace(0.8, 1.25, 201)
    found = [(float(power_law(n)), power_law(n) * shifts) for n in SIZES]
    t = float(power_law(300))
    got = _interpolated(t, SIZES, found, 9)
    sizes = np.sort([300 * f**2.5 for f in shifts])
    assert (got.value, got.n) == (pytest.approx(300, rel=1e-9), 9)
    assert got.low == pytest.approx(sizes[5], rel=0.01)
    assert got.high == pytest.approx(sizes[195], rel=0.01)
    far = _interpolated(float(power_law(1024 * 900)), SIZES, found, 9)
    assert far.value == pytest.approx(1024 * 900, rel=1e-9)
    assert far.high == math.inf


# --- rows of the table of samples needed ---

GRID = np.geomspace(0.01, 100, 60)


def cells(sizes=SIZES, subsets=2, points=12, seen=6, exponent=-0.4):
    """A posterior's arrays in which exactly one direction survives on average from the power law's time on."""
    resolved = np.empty((len(sizes), subsets, 2, seen, GRID.size))
    for i, n in enumerate(sizes):
        resolved[i] = 1 + np.log(GRID / power_law(n, exponent)) + np.linspace(-0.1, 0.1, seen)[:, None]
    dims = ("reading", "size", "subset", "set", "seen", "t")
    out = xr.Dataset(
        {"dimension": (dims, resolved[None])},
        coords={
            "reading": ["resolved"],
            "size": list(sizes),
            "subset": np.arange(subsets),
            "set": ["training", "held-out"],
            "t": GRID,
        },
    )
    out["effective_samples"] = (("size", "subset", "set", "point", "t"), np.ones((len(sizes), subsets, 2, points, 60)))
    return out


def theory_of(sizes, exponent=-0.5, draws=8):
    held = np.stack([1 + np.log(GRID / power_law(n, exponent))[:, None] + np.zeros((GRID.size, draws)) for n in sizes])
    return xr.Dataset({"held_out": (("size", "t", "draw"), held)}, coords={"size": list(sizes), "t": GRID})


def needed(asked=0.0, **kwargs):
    found = cells(**kwargs)
    data = xr.Dataset(attrs={"asked_t": asked})
    arrays = {"data": data, "theory": theory_of([*SIZES, 4096, 65536])}
    return needed_numbers(arrays, Curves(found, 0))


def test_samples_needed_at_a_half_and_a_fourth_of_the_data_s_time():
    found = needed()
    times = power_law(SIZES)
    assert [row["t"] for row in found["rows"]] == pytest.approx([times[-1] / 2, times[-1] / 4], rel=1e-9)
    for row, factor in zip(found["rows"], (2, 4), strict=True):
        assert row["subsampling"].value == pytest.approx(1024 * factor**2.5, rel=1e-6)
        assert row["theory"].value == pytest.approx(float(100 * (0.5 / row["t"]) ** 2), rel=1e-6)
        assert (row["subsampling_beyond"], row["subsampling_at_most"]) == (True, False)
        assert row["subsampling"].low < row["subsampling"].value < row["subsampling"].high
        assert row["theory"].low == pytest.approx(row["theory"].high, rel=1e-9)  # all draws are the same
    assert [point["size"] for point in found["curve"]] == SIZES.tolist()
    assert [point["t"].value for point in found["curve"]] == pytest.approx(times.tolist(), rel=1e-9)
    assert [point["size"] for point in found["theory"]] == [*SIZES, 4096, 65536]


@pytest.mark.parametrize(
    ("size", "beyond", "at_most"), [(4, False, True), (16, False, True), (300, False, False), (2000, True, False)]
)
def test_samples_needed_at_a_time_that_was_asked_for(size, beyond, at_most):
    found = needed(asked=float(power_law(size)) * (1 + 1e-9))
    (row,) = found["rows"]
    assert row["subsampling"].value == pytest.approx(max(size, 16), rel=1e-6)
    assert (row["subsampling_beyond"], row["subsampling_at_most"]) == (beyond, at_most)


def test_samples_needed_are_at_most_the_smallest_size_that_has_a_time():
    """With 16 samples nothing survives at any time, with 64 one direction does from .6 on: t = 1 needs at most 64."""
    found = cells()
    found["dimension"][{"size": 0}] = 0
    arrays = {"data": xr.Dataset(attrs={"asked_t": 1.0}), "theory": theory_of(SIZES)}
    (row,) = needed_numbers(arrays, Curves(found, 0))["rows"]
    assert row["subsampling"].value == pytest.approx(64, rel=1e-9)
    assert row["subsampling_at_most"]


def test_no_samples_are_needed_where_nothing_survives():
    hopeless = cells()
    hopeless["dimension"] = 0 * hopeless["dimension"]
    arrays = {"data": xr.Dataset(attrs={"asked_t": 0.0}), "theory": theory_of(SIZES)}
    assert needed_numbers(arrays, Curves(hopeless, 0))["rows"] == []


def test_intervals_of_samples_needed_count_the_points_whose_spectra_were_computed():
    found = needed(points=12, seen=6)
    assert {row["subsampling"].n for row in found["rows"]} == {6}
    assert {point["t"].n for point in found["curve"]} == {6}


def test_curves_leave_out_what_was_not_measured():
    found = cells(subsets=3)
    found["dimension"][{"size": 3, "subset": slice(1, None)}] = np.nan
    found["dimension"][{"size": 0, "seen": slice(4, None)}] = np.nan
    curves = Curves(found, 0)
    assert curves.resolved[1024].shape == (1, 6, 60)
    assert curves.resolved[16].shape == (3, 4, 60)
    assert curves.resolved[64].shape == (3, 6, 60)
    assert curves.points == 12
    assert curves.sizes == SIZES.tolist()


# --- numbers in words, and plain objects ---


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.4, "0"),
        (16.0, "16"),
        (999.4, "999"),
        (1000.0, "1,000"),
        (1234.0, "1,230"),
        (9999.6, "10,000"),
        (12_345.0, "12,300"),
        (999_999.0, "1,000,000"),
        (123_456_789.0, "123,000,000"),
        (1e9, "1×10^9"),
        (2e12, "2×10^12"),
        (1e300, "1×10^300"),
        (math.inf, "unlimited"),
    ],
)
def test_numbers_are_told_as_people_read_them(value, text):
    assert number(value) == text


def test_a_number_that_rounds_to_a_thousand_has_its_comma():
    assert number(999.6) == "1,000"


def test_summaries_become_what_json_holds():
    value = {
        "interval": Interval(1.5, -math.inf, 2.0, 7),
        "rate": Rate(1, 4, 0.1, 0.8),
        "list": [Interval(0.0, 0.0, math.nan, 2), 3, "word", None, True],
        "deep": {"inf": math.inf, "number": np.float64(0.25)},
    }
    found = plain(value)
    assert found == {
        "interval": {"value": 1.5, "low": "-inf", "high": 2.0, "n": 7},
        "rate": {"value": 0.25, "low": 0.1, "high": 0.8, "count": 1, "n": 4},
        "list": [{"value": 0.0, "low": 0.0, "high": "nan", "n": 2}, 3, "word", None, True],
        "deep": {"inf": "inf", "number": 0.25},
    }
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert value["deep"]["inf"] == math.inf


def test_samples_needed_in_words():
    row = {"theory": Interval(14_600.0, 81.0, math.inf, 8), "theory_at_most": False, "theory_beyond": True}
    assert samples_needed(row, "theory", " (extrapolated)") == "14,600 [81, unlimited] (extrapolated)"
    assert samples_needed({**row, "theory_beyond": False}, "theory", " (extrapolated)") == "14,600 [81, unlimited]"
    assert samples_needed({**row, "theory_at_most": True}, "theory", "") == "at most 14,600"
    unlimited = Interval(math.inf, 5_000.0, math.inf, 8)
    assert samples_needed({**row, "theory": unlimited}, "theory", "") == "unlimited [5,000, unlimited]"
    assert number(math.nan) == "unknown"


def test_noise_on_pixels_is_told_in_pixel_values_up_to_their_whole_range():
    assert sigma(0.25, True) == "standard deviation 64 of 255 pixel values"
    assert sigma(4.0, True) == "standard deviation 255 of 255 pixel values"
    assert sigma(41.98, True) == "standard deviation 3.2 times the pixel range"
    assert sigma(41.98, False) == "standard deviation 6.5"
