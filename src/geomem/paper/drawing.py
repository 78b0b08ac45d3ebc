"""Drawing that the paper's figures share: a decorator for their frame, and panels of ordered singular values."""

from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from typing import Any

import numpy as np
import xarray as xr
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from geomem.figures.style import caption, style
from geomem.paper.parameters import Subspaces
from geomem.paper.verdict import Records

__all__ = ["GUIDE", "INK", "RED", "drawn", "gap_lines", "size_legend", "size_panels"]

INK, RED, GUIDE = "#1b1b1b", "#C1272D", "#999999"
# The paper's lines: the gap that only the high-variance subspace leaves, that only the low one leaves, and the total.
_GAPS = {"high": RED, "low": "#2E8B57", "total": INK}


def drawn(
    width: float, height: float
) -> Callable[[Callable[[Figure, Records, Any], str]], Callable[[Records, Any, str], Figure]]:
    """Make a function that draws into a figure, and returns its caption, one that returns the figure.

    Args:
        width: In inches.
        height: In inches.
    """

    def decorator(draw: Callable[[Figure, Records, Any], str]) -> Callable[[Records, Any, str], Figure]:
        @wraps(draw)
        def framed(records: Records, settings: Any, note: str) -> Figure:
            with style():
                figure = Figure(figsize=(width, height), layout="constrained")
                text = draw(figure, records, settings)
                caption(figure, f"{text} {note}")
            return figure

        return framed

    return decorator


def size_panels(
    axes: Iterable[Axes], sizes: Sequence[int] | np.ndarray, lines: Sequence[xr.DataArray], times: np.ndarray
) -> None:
    """A panel for each t, with a line of t times the ordered singular values for each N."""
    colours = _size_colours(sizes)
    for axis, t in zip(axes, times, strict=True):
        for n, values in zip(sizes, lines, strict=True):
            axis.plot(values["direction"], values.sel(t=t), color=colours[int(n)], lw=1.1)
        axis.set(title=f"t = {t:g}", xlabel="direction", ylim=(0, 1.9))


def gap_lines(axis: Axes, dim: int, rank: int, subspaces: Subspaces = ()) -> None:
    """Mark where the spectrum drops if all directions are left, or only those of the high or the low variance."""
    counts = {"total": rank} | {name: count for name, (count, _) in zip(("high", "low"), subspaces, strict=False)}
    for name, count in counts.items():
        axis.axvline(dim - count + 0.5, color=_GAPS[name], ls="--", lw=0.8)


def size_legend(figure: Figure, sizes: Sequence[int] | np.ndarray, *, gaps: bool = False) -> None:
    """The sizes' colours and, on request, the gaps' lines, to the right of all panels."""
    lines = [Line2D([], [], color=colour, label=f"N = {n:,}") for n, colour in _size_colours(sizes).items()]
    if gaps:
        lines += [Line2D([], [], color=c, ls="--", lw=0.8, label=f"{name} gap") for name, c in _GAPS.items()]
    figure.legend(handles=lines, loc="outside right center", fontsize=8)


def _size_colours(sizes: Sequence[int] | np.ndarray) -> dict[int, str]:
    shades = colormaps["plasma"](np.linspace(0, 0.9, len(sizes)))
    return {int(n): to_hex(shade) for n, shade in zip(sizes, shades, strict=True)}
