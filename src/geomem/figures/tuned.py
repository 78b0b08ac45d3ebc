"""Figures of a fine-tuned model beside its base: records and rows of numbers in, matplotlib Figure out."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from geomem.data.layout import as_images
from geomem.figures.pictures import Tile, board, direction_tile, limits_of
from geomem.figures.style import HELD_OUT, TRAINING, WIDTH, caption, log_axis, style
from geomem.measure.verdict import LITTLE, MUCH, SOME

__all__ = ["looked_images", "lost_against_time"]

# Images that are shown, letters of a caption, and survival below which a place stays white: its error by chance is a few tenths.
_MOST, _LETTERS, _FAINT = 8, 14, 1.0


def lost_against_time(rows: Sequence[Mapping[str, Any]], t: float, note: str) -> Figure:
    """Degrees of freedom of model and base, and the share lost, against t.

    Args:
        rows: By noise variance, see `tuned_numbers`.
        t: The reference t.
        note: Small print.
    """
    times = [row["t"] for row in rows]
    with style():
        figure = Figure(figsize=(WIDTH, 3.5), layout="constrained")
        left, right = figure.subplots(1, 2)
        for where, colour in (("training", TRAINING), ("held-out", HELD_OUT)):
            for score, line, name in (("model", "-", "fine-tuned"), ("base", "--", "base")):
                found = [row["freedom"][where][score] for row in rows]
                if found[0] is None:
                    continue
                left.plot(
                    times, [f.value for f in found], line, marker="o", ms=3, color=colour, label=f"{name}, {where}"
                )
        left.set(ylabel="degrees of freedom", title="degrees of freedom", yscale="symlog")
        left.legend(fontsize=7.5)
        for key, colour, name in (("lost_training", TRAINING, "training"), ("lost_held_out", HELD_OUT, "held-out")):
            shown = [(row["t"], row[key]) for row in rows if row[key] is not None and np.isfinite(row[key].low)]
            if shown:
                values = [s.value for _, s in shown]
                reach = [[s.value - s.low for _, s in shown], [s.high - s.value for _, s in shown]]
                right.errorbar(
                    [u for u, _ in shown], values, reach, fmt="o-", ms=3.5, lw=1.2, capsize=3, color=colour, label=name
                )
        for level in (LITTLE, SOME, MUCH):
            right.axhline(level, color="#bbbbbb", lw=0.8, ls=":")
        right.set(ylabel="share of the base's lost", title="lost", ylim=(-0.6, 1.1))
        right.legend(fontsize=7.5, loc="lower left")
        for axis in (left, right):
            axis.axvline(t, color="#bbbbbb", lw=0.9)
            log_axis(axis, "t (data units squared)")
            axis.set_xticks(times, [f"{u:.2g}" for u in times])
            axis.minorticks_off()
        caption(figure, note)
    return figure


def looked_images(found: xr.Dataset, shape: tuple[int, ...], note: str) -> Figure:
    """Few images closely: what base and fine-tuned model make of them with noise, where the loss is, and directions lost.

    Args:
        found: The record `looked`.
        shape: Shape of an image, channels first.
        note: Small print.
    """
    limits = limits_of(found["picture"].values)
    brightest = max(float(np.abs(found["where"].values).max()), _FAINT)
    rows: list[tuple[str, list[Tile | None]]] = []
    for i in range(min(_MOST, found.sizes["point"])):
        at = found.isel(point=i)
        said = str(at["words"].values) or str(at["label"].values)
        said = said if len(said) <= _LETTERS else f"{said[:_LETTERS]}…"
        tiles: list[Tile | None] = [
            Tile(as_images(at[name].values[None], shape)[0], limits, title)
            for name, title in (
                ("picture", f"{said}\n"),
                ("noisy", "with noise\n"),
                ("base_guess", f"base:\n{float(at['free']):.0f} dims"),
                ("model_guess", f"fine-tuned:\n{float(at['lost']):.0f} lost"),
            )
        ]
        tiles.append(Tile(at["where"].values, (-brightest, brightest), "where\n", "PuOr_r"))
        for vector, own, before in zip(
            at["direction"].values, at["model_survival"].values, at["base_survival"].values, strict=True
        ):
            there = bool(np.isfinite(vector).all())
            tiles.append(direction_tile(vector, shape, f"lost:\n{before:.2f} → {own:z.2f}") if there else None)
        rows.append(("", tiles))
    return board(rows, note)
