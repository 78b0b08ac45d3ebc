"""The boundary between unexpected errors and the person at the terminal.

An error that geomem did not raise on purpose becomes one that says what was being done, that progress is saved, and where its
traceback is.
"""

import os
import re
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from geomem.errors import GeomemError, InputError, reason_of
from geomem.records import Run

__all__ = ["boundary", "readable", "traceback_kept", "unexpected"]

_FILE = "traceback.txt"
# How torch says, by a RuntimeError, that memory does not suffice.
_UNALLOCATED = re.compile(r"can't allocate memory|out of memory", re.IGNORECASE)


@contextmanager
def boundary(doing: Callable[[], str], run: Run | None = None) -> Iterator[None]:
    """Turn unexpected errors of the block into one that people can read; see `unexpected`.

    Args:
        doing: Says what was being done, where it is asked.
        run: Run whose folder keeps the traceback; None for the folder of temporary files.

    Raises:
        GeomemError: In place of any other `Exception`.
    """
    try:
        yield
    except GeomemError:
        raise
    except Exception as error:
        raise unexpected(error, doing(), run) from error


def unexpected(error: Exception, doing: str, run: Run | None = None) -> GeomemError:
    """The error that people see in place of an unexpected one, whose traceback is written to a file."""
    where = traceback_kept(error, doing, run)
    kept = f" Progress is saved in {run.path}." if run is not None else ""
    if isinstance(error, MemoryError) or _UNALLOCATED.search(str(error)):
        return GeomemError(f"out of memory at {doing!r} ({reason_of(error)}).{kept} Give less data. Details: {where}")
    return GeomemError(
        f"unexpected error at {doing!r}: {type(error).__name__}: {reason_of(error)}.{kept} This is a fault of geomem; please report "
        f"it with the details in {where}"
    )


@contextmanager
def readable(what: Path) -> Iterator[None]:
    """Turn unexpected errors of a block that reads records into one that calls them damaged.

    Raises:
        InputError: In place of any `Exception` that is not geomem's own.
    """
    try:
        yield
    except InputError as error:
        if str(what) in str(error):
            raise
        raise InputError(f"{what}: {error}") from error
    except GeomemError:
        raise
    except Exception as error:
        where = traceback_kept(error, f"reading {what}", None)
        raise InputError(
            f"{what}: its records are damaged or of another version of geomem ({type(error).__name__}: {reason_of(error)}); make the "
            f"run again. Details: {where}"
        ) from error


def traceback_kept(error: BaseException, words: str, run: Run | None) -> Path | str:
    """Append an error's traceback to the run's file, or to a new temporary one; its path."""
    text = "".join(traceback.format_exception(error))
    head = f"{datetime.now(UTC).isoformat(timespec='seconds')} while {words}\n"
    try:
        if run is not None:
            run.owns(_FILE)
            path = run.path / _FILE
        else:
            handle, name = tempfile.mkstemp(prefix="geomem-", suffix=f"-{_FILE}")
            os.close(handle)
            path = Path(name)
        with path.open("a", encoding="utf-8", errors="backslashreplace") as stream:
            stream.write(f"{head}{text}\n")
    except (OSError, GeomemError) as kept_out:
        return f"no file ({reason_of(kept_out)}): {text.splitlines()[-1]}"
    return path
