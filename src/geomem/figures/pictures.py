"""Boards of images and directions: rows of tiles in one drawing, each with its small print."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from geomem.data.layout import as_images, image_shape
from geomem.figures.style import WIDTH, caption, style

__all__ = ["Tile", "board", "direction_tile", "limits_of", "local_directions"]

# Inches: a heading, a line over a tile, space between tiles, and the small print at the bottom.
_HEADING, _LINE, _GAP, _FOOT = 0.27, 0.15, 0.07, 0.2
# Height over width of a tile that shows a vector as a curve.
_CURVE = 0.6


@dataclass(frozen=True)
class Tile:
    """One picture.

    Attributes:
        image: (height, width) or (height, width, 3), or a vector, which is drawn as a curve.
        limits: Values that are black and white.
        title: Lines over it.
        colours: Colour map of grey images.
    """

    image: NDArray[np.float64]
    limits: tuple[float, float]
    title: str = ""
    colours: str = "gray"

    @property
    def ratio(self) -> float:
        """Height over width."""
        return _CURVE if self.image.ndim == 1 else self.image.shape[0] / self.image.shape[1]


def board(rows: Sequence[tuple[str, Sequence[Tile | None]]], note: str) -> Figure:
    """Rows of tiles, each under its heading ("" for none); None leaves a place empty."""
    columns = max(len(tiles) for _, tiles in rows)
    side = (WIDTH - _GAP) / columns - _GAP
    ratio = max(tile.ratio for _, tiles in rows for tile in tiles if tile is not None)
    lines = [max(t.title.count("\n") + 1 if t and t.title else 0 for t in tiles) for _, tiles in rows]
    heights = [
        (_HEADING if heading else 0) + n * _LINE + side * ratio for (heading, _), n in zip(rows, lines, strict=True)
    ]
    height = sum(heights) + _GAP * (len(rows) + 1)
    with style():
        figure = Figure(figsize=(WIDTH, height + _FOOT))
        axis = figure.add_axes((0, _FOOT / (height + _FOOT), 1, height / (height + _FOOT)))
        top = _GAP
        for (heading, tiles), tall in zip(rows, heights, strict=True):
            if heading:
                axis.text(WIDTH / 2, top + _HEADING / 2, heading, ha="center", va="center", fontsize=9)
            bottom = top + tall
            for i, tile in enumerate(tiles):
                if tile is not None:
                    left = _GAP + i * (side + _GAP)
                    _draw(axis, tile, (left, left + side, bottom, bottom - side * tile.ratio))
                    axis.text(
                        left + side / 2,
                        bottom - side * ratio - 0.03,
                        tile.title,
                        ha="center",
                        va="bottom",
                        fontsize=7.5,
                    )
            top = bottom + _GAP
        axis.set(xlim=(0, WIDTH), ylim=(height, 0), aspect="auto")
        axis.set_axis_off()
        caption(figure, note)
    return figure


def direction_tile(vector: NDArray[np.float64], shape: tuple[int, ...], title: str) -> Tile:
    """A direction of the data's space: red and blue around 0, or a curve where the data are no images."""
    reach = float(np.abs(vector).max())
    image = vector if image_shape(shape) is None else as_images(vector[None], shape)[0]
    return Tile(image, (-reach, reach), title, "RdBu_r")


def local_directions(examples: xr.Dataset, shape: tuple[int, ...], note: str) -> Figure:
    """Each row a point, what the score makes of it, and directions that it keeps there and has lost.

    `examples` is over (set, point), as `measure.observe` records it, or over point with the name of its set.
    """
    shown = _by_point(examples)
    pictures, guesses = (
        as_images(np.stack([at[name].values for _, at in shown]), shape) for name in ("picture", "guess")
    )
    limits = limits_of(pictures)
    rows = []
    for i, (name, at) in enumerate(shown):
        tiles: list[Tile | None] = [Tile(pictures[i], limits, name), Tile(guesses[i], limits, "E[y|x]")]
        for kind in ("kept", "lost"):
            for vector, kappa in zip(at[kind].values, at[f"{kind}_survival"].values, strict=True):
                found = bool(np.isfinite(vector).all())
                tiles.append(direction_tile(vector, shape, f"{kind} {kappa:z.2f}") if found else None)
        rows.append(("", tiles))
    return board(rows, note)


def _by_point(examples: xr.Dataset) -> list[tuple[str, xr.Dataset]]:
    """The points with the names of their sets; sets may differ in number, which leaves NaN."""
    if "set" not in examples.dims:
        each = [examples.isel(point=i) for i in range(examples.sizes["point"])]
        return [(str(at["set"].values), at) for at in each]
    by_set = [(str(name), examples.sel(set=name)) for name in examples["set"].values]
    pairs = [(name, one.isel(point=i)) for name, one in by_set for i in range(examples.sizes["point"])]
    return [(name, at) for name, at in pairs if np.isfinite(at["picture"].values).all()]


def limits_of(images: NDArray[np.floating]) -> tuple[float, float]:
    """Values that are black and white."""
    low, high = float(images.min()), float(images.max())
    return (low, high) if high > low else (low, low + 1)


def _draw(axis: Axes, tile: Tile, extent: tuple[float, float, float, float]) -> None:
    """One tile in the rectangle (left, right, bottom, top)."""
    left, right, bottom, top = extent
    low, high = tile.limits
    if tile.image.ndim == 1:
        share = (tile.image - low) / ((high - low) or 1.0)
        axis.plot(np.linspace(left, right, tile.image.size), bottom + share * (top - bottom), color="#1b1b1b", lw=0.8)
    elif tile.image.ndim == 3:
        axis.imshow(np.clip((tile.image - low) / (high - low), 0, 1), extent=extent, interpolation="nearest")
    else:
        axis.imshow(tile.image, cmap=tile.colours, vmin=low, vmax=high, extent=extent, interpolation="nearest")
