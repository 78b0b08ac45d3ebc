"""Arrays saved by NumPy: .npy, which is memory-mapped, and .npz."""

import zipfile
from pathlib import Path

import numpy as np

from geomem.errors import InputError
from geomem.images.dataset import DataSet

__all__ = ["from_npy", "from_npz"]

_PICKLED = "holds Python objects (a pickle), which can run code when they are opened and are refused; save an array of numbers with numpy.save"


def from_npy(path: Path) -> DataSet:
    """The array of a .npy file (n, ...), memory-mapped.

    Raises:
        InputError: For a file that is no such array, is cut short, or holds objects.
    """
    try:
        values = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise _unreadable(path, error) from error
    return DataSet(str(path), "array", values)


def from_npz(path: Path, array: str | None = None) -> DataSet:
    """An array of a .npz file: `array`, or the only one that could be samples.

    Raises:
        InputError: For a file that is no such archive, an unknown name, or several arrays with none named.
    """
    try:
        archive = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise _unreadable(path, error) from error
    with archive:
        names = archive.files
        if array is not None and array not in names:
            raise InputError(f"{path}: holds no array {array!r}; it holds {', '.join(names) or 'none'}.")
        try:
            if array is not None:
                return DataSet(f"{path}[{array}]", "array", archive[array])
            fitting = {name: archive[name] for name in names if archive[name].ndim >= 2}
        except (ValueError, EOFError, zipfile.BadZipFile) as error:
            raise _unreadable(path, error) from error
    if len(fitting) != 1:
        held = ", ".join(names) if names else "nothing"
        raise InputError(f"{path}: holds {held}; name the one array to use with --array.")
    name, values = next(iter(fitting.items()))
    return DataSet(f"{path}[{name}]", "array", values)


def _unreadable(path: Path, error: Exception) -> InputError:
    if any(word in str(error) for word in ("allow_pickle", "Object arrays", "Python objects")):
        return InputError(f"{path}: {_PICKLED}.")
    return InputError(f"{path}: is not a whole NumPy file ({error}); save it again with numpy.save or numpy.savez.")
