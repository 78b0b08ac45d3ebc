"""Figures of a model that was audited: records and rows of numbers in, matplotlib Figure out."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from geomem.data.layout import as_images
from geomem.figures.pictures import Tile, board, direction_tile, limits_of
from geomem.figures.style import HELD_OUT, TRAINING, WIDTH, caption, log_axis, style
from geomem.spectra.dimension import RESOLVED

__all__ = ["dimension_against_time", "lost_images", "model_spectra"]

_COLOURS = {"training": TRAINING, "held-out": HELD_OUT, "without the image": HELD_OUT}
_LINES = {"model": "-", "empirical": "--", "left-out": "--"}
_NAMES = {"model": "the model", "empirical": "empirical score"}


def dimension_against_time(
    rows: Sequence[Mapping[str, Any]], t: float, reading: str, held_out: bool, note: str
) -> Figure:
    """Dimension at training and held-out points against t, of the model and of the empirical score; and the share lost.

    Without held-out points there is no share.
    """
    with style():
        figure = Figure(figsize=(WIDTH, 3.5), layout="constrained")
        axes = figure.subplots(1, 2 if held_out else 1, squeeze=False)[0]
        left = axes[0]
        times = [row["t"] for row in rows]
        for source, line in ((name, _LINES[name]) for name in _NAMES):
            for key, name in (("training", "training"), ("compared", "held-out" if held_out else "without the image")):
                if key == "compared" and source == "model" and not held_out:
                    continue  # it is the empirical score's
                parts = [row[source][key] for row in rows]
                values = [p.value for p in parts]
                left.plot(
                    times, values, line, marker="o", ms=3, color=_COLOURS[name], label=f"{_NAMES[source]}, {name}"
                )
                left.fill_between(
                    times, [p.low for p in parts], [p.high for p in parts], color=_COLOURS[name], alpha=0.13, lw=0
                )
        left.set(ylabel=f"dimension ({reading})", title="dimensions")
        left.set_ylim(bottom=min(0.0, left.get_ylim()[0]))
        handles, labels = left.get_legend_handles_labels()
        figure.legend(handles, labels, handlelength=3, loc="outside upper center", ncols=4, fontsize=7.5)
        if held_out:
            _shares(axes[1], rows)
        for axis in axes:
            axis.axvline(t, color="#bbbbbb", lw=0.9)
            log_axis(axis, "t (data units squared)")
            axis.set_xticks(times, [f"{u:.2g}" for u in times])
            axis.minorticks_off()
        caption(figure, note)
    return figure


def _shares(axis: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    """The share of dimensions that the model and the empirical score have lost, with intervals."""
    for source, line in ((name, _LINES[name]) for name in _NAMES):
        shown = [(row["t"], row[source]["fraction"]) for row in rows if np.isfinite(row[source]["fraction"].low)]
        values = [s.value for _, s in shown]
        reach = [[s.value - s.low for _, s in shown], [s.high - s.value for _, s in shown]]
        colour = "#1b1b1b" if source == "model" else "#888888"
        axis.errorbar(
            [u for u, _ in shown],
            values,
            reach,
            fmt=f"o{line}",
            ms=3.5,
            lw=1.2,
            capsize=3,
            color=colour,
            label=_NAMES[source],
        )
    for level in (0.1, 0.5):
        axis.axhline(level, color="#bbbbbb", lw=0.8, ls=":")
    axis.set(ylabel="share lost at training points", title="lost", ylim=(-0.6, 1.3))
    axis.legend(fontsize=7.5, loc="lower left")


def model_spectra(records: Sequence[xr.Dataset], note: str) -> Figure:
    """Ordered survival of every score and set of the records, median over points, a panel for each t."""
    with style():
        times = records[0]["t"].values
        columns = len(times) if len(times) <= 5 else 4
        count = -(-len(times) // columns)
        figure = Figure(figsize=(WIDTH, 2.2 * count + 0.6), layout="constrained")
        axes = figure.subplots(count, columns, sharex=True, sharey=True, squeeze=False)
        for i, axis in enumerate(axes.flat):
            if i >= len(times):
                axis.set_axis_off()
                continue
            for score, where, values in _curves(records, i):
                axis.plot(
                    np.arange(1, values.size + 1),
                    np.clip(values, -0.25, 2.5),
                    _LINES[score],
                    color=_COLOURS[where],
                    lw=1.4,
                    label=f"{_NAMES.get(score, 'empirical score')}, {where}",
                )
            axis.axhline(RESOLVED, color="#999999", lw=0.8, ls=":")
            axis.set(xscale="log", title=f"t = {times[i]:.2g}")
            axis.tick_params(labelsize=7.5)
        for row in axes:
            row[0].set_ylabel("survival")
        for axis in axes[-1]:
            axis.set_xlabel("direction, ordered")
        handles, labels = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, handlelength=3, loc="outside upper center", ncols=4, fontsize=7.5)
        caption(figure, note)
    return figure


def _curves(records: Sequence[xr.Dataset], i: int) -> Iterator[tuple[str, str, NDArray[np.float64]]]:
    """Score, set and ordered survival at the i-th noise variance."""
    for record in records:
        for score in record["score"].values:
            for where in record["set"].values:
                values = record["survival"].isel(t=i).sel(score=score, set=where).median("point").values
                yield str(score), "without the image" if score == "left-out" else str(where), values


def lost_images(
    points: xr.Dataset,
    model: xr.Dataset,
    rows: Sequence[Mapping[str, Any]],
    shape: tuple[int, ...],
    note: str,
    each: int = 4,
) -> Figure:
    """The training images that have lost most and least: what the model makes of them, directions kept and lost there."""
    drawn = []
    half = min(each, len(rows) // 2)
    held_out = "partner" in points
    pictures = points["picture"].transpose("set", "point", "value").values
    limits = limits_of(pictures[0])
    for title, chosen in (("most is lost", rows[:half]), ("least is lost", rows[len(rows) - half :])):
        for number, row in enumerate(chosen):
            i = row["place"]
            at = model.isel(point=i, score=0).sel(set="training")

            def image(values: NDArray[np.float64]) -> NDArray[np.float64]:
                return np.asarray(as_images(values[None], shape)[0])

            heading = f"dim {row['dimension']:.0f}"
            tiles: list[Tile | None] = [
                Tile(image(at["picture"].values), limits, heading),
                Tile(image(at["guess"].values), limits, "E[y|x]"),
            ]
            if held_out:
                partner = int(points["partner"].values[i])
                tiles.append(Tile(image(pictures[1, partner]), limits, f"held out: dim {row['compared']:.0f}"))
            for kind in ("kept", "lost"):
                for vector, kappa in zip(at[kind].values, at[f"{kind}_survival"].values, strict=True):
                    found = bool(np.isfinite(vector).all())
                    tiles.append(direction_tile(vector, shape, f"{kind} {kappa:.2f}") if found else None)
            drawn.append((f"training images where {title}" if number == 0 else "", tiles))
    return board(drawn, note)
