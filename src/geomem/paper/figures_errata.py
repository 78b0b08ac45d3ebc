"""The figure of the errata: printed and derived forms, against the numbers that decide."""

from collections.abc import Mapping

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from geomem.figures.style import HELD_OUT, TRAINING, caption, style

__all__ = ["errata_figure"]


def errata_figure(records: Mapping[str, xr.Dataset], note: str) -> Figure:
    """Each form's number over the deciding one; 1 is right."""
    arrays = records["numbers"]
    y = np.arange(arrays.sizes["place"])[::-1]
    decides = arrays["decides"]
    with style():
        figure = Figure(figsize=(7.2, 6), layout="constrained")
        axis = figure.subplots()
        axis.axvline(1, color="#999999", lw=0.8)
        width = 2 * np.abs(arrays["error"] / decides)
        axis.errorbar(arrays["derived"] / decides, y, xerr=width, fmt="o", color=HELD_OUT, ms=5, label="derived")
        axis.plot(arrays["printed"] / decides, y, "x", color=TRAINING, ms=7, mew=2, label="printed")
        axis.set_xscale("symlog", linthresh=0.01)
        axis.set_yticks(y, [str(place) for place in arrays["place"].values], fontsize=8)
        axis.set(xlabel="over the number that decides (2 s.e.)", xlim=(-3, 2e3))
        axis.legend(loc="upper right")
        caption(figure, note)
    return figure
