"""Fig. 8, and figures of what the paper says without one: which subspace condenses first, how many samples it takes, the
algorithms' own errors, and reverse diffusion.
"""

from collections.abc import Mapping

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from geomem.figures.style import HELD_OUT, TRAINING, caption, log_axis, style

__all__ = ["algorithm_figure", "condensation_figure", "order_figure", "reverse_figure", "scaling_figure"]

_INK = "#1b1b1b"


def condensation_figure(records: Mapping[str, xr.Dataset], note: str) -> Figure:
    """Fig. 8: t_c exact and by Eq. 15 over alpha (left), exact over positions against omega^2 (right)."""
    loads, positions = records["loads"], records["positions"]
    with style():
        figure = Figure(figsize=(7.2, 3.2), layout="constrained")
        left, right = figure.subplots(1, 2)
        first = loads["condensation_time"].isel(matrix=0)
        left.plot(loads["alpha"], first.sel(form="exact"), color=_INK, label="exact")
        left.plot(loads["alpha"], first.sel(form="expansion"), "--", color=TRAINING, label="Eq. 15")
        left.set(xscale="log", yscale="log", xlabel="α = ln N / d", ylabel="condensation time", title="one position")
        left.legend()
        right.plot(positions["variance_density"], positions["condensation_time"], ".", ms=2, color=_INK)
        alpha = positions.attrs["alpha"]
        right.set(xlabel="ω²(x)", ylabel="condensation time, exact", title=f"{positions.sizes['position']:,} positions")
        caption(figure, f"d = 100, m = 50, F and x standard Gaussian; right: α = {alpha:g}. {note}")
    return figure


def order_figure(records: Mapping[str, xr.Dataset], note: str) -> Figure:
    """Y at e_j sqrt t of the high- less that of the low-variance subspace, over t; and the theories' condensation times."""
    with style():
        figure = Figure(figsize=(7.2, 5.4), layout="constrained")
        for row, (name, arrays) in zip(figure.subplots(2, len(records)).T, records.items(), strict=True):
            y, t = arrays["participation"], arrays["t"]
            paired = y.isel(subspace=0) - y.isel(subspace=1)
            error = 2 * paired.std("dataset") / np.sqrt(paired.sizes["dataset"])
            predicted = 1 / arrays["effective_samples"]
            row[0].axhline(0, color="#999999", lw=0.8)
            row[0].errorbar(t, paired.mean("dataset"), error, fmt="o", ms=3, color=_INK, label="simulation")
            row[0].plot(
                t, predicted.isel(subspace=0) - predicted.isel(subspace=1), color=HELD_OUT, label="finite-N theory"
            )
            row[0].set(ylabel="Y(high) − Y(low)", title=name.replace("m", "m = "))
            row[0].legend(fontsize=7)
            for method, line in (("condensation_time", "-"), ("expansion", "--")):
                for subspace, colour in ((0, TRAINING), (1, HELD_OUT)):
                    label = f"{'exact' if line == '-' else 'Eq. 15'}, variance {float(arrays['variance'][subspace]):g}"
                    row[1].plot(t, arrays[method].isel(subspace=subspace), line, color=colour, label=label)
            row[1].plot(t, t, ":", color="#999999", label="t")
            row[1].set(yscale="log", ylabel="t_c at e_j √t")
            row[1].legend(fontsize=6)
            for axis in row:
                log_axis(axis)
        caption(figure, f"N = 1000; {y.sizes['dataset']} data sets, bars 2 s.e. {note}")
    return figure


def scaling_figure(records: Mapping[str, xr.Dataset], note: str) -> Figure:
    """Samples at which the mean Y at the origin is 1/2, over m and over d."""
    with style():
        figure = Figure(figsize=(7.2, 3), layout="constrained")
        for axis, (name, arrays) in zip(figure.subplots(1, 2, sharey=True), records.items(), strict=True):
            over = arrays["rank" if name == "ranks" else "dim"]
            n = arrays["half_condensed"].isel(draw=0)
            error = 2 * arrays["half_condensed"].isel(draw=slice(1, None)).std("draw")
            axis.errorbar(over, n, error, fmt="o", color=_INK, ms=4, label="simulation, Y = ½")
            axis.plot(over, arrays["required_samples"], color=HELD_OUT, label="theory, exp(d h(t))")
            axis.set(yscale="log", xlabel="m" if name == "ranks" else "d", ylabel="samples N")
            fixed = "dim" if name == "ranks" else "rank"
            axis.set_title(f"{'d' if name == 'ranks' else 'm'} = {int(arrays[fixed][0])}")
            axis.legend(fontsize=7)
        caption(
            figure, f"variances 1, t = {arrays.attrs['t']:g}; {arrays.attrs['datasets']} data sets, bars 2 s.e. {note}"
        )
    return figure


def algorithm_figure(records: Mapping[str, xr.Dataset], note: str) -> Figure:
    """Scatter of singular values over repetitions by probe, and error of the dimension by rule."""
    with style():
        figure = Figure(figsize=(9.5, 5.6), layout="constrained")
        for column, (name, arrays) in zip(figure.subplots(2, len(records)).T, records.items(), strict=True):
            t, first = arrays["t"], name == next(iter(records))
            for probe, colour, width in (
                ("Alg. 1", TRAINING, 4),
                ("Alg. 2", HELD_OUT, 1.2),
                ("orthonormal", _INK, 1.2),
            ):
                for score, line in (("exact", "-"), ("empirical", "--")):
                    scatter = arrays["deviation"].sel(probe=probe, score=score).mean(["repeat", "point"])
                    label = probe if score == "exact" else None
                    column[0].plot(t, scatter, line, color=colour, lw=width, alpha=0.5 if width > 2 else 1, label=label)
            column[0].set(
                yscale="log", ylim=(1e-6, 0.3), title=f"{name}, d = {arrays.attrs['dim']}, m = {arrays.attrs['rank']}"
            )
            column[0].set_ylabel("scatter of ln singular value")
            # No answer counts as an error of m, as where the rules are judged.
            wrong = np.abs(arrays["dimension"].sel(score="exact").isel(point=0) - arrays.attrs["rank"])
            wrong = wrong.fillna(arrays.attrs["rank"]).mean("repeat")
            for rule, colour in zip(
                arrays["rule"].values, ("#1b1b1b", "#E69F00", "#009E73", "#D55E00", "#CC79A7"), strict=False
            ):
                probe = "Alg. 1" if rule == "normal bundle" else "Alg. 2"
                column[1].plot(
                    t, wrong.sel(rule=rule, probe=probe), "o-", ms=3, color=colour, label=f"{rule} ({probe})"
                )
            column[1].set(ylabel="mean error of the dimension", title="exact score")
            if first:
                column[0].legend(fontsize=7, title="— exact, - - empirical score", title_fontsize=7)
                column[1].legend(fontsize=6)
            for axis in column:
                log_axis(axis, "t")
        caption(figure, f"{arrays.sizes['point']} points, {arrays.sizes['repeat']} repetitions, K = 4d. {note}")
    return figure


def reverse_figure(records: Mapping[str, xr.Dataset], note: str) -> Figure:
    """Weak error against steps, and distances of samples to the nearest training point."""
    weak, nearest = records["weak_error"], records["nearest"]
    with style():
        figure = Figure(figsize=(7.2, 3.2), layout="constrained")
        left, right = figure.subplots(1, 2)
        for sampler, colour, order in zip(weak["sampler"].values, (TRAINING, HELD_OUT), (1, 2), strict=True):
            found = np.abs(weak["error"].sel(sampler=sampler).isel(subspace=0))
            # The flow is deterministic, and its record is free of sampling error.
            error = 2 * weak["standard_error"].values[0] if order == 1 else None
            left.errorbar(weak["steps"], found, error, fmt="o", ms=4, color=colour, label=sampler)
            predicted = np.abs(weak["predicted"].sel(sampler=sampler).isel(subspace=0))
            left.plot(weak["steps"], predicted, color=colour, lw=1)
            guide = float(predicted[0]) * (weak["steps"] / weak["steps"][0]) ** -float(order)
            left.plot(weak["steps"], guide, ":", color=colour, lw=1, label=f"order {order}")
        left.set(xscale="log", yscale="log", xlabel="steps", ylabel="relative error of a variance", title="weak error")
        left.set_ylim(1e-5, 1)
        left.set_xticks(weak["steps"].values, [str(n) for n in weak["steps"].values], minor=False)
        left.minorticks_off()
        left.legend(fontsize=7)
        bins = np.geomspace(1e-4, 10, 60)
        for score, line in (("empirical", "-"), ("exact", "--")):
            for sampler, colour in zip(nearest["sampler"].values, (TRAINING, HELD_OUT), strict=True):
                values = nearest["distance"].sel(score=score, sampler=sampler).clip(1.1e-4)
                right.hist(values, bins, histtype="step", color=colour, ls=line, label=f"{score}, {sampler}")
        right.hist(nearest["new_distance"], bins, histtype="stepfilled", color="#cccccc", label="new points", zorder=0)
        right.set(xscale="log", xlabel="distance to the nearest training point", ylabel="samples", title="memorization")
        right.legend(fontsize=6.5, loc="upper left")
        caption(
            figure,
            f"lines: the samplers' exact errors; distances below 1e-4 in the first bin; t_min = {nearest.attrs['t_min']:g}. {note}",
        )
    return figure
