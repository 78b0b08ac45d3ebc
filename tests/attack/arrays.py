"""Valid arrays as bytes: .npy, .npz, MNIST's IDX and CIFAR-10's batches; and archives that hold more or less than they say."""

import gzip
import io
import pickle
import struct
import zipfile
import zlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np

from attack.cases import MARK

__all__ = ["DATA", "bomb", "cifar", "encrypted", "gz", "idx", "npy", "npy_header", "npz", "pickled", "rows", "wants"]

# What is asked of a command that reads one file of data.
DATA = ("data", "{name}", "--quick", "--out", "run")


@cache
def rows() -> np.ndarray:
    """60 gray images of 8x8 pixels."""
    return np.random.default_rng(0).integers(0, 256, (60, 8, 8), dtype=np.uint8)


def npy(array: np.ndarray | None = None, **options: bool) -> bytes:
    """An array as numpy.save writes it."""
    stream = io.BytesIO()
    np.save(stream, rows() if array is None else array, **options)
    return stream.getvalue()


def npy_header(header: str, data: bytes = b"", version: tuple[int, int] = (1, 0)) -> bytes:
    """A .npy file with a header of any text."""
    text = header.encode("latin-1", "replace")
    length = struct.pack("<H" if version[0] == 1 else "<I", len(text) & (0xFFFF if version[0] == 1 else 0xFFFFFFFF))
    return b"\x93NUMPY" + bytes(version) + length + text + data


def npz(entries: dict[str, bytes] | None = None, *, deflated: bool = True) -> bytes:
    """An archive of some files."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED if deflated else zipfile.ZIP_STORED) as archive:
        for name, content in (entries or {"x.npy": npy()}).items():
            archive.writestr(zipfile.ZipInfo(name), content, archive.compression)  # always of the same date
    return stream.getvalue()


def encrypted(data: bytes) -> bytes:
    """The same archive with its entries marked as encrypted."""
    out = bytearray(data)
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = out.find(mark)
        while at >= 0:
            out[at + offset] |= 1
            at = out.find(mark, at + 4)
    return bytes(out)


def bomb(head: bytes, mebibytes: int) -> bytes:
    """An archive of some KiB whose one entry x.npy unpacks to `head` and so many MiB of zeros."""
    packed = zlib.compressobj(9, zlib.DEFLATED, -15)
    first = packed.compress(head) + packed.flush(zlib.Z_FULL_FLUSH)
    block = packed.compress(bytes(1 << 20)) + packed.flush(zlib.Z_FULL_FLUSH)
    data = first + block * mebibytes + packed.flush()
    sizes = struct.pack("<III", 0, len(data), min(len(head) + (mebibytes << 20), 0xFFFFFFFE))
    name = b"x.npy"
    local = struct.pack("<4sHHHHH", b"PK\x03\x04", 20, 0, 8, 0, 33) + sizes + struct.pack("<HH", len(name), 0) + name
    entry = struct.pack("<4sHHHHHH", b"PK\x01\x02", 20, 20, 0, 8, 0, 33) + sizes
    entry += struct.pack("<HHHHHII", len(name), 0, 0, 0, 0, 0, 0) + name
    end = struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, 1, 1, len(entry), len(local) + len(data), 0)
    return local + data + entry + end


def idx(array: np.ndarray | None = None, *, magic: bytes | None = None, shape: Sequence[int] | None = None) -> bytes:
    """MNIST's format, with any magic number and shape."""
    values = rows() if array is None else array
    sizes = values.shape if shape is None else shape
    head = (b"\0\0\x08" + bytes([len(sizes)]) if magic is None else magic) + struct.pack(f">{len(sizes)}I", *sizes)
    return head + values.tobytes()


def cifar() -> bytes:
    """A batch of 60 images in CIFAR-10's binary format."""
    return b"".join(bytes([i % 10]) + np.random.default_rng(i).bytes(3072) for i in range(60))


def gz(data: bytes) -> bytes:
    """Packed, with the same bytes at any time."""
    return gzip.compress(data, mtime=0)


class _Runs:
    """Pickled, it writes a file where it is opened."""

    def __reduce__(self) -> tuple[object, ...]:
        return open, (MARK, "w")


def pickled() -> bytes:
    """A pickle that leaves a mark if anyone opens it."""
    return pickle.dumps(_Runs())


def wants(folder: Path, name: str, content: bytes) -> list[str]:
    """The file, and the command that reads it."""
    (folder / name).write_bytes(content)
    return [word.format(name=name) for word in DATA]
