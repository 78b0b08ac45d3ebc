"""Figs. 6 and 7: spectra, dimension and copies against the number of training images, and the second differences of Alg. 3."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from geomem.figures.style import HELD_OUT, TRAINING, WIDTH, caption, style

__all__ = ["copies_figure", "dimension_figure", "image_figure", "kink_figure", "spectra_figure"]

_COLOURS = {"training": TRAINING, "held-out": HELD_OUT}
_LINES = {"training": "-", "held-out": "--"}
_SCORES = {"network": "-", "empirical": ":"}
# Sizes whose second differences are shown.
_SHOWN = 3

_Row = Mapping[str, Any]


def spectra_figure(arrays: xr.Dataset, note: str) -> Figure:
    """t times the mean ordered singular values of the network, a panel for each t, a colour for each N."""
    times = arrays["t"].values
    with style():
        figure = Figure(figsize=(WIDTH, 2.9), layout="constrained")
        axes = figure.subplots(1, len(times), sharey=True, squeeze=False)[0]
        for axis, t in zip(axes, times, strict=True):
            bar = _spectra(axis, arrays, t)
            axis.set_title(f"t = {t:.2g}")
        axes[0].set_ylabel("t × singular value")
        figure.colorbar(bar, ax=axes[-1], label="N")
        figure.legend(*_sets(), loc="outside upper center", ncols=2, fontsize=7.5)
        caption(figure, note)
    return figure


def dimension_figure(rows: Sequence[_Row], reading: str, note: str) -> Figure:
    """A reading against N, a panel for each t: the network, and the empirical score of the same images."""
    times = sorted({row["t"] for row in rows})
    with style():
        figure = Figure(figsize=(WIDTH, 2.9), layout="constrained")
        axes = figure.subplots(1, len(times), squeeze=False)[0]
        for axis, t in zip(axes, times, strict=True):
            _dimension(axis, [row for row in rows if row["t"] == t], reading)
            axis.set_title(f"t = {t:.2g}")
        axes[0].set_ylabel(f"{reading.removesuffix('_noisy').replace('_', ' ')} dimension")
        figure.legend(*_scores(), loc="outside upper center", ncols=2, fontsize=7.5)
        caption(figure, note)
    return figure


def copies_figure(at: Sequence[_Row], t: float, note: str) -> Figure:
    """Copies among samples, and the denoising error at t, against N."""
    sizes = [row["size"] for row in at]
    with style():
        figure = Figure(figsize=(WIDTH, 2.9), layout="constrained")
        left, right = figure.subplots(1, 2)
        for key, name, colour in (("copies", "samples", TRAINING), ("control", "held-out images", HELD_OUT)):
            rates = [row[key] for row in at]
            left.plot(sizes, [r.value for r in rates], "o-", ms=3, color=colour, label=name)
            left.fill_between(sizes, [r.low for r in rates], [r.high for r in rates], color=colour, alpha=0.15, lw=0)
        left.set(ylabel="share that are copies", ylim=(-0.03, 1.03))
        left.legend(fontsize=7.5)
        for where, colour in _COLOURS.items():
            right.plot(
                sizes, [row["denoising"][where] for row in at], "o-", ms=3, color=colour, label=f"{where} images"
            )
        right.set(yscale="log", ylabel=f"denoising error at t = {t:.2g}")
        right.legend(fontsize=7.5)
        for axis in (left, right):
            _size_axis(axis, sizes)
        caption(figure, note)
    return figure


def kink_figure(arrays: xr.Dataset, note: str) -> Figure:
    """Fig. 7: second differences of one spectrum at a training image, and the dimension that Alg. 3 reads from it."""
    sizes = _some(arrays["size"].values)
    with style():
        figure = Figure(figsize=(WIDTH, 2.6), layout="constrained")
        axes = figure.subplots(1, len(sizes), sharey=True, squeeze=False)[0]
        for axis, size in zip(axes, sizes, strict=True):
            _kink(axis, arrays, int(size))
        axes[0].set_ylabel("second difference")
        caption(figure, note)
    return figure


def image_figure(
    records: Mapping[str, xr.Dataset],
    tables: Mapping[str, Sequence[_Row]],
    times: Mapping[str, float],
    readings: Mapping[str, str],
    note: str,
) -> Figure:
    """Figs. 6 and 7, a row for each data set: spectra, resolved dimension, Alg. 3's dimension, and its second differences.

    Args:
        records: The joined record of each sweep.
        tables: Its rows, see `sweep.numbers.rows`.
        times: Its reference t.
        readings: Its reading of the resolved dimension.
        note: Small print.
    """
    with style():
        figure = Figure(figsize=(13, 2.6 * len(records) + 0.6), layout="constrained")
        grid = figure.subplots(len(records), 5, squeeze=False)
        for line, (name, arrays) in zip(grid, records.items(), strict=True):
            rows, smallest, middle = tables[name], float(arrays["t"].values[0]), times[name]
            reading = readings[name]
            for axis, t in zip(line[:2], (smallest, middle), strict=True):
                bar = _spectra(axis, arrays, t)
                axis.set_title(f"spectra, t = {t:.2g}")
            line[0].set_ylabel(f"{name}\nt × singular value")
            figure.colorbar(bar, ax=line[1], label="N")
            _dimension(line[2], [row for row in rows if row["t"] == middle], reading)
            line[2].set(title=f"resolved dimension, t = {middle:.2g}")
            _dimension(line[3], [row for row in rows if row["t"] == smallest], "second_difference", scores=("network",))
            line[3].set(title=f"Alg. 3, t = {smallest:.2g}")
            _kink(line[4], arrays, int(arrays["size"].values[-1]))
        figure.legend(*_scores(), loc="outside upper center", ncols=4, fontsize=8)
        caption(figure, f"Spectra: solid at training images, dashed at held-out ones. {note}")
    return figure


def _some(sizes: np.ndarray) -> np.ndarray:
    """Sizes to show, from the smallest to the largest."""
    return np.unique(sizes[np.linspace(0, len(sizes) - 1, min(_SHOWN, len(sizes))).round().astype(int)])


def _spectra(axis: Axes, arrays: xr.Dataset, t: float) -> ScalarMappable:
    sizes = arrays["size"].values
    norm, colours = (
        LogNorm(float(sizes.min()), max(float(sizes.max()), float(sizes.min()) * 1.01)),
        colormaps["viridis"],
    )
    direction = np.arange(1, arrays.sizes["direction"] + 1)
    for size in sizes:
        for where, line in _LINES.items():
            values = arrays["scaled_value"].sel(score="network", set=where, size=size, t=t).mean("seed").values
            axis.plot(direction, values, line, color=colours(norm(size)), lw=1.1 if where == "training" else 0.7)
    top = float(arrays["scaled_value"].sel(score="network").max())
    axis.set(xlabel="direction", yscale="log", ylim=(1e-3, 1.5 * top))
    return ScalarMappable(norm, colours)


def _dimension(
    axis: Axes, rows: Sequence[_Row], reading: str, scores: Sequence[str] = ("network", "empirical")
) -> None:
    sizes = [row["size"] for row in rows]
    for score in scores:
        for where, colour in _COLOURS.items():
            found = [row["dimension"][reading][score][where] for row in rows]
            values = np.array([f.value for f in found])
            axis.plot(sizes, values, _SCORES[score], marker="o", ms=2.5, lw=1.2, color=colour)
            if score == "network":
                low, high = (np.array([getattr(f, end) for f in found]) for end in ("low", "high"))
                axis.fill_between(sizes, low, high, color=colour, alpha=0.15, lw=0)
    _size_axis(axis, sizes)
    axis.set_ylim(bottom=0)


def _kink(axis: Axes, arrays: xr.Dataset, size: int) -> None:
    """Second differences at the smallest t and the first training point, from the first that Alg. 3 looks at."""
    t = float(arrays["t"].values[0])
    values = arrays["example"].sel(size=size, t=t).isel(seed=0).values.astype(np.float64)
    dimensions = arrays["dimension"].sel(size=size, t=t, score="network", set="training", reading="second_difference")
    found = float(dimensions.isel(seed=0, point=0))
    discard = int(arrays.attrs["discard"])
    kinks = np.abs(np.diff(values[discard:], 2))
    # Dimension that a kink at each place would mean.
    meant = values.size - (np.arange(kinks.size) + discard) - 2
    axis.plot(meant, kinks, lw=0.7, color="#1b1b1b")
    axis.axhline(float(arrays.attrs["threshold"]) * float(np.median(kinks)), color="#999999", lw=0.8, ls=":")
    if np.isfinite(found):
        axis.axvline(found, color=TRAINING, lw=1.0)
    shown = f"dimension {found:.0f}" if np.isfinite(found) else "no kink"
    axis.set(title=f"N = {size:,}: {shown}", xlabel="dimension d - n", yscale="log")


def _size_axis(axis: Axes, sizes: Sequence[int]) -> None:
    """N on a logarithmic axis, with labels at some of the sizes."""
    axis.set(xscale="log", xlabel="N")
    # The ends, and what lies nearest to the middle between them: more would run into each other.
    ends = np.log([sizes[0], sizes[-1]])
    shown = sorted({sizes[0], min(sizes, key=lambda n: abs(np.log(n) - ends.mean())), sizes[-1]})
    axis.set_xticks(shown, [f"{n:,}" for n in shown])
    axis.minorticks_off()


def _sets() -> tuple[list[Line2D], list[str]]:
    lines = [Line2D([], [], color="#555555", ls=ls) for ls in _LINES.values()]
    return lines, [f"{where} images" for where in _LINES]


def _scores() -> tuple[list[Line2D], list[str]]:
    pairs = [(score, where) for score in _SCORES for where in _COLOURS]
    lines = [Line2D([], [], color=_COLOURS[where], ls=_SCORES[score]) for score, where in pairs]
    return lines, [
        f"{'network' if score == 'network' else 'empirical score'}, {where} images" for score, where in pairs
    ]
