"""Files of labelled arrays: netCDF-4, which is HDF5, written and read by netCDF4.

A record may come from elsewhere. HDF5 can point at other files, and claim arrays of any size; what geomem writes does neither, so
what does is refused before a value is read.
"""

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import xarray as xr

from geomem.errors import InputError, reason_of
from geomem.files import opened
from geomem.interrupts import postponed

__all__ = ["read", "write"]


def write(path: Path, arrays: xr.Dataset) -> None:
    """Write labelled arrays.

    Raises:
        OSError: If the disk refuses.
    """
    try:
        with postponed():  # xarray locks files
            arrays.to_netcdf(path, engine="netcdf4")
    except RuntimeError as error:  # netCDF has no words for a full disk
        full = shutil.disk_usage(path.parent).free < arrays.nbytes
        raise (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) if full else OSError(str(error))) from error


def read(path: Path, intact: Callable[[], bool] = lambda: True) -> xr.Dataset:
    """Labelled arrays, read into memory.

    Args:
        path: The file.
        intact: Whether it is what was written, which is asked before HDF5 sees it: on damaged files HDF5 may not return.

    Raises:
        InputError: If the file is damaged, or not as geomem writes it.
    """
    try:
        with opened(path):  # no pipe, which HDF5 would wait for
            if not intact():
                raise ValueError("its content is not what was written")
            _check(path)
        with postponed():
            # How it was stored, as the width of its texts, says nothing of what is made of it: it would cut longer texts.
            return xr.load_dataset(path, engine="netcdf4").drop_encoding()
    except InputError:
        raise
    except Exception as error:  # HDF5, netCDF and xarray raise errors of many kinds
        raise InputError(
            f"{path}: is damaged ({reason_of(error)}); delete it and rerun the command that made it, which then resumes."
        ) from error


def _check(path: Path) -> None:
    """Refuse what points at other files, and arrays that claim more than the file holds.

    Raises:
        InputError: Saying what.
    """
    import h5py

    claimed = 0
    with h5py.File(path, "r") as file:
        for name in file:
            if not isinstance(file.get(name, getlink=True), h5py.HardLink):
                raise _strange(path, name, "is a link")
            held = file[name]
            if not isinstance(held, h5py.Dataset):
                raise _strange(path, name, "is no array")
            if held.external or held.is_virtual:
                raise _strange(path, name, "is kept in another file")
            # A dimension without coordinates is an array that is not stored and never read.
            if held.id.get_storage_size() or "CLASS" not in held.attrs:
                claimed += held.nbytes
    if claimed > path.stat().st_size:
        raise InputError(
            f"{path}: claims {claimed:,} bytes of values, more than the file holds; it is damaged. Delete it and rerun the command "
            "that made it, which then resumes."
        )


def _strange(path: Path, name: str, what: str) -> InputError:
    return InputError(f"{path}: its {name!r} {what}, which geomem never writes; the file is not read.")
