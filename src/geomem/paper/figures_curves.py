"""Figs. 4, 5 and 9 to 16: ordered singular values, by time or by number of samples."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import xarray as xr
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm, to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from geomem.figures.style import caption, style

__all__ = ["compared_figure", "network_figure", "simulated_figure", "theory_size_figure", "uniform_figure"]

# The paper's lines: the gap that only the high-variance subspace leaves, that only the low one leaves, and the total.
GAPS = {"high": "#C1272D", "low": "#2E8B57", "total": "#1b1b1b"}


def compared_figure(records: Mapping[str, xr.Dataset], note: str) -> Figure:
    """Figs. 4, 11, 12: Eq. 19, Eq. 18 and the empirical score by Alg. 2; and beyond the paper the corrected theory."""
    theory, simulation = records["theory"]["singular_value"], records["simulation"]["singular_value"]
    t = theory["t"]
    medians = {probe: simulation.sel(probe=probe).median("dataset") for probe in ("smoothed", "antithetic")}
    solid = {
        "Eq. 19, as printed": theory.sel(form="eq19"),
        "Eq. 18, random matrix": theory.sel(form="eq18 samples"),
        "empirical score": medians["smoothed"],
        "corrected theory": theory.sel(form="correlated"),
    }
    dashed = {"empirical score": medians["antithetic"], "corrected theory": theory.sel(form="row")}
    with style():
        figure = Figure(figsize=(12, 3.3), layout="constrained")
        axes = figure.subplots(1, 4)
        norm, colours = LogNorm(float(t.min()), float(t.max())), colormaps["viridis"]
        for axis, (title, values) in zip(axes, solid.items(), strict=True):
            for u in t.values:
                axis.plot(values["direction"], u * values.sel(t=u), color=colours(norm(u)), lw=1.2)
                if title in dashed:
                    other = dashed[title].sel(t=u)
                    axis.plot(other["direction"], u * other, "--", color=colours(norm(u)), lw=0.6)
            axis.set(title=title, xlabel="direction", yscale="log", ylim=(1e-2, 2e4))
            _gap_lines(axis, records["theory"].attrs)
        lines = {"empirical score": ("smoothed (Eq. 5)", "Alg. 2"), "corrected theory": ("correlated", "row form")}
        for axis in axes[2:]:
            handles = [Line2D([], [], color="#777777", ls=ls) for ls in ("-", "--")]
            axis.legend(handles, lines[axis.get_title()], fontsize=7)
        axes[0].set_ylabel("t × singular value")
        figure.colorbar(ScalarMappable(norm, colours), ax=axes[3], label="t")
        text = f"d = {theory.sizes['direction']}, N = 1000, at the origin; medians over {simulation.sizes['dataset']} data sets."
        caption(figure, f"{text} {note}")
    return figure


def simulated_figure(records: Mapping[str, xr.Dataset], note: str) -> Figure:
    """Figs. 9, 10: Alg. 2 on the empirical score, a panel for each t, a line for each N.

    Alg. 2's Gaussian probes hide small gaps, so the smoothed Jacobian stands above it.
    """
    parts = [records[name] for name in records]
    sizes = [part.attrs["n_samples"] for part in parts]
    first = parts[0]
    rows = {
        "origin, smoothed (Eq. 5)": [part["smoothed"] for part in parts],
        "origin, Alg. 2": [part["singular_value"].sel(place="origin") for part in parts],
        "training point, Alg. 2": [part["singular_value"].sel(place="training") for part in parts],
    }
    with style():
        figure = Figure(figsize=(13, 7), layout="constrained")
        axes = figure.subplots(len(rows), first.sizes["t"], sharex=True, sharey=True)
        for row, (label, values) in zip(axes, rows.items(), strict=True):
            _panels(row, sizes, [v.mean("realization") * v["t"] for v in values], first["t"].values)
            row[0].set_ylabel(f"{label}\nt × singular value")
        _legend(figure, sizes)
        caption(figure, f"means over {first.sizes['realization']} realizations; values above 1.9 are cut. {note}")
    return figure


def theory_size_figure(records: Mapping[str, xr.Dataset], note: str) -> Figure:
    """Figs. 13, 14: the printed theory, a panel for each t and a line for each N; the correlated theory below."""
    values = records["theory"]["singular_value"] * records["theory"]["t"]
    sizes = values["size"].values
    names = {"eq19": "Eq. 19, as printed", "eq18": "Eq. 18, as printed", "correlated": "correlated theory"}
    shown = [str(form) for form in values["form"].values if form in names]
    with style():
        figure = Figure(figsize=(13, 4.9), layout="constrained")
        axes = figure.subplots(2, values.sizes["t"], sharex=True)
        for row, form in zip(axes, shown, strict=True):
            _panels(row, sizes, [values.sel(form=form, size=n) for n in sizes], values["t"].values)
            row[0].set_ylabel(f"{names[form]}\nt × singular value")
            for axis, t in zip(row, values["t"].values, strict=True):
                axis.set(yscale="log", ylim=(1e-2, max(4.0, 2 * float(values.sel(form=form, t=t).max()))))
        _legend(figure, sizes)
        caption(figure, f"at the origin. {note}")
    return figure


def network_figure(records: Mapping[str, xr.Dataset], note: str) -> Figure:
    """Figs. 5, 16: spectra of networks by Alg. 2, a panel for each t, a line for each N, with the theoretical gaps.

    Below, the empirical score of the same samples at the same points.
    """
    arrays = next(iter(records.values()))
    rows = [
        ("network", "training", "antithetic"),
        ("network", "training", "orthonormal"),
        ("network", "held_out", "antithetic"),
        ("empirical", "training", "antithetic"),
    ]
    names = {
        "training": "training points",
        "held_out": "new points",
        "antithetic": "Alg. 2",
        "orthonormal": "orthonormal",
    }
    with style():
        figure = Figure(figsize=(13, 9.2), layout="constrained")
        axes = figure.subplots(len(rows), arrays.sizes["t"], sharex=True, sharey=True)
        sizes = arrays["size"].values
        for row, (score, place, probe) in zip(axes, rows, strict=True):
            values = arrays["scaled_value"].sel(score=score, place=place, probe=probe)
            _panels(row, sizes, [values.sel(size=n) for n in sizes], arrays["t"].values)
            row[0].set_ylabel(f"{score}, {names[place]}\n{names[probe]}: t × singular value")
            for axis in row:
                _gap_lines(axis, arrays.attrs | _counts(arrays))
        _legend(figure, sizes, gaps=True)
        points = int((arrays["where"] == "training").sum())
        caption(
            figure, f"Alg. 2 with K = 4d, means over {points} points; {arrays.attrs['steps']:,} training steps. {note}"
        )
    return figure


def uniform_figure(records: Mapping[str, xr.Dataset], note: str) -> Figure:
    """Fig. 15: networks in d = 100, m = 40; a column for each choice of variances, a row for each t."""
    titles = {"high": "10 × 1, 30 × 0.01", "low": "10 × 0.01, 30 × 1", "uniform": "40 uniform in [0, 1)"}
    first = next(iter(records.values()))
    with style():
        figure = Figure(figsize=(9.5, 8.5), layout="constrained")
        axes = figure.subplots(first.sizes["t"], len(records), sharex=True, sharey=True)
        for column, (name, arrays) in zip(axes.T, records.items(), strict=True):
            values = arrays["scaled_value"].sel(score="network", place="training", probe="antithetic")
            sizes = arrays["size"].values
            _panels(column, sizes, [values.sel(size=n) for n in sizes], arrays["t"].values)
            for axis, t in zip(column, arrays["t"].values, strict=True):
                axis.set_title(f"{titles.get(name, name)}\nt = {t:g}" if axis is column[0] else f"t = {t:g}")
                axis.axvline(arrays.attrs["dim"] - arrays.attrs["rank"] + 0.5, color=GAPS["total"], ls="--", lw=0.8)
        for axis in axes[:, 0]:
            axis.set_ylabel("t × singular value")
        _legend(figure, first["size"].values)
        caption(figure, f"Alg. 2, K = 4d; {first.attrs['steps']:,} training steps; dashed: total gap. {note}")
    return figure


def _panels(
    axes: Iterable[Axes], sizes: Sequence[int] | np.ndarray, lines: Sequence[xr.DataArray], times: np.ndarray
) -> None:
    colours = _size_colours(sizes)
    for axis, t in zip(axes, times, strict=True):
        for n, values in zip(sizes, lines, strict=True):
            axis.plot(values["direction"], values.sel(t=t), color=colours[int(n)], lw=1.1)
        axis.set(title=f"t = {t:g}", xlabel="direction", ylim=(0, 1.9))


def _size_colours(sizes: Sequence[int] | np.ndarray) -> dict[int, str]:
    shades = colormaps["plasma"](np.linspace(0, 0.9, len(sizes)))
    return {int(n): to_hex(shade) for n, shade in zip(sizes, shades, strict=True)}


def _counts(arrays: xr.Dataset) -> dict[str, int]:
    """Dimensions of the high- and the low-variance subspace."""
    counts = arrays["count"].values
    return {"high": int(counts[0]), "low": int(counts[1])}


def _gap_lines(axis: Axes, attrs: Mapping[str, int]) -> None:
    """Where the spectrum falls if all, only high-variance or only low-variance directions are left."""
    d = attrs["dim"]
    axis.axvline(d - attrs["rank"] + 0.5, color=GAPS["total"], ls="--", lw=0.8)
    if "high" in attrs:
        axis.axvline(d - attrs["high"] + 0.5, color=GAPS["high"], ls="--", lw=0.8)
        axis.axvline(d - attrs["low"] + 0.5, color=GAPS["low"], ls="--", lw=0.8)


def _legend(figure: Figure, sizes: Sequence[int] | np.ndarray, *, gaps: bool = False) -> None:
    lines = [Line2D([], [], color=colour, label=f"N = {n:,}") for n, colour in _size_colours(sizes).items()]
    if gaps:
        lines += [Line2D([], [], color=c, ls="--", lw=0.8, label=f"{name} gap") for name, c in GAPS.items()]
    figure.legend(handles=lines, loc="outside right center", fontsize=8)
