"""Folders of image files, read by Pillow: one size, gray or color, without flips or other augmentation. Arrays, prepared alike."""

import struct
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geomem.data.dataset import DataSet, printable
from geomem.errors import InputError

__all__ = ["BACKGROUNDS", "Preparation", "from_folder", "image_files", "prepare_all", "prepared"]

# Formats that Pillow opens, but that hold documents, videos or measurements, or need another program.
_NO_IMAGES = {"BUFR", "EPS", "FITS", "GRIB", "HDF5", "MPEG", "PDF", "WMF"}
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


def image_files(folder: Path) -> tuple[list[Path], int]:
    """All image files in a folder and its subfolders, by extension, sorted by path; and the number of other files."""
    from PIL import Image

    known = {e for e, kind in Image.registered_extensions().items() if kind in Image.OPEN and kind not in _NO_IMAGES}
    files = [p for p in folder.rglob("*") if p.is_file() and not p.name.startswith(".")]
    images = sorted(p for p in files if p.suffix.lower() in known)
    return images, len(files) - len(images)


def from_folder(folder: Path, preparation: Preparation) -> DataSet:
    """All images in a folder and its subfolders.

    Raises:
        InputError: For a folder without images, a file that is not an image, or images of different sizes or channels.
    """
    files, others = image_files(folder)
    if not files:
        raise InputError(
            f"{printable(folder)}: holds no image files (PNG, JPEG or other formats that Pillow reads), no MNIST-format file "
            "(*-idx3-ubyte) and no CIFAR-10 batches (*_batch*.bin)."
        )
    names = [printable(p.relative_to(folder)) for p in files]
    images, notes = prepare_all(printable(folder), names, lambda i: _open(files[i]), preparation)
    if others:
        notes = (
            f"{others:,} other file{'s' if others > 1 else ''} in the folder {'were' if others > 1 else 'was'} skipped.",
            *notes,
        )
    return DataSet(printable(folder), "images", images, names, notes)


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
    images, notes = prepare_all(data.name, names, lambda i: Image.fromarray(pixels[i]), preparation)
    return replace(data, values=images, notes=(*data.notes, *notes))


def prepare_all(
    source: str, names: Sequence[str], read: Callable[[int], Any], preparation: Preparation
) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """Prepare the images `read(0)`, `read(1)`, ... as one array (n, height, width[, 3]), with notes on conversions.

    Raises:
        InputError: For images of different sizes or channels, naming two that differ.
    """
    first = _prepared(source, names[0], read(0), preparation)
    out = np.empty((len(names), *first.shape), dtype=np.uint8)
    transparent = np.zeros(len(names), dtype=bool)

    def place(i: int) -> None:
        raw = read(i)
        transparent[i] = _is_transparent(raw)
        image = _prepared(source, names[i], raw, preparation)
        if image.ndim != first.ndim:
            words = {2: "gray", 3: "color"}
            raise InputError(
                f"{source}: mixes channels: {names[0]} is {words[first.ndim]}, {names[i]} is {words[image.ndim]}; choose one "
                "with --mode gray or --mode rgb."
            )
        if image.shape != first.shape:
            sizes = [f"{a.shape[1]}x{a.shape[0]}" for a in (first, image)]
            raise InputError(
                f"{source}: mixes sizes: {names[0]} has {sizes[0]} pixels, {names[i]} has {sizes[1]}; resize them to one "
                "with --size (center-crops and resizes)."
            )
        out[i] = image

    with ThreadPoolExecutor(_THREADS) as pool:
        # A failure cancels all files not yet started, so that the first bad file ends the reading.
        try:
            for _ in pool.map(place, range(len(names))):
                pass
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return out, _on_transparency(int(transparent.sum()), preparation.background)


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
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            return image.copy()
    except UnidentifiedImageError:
        raise InputError(
            f"{path}: has an image's extension, but is not an image that Pillow can read; remove it from the folder."
        ) from None
    except PermissionError:
        raise InputError(f"{path}: cannot be read (permission denied).") from None
    except (OSError, ValueError, TypeError, SyntaxError, struct.error, Image.DecompressionBombError) as error:
        raise InputError(f"{path}: is a damaged image ({error}); replace it or remove it from the folder.") from error
