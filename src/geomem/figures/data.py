"""Figures of `geomem data`: records and rows of numbers in, matplotlib Figure out."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from geomem.data.layout import as_images
from geomem.figures.pictures import Tile, board, direction_tile, limits_of
from geomem.figures.style import HELD_OUT, TRAINING, WIDTH, caption, log_axis, style
from geomem.measure.posterior import MAIN
from geomem.spectra.dimension import RESOLVED

__all__ = [
    "dimension_by_size",
    "dimension_by_time",
    "directions",
    "effective_samples",
    "isolated",
    "predictions",
    "samples_needed",
    "survival_spectra",
]

_COLOURS = {"training": TRAINING, "held-out": HELD_OUT}
_GREY = "#666666"
_TIME = "noise variance t (data units squared)"
Shape = tuple[int, ...]


def dimension_by_size(rows: Sequence[Mapping[str, Any]], t: float, note: str) -> Figure:
    """Resolved dimension with its interval against N, measured and predicted; `rows` are the summary's."""
    with style():
        figure = Figure(figsize=(WIDTH, 3.3), layout="constrained")
        axis = figure.subplots()
        sizes = [row["size"] for row in rows]
        for key, name in (("training", "training"), ("held_out", "held-out")):
            for prefix, line, label in (("", "o-", "empirical score"), ("theory_", "s--", "theory, Gaussian")):
                parts = [row[prefix + key] for row in rows]
                reach = [[p.value - p.low for p in parts], [p.high - p.value for p in parts]]
                axis.errorbar(
                    sizes,
                    [p.value for p in parts],
                    reach,
                    fmt=line,
                    ms=4,
                    lw=1.4 if not prefix else 1,
                    capsize=3,
                    color=_COLOURS[name],
                    alpha=1 if not prefix else 0.55,
                    label=f"{name} points, {label}",
                )
        axis.set(xscale="log", xlabel="training samples N", ylabel=f"resolved dimension at t = {t:.3g}")
        axis.set_xticks(sizes, [f"{size:,}" for size in sizes])
        axis.minorticks_off()
        axis.set_ylim(bottom=min(0, axis.get_ylim()[0]))
        axis.legend(fontsize=8)
        caption(figure, note)
    return figure


def dimension_by_time(cells: xr.Dataset, theory: xr.Dataset, variances: NDArray[np.float64], note: str) -> Figure:
    """Mean resolved dimension against t for the smallest, a middle and the largest N, measured and predicted."""
    with style():
        sizes = _some(cells["size"].values)
        figure = Figure(figsize=(WIDTH, 3.3), layout="constrained")
        axes = np.atleast_1d(figure.subplots(1, len(sizes), sharey=True))
        t = cells["t"].values
        exact = (variances[:, None] > t).sum(0)
        top = 1.0
        for axis, size in zip(axes, sizes, strict=True):
            for name, colour in _COLOURS.items():
                values = cells["dimension"].sel(reading=MAIN, size=size, set=name).mean(("subset", "seen"))
                key, over = ("training", "point") if name == "training" else ("held_out", "draw")
                guess = theory[key].sel(size=size).mean(over)
                axis.plot(t, values, color=colour, lw=1.6, label=f"{name} points")
                axis.plot(t, guess, "--", color=colour, lw=1.1, label=f"{name}, theory")
                top = max(top, float(values.max()), float(guess.max()))
            axis.plot(t, exact, ":", color=_GREY, lw=1.1, label="directions with variance above t")
            log_axis(axis, "t")
            axis.set_title(f"N = {size:,}")
        axes[0].set(ylabel="resolved dimension", ylim=(-0.04 * top, 1.6 * top))
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=3)
        caption(figure, note)
    return figure


def predictions(theory: xr.Dataset, note: str) -> Figure:
    """Theory's resolved dimension at held-out points against t, one line for each N, the data's and larger ones."""
    with style():
        figure = Figure(figsize=(WIDTH, 3.3), layout="constrained")
        axis = figure.subplots()
        sizes = theory["size"].values
        for size, colour in zip(sizes, colormaps["viridis"](np.linspace(0, 0.92, len(sizes))), strict=True):
            mean = theory["held_out"].sel(size=size).mean("draw")
            axis.plot(theory["t"], mean, color=colour, lw=1.4, label=f"N = {size:,}")
        log_axis(axis, _TIME)
        axis.set_ylabel("predicted resolved dimension,\nheld-out points")
        axis.legend(fontsize=8)
        caption(figure, note)
    return figure


def survival_spectra(cells: xr.Dataset, focus: float, note: str) -> Figure:
    """Median ordered survival: columns are times around the focus, rows the smallest and the largest N."""
    with style():
        grid = cells["t"].values
        times = sorted({float(grid[np.argmin(abs(np.log(grid / (focus * f))))]) for f in (0.2, 1.0, 5.0)})
        sizes = sorted({int(cells["size"].min()), int(cells["size"].max())})
        figure = Figure(figsize=(WIDTH, 2.2 * len(sizes) + 0.5), layout="constrained")
        axes = figure.subplots(len(sizes), len(times), sharex=True, sharey=True, squeeze=False)
        for row, size in zip(axes, sizes, strict=True):
            for axis, t in zip(row, times, strict=True):
                for name, colour in _COLOURS.items():
                    values = cells["survival"].sel(size=size, t=t, set=name).mean("subset")
                    axis.plot(cells["direction"], values, color=colour, lw=1.5, label=f"{name} points")
                axis.axhline(RESOLVED, color="#999999", lw=0.8, ls=":")
                axis.set(xscale="log")
            row[0].set_ylabel(f"N = {size:,}\nsurvival")
        for axis, t in zip(axes[0], times, strict=True):
            axis.set_title(f"t = {t:.2g}")
        for axis in axes[-1]:
            axis.set_xlabel("direction, ordered")
        axes[0, -1].legend(fontsize=8)
        caption(figure, note)
    return figure


def effective_samples(cells: xr.Dataset, theory: xr.Dataset, half: float, note: str) -> Figure:
    """Left: samples that a held-out point's posterior stands on. Right: a training point's own weight. Both against t."""
    with style():
        figure = Figure(figsize=(WIDTH, 3.4), layout="constrained")
        left, right = figure.subplots(1, 2)
        sizes = cells["size"].values
        for size, colour in zip(sizes, colormaps["viridis"](np.linspace(0, 0.92, len(sizes))), strict=True):
            at = cells.sel(size=size)
            # 1 / mean of sum w^2: the mean of N~ itself would be that of its few largest values.
            held = 1 / (1 / at["effective_samples"].sel(set="held-out")).mean(("subset", "point"))
            left.plot(cells["t"], held, color=colour, lw=1.4, label=f"N = {size:,}")
            right.plot(cells["t"], at["own_weight"].sel(set="training").mean(("subset", "point")), color=colour, lw=1.4)
            right.plot(cells["t"], theory["own_weight"].sel(size=size).mean("point"), "--", color=colour, lw=1)
        left.axvline(half, color=_GREY, lw=0.9, ls=":")
        left.set(yscale="log", ylabel="effective samples", title="at held-out points")
        right.set(ylabel="own weight", title="at training points (dashed: theory)")
        for axis in (left, right):
            log_axis(axis, _TIME)
        left.legend(fontsize=8)
        caption(figure, note)
    return figure


def samples_needed(needed: Mapping[str, Any], cells: xr.Dataset, theory: xr.Dataset, by_size: Any, note: str) -> Figure:
    """Samples until a direction survives at t (left), and until the score at held-out points condenses at t (right)."""
    with style():
        figure = Figure(figsize=(WIDTH, 3.6), layout="constrained")
        left, right = figure.subplots(1, 2, sharex=True, sharey=True)
        _with_bars(left, [(p["t"], p["size"]) for p in needed["curve"]], "subsampling the data")
        _with_bars(left, [(p["t"], p["size"]) for p in needed["theory"]], "theory, Gaussian", "s--", TRAINING)
        _with_bars(right, [(p["half"], p["size"]) for p in by_size], "subsampling the data (Σw² = ½)")
        t = theory["t"].values
        nats = theory["nats"].transpose("t", "point").values
        right.plot(
            t, np.exp(np.minimum(nats.mean(1), 700)), "--", lw=1.2, color=TRAINING, label="theory, Gaussian: exp(d h)"
        )
        largest = int(cells["size"].max())
        seen = cells["information"].sel(size=largest, set="held-out").mean(("subset", "point")).values
        right.plot(t, np.exp(seen), lw=1.2, color="#009E73", label="information in the data: exp(ln N − H)")
        for axis in (left, right):
            axis.axhline(largest, color=_GREY, lw=0.9, ls=":")
            log_axis(axis, _TIME)
        left.set(yscale="log", ylabel="samples N", title="one direction survives", ylim=(2, 300 * largest))
        right.set_title("held-out points condense")
        for axis in (left, right):
            axis.legend(fontsize=7.5, loc="upper right")
        caption(figure, note)
    return figure


def isolated(memorized: xr.Dataset, shape: Shape, note: str) -> Figure:
    """The most and the least isolated training images with their nearest neighbours."""
    times = memorized["half_weight_time"].values[memorized["end"].values]
    half = len(times) // 2
    pictures, neighbours = (as_images(memorized[name].values, shape) for name in ("picture", "neighbour"))
    limits = limits_of(np.concatenate([pictures, neighbours]))
    rows = []
    for title, chosen in (
        ("most isolated, memorized first", range(half)),
        ("least isolated, memorized last", range(half, len(times))),
    ):
        above = [Tile(pictures[i], limits, f"t = {times[i]:.2g}") for i in chosen]
        rows += [
            (f"{title} (nearest training image below)", above),
            ("", [Tile(neighbours[i], limits) for i in chosen]),
        ]
    return board(rows, note)


def directions(
    data: xr.Dataset, rows: Sequence[Mapping[str, Any]], shape: Shape, note: str, columns: int = 8
) -> Figure:
    """Principal directions of the data, those that survive at most held-out points first and those lost at most last."""
    half = min(columns, (len(rows) + 1) // 2)
    drawn = []
    for title, chosen in (("most", rows[:half]), ("least", rows[max(half, len(rows) - half) :])):
        tiles: list[Tile | None] = [
            direction_tile(
                data["direction"].values[row["direction"] - 1],
                shape,
                f"no. {row['direction']}\n{row['held_out'].value:.0%} / {row['training'].value:.0%}",
            )
            for row in chosen
        ]
        if tiles:
            drawn.append(
                (
                    f"surviving {title} often: at what share of held-out / training points",
                    [*tiles, *[None] * (columns - len(tiles))],
                )
            )
    return board(drawn, note)


def _with_bars(
    axis: Axes, points: Sequence[tuple[Any, int]], label: str, line: str = "o-", colour: str = HELD_OUT
) -> None:
    """Times with horizontal intervals against sizes, without those that are infinite."""
    fine = [(t, n) for t, n in points if np.isfinite(t.value)]
    values = [t.value for t, _ in fine]
    reach = [
        [t.value - t.low for t, _ in fine],
        [(t.high if np.isfinite(t.high) else t.value) - t.value for t, _ in fine],
    ]
    axis.errorbar(
        values, [n for _, n in fine], xerr=reach, fmt=line, ms=4, lw=1.3, capsize=3, color=colour, label=label
    )


def _some(sizes: NDArray[np.int64]) -> list[int]:
    """The smallest, a middle and the largest of some sizes."""
    ordered = sorted(int(n) for n in sizes)
    return sorted({ordered[0], ordered[len(ordered) // 2], ordered[-1]})
