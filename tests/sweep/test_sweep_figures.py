"""Figures of a sweep, from records by hand."""

import io
from typing import Any

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

from geomem.figures import sweep as figures
from geomem.figures.style import HELD_OUT, TRAINING
from geomem.jobs.sweep.numbers import READING, reference_time, rows
from sweep.records import NEAR, made


def drawn(figure: Figure) -> None:
    with io.BytesIO() as stream:
        figure.savefig(stream, format="png", dpi=40)
        assert stream.getvalue()[:4] == b"\x89PNG"


def lines_of(axis: Any, colour: str, style: str) -> list[np.ndarray]:
    return [line.get_ydata() for line in axis.lines if (line.get_color(), line.get_linestyle()) == (colour, style)]


@pytest.mark.parametrize(
    "arrays",
    [
        made(),
        made(sizes=(2,), seeds=(0,), times=(0.1,)),
        made(sizes=(500,), seeds=(3,), times=(0.1, 0.2), samples=1, controls=2),
        made().where(made()["reading"] != "second_difference"),
        made(points=2).where(made()["point"] < 1),
    ],
    ids=["whole", "one", "one size", "no kink", "one point"],
)
def test_figures_are_drawn_from_any_record(arrays: xr.Dataset) -> None:
    arrays = arrays.copy(deep=True)
    for name in ("sample_distance", "control_distance", "example", "scaled_value", "loss"):  # which `where` widened
        extra = [k for k in ("reading", "point") if k in arrays[name].dims]
        arrays[name] = arrays[name].isel(dict.fromkeys(extra, 0), drop=True)
    if "reading" in arrays["denoising"].dims:
        arrays["denoising"] = arrays["denoising"].isel(reading=0, drop=True)
    table, t = rows(arrays), reference_time(arrays)
    for figure in (
        figures.dimension_figure(table, READING, "note"),
        figures.spectra_figure(arrays, "note"),
        figures.copies_figure([row for row in table if row["t"] == t], t, "note"),
        figures.kink_figure(arrays, "note"),
        figures.image_figure({"one": arrays}, {"one": table}, {"one": t}, {"one": READING}, "note"),
    ):
        drawn(figure)


def test_figures_show_the_numbers_of_the_table() -> None:
    arrays = made()
    arrays["sample_distance"].loc[{"size": 2}] = NEAR
    arrays["dimension"].loc[{"size": 64, "score": "network"}] += 5
    axes = figures.dimension_figure(rows(arrays), READING, "note").axes
    assert len(axes) == 3
    for axis in axes:
        assert lines_of(axis, TRAINING, "-")[0].tolist() == [13, 18, 13]
        assert lines_of(axis, HELD_OUT, "-")[0].tolist() == [33, 38, 33]
        assert lines_of(axis, TRAINING, ":")[0].tolist() == [13, 13, 13]
    left, right = figures.copies_figure([row for row in rows(arrays) if row["t"] == 0.1], 0.1, "note").axes
    assert lines_of(left, TRAINING, "-")[0].tolist() == [1, 0, 0]
    assert lines_of(right, HELD_OUT, "-")[0].tolist() == [2, 2, 2]
    spectra = figures.spectra_figure(arrays, "note").axes
    assert len(spectra[0].lines) == 3 * 2
    np.testing.assert_allclose(spectra[0].lines[0].get_ydata(), arrays["example"].values[0, 0, 0])


def test_the_kink_is_where_the_spectrum_has_its_step() -> None:
    arrays = made()
    arrays["dimension"].loc[{"reading": "second_difference"}] = 64 - 21
    (axis, *_) = figures.kink_figure(arrays, "note").axes
    kinks = next(line for line in axis.lines if len(line.get_xdata()) > 2)
    found = kinks.get_xdata()[np.argmax(kinks.get_ydata())]
    # The 21st value is the last before the step: D is largest at n and n + 1 around it, of dimensions 43 and 42.
    assert found in (43, 42)
    assert kinks.get_xdata()[0] == 64 - 8 - 2
    assert 43 in [line.get_xdata()[0] for line in axis.lines]
    assert "dimension 43" in axis.get_title()
