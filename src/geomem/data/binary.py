"""Binary files of well-known data sets: MNIST's IDX format and CIFAR-10's binary batches."""

import gzip
import io
import math
import re
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geomem.data.dataset import DataSet
from geomem.data.stored import StoredArray
from geomem.errors import InputError, reason_of
from geomem.files import is_file, names, opened, printable
from geomem.memory import check_memory

__all__ = ["cifar_batches", "from_cifar", "from_idx", "idx_files", "is_idx"]

# The format's third byte: the type of its values, stored with the most significant byte first.
_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
# A record of CIFAR-10: one label, then 32x32 red, green and blue values.
_RECORD = 1 + 3 * 32 * 32
# Records whose labels are checked at a time.
_CHECKED = 10_000
# Bytes that are unpacked at a time.
_PIECE = 2**24


def is_idx(path: Path) -> bool:
    """Whether the name is like MNIST's train-images-idx3-ubyte; also with .gz, or with a dot before idx3."""
    return _named_idx(path.name)


def _named_idx(name: str) -> bool:
    return any(f"{joint}idx3-" in name for joint in "-.")


def idx_files(folder: Path) -> list[Path]:
    """The image files of a folder in MNIST's format: the training images if there are any, otherwise all."""
    found = [p for name in names(folder) if _named_idx(name) and is_file(p := folder / name)]
    unpacked = [p for p in found if p.suffix != ".gz" or p.with_suffix("") not in found]
    return [p for p in unpacked if p.name.startswith("train")] or unpacked


def from_idx(path: Path) -> DataSet:
    """Images of a file in MNIST's format (n, height, width), which stay on disk unless the file is compressed.

    Raises:
        InputError: For a file that has another format, is cut short, or unpacks to more than the free memory.
    """
    where = printable(path)
    with opened(path) as stream:
        if path.suffix != ".gz":
            shape, dtype, start = _idx_header(stream, where)
            held = stream.seek(0, 2) - start
            _check_size(where, shape, dtype, held)
            values: NDArray[Any] | StoredArray = StoredArray(path, dtype, shape, start=start)
        else:
            try:
                with gzip.GzipFile(fileobj=stream) as unpacked:
                    values = _unpacked(unpacked, where)
            except InputError:
                raise
            except (OSError, EOFError, zlib.error) as error:
                raise InputError(
                    f"{where}: cannot be unpacked ({reason_of(error)}); it is damaged or not what its name says."
                ) from error
    return DataSet(where, "MNIST-format images", values)


def _idx_header(stream: io.BufferedIOBase, where: str) -> tuple[tuple[int, ...], "np.dtype[Any]", int]:
    """Shape and type of the values that follow, and the length of the header."""
    head = stream.read(4)
    axes = head[3] if len(head) == 4 else 0
    sizes = stream.read(4 * axes) if 1 <= axes <= 4 else b""
    if not sizes or len(sizes) < 4 * axes or head[:2] != b"\0\0" or head[2] not in _TYPES:
        raise InputError(
            f"{where}: does not begin like a file in MNIST's IDX format; it is damaged or has another format."
        )
    return tuple(int(k) for k in np.frombuffer(sizes, dtype=">u4")), np.dtype(_TYPES[head[2]]), 4 + 4 * axes


def _check_size(where: str, shape: tuple[int, ...], dtype: "np.dtype[Any]", held: int, more: str = "") -> None:
    size = math.prod(shape) * dtype.itemsize
    if held != size:
        raise InputError(
            f"{where}: should hold {'x'.join(map(str, shape))} values, but holds {more}{held:,} bytes of them instead of "
            f"{size:,}; it is cut short or damaged."
        )


def _unpacked(stream: io.BufferedIOBase, where: str) -> NDArray[Any]:
    """As many values as the header announces; unpacking ends there, however much more is packed."""
    shape, dtype, _ = _idx_header(stream, where)
    size = math.prod(shape) * dtype.itemsize
    check_memory(size, where, "unpack the file, whose rows are then read from the disk")
    raw = np.empty(size, dtype=np.uint8)
    held = 0
    while held < size and (count := stream.readinto(raw.data[held : held + _PIECE])):
        held += count
    _check_size(where, shape, dtype, held)
    if stream.read(1):
        _check_size(where, shape, dtype, size + 1, "at least ")
    return raw.view(dtype).reshape(shape)


def cifar_batches(folder: Path) -> list[Path]:
    """CIFAR-10's training batches in its binary version, otherwise its test batch.

    Raises:
        InputError: For a folder with the Python version, which consists of pickles.
    """
    held = names(folder)
    found, tests, pickles = (
        [p for name in held if re.fullmatch(pattern, name) and is_file(p := folder / name)]
        for pattern in (r"data_batch_.*\.bin", r"test_batch\.bin", r"data_batch_[0-9]|test_batch")
    )
    found = found or tests
    if pickles and not found:
        raise pickled_batches(pickles[0])
    return found


def pickled_batches(path: Path) -> InputError:
    """The error for CIFAR-10's Python version."""
    return InputError(
        f"{printable(path)}: is CIFAR-10's Python version, a pickle, which can run code when it is opened and is refused; take the binary "
        "version (cifar-10-binary.tar.gz, with data_batch_1.bin) from the same page."
    )


def from_cifar(files: list[Path]) -> DataSet:
    """Images of CIFAR-10's binary batches (n, 32, 32, 3); one batch stays on disk, several are concatenated in memory.

    Raises:
        InputError: For a file that does not consist of whole records.
    """
    parts = [_cifar_batch(path) for path in files]
    name = printable(files[0] if len(files) == 1 else files[0].parent)
    values = parts[0] if len(parts) == 1 else np.concatenate([np.asarray(part) for part in parts])
    return DataSet(name, "CIFAR-10 binary batches", values)


def _cifar_batch(path: Path) -> StoredArray:
    where = printable(path)
    with opened(path) as stream:
        size = stream.seek(0, 2)
    if size == 0 or size % _RECORD:
        raise InputError(
            f"{where}: holds {size:,} bytes, not a multiple of CIFAR-10's record size of {_RECORD:,}; it is cut short or "
            "not CIFAR-10's binary version."
        )
    count = size // _RECORD
    records = StoredArray(path, np.uint8, (count, _RECORD))
    if any(records[i : i + _CHECKED][:, 0].max() > 9 for i in range(0, count, _CHECKED)):
        raise InputError(f"{where}: holds labels above 9, so it is not CIFAR-10's binary version.")
    return StoredArray(path, np.uint8, (count, 3, 32, 32), skip=1).transpose(0, 2, 3, 1)
