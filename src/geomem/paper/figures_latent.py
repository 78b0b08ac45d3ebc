"""Figs. 1 to 3, drawn from their records."""

from collections.abc import Mapping

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from geomem.figures.style import HELD_OUT, TRAINING, caption, style

__all__ = ["gap_figure", "latent_figure", "plane_figure"]

_RED = "#C1272D"


def latent_figure(records: Mapping[str, xr.Dataset], note: str) -> Figure:
    """Fig. 1: energy contours with the fixed points in red (A), singular vectors at them (B); and an ellipse."""
    with style():
        figure = Figure(figsize=(11.5, 3.7), layout="constrained")
        axes = figure.subplots(1, 4)
        titles = {
            "memorizing": "A  memorizing",
            "circle": "A  one-dimensional: a circle",
            "vectors": "B  singular vectors of the score",
            "ellipse": "beyond: an ellipse",
        }
        for axis, (name, title) in zip(axes, titles.items(), strict=True):
            arrays = records["circle" if name == "vectors" else name]
            density = arrays["log_density"]
            top = float(density.max())
            levels = top - np.array([64, 32, 16, 8, 4, 2, 1, 0.5, 0.25, 0.1])
            axis.contour(
                arrays["x"], arrays["y"], density.T, levels=levels, colors="#888888", linewidths=0.6, linestyles="solid"
            )
            found = arrays["point"].values[(arrays["stable"] & arrays["converged"]).values]
            if name == "vectors":
                axis.plot(found[:, 0], found[:, 1], ".", color=_RED, ms=2)
                _vectors(axis, arrays)
            else:
                axis.plot(found[:, 0], found[:, 1], "o", color=_RED, ms=3.5, mew=0)
                if name == "memorizing":
                    axis.plot(*arrays["sample"].values.T, "x", color="#1b1b1b", ms=7, mew=0.8)
                what = f"{arrays.attrs['distinct']} fixed points from {arrays.sizes['start']} starts, t = {arrays.attrs['t']:g}"
                axis.set_xlabel(what, fontsize=8)
            axis.set(title=title, xticks=[], yticks=[], aspect="equal")
        caption(figure, f"contours: log density; crosses: samples; red: stable fixed points. {note}")
    return figure


def _vectors(axis: Axes, arrays: xr.Dataset) -> None:
    """-lambda_j v_j at four points: the pull back of a perturbation, as long as it is strong."""
    longest = float(arrays["singular_value"].max())
    count = arrays.sizes["start"]
    for start in (np.arange(4) * count // 4 + count // 16) % count:
        at = arrays["point"].values[start]
        for j, colour in ((0, HELD_OUT), (1, TRAINING)):
            size = 0.55 * float(arrays["singular_value"][start, j]) / longest
            vector = arrays["left_vector"].values[start, j]
            for sign in (1, -1):
                tip = at + sign * max(size, 0.02) * vector
                axis.annotate("", xy=tip, xytext=at, arrowprops={"arrowstyle": "->", "color": colour, "lw": 1.4})
    axis.plot([], [], color=HELD_OUT, label="orthogonal")
    axis.plot([], [], color=TRAINING, label="tangent")
    axis.legend(fontsize=6, loc="upper left", title="length: singular value", title_fontsize=6)


def gap_figure(records: Mapping[str, xr.Dataset], note: str) -> Figure:
    """Fig. 2: singular values with their gap, and the potential along the singular vectors."""
    arrays = records["spectra"]
    d, m = arrays.attrs["dim"], arrays.attrs["rank"]
    with style():
        figure = Figure(figsize=(7.2, 3.1), layout="constrained")
        left, right = figure.subplots(1, 2)
        values = arrays["singular_value"] * arrays.attrs["t"]
        k = arrays["direction"].values
        left.plot(k, values.T, color="#999999", lw=0.5)
        left.plot(k, values.median("point"), "o-", color="#1b1b1b", ms=4)
        left.axvspan(0.5, d - m + 0.5, color=HELD_OUT, alpha=0.12, lw=0)
        left.axvspan(d - m + 0.5, d + 0.5, color=TRAINING, alpha=0.12, lw=0)
        left.text(1, 0.5, "orthogonal", color=HELD_OUT)
        left.text(d + 0.4, 0.5, "tangent", color=TRAINING, ha="right")
        left.set(xlabel="singular value, ordered", ylabel="t × singular value", title="the gap", ylim=(0, None))
        for j in k:
            colour = HELD_OUT if j <= d - m else TRAINING
            right.plot(arrays["step"], arrays["potential"].sel(direction=j), color=colour, lw=1)
        right.set(
            xlabel="displacement along a singular vector (√t)", ylabel="−ln p, against the point", title="the well"
        )
        what = f"sphere of dimension {m} in d = {d}, empirical score of {arrays.attrs['n_samples']:,} samples"
        caption(figure, f"{what}, t = {arrays.attrs['t']:g}, {values.sizes['point']} points. {note}")
    return figure


def plane_figure(records: Mapping[str, xr.Dataset], note: str) -> Figure:
    """Fig. 3: density (heat map) and empirical score (red arrows) at three inverse times, and the axes' survival."""
    arrays, survival = records["plane"], records["survival"]
    with style():
        figure = Figure(figsize=(11.5, 2.9), layout="constrained")
        axes = figure.subplots(1, 4, width_ratios=[1, 1, 1, 0.8])
        for letter, axis, beta in zip("ABC", axes, arrays["beta"].values, strict=False):
            density = np.exp(arrays["log_density"].sel(beta=beta))
            axis.pcolormesh(arrays["x"], arrays["y"], density.T, cmap="viridis", shading="auto", rasterized=True)
            s = arrays["score"].sel(beta=beta).values
            length = np.linalg.norm(s, axis=-1, keepdims=True)
            arrow = s / np.maximum(length, 1e-9) * np.log1p(length) / np.log1p(length.max())
            grid = np.meshgrid(arrays["arrow_x"], arrays["arrow_y"], indexing="ij")
            axis.quiver(*grid, arrow[..., 0], arrow[..., 1], color=_RED, scale=16, width=0.005, angles="xy")
            axis.plot(*arrays["sample"].values.T, ".", color="white", ms=1.5)
            axis.set(title=f"{letter}  β = {beta:g}", xlim=(-6, 6), ylim=(-2, 2), xlabel="x", ylabel="y")
        beta = survival["beta"].values
        s = arrays.attrs["variances"]
        for name, colour, variance in zip(("x", "y"), (TRAINING, HELD_OUT), s, strict=True):
            found = survival["survival"].sel(axis=name).mean("point")
            error = found.std("dataset") / np.sqrt(found.sizes["dataset"])
            axes[3].errorbar(
                beta, found.mean("dataset"), 2 * error, fmt="o-", color=colour, ms=4, label=f"{variance:g}"
            )
            axes[3].plot(beta, survival["exact"].sel(axis=name), ":", color=colour)
        axes[3].set(xscale="log", xlabel="β", ylabel="survival", title="of each axis", ylim=(0, None))
        axes[3].legend(title="variance", fontsize=7, title_fontsize=7)
        n, sets = arrays.sizes["row"], survival.sizes["dataset"]
        text = (
            f"{n} samples; arrows: empirical score, length logarithmic; right: {sets} data sets (2 s.e.), dotted exact."
        )
        caption(figure, f"{text} {note}")
    return figure
