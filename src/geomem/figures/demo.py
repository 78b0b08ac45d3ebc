"""The demo's figures: arrays in, matplotlib Figure out."""

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from numpy.typing import NDArray

from geomem.figures.pictures import Tile, board
from geomem.figures.style import HELD_OUT, TRAINING, caption, log_axis, style
from geomem.intervals import Interval
from geomem.spectra.dimension import RESOLVED

__all__ = [
    "dimension_by_size",
    "dimension_by_time",
    "generated_images",
    "loss_curves",
    "memorized_images",
    "singular_values",
    "survival_spectra",
]

_COLOURS = {"training": TRAINING, "held-out": HELD_OUT}
_TITLES = {"network": "trained network", "empirical": "empirical score", "theory": "theory"}
_PANELS = (9.2, 3.1)


def dimension_by_size(
    sizes: Sequence[int], kept: Mapping[str, Mapping[str, Sequence[Interval]]], label: str, note: str
) -> Figure:
    """Dimension with its interval against the number of training samples, one panel a score.

    `kept` holds intervals by score and set, for each of the sizes.
    """
    with style():
        figure = Figure(figsize=_PANELS, layout="constrained")
        axes = figure.subplots(1, len(_TITLES), sharey=True)
        for axis, (score, title) in zip(axes, _TITLES.items(), strict=True):
            for name, colour in _COLOURS.items():
                parts = kept[score][name]
                values = np.array([p.value for p in parts])
                reach = np.array([[p.value - p.low for p in parts], [p.high - p.value for p in parts]])
                axis.errorbar(
                    sizes, values, reach, fmt="o-", ms=4, lw=1.4, capsize=3, color=colour, label=f"{name} points"
                )
            axis.set(xscale="log", xlabel="training samples N", title=title)
            axis.set_xticks(sizes, [f"{size:,}" for size in sizes])
            axis.minorticks_off()
        axes[0].set_ylabel(label)
        axes[-1].legend(loc="upper right")
        caption(figure, note)
    return figure


def dimension_by_time(dimension: xr.DataArray, label: str, note: str) -> Figure:
    """Mean dimension over points against t, one panel for each training-set size; line styles are the scores."""
    with style():
        sizes = dimension["size"].values
        figure = Figure(figsize=_PANELS, layout="constrained")
        axes = np.atleast_1d(figure.subplots(1, len(sizes), sharey=True))
        for axis, size in zip(axes, sizes, strict=True):
            for (score, title), line in zip(_TITLES.items(), ("-", "--", ":"), strict=True):
                for name, colour in _COLOURS.items():
                    values = dimension.sel(size=size, score=score, set=name).mean("point")
                    axis.plot(values["t"], values, line, color=colour, lw=1.5, label=f"{title}, {name}")
            log_axis(axis, "noise variance t")
            axis.set_title(f"N = {size:,}")
        axes[0].set_ylabel(label)
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=3)
        caption(figure, note)
    return figure


def survival_spectra(survival: xr.DataArray, t: float, note: str) -> Figure:
    """Median survival of the ordered directions at time t: rows are scores, columns training-set sizes."""
    with style():
        sizes = survival["size"].values
        figure = Figure(figsize=(9.2, 5.2), layout="constrained")
        axes = figure.subplots(len(_TITLES), len(sizes), sharex=True, sharey=True, squeeze=False)
        for row, (score, title) in zip(axes, _TITLES.items(), strict=True):
            for axis, size in zip(row, sizes, strict=True):
                for name, colour in _COLOURS.items():
                    values = survival.sel(size=size, t=t, score=score, set=name)
                    axis.plot(values["direction"], values.median("point"), color=colour, lw=1.5, label=f"{name} points")
                axis.axhline(RESOLVED, color="#999999", lw=0.8, ls=":")
                axis.set_ylim(-0.05, 1.5)
            row[0].set_ylabel(f"{title}\nsurvival")
        for axis, size in zip(axes[0], sizes, strict=True):
            axis.set_title(f"N = {size:,}")
        for axis in axes[-1]:
            axis.set_xlabel("direction")
        axes[0, 0].legend(loc="upper right", fontsize=8)
        caption(figure, note)
    return figure


def generated_images(samples: xr.Dataset, width: int, note: str, columns: int = 12) -> Figure:
    """For each training-set size, images that the network drew and, below each, the nearest training image.

    The drawn images are those with the smallest ratio of nearest to second-nearest distance first: copies, if any.
    """
    rows = []
    for size in samples["size"].values:
        one = samples.sel(size=size)
        ratio = (one["distance"].sel(rank=1) / one["distance"].sel(rank=2)).values
        chosen = np.argsort(ratio)[:columns]
        nearest = one["training"].values[one["neighbour"].sel(rank=1).values[chosen]]
        heading = f"N = {size:,}: drawn by the network (above), nearest training image (below)"
        rows += [(heading, _digits(one["image"].values[chosen], width)), ("", _digits(nearest, width))]
    return board(rows, note)


def memorized_images(points: xr.Dataset, samples: xr.Dataset, t: float, width: int, note: str) -> Figure:
    """Training images of the smallest network, those at which it has fewest degrees of freedom first, in two rows."""
    size = int(points["size"].min())
    at = points["dimension"].sel(reading="degrees_of_freedom", size=size, t=t, score="network", set="training")
    left = at.dropna("point").values
    order = np.argsort(left)
    tiles = _digits(samples["training"].values[order], width, [f"{left[i]:z.1f}" for i in order])
    half = (len(tiles) + 1) // 2
    return board([("memorized most", tiles[:half]), ("memorized least", tiles[half:])], note)


def _digits(rows: NDArray[np.float64], width: int, titles: Sequence[str] | None = None) -> list[Tile]:
    """Digits as dark ink on white."""
    names = titles or [""] * len(rows)
    return [Tile(r.reshape(-1, width), (-1, 1), name, "gray_r") for r, name in zip(rows, names, strict=True)]


def singular_values(origin: xr.Dataset, size: int, note: str) -> Figure:
    """Ordered singular values of t J at the origin for each t (the paper's Fig. 4), four panels."""
    panels = {
        "row": "Eq. 18, row form",
        "correlated": "correlated theory",
        "empirical": "empirical score",
        "network": "trained network",
    }
    with style():
        figure = Figure(figsize=_PANELS, layout="constrained")
        axes = figure.subplots(1, len(panels), sharey=True)
        times = origin["t"].values
        norm, colours = LogNorm(times.min(), times.max()), colormaps["viridis"]
        for axis, (name, title) in zip(axes, panels.items(), strict=True):
            for t in times:
                values = t * origin[name].sel(size=size, t=t)
                axis.plot(origin["direction"], values, color=colours(norm(t)), lw=1)
            axis.set(title=title, xlabel="direction")
        axes[0].set(ylabel=f"singular values of t J, N = {size:,}", ylim=(0, 2.05))
        scale = figure.colorbar(ScalarMappable(norm, colours), ax=axes, pad=0.01, label="t")
        scale.ax.axhline(float(origin["condensation_time"].sel(size=size)), color="white", lw=1.5)
        caption(figure, note)
    return figure


def loss_curves(curves: Sequence[tuple[str, xr.DataArray]], note: str) -> Figure:
    """Loss of each network against training steps, one panel a data set."""
    titles = list(dict.fromkeys(title for title, _ in curves))
    with style():
        figure = Figure(figsize=_PANELS, layout="constrained")
        axes = figure.subplots(1, len(titles), squeeze=False)[0]
        for axis, title in zip(axes, titles, strict=True):
            mine = [(curve, size) for name, curve in curves if name == title for size in curve["size"].values]
            for (curve, size), shade in zip(mine, np.linspace(0.15, 0.85, len(mine)), strict=True):
                line = curve.sel(size=size)
                axis.plot(line["step"], line, lw=1.4, color=colormaps["viridis"](shade), label=f"N = {size:,}")
            axis.set(xlabel="training steps", title=title, yscale="log")
            axis.legend()
        axes[0].set_ylabel("loss")
        caption(figure, note)
    return figure
