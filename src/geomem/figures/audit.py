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
from geomem.measure.verdict import LITTLE, MUCH, SOME
from geomem.spectra.dimension import RESOLVED

__all__ = ["closer_images", "freedom_against_time", "model_spectra"]

_COLOURS = {"training": TRAINING, "held-out": HELD_OUT, "without the image": HELD_OUT}
# Images that are shown of each kind.
_EACH = 3
_LINES = {"model": "-", "empirical": "--", "left-out": "--"}
_NAMES = {"model": "the model", "empirical": "empirical score"}


def freedom_against_time(rows: Sequence[Mapping[str, Any]], t: float, compared: bool, note: str) -> Figure:
    """Degrees of freedom at training and held-out points against t, of the model and of the empirical score; and the share lost.

    Args:
        rows: By noise variance: t, training, compared, fraction, empirical.
        t: The reference t.
        compared: Whether there are points of both sets, so that there is a share.
        note: Small print.
    """
    with style():
        figure = Figure(figsize=(WIDTH, 3.5), layout="constrained")
        axes = figure.subplots(1, 2 if compared else 1, squeeze=False)[0]
        left, times = axes[0], [row["t"] for row in rows]
        for where, key, other in (("training", "training", "training"), ("held-out", "compared", "held_out")):
            if rows[0][key] is not None:
                _band(left, times, [row[key] for row in rows], "-", where, f"the model, {where}")
            if rows[0]["empirical"] is not None:
                _band(left, times, [row["empirical"][other] for row in rows], "--", where, f"empirical score, {where}")
        left.set(ylabel="degrees of freedom", title="degrees of freedom")
        # Between training images the empirical score jumps; its squares would leave no room for the model's.
        tops = [row[key].high for row in rows for key in ("training", "compared") if row[key] is not None]
        left.set_ylim(-0.03 * max(tops), 1.5 * max(tops))
        handles, labels = left.get_legend_handles_labels()
        figure.legend(handles, labels, handlelength=3, loc="outside upper center", ncols=4, fontsize=7.5)
        if compared:
            _shares(axes[1], rows)
        for axis in axes:
            axis.axvline(t, color="#bbbbbb", lw=0.9)
            log_axis(axis, "t (data units squared)")
            axis.set_xticks(times, [f"{u:.2g}" for u in times])
            axis.minorticks_off()
        caption(figure, note)
    return figure


def _band(axis: Axes, times: Sequence[float], parts: Sequence[Any], line: str, where: str, label: str) -> None:
    axis.plot(times, [p.value for p in parts], line, marker="o", ms=3, color=_COLOURS[where], label=label)
    if line == "-":  # the empirical score's would hide the model's
        low, high = [p.low for p in parts], [p.high for p in parts]
        axis.fill_between(times, low, high, color=_COLOURS[where], alpha=0.13, lw=0)


def _shares(axis: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    """The share that the model and the empirical score have lost, with intervals."""
    empirical = [row["empirical"]["lost"] if row["empirical"] is not None else None for row in rows]
    for name, line, colour, shares in (
        ("the model", "-", "#1b1b1b", [row["fraction"] for row in rows]),
        ("empirical score", "--", "#888888", empirical),
    ):
        shown = [(row["t"], s) for row, s in zip(rows, shares, strict=True) if s is not None and np.isfinite(s.low)]
        reach = [[s.value - s.low for _, s in shown], [s.high - s.value for _, s in shown]]
        values = [s.value for _, s in shown]
        axis.errorbar(
            [u for u, _ in shown], values, reach, fmt=f"o{line}", ms=3.5, lw=1.2, capsize=3, color=colour, label=name
        )
    for level in (LITTLE, SOME, MUCH):
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


def closer_images(found: xr.Dataset, rows: Sequence[Mapping[str, Any]], shape: tuple[int, ...], note: str) -> Figure:
    """Images that were looked at closely: what the model makes of them with noise, and directions kept and lost there.

    Args:
        found: What `measure.closer.look` returned; the partners of `rows`, if they have any, are its second half.
        rows: Of single images: place, set, why, dimension, and compared, the dimension of its partner.
        shape: Shape of an image.
        note: Small print.
    """
    headings = {"most": "images known best", "least": "images known least", "random": "random images"}
    half = len(rows)
    pictures = found["picture"].values
    limits = limits_of(pictures)

    def image(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(as_images(values[None], shape)[0])

    drawn: list[tuple[str, list[Tile | None]]] = []
    for why, heading in headings.items():
        for number, row in enumerate([row for row in rows if row["why"] == why][:_EACH]):
            at = found.isel(point=row["place"])
            tiles: list[Tile | None] = [
                Tile(image(at["picture"].values), limits, f"dim {row['dimension']:.0f}"),
                Tile(image(at["noisy"].values), limits, "with noise"),
                Tile(image(at["guess"].values), limits, "E[y|x]"),
            ]
            if "compared" in row:
                partner = pictures[row["place"] + half]
                tiles.append(Tile(image(partner), limits, f"held out: {row['compared']:.0f}"))
            for kind in ("kept", "lost"):
                for vector, kappa in zip(at[kind].values, at[f"{kind}_survival"].values, strict=True):
                    there = bool(np.isfinite(vector).all())
                    tiles.append(direction_tile(vector, shape, f"{kind} {kappa:z.2f}") if there else None)
            drawn.append((heading if number == 0 else "", tiles))
    return board(drawn, note)
