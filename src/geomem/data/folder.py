"""Folders of image files, read by Pillow: one size, gray or color, without flips or other augmentation. Arrays, prepared alike."""

import struct
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geomem.data.dataset import DataSet
from geomem.data.images import FORMATS, decoded, extensions
from geomem.errors import InputError
from geomem.files import Unreadable, opened, printable, tree
from geomem.limits import LARGEST_SIDE
from geomem.memory import check_memory

__all__ = ["BACKGROUNDS", "Preparation", "from_folder", "prepare_all", "prepared"]

_GREY = ("1", "L", "LA", "La")
# 16-bit gray values, which Pillow would clip instead of scaling.
_DEEP = ("I;16", "I;16L", "I;16B", "I;16N")
_THREADS = 4
# Backgrounds of transparent pixels.
BACKGROUNDS = ("white", "black", "ignore")


@dataclass(frozen=True)
class Preparation:
    """How each image is prepared.

    Attributes:
        size: Side in pixels. Images are center-cropped to the largest square and resized to this side (CelebA-HQ: 64, as in
            the paper). With None, images are not resized and must all have one size.
        mode: "gray" or "rgb". With None, images are not converted and must all have the same channels.
        background: "white" or "black", on which transparent pixels are composited; "ignore" drops the alpha channel, as
            `convert("RGB")` does.
    """

    size: int | None = None
    mode: str | None = None
    background: str = "white"

    def __post_init__(self) -> None:
        if self.size is not None and self.size < 1:
            raise InputError(f"--size: must be at least 1 pixel, got {self.size}.")
        if self.size is not None and self.size > LARGEST_SIDE:
            raise InputError(f"--size: must be at most {LARGEST_SIDE:,} pixels, got {self.size}.")
        if self.mode not in (None, "gray", "rgb"):
            raise InputError(f"--mode: must be gray or rgb, got {self.mode!r}.")
        if self.background not in BACKGROUNDS:
            raise InputError(f"--background: must be one of {', '.join(BACKGROUNDS)}, got {self.background!r}.")

    def __call__(self, image: Any) -> NDArray[np.uint8]:
        """A Pillow image as bytes (height, width) or (height, width, 3)."""
        from PIL import Image, ImageOps

        # If the orientation tag is damaged, the pixels are not rotated.
        with suppress(SyntaxError, ValueError, TypeError, KeyError, OSError, struct.error):
            image = ImageOps.exif_transpose(image)
        if image.mode in (*_DEEP, "I", "F"):
            values = np.asarray(image).astype(np.float64)
            if image.mode == "F" or values.min() < 0 or values.max() > 65535:
                raise InputError(
                    "has 32-bit pixels, whose range is unknown; save it with 8 or 16 bits, or all images as one "
                    "array with numpy.save"
                )
            image = Image.fromarray((values / 257).round().astype(np.uint8))
        grey = image.mode in _GREY
        if image.has_transparency_data and self.background != "ignore":
            image = image.convert("RGBA")
            ground = Image.new("RGBA", image.size, self.background)
            ground.alpha_composite(image)
            image = ground
        image = image.convert({"gray": "L", "rgb": "RGB", None: "L" if grey else "RGB"}[self.mode])
        if self.size is not None:
            image = ImageOps.fit(image, (self.size, self.size), Image.Resampling.BOX)
        return np.asarray(image)


def from_folder(folder: Path, preparation: Preparation, *, skip_unreadable: bool = False) -> DataSet:
    """All images in a folder and its subfolders.

    Args:
        folder: The folder.
        preparation: How each image is prepared.
        skip_unreadable: Leave out what cannot be read, with a note.

    Raises:
        InputError: For a folder without images, images of different sizes or channels, or more than fit into memory; for files and
            subfolders that cannot be read, with their number.
    """
    known = extensions()
    where, held = printable(folder), tree(folder)
    files = [path for path in held.files if path.suffix.lower() in known]
    broken = [path for path in held.broken if path.suffix.lower() in known]
    if held.locked and not skip_unreadable:
        raise InputError(_unread(where, held.locked, "subfolder"))
    linked = _counted(len(held.linked), "linked subfolder", "was not followed", "were not followed")
    if not files and not broken:
        raise InputError(
            f"{where}: holds no image files ({', '.join(FORMATS)}), no MNIST-format file (*-idx3-ubyte) and no CIFAR-10 batches "
            f"(*_batch*.bin){'; ' + linked if linked else ''}."
        )
    files = sorted([*files, *broken], key=lambda path: path.parts)
    names = [printable(path.relative_to(folder)) for path in files]
    images, kept, notes = prepare_all(
        where, names, lambda i: _open(files[i]), preparation, skip_unreadable=skip_unreadable
    )
    others = _counted(len(held.files) + len(held.broken) - len(files), "other file", "was skipped", "were skipped")
    locked = _counted(
        len(held.locked), "subfolder", "could not be read and was left out", "could not be read and were left out"
    )
    more = (f"{said}." for said in (others, linked, locked) if said)
    return DataSet(where, "images", images, [names[i] for i in kept], (*more, *notes))


def _counted(count: int, what: str, one: str, many: str) -> str:
    """A count as a clause; "" for none."""
    return f"{count:,} {what}{'s' if count > 1 else ''} {many if count > 1 else one}" if count else ""


def _unread(where: str, errors: Sequence[Unreadable], what: str) -> str:
    """The message for what cannot be read: the first of it as an example, and how many there are."""
    count = _counted(len(errors), what, "cannot be read", "cannot be read")
    return f"{str(errors[0]).rstrip('.')}; in {where}, {count}. To go on without, add --skip-unreadable."


def prepared(data: DataSet, preparation: Preparation) -> DataSet:
    """Images that are arrays of bytes, cropped, resized and converted as image files are.

    Raises:
        InputError: For data that are not images of bytes, or a background, which only image files have.
    """
    from PIL import Image

    if preparation == Preparation():
        return data
    if preparation.background != Preparation.background:
        raise InputError(
            f"{data.name}: --background applies to image files and hub data; arrays have no transparent pixels."
        )
    shape = data.image_shape
    if preparation.mode is None and shape is not None and shape[:2] == (preparation.size, preparation.size):
        return data
    if shape is None or not data.pixels:
        what = f"has samples of shape {data.shape}" if shape is None else f"holds {data.values.dtype}"
        raise InputError(
            f"{data.name}: --size and --mode apply to images of bytes (uint8), but this {what}; prepare it before saving it."
        )
    last = data.values.transpose(0, 2, 3, 1) if shape != data.shape and data.shape[0] == 3 else data.values
    pixels = last.reshape(-1, *shape)
    names = [data.label(i) for i in range(len(data))]
    images, _, notes = prepare_all(data.name, names, lambda i: Image.fromarray(pixels[i]), preparation)
    return replace(data, values=images, notes=(*data.notes, *notes))


def prepare_all(
    source: str,
    names: Sequence[str],
    read: Callable[[int], Any],
    preparation: Preparation,
    *,
    skip_unreadable: bool = False,
) -> tuple[NDArray[np.uint8], NDArray[np.int64], tuple[str, ...]]:
    """Prepare the images `read(0)`, `read(1)`, ... as one array (n, height, width[, 3]).

    Args:
        source: What they belong to, for messages.
        names: Name of each.
        read: Gives an image of Pillow's, or raises `Unreadable`.
        preparation: How each is prepared.
        skip_unreadable: Leave out those that `read` cannot give.

    Returns:
        The images, which of them were kept, and notes on conversions and omissions.

    Raises:
        InputError: For images of different sizes or channels, naming two that differ; for unreadable ones, with their number.
    """
    unread: dict[int, Unreadable] = {}

    def tried(i: int) -> NDArray[np.uint8] | None:
        try:
            image = read(i)
        except Unreadable as error:
            unread[i] = error
            return None
        transparent[i] = _is_transparent(image)
        return _prepared(source, names[i], image, preparation)

    transparent = np.zeros(len(names), dtype=bool)
    start, first = next(((i, image) for i in range(len(names)) if (image := tried(i)) is not None), (len(names), None))
    if first is None:
        raise InputError(_unread(source, [unread[i] for i in sorted(unread)], "image"))
    check_memory(
        len(names) * first.nbytes,
        f"{source}: {len(names):,} images",
        "choose a smaller --size, or a part of the images",
    )
    out = np.empty((len(names), *first.shape), dtype=np.uint8)

    def place(i: int) -> None:
        image = first if i == start else tried(i)
        if image is None:
            return
        if image.ndim != first.ndim:
            words = {2: "gray", 3: "color"}
            raise InputError(
                f"{source}: mixes channels: {names[start]} is {words[first.ndim]}, {names[i]} is {words[image.ndim]}; choose one "
                "with --mode gray or --mode rgb."
            )
        if image.shape != first.shape:
            sizes = [f"{a.shape[1]}x{a.shape[0]}" for a in (first, image)]
            raise InputError(
                f"{source}: mixes sizes: {names[start]} has {sizes[0]} pixels, {names[i]} has {sizes[1]}; resize them to one "
                "with --size (center-crops and resizes)."
            )
        out[i] = image

    # Filters of warnings are one for all threads, so they are set before these start. A warning of Pillow's that an image is
    # too large must stop it from being unpacked.
    with warnings.catch_warnings(), ThreadPoolExecutor(_THREADS) as pool:
        from PIL import Image

        warnings.simplefilter("error", Image.DecompressionBombWarning)
        # A failure cancels all files not yet started, so that the first image that does not fit ends the reading.
        try:
            for _ in pool.map(place, range(start, len(names))):
                pass
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    if unread and not skip_unreadable:
        raise InputError(_unread(source, [unread[i] for i in sorted(unread)], "image"))
    kept = np.setdiff1d(np.arange(len(names)), list(unread)) if unread else np.arange(len(names))
    notes = _on_transparency(int(transparent.sum()), preparation.background)
    if unread:
        left = _counted(
            len(unread), "image", "could not be read and was left out", "could not be read and were left out"
        )
        return out[kept], kept, (f"{left}.", *notes)
    return out, kept, notes


def _is_transparent(image: Any) -> bool:
    """Whether any pixel is not opaque."""
    return bool(image.has_transparency_data and image.convert("RGBA").getchannel("A").getextrema()[0] < 255)


def _on_transparency(count: int, background: str) -> tuple[str, ...]:
    if not count:
        return ()
    many = "1 image has" if count == 1 else f"{count:,} images have"
    done = "their alpha channel was ignored" if background == "ignore" else f"they were composited on {background}"
    return (f"{many} transparent pixels; {done} (see --background).",)


def _prepared(source: str, name: str, image: Any, preparation: Preparation) -> NDArray[np.uint8]:
    """Prepare one image; an error names it."""
    try:
        return preparation(image)
    except InputError as error:
        raise InputError(f"{source}: {name} {error}.") from error


def _open(path: Path) -> Any:
    with opened(path) as stream:
        return decoded(stream, printable(path), "replace it or remove it from the folder")
