"""How figures look: colours that colour-blind readers tell apart, and nothing that depends on the user's settings."""

from collections.abc import Iterator
from contextlib import contextmanager

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

__all__ = ["HELD_OUT", "TRAINING", "WIDTH", "caption", "log_axis", "style"]

# Okabe and Ito's palette.
TRAINING, HELD_OUT = "#D55E00", "#0072B2"
# Inches: wide enough for three panels, small enough that their text is read where the page is narrow.
WIDTH = 7.2


@contextmanager
def style() -> Iterator[None]:
    """matplotlib's defaults with geomem's changes, inside the block alone."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(
            {
                "font.size": 9,
                "axes.spines.top": False,
                "axes.spines.right": False,
                "axes.titlesize": 10,
                "legend.frameon": False,
                "figure.dpi": 110,
                "savefig.dpi": 160,
                "savefig.facecolor": "white",
            }
        )
        yield


def log_axis(axis: Axes, label: str = "diffusion time t (data units squared)") -> None:
    """A logarithmic time axis."""
    axis.set_xscale("log")
    axis.set_xlabel(label)


def caption(figure: Figure, text: str) -> None:
    """Small print under a figure: settings, commit and seed."""
    engine = figure.get_layout_engine()
    if engine is not None:
        share = 0.17 / figure.get_figheight()
        engine.set(rect=(0, share, 1, 1 - share))  # type: ignore[call-arg]  # of the constrained engine
    figure.text(0.005, 0.003, text, parse_math=False, fontsize=6.5, color="#555555", ha="left", va="bottom")
