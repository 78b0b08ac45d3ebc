"""The figure of `geomem theory`."""

import xarray as xr
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from geomem.figures.style import caption, log_axis, style

__all__ = ["theory_figure"]

_LINES = {"exact": "-", "row": "--", "eq19": ":"}
_NAMES = {"exact": "exact score", "row": "empirical, row form", "eq19": "Eq. 19 as printed"}
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")


def theory_figure(arrays: xr.Dataset, note: str) -> Figure:
    """Effective samples, singular values of each variance, and ordered singular values, all against t."""
    panels = 3 if "ordered" in arrays else 2
    with style():
        figure = Figure(figsize=(3.5 * panels, 3.3), layout="constrained")
        axes = figure.subplots(1, panels)
        t, t_c = arrays["t"], float(arrays["condensation_time"])
        for method, line in zip(arrays["estimator"].values, ("-", "--", ":"), strict=False):
            axes[0].plot(t, arrays["effective_samples"].sel(estimator=method), line, color="#1b1b1b", label=str(method))
        axes[0].set(
            yscale="log", ylabel="effective samples", title=f"N = {arrays.attrs['n_samples']:,.0f}, at the origin"
        )
        half = float(arrays["half_weight_time"])
        for axis in axes[:2]:
            if t_c > 0:
                axis.axvline(t_c, color="#D55E00", lw=1, label="condensation" if axis is axes[0] else None)
            if axis is axes[0]:
                axis.axvline(half, color="#0072B2", lw=1, label="half weight, training point")
            log_axis(axis)
        axes[0].legend(fontsize=7)
        levels = arrays["level"].values[: len(_COLOURS)]
        for level, colour in zip(levels, _COLOURS, strict=False):
            for form, line in _LINES.items():
                values = t * arrays["singular_values"].sel(form=form, level=level)
                axes[1].plot(t, values, line, color=colour, label=f"{level:g}" if form == "exact" else None)
        axes[1].set(ylabel="singular values of t J", ylim=(0, 3), title="by variance")
        styles = [axes[1].plot([], [], line, color="#777777")[0] for line in _LINES.values()]
        variances = axes[1].legend(fontsize=7, title="variance", title_fontsize=7, loc="center left")
        axes[1].legend(styles, [_NAMES[form] for form in _LINES], fontsize=7, loc="upper right")
        axes[1].add_artist(variances)
        if panels == 3:
            norm, colours = LogNorm(float(t.min()), float(t.max())), colormaps["viridis"]
            for u in t.values:
                axes[2].plot(arrays["direction"], u * arrays["ordered"].sel(t=u), color=colours(norm(u)), lw=1)
            axes[2].set(xlabel="direction", title="correlated theory, ordered", ylim=(0, None))
            figure.colorbar(ScalarMappable(norm, colours), ax=axes[2], label="t")
        caption(figure, note)
    return figure
