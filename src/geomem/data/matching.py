"""Match data to other data: the same shape and scale and, for held-out data, no common rows."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from geomem.data.dataset import DataSet
from geomem.data.distinct import distinct_rows
from geomem.data.load import holds_image_files, load
from geomem.data.scale import scale_of
from geomem.errors import InputError

__all__ = ["like", "unseen"]

# Difference between channels, out of 255, below which an image counts as gray.
_TINT = 8
# Fewest useful held-out samples.
_FEWEST = 20


def like(
    real: DataSet,
    source: str | Path,
    option: str,
    *,
    size: int | None = None,
    mode: str | None = None,
    array: str | None = None,
    background: str = "white",
    skip_unreadable: bool = False,
) -> DataSet:
    """Load samples to compare with `real`: they must have its shape and, as far as can be judged, its scale.

    Image files are resized to the side of square data, arrays of images only if they have another size and `size` was asked for.
    Conversions are listed in their notes.

    Args:
        real: The data.
        source: What `load` reads.
        option: The option that named the source, such as "--samples".
        size: Side that the data were resized to, in pixels.
        mode: "gray" or "rgb" for image files.
        array: Array of a .npz file.
        background: Background of transparent pixels in image files.
        skip_unreadable: Leave out image files and subfolders that cannot be read.

    Raises:
        InputError: For samples of another shape or scale, or for a single sample.
    """
    files, target = holds_image_files(source), real.image_shape
    side = target[0] if files and target is not None and target[0] == target[1] else None

    def read(mode: str | None, side: int | None = side) -> DataSet:
        held = array if str(source).endswith(".npz") else None
        ground = background if files else "white"
        return load(source, size=side, mode=mode, array=held, background=ground, skip_unreadable=skip_unreadable)

    other = read(mode if files else None)
    asked = (mode is not None or size is not None) and other.pixels and other.image_shape != target
    if not files and asked and other.image_shape is not None:
        other = read(mode, size)
    if files and target is not None and other.image_shape is not None and len(other.image_shape) != len(target):
        other = _of_channels(other, len(target), read)
    if target is not None and other.image_shape == target:
        other = other.arranged(real)
    if other.shape != real.shape:
        raise InputError(
            f"{option}: {other.name} has samples of shape {other.shape}, {real.name} of {real.shape}; they must agree."
        )
    if len(other) < 2:
        raise InputError(f"{option}: {other.name} holds one sample; give as many as you can, at least hundreds.")
    _same_scale(real, other, option)
    return other


def unseen(training: DataSet, held_out: DataSet, *, few: str, least: int = _FEWEST) -> None:
    """Raise an error if held-out data share rows with the training data, or are too few.

    Args:
        training: Training data.
        held_out: Held-out data.
        few: What to do if there are too few, as a sentence.
        least: Fewest held-out samples.

    Raises:
        InputError: For shared rows, or too few.
    """
    joined = DataSet("", "", np.concatenate([d.rows(slice(None)).numpy() for d in (training, held_out)]))
    _, first = distinct_rows(joined)
    shared = int(np.sum(first[len(training) :] < len(training)))
    if shared:
        raise InputError(
            f"--held-out: {shared:,} of the {len(held_out):,} samples of {held_out.name} are among those of {training.name}; "
            "held-out data must not have been trained on. Remove them from one of the two."
        )
    if len(held_out) < least:
        raise InputError(
            f"--held-out: {held_out.name} holds {len(held_out)} samples; at least {least} are needed. {few}"
        )


def _of_channels(other: DataSet, axes: int, read: Callable[[str | None], DataSet]) -> DataSet:
    """Images converted to gray (2 axes) or color (3), with a note if that changed them."""
    if axes == 3:
        note = "They are grayscale and were compared with color data as gray in three channels."
        return replace(read("rgb"), notes=(*other.notes, note))
    coloured = any(int(np.ptp(block.astype(np.int64), axis=-1).max()) > _TINT for _, block in other.blocks())
    note = "They are in color and were converted to grayscale, as the data are."
    return replace(read("gray"), notes=(*other.notes, *([note] if coloured else [])))


def _same_scale(real: DataSet, other: DataSet, option: str) -> None:
    """Raise an error for pixels on another scale: they would be far from all data and never look like copies."""
    scales = [scale_of(real), scale_of(other)]
    if None not in scales and scales[0] != scales[1]:
        raise InputError(
            f"{option}: the values of {other.name} look like pixels from {scales[1]}, those of {real.name} like pixels from "
            f"{scales[0]} (bytes are read as v/127.5 - 1). Rescale one of them, or save both as bytes (uint8)."
        )
