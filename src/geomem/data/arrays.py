"""Arrays saved by NumPy: .npy, which is memory-mapped, and .npz."""

import tokenize
import zipfile
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from geomem.data.dataset import DataSet, printable
from geomem.errors import InputError

__all__ = ["from_npy", "from_npz"]

# Errors that damaged files raise: in the archive, its compression, the header or the values.
_DAMAGE = (ValueError, TypeError, EOFError, NotImplementedError, zipfile.BadZipFile, zlib.error, tokenize.TokenError)
_PICKLED = (
    "holds Python objects (a pickle), which are refused because opening them can run code; save an array of numbers "
    "with numpy.save"
)


def from_npy(path: Path) -> DataSet:
    """The array of a .npy file (n, ...), memory-mapped.

    Raises:
        InputError: For a file that is not such an array, is cut short, or holds objects.
    """
    with path.open("rb") as stream:  # numpy.load would also open an archive with this name
        if stream.read(6) != b"\x93NUMPY":
            raise InputError(f"{path}: is not a NumPy array file; save the array with numpy.save.")
    try:
        values = np.load(path, mmap_mode="r", allow_pickle=False)
    except _DAMAGE as error:
        raise _unreadable(path, error) from error
    return DataSet(printable(path), "array", values)


def from_npz(path: Path, array: str | None = None) -> DataSet:
    """An array in a .npz file: `array`, or the only one that could be samples.

    Raises:
        InputError: For a file that is not such an archive, for an unknown name, or if the array is ambiguous.
    """
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise InputError(f"{path}: is a single array, not an archive of them; name it .npy.")
            names = archive.files
            if array is not None and array not in names:
                raise InputError(f"{path}: holds no array {array!r}; it holds {', '.join(names) or 'none'}.")
            held: dict[str, NDArray[np.generic]] = {name: archive[name] for name in ([array] if array else names)}
    except InputError:
        raise
    except _DAMAGE as error:
        raise _unreadable(path, error) from error
    fitting = {name: values for name, values in held.items() if values.ndim >= 2 or array is not None}
    if not fitting:
        raise InputError(
            f"{path}: holds no array of samples (n, d) or images; it holds {', '.join(names) or 'nothing'}."
        )
    if len(fitting) > 1:
        raise InputError(f"{path}: holds {', '.join(names)}; name the one array to use with --array.")
    name, values = next(iter(fitting.items()))
    return DataSet(f"{printable(path)}[{name}]", "array", values)


def _unreadable(path: Path, error: Exception) -> InputError:
    if any(word in str(error) for word in ("allow_pickle", "Object arrays", "Python objects")):
        return InputError(f"{path}: {_PICKLED}.")
    return InputError(f"{path}: is not a complete NumPy file ({error}); save it again with numpy.save or numpy.savez.")
