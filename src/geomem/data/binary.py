"""Binary files of well-known data sets: MNIST's IDX format and CIFAR-10's binary batches."""

import gzip
import math
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from geomem.data.dataset import DataSet, printable
from geomem.errors import InputError

__all__ = ["cifar_batches", "from_cifar", "from_idx", "idx_files", "is_idx"]

# The format's third byte: the type of its values, stored with the most significant byte first.
_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
# A record of CIFAR-10: one label, then 32x32 red, green and blue values.
_RECORD = 1 + 3 * 32 * 32


def is_idx(path: Path) -> bool:
    """Whether the name is like MNIST's train-images-idx3-ubyte; also with .gz, or with a dot before idx3."""
    return any(f"{joint}idx3-" in path.name for joint in "-.")


def idx_files(folder: Path) -> list[Path]:
    """The image files of a folder in MNIST's format: the training images if there are any, otherwise all."""
    found = sorted(p for p in folder.iterdir() if is_idx(p) and p.is_file())
    unpacked = [p for p in found if p.suffix != ".gz" or p.with_suffix("") not in found]
    return [p for p in unpacked if p.name.startswith("train")] or unpacked


def from_idx(path: Path) -> DataSet:
    """Images of a file in MNIST's format (n, height, width), memory-mapped unless it is compressed.

    Raises:
        InputError: For a file that has another format or is cut short.
    """
    try:
        if path.suffix == ".gz":
            content = gzip.decompress(path.read_bytes())
            raw: NDArray[np.uint8] = np.frombuffer(content, dtype=np.uint8)
        else:
            raw = np.memmap(path, dtype=np.uint8, mode="r")
    except PermissionError:
        raise
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise InputError(f"{path}: cannot be unpacked ({error}); it is damaged or not what its name says.") from error
    start = 4 + 4 * int(raw[3]) if raw.size >= 4 else 4
    if raw.size < start or raw[0] or raw[1] or int(raw[2]) not in _TYPES or not 1 <= raw[3] <= 4:
        raise InputError(
            f"{path}: does not begin like a file in MNIST's IDX format; it is damaged or has another format."
        )
    shape = tuple(int(k) for k in np.frombuffer(raw[4:start].tobytes(), dtype=">u4"))
    dtype = np.dtype(_TYPES[int(raw[2])])
    size = math.prod(shape) * dtype.itemsize
    if raw.size - start != size:
        raise InputError(
            f"{path}: should hold {'x'.join(map(str, shape))} values, but holds {raw.size - start:,} bytes of them instead of "
            f"{size:,}; it is cut short or damaged."
        )
    return DataSet(printable(path), "MNIST-format images", raw[start:].view(dtype).reshape(shape))


def cifar_batches(folder: Path) -> list[Path]:
    """CIFAR-10's training batches in its binary version, otherwise its test batch.

    Raises:
        InputError: For a folder with the Python version, which consists of pickles.
    """
    found, pickles = (
        [p for pattern in patterns for p in sorted(folder.glob(pattern)) if p.is_file()]
        for patterns in (("data_batch_*.bin",), ("data_batch_[0-9]", "test_batch"))
    )
    found = found or [p for p in folder.glob("test_batch.bin") if p.is_file()]
    if pickles and not found:
        raise pickled_batches(pickles[0])
    return found


def pickled_batches(path: Path) -> InputError:
    """The error for CIFAR-10's Python version."""
    return InputError(
        f"{path}: is CIFAR-10's Python version, a pickle, which is refused because opening it can run code; use the binary "
        "version (cifar-10-binary.tar.gz, with data_batch_1.bin) from the same page."
    )


def from_cifar(files: list[Path]) -> DataSet:
    """Images of CIFAR-10's binary batches (n, 32, 32, 3); one batch is memory-mapped, several are concatenated.

    Raises:
        InputError: For a file that does not consist of whole records.
    """
    parts = []
    for path in files:
        raw = np.memmap(path, dtype=np.uint8, mode="r") if path.stat().st_size else np.empty(0, np.uint8)
        if raw.size == 0 or raw.size % _RECORD:
            raise InputError(
                f"{path}: holds {raw.size:,} bytes, not a multiple of CIFAR-10's record size of {_RECORD:,}; it is cut short or "
                "not CIFAR-10's binary version."
            )
        records = raw.reshape(-1, _RECORD)
        if records[:, 0].max() > 9:
            raise InputError(f"{path}: holds labels above 9, so it is not CIFAR-10's binary version.")
        parts.append(records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
    name = printable(files[0] if len(files) == 1 else files[0].parent)
    return DataSet(name, "CIFAR-10 binary batches", parts[0] if len(parts) == 1 else np.concatenate(parts))
