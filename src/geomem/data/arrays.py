"""Arrays saved by NumPy: .npy, of which rows are read when they are needed, and .npz. No pickle is opened."""

import io
import lzma
import math
import struct
import tokenize
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from geomem.data.dataset import DataSet
from geomem.data.stored import StoredArray
from geomem.errors import InputError, reason_of
from geomem.files import opened, printable
from geomem.limits import LONGEST_HEADER, MOST_AXES
from geomem.memory import check_memory

__all__ = ["from_npy", "from_npz"]

_MAGIC = b"\x93NUMPY"
# Most bytes that deflate can make of one.
_DEFLATED = 1032
# Bytes of an archive that are unpacked at a time.
_PIECE = 2**24
# Errors that damaged archives raise: in the directory, a compression, or the checksum.
_DAMAGE = (
    *(ValueError, TypeError, EOFError, NotImplementedError, RuntimeError, OSError, OverflowError, struct.error),
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError),
)
_PICKLED = (
    "holds Python objects (a pickle), which can run code when they are opened and are refused; save an array of numbers "
    "with numpy.save"
)
_CLAIMS = "is not a complete NumPy file (its header announces more values than it holds)"
_AGAIN = "save it again with numpy.save or numpy.savez"


@dataclass(frozen=True)
class _Header:
    """What the head of a .npy file says, and its length in bytes."""

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[Any]
    length: int

    @property
    def size(self) -> int:
        """Bytes of the values."""
        return math.prod(self.shape) * self.dtype.itemsize


def from_npy(path: Path) -> DataSet:
    """The array of a .npy file (n, ...), which stays on disk.

    Raises:
        InputError: For a file that is not such an array, is cut short, or holds objects.
    """
    where = printable(path)
    with opened(path) as stream:
        header = _header(stream, where)
        if header.length + header.size > stream.seek(0, io.SEEK_END):
            raise InputError(f"{where}: {_CLAIMS}; {_AGAIN}.")
    values = StoredArray(path, header.dtype, header.shape, start=header.length, fortran=header.fortran)
    return DataSet(where, "array", values)


def _header(stream: IO[bytes], where: str) -> _Header:
    """The head of a .npy file, of which no more than `LONGEST_HEADER` bytes are read.

    Raises:
        InputError: If it is not one, is damaged, or announces objects.
    """
    head = stream.read(12 + LONGEST_HEADER)
    if not head.startswith(_MAGIC):
        raise InputError(f"{where}: is not a NumPy array file; save the array with numpy.save.")
    content = io.BytesIO(head)
    read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    try:
        version = npy.read_magic(content)
        if version not in read:
            raise ValueError(f"version {version} of the format, which arrays of plain numbers do not need")
        shape, fortran, dtype = read[version](content, max_header_size=LONGEST_HEADER)
    # The header is a Python literal, nested by whoever wrote it.
    except (
        ValueError,
        TypeError,
        SyntaxError,
        tokenize.TokenError,
        RecursionError,
        MemoryError,
        OverflowError,
    ) as error:
        raise InputError(f"{where}: is not a complete NumPy file ({reason_of(error)}); {_AGAIN}.") from error
    if dtype.hasobject:
        raise InputError(f"{where}: {_PICKLED}.")
    if any(k < 0 for k in shape) or len(shape) > MOST_AXES:
        raise InputError(
            f"{where}: is not a complete NumPy file (a negative shape, or one of too many axes); {_AGAIN}."
        )
    return _Header(tuple(int(k) for k in shape), fortran, dtype, content.tell())


def from_npz(path: Path, array: str | None = None) -> DataSet:
    """An array in a .npz file: `array`, or the only one that could be samples. No other is unpacked.

    Raises:
        InputError: For a file that is not such an archive, for an unknown name, or if the array is ambiguous; for an encrypted
            array, or one that holds objects, claims more than the archive holds, or exceeds the free memory.
    """
    where = printable(path)
    with opened(path) as stream:
        if stream.read(len(_MAGIC)) == _MAGIC:
            raise InputError(f"{where}: is a single array, not an archive of them; name it .npy.")
        stream.seek(0)
        try:
            with zipfile.ZipFile(stream) as archive:
                name, values = _chosen(archive, where, array)
        except InputError:
            raise
        except _DAMAGE as error:
            raise InputError(f"{where}: is not a complete NumPy file ({reason_of(error)}); {_AGAIN}.") from error
    return DataSet(f"{where}[{name}]", "array", values)


def _chosen(archive: zipfile.ZipFile, where: str, array: str | None) -> tuple[str, NDArray[Any]]:
    """The name and the values of the array that is meant."""
    held = {info.filename: info for info in archive.infolist()}
    arrays = {name.removesuffix(".npy"): info for name, info in held.items() if name.endswith(".npy")}
    listed = _listed(list(arrays))
    if array is not None and array not in arrays:
        what = f"its entry {array!r} is not a NumPy array" if array in held else f"holds no array {array!r}"
        raise InputError(f"{where}: {what}; it holds {listed}.")
    headers = {}
    for name in [array] if array is not None else arrays:
        if arrays[name].flag_bits & 1:
            raise InputError(f"{where}: its array {name!r} is encrypted; save it without a password.")
        with archive.open(arrays[name]) as entry:
            headers[name] = _header(entry, f"{where}[{name}]")
    fitting = [name for name, header in headers.items() if len(header.shape) >= 2 or array is not None]
    if not fitting:
        raise InputError(f"{where}: holds no array of samples (n, d) or images; it holds {listed}.")
    if len(fitting) > 1:
        raise InputError(f"{where}: holds {listed}; name the one array to use with --array.")
    name = fitting[0]
    return name, _unpacked(archive, arrays[name], headers[name], f"{where}[{name}]")


def _listed(names: list[str], most: int = 10) -> str:
    return ", ".join(map(printable, names[:most])) + (" ..." if len(names) > most else "") or "none"


def _unpacked(archive: zipfile.ZipFile, info: zipfile.ZipInfo, header: _Header, where: str) -> NDArray[Any]:
    """The values that the header announces, and no more."""
    possible = info.compress_size * _DEFLATED if info.compress_type == zipfile.ZIP_DEFLATED else info.file_size
    if header.length + header.size > min(info.file_size, max(possible, _DEFLATED)):
        raise InputError(f"{where}: {_CLAIMS}; {_AGAIN}.")
    check_memory(header.size, where, "save the array alone with numpy.save, which is not read as a whole")
    raw = np.empty(header.size, dtype=np.uint8)
    with archive.open(info) as entry:
        entry.read(header.length)
        for start in range(0, header.size, _PIECE):
            piece = entry.read(min(_PIECE, header.size - start))
            raw[start : start + len(piece)] = np.frombuffer(piece, dtype=np.uint8)
            if len(piece) < min(_PIECE, header.size - start):
                raise EOFError("the archive ends before its array")
        entry.read(1)  # at the end of the entry, its checksum is compared
    values = raw.view(header.dtype) if header.size else np.empty(0, header.dtype)
    if header.fortran:
        return values.reshape(header.shape[::-1]).transpose()
    return values.reshape(header.shape)
