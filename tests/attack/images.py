"""Valid images as bytes, and images that are not what their names or headers say."""

import io
import struct
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from attack.arrays import rows
from attack.cases import MARK

__all__ = ["POSTSCRIPT", "chunk", "image", "png", "pngs", "wants"]

COUNT = 60
# Ghostscript writes the file where it runs this; a real one is not needed to see that it was started.
POSTSCRIPT = f"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n({MARK}) (w) file closefile\nshowpage\n%%EOF\n".encode()


@cache
def image(kind: str, mode: str = "L", **options: object) -> bytes:
    """The first image, in a format of Pillow's."""
    stream = io.BytesIO()
    Image.fromarray(rows()[0]).convert(mode).save(stream, format=kind, **options)
    return stream.getvalue()


@cache
def pngs() -> list[bytes]:
    """All images, each as PNG."""
    made = []
    for row in rows():
        stream = io.BytesIO()
        Image.fromarray(row).save(stream, format="png")
        made.append(stream.getvalue())
    return made


def chunk(kind: bytes, data: bytes) -> bytes:
    """A piece of a PNG file with its checksum."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(
    width: int = 8,
    height: int = 8,
    *,
    depth: int = 8,
    colour: int = 0,
    interlaced: int = 0,
    pixels: bytes | None = None,
    before: bytes = b"",
    packed: Callable[[bytes], bytes] = zlib.compress,
) -> bytes:
    """A PNG file by hand, with any header."""
    head = struct.pack(">IIBBBBB", width & 0xFFFFFFFF, height & 0xFFFFFFFF, depth, colour, 0, 0, interlaced)
    data = bytes(9 * 8) if pixels is None else pixels
    start = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + before
    return start + chunk(b"IDAT", packed(data)) + chunk(b"IEND", b"")


def wants(folder: Path, name: str, content: bytes) -> list[str]:
    """A folder of images with one more, and the command that reads it."""
    (folder / "pictures").mkdir()
    for i, data in enumerate(pngs()):
        (folder / "pictures" / f"{i:02}.png").write_bytes(data)
    (folder / "pictures" / name).write_bytes(content)
    return ["data", "pictures", "--quick", "--out", "run"]


def values(folder: Path) -> np.ndarray:
    """What Pillow reads of the first image."""
    return np.asarray(Image.open(folder / "pictures" / "00.png"))
