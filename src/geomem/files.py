"""Opening the files and folders that users name; no other module of geomem opens them.

Whatever is at a path, reading it ends: in its content, or in an `InputError` that names the path. Only regular files are read,
so that no pipe, socket or device is waited for.
"""

import io
import json
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geomem.errors import InputError
from geomem.limits import DEEPEST_JSON, LARGEST_JSON

__all__ = [
    "Descriptor",
    "Tree",
    "Unreadable",
    "exists",
    "is_file",
    "is_folder",
    "names",
    "opened",
    "path_of",
    "printable",
    "read_json",
    "tree",
]

# Opening a pipe must not wait for its other end.
_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


class Unreadable(InputError):
    """A file or folder exists, but its content cannot be had; a reader of many may leave it out."""


def printable(path: Path | str) -> str:
    """A path as valid UTF-8 text, whatever bytes the file system uses."""
    try:
        return os.fsencode(path).decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # half of a pair of surrogates, which a configuration may hold, and no path
        return str(path).encode("utf-8", "backslashreplace").decode("utf-8")


def path_of(source: str | Path) -> Path:
    """A path as the user wrote it, with ~ expanded; an unknown user's name stays as it is.

    Raises:
        InputError: For text that no path can be.
    """
    text = str(source)
    if "\0" in text:
        raise InputError(f"{printable(text)!r}: holds a zero byte, which no path can.")
    return Path(os.path.expanduser(text))  # noqa: PTH111 - an unknown user name must not raise here


def exists(path: Path) -> bool:
    """Whether anything is there.

    Raises:
        Unreadable: If that cannot be found out, as for a link that leads to itself.
    """
    return _mode(path) is not None


def is_file(path: Path) -> bool:
    """Whether something other than a folder is there.

    Raises:
        Unreadable: As `exists`.
    """
    mode = _mode(path)
    return mode is not None and not stat.S_ISDIR(mode)


def is_folder(path: Path) -> bool:
    """Whether a folder is there.

    Raises:
        Unreadable: As `exists`.
    """
    mode = _mode(path)
    return mode is not None and stat.S_ISDIR(mode)


def _mode(path: Path) -> int | None:
    """What is at a path, as `stat` tells it; None for nothing."""
    with _explained(path):
        try:
            return path.stat().st_mode
        except (FileNotFoundError, NotADirectoryError):
            if path.is_symlink():
                raise Unreadable(f"{printable(path)}: is a link to something that does not exist.") from None
            return None


@contextmanager
def opened(path: Path) -> Iterator[io.BufferedReader]:
    """A regular file, opened for reading bytes.

    Raises:
        Unreadable: If it is missing, cannot be opened or read, or is no regular file.
    """
    with _explained(path), open(_descriptor(path), "rb") as stream:
        yield stream


class Descriptor:
    """A regular file that stays open for positional reads, until nothing refers to it.

    Raises:
        Unreadable: As `opened`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with _explained(path):
            self._number = _descriptor(path)
            self.size = os.fstat(self._number).st_size

    def __del__(self) -> None:
        if hasattr(self, "_number"):
            os.close(self._number)

    def read_into(self, target: memoryview, start: int) -> None:
        """Fill `target` with the bytes from `start` on.

        Raises:
            Unreadable: If the file ends before, because it was cut short after it was opened.
        """
        while target:
            with _explained(self.path):
                count = os.preadv(self._number, [target[: 2**30]], start)
            if count == 0:
                raise Unreadable(f"{printable(self.path)}: was cut short while it was read; run the command again.")
            target, start = target[count:], start + count


def _descriptor(path: Path) -> int:
    number = os.open(path, _FLAGS)
    mode = os.fstat(number).st_mode
    if stat.S_ISREG(mode):
        return number
    os.close(number)
    raise _irregular(path, mode)


def _irregular(path: Path, mode: int) -> Unreadable:
    kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket"}
    what = kinds.get(stat.S_IFMT(mode), "a device")
    return Unreadable(f"{printable(path)}: is {what}, not a file with content; give a regular file.")


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Errors of the operating system as a sentence about the path."""
    try:
        yield
    except PermissionError as error:
        raise Unreadable(f"{printable(path)}: cannot be read (permission denied).") from error
    except OSError as error:
        if error.errno is None:  # a library's own error, not the system's
            raise
        reason = (error.strerror or str(error)).lower()
        raise Unreadable(f"{printable(path)}: cannot be read ({reason}).") from error


def read_json(path: Path) -> Mapping[str, Any]:
    """The object in a JSON file.

    Raises:
        InputError: If it cannot be read, is no JSON object, or exceeds `LARGEST_JSON` or `DEEPEST_JSON`.
    """
    with opened(path) as stream:
        content = stream.read(LARGEST_JSON + 1)
    where = printable(path)
    if len(content) > LARGEST_JSON:
        raise InputError(f"{where}: is larger than {LARGEST_JSON >> 20} MiB, too large for a configuration.")
    too_deep = InputError(
        f"{where}: nests lists and objects more than {DEEPEST_JSON} deep, which no configuration does."
    )
    try:
        held = json.loads(content.decode("utf-8"))
    except RecursionError:
        raise too_deep from None
    except ValueError as error:
        raise InputError(f"{where}: cannot be read as JSON ({str(error).rstrip('.')}).") from error
    if not isinstance(held, dict):
        raise InputError(f"{where}: holds no JSON object.")
    layer: list[Any] = [held]
    for _ in range(DEEPEST_JSON):
        layer = [
            inner
            for outer in layer
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
        if not layer:
            return held
    raise too_deep


def names(folder: Path) -> list[str]:
    """Names of what a folder holds, sorted.

    Raises:
        Unreadable: If it cannot be listed.
    """
    with _explained(folder), os.scandir(folder) as found:
        return sorted(entry.name for entry in found)


@dataclass(frozen=True)
class Tree:
    """The files of a folder and its subfolders.

    Attributes:
        files: Regular files and links to such, sorted by path; without those whose names begin with a dot.
        broken: What has a file's name but no content: links to nothing, pipes, devices.
        locked: Subfolders that could not be listed, each with the reason.
        linked: Links to folders, which are not followed.
    """

    files: list[Path]
    broken: list[Path]
    locked: list[Unreadable]
    linked: list[Path]


def tree(folder: Path) -> Tree:
    """List a folder and its subfolders. Links to folders are not followed, so that none leads in a circle.

    Raises:
        Unreadable: If the folder itself cannot be listed.
    """
    found = Tree([], [], [], [])
    waiting = [str(folder)]
    while waiting:
        here = Path(waiting.pop())
        try:
            with _explained(here), os.scandir(here) as held:
                for entry in held:
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    elif not entry.name.startswith("."):
                        _sorted_into(found, entry)
        except Unreadable as error:
            if here == folder:
                raise
            found.locked.append(error)
    for paths in (found.files, found.broken, found.linked):
        paths.sort(key=lambda path: path.parts)
    return found


def _sorted_into(found: Tree, entry: "os.DirEntry[str]") -> None:
    path = Path(entry.path)
    try:
        group = found.files if entry.is_file() else found.linked if entry.is_dir() else found.broken
    except OSError:  # a link that leads to itself, or through a folder that may not be entered
        group = found.broken
    group.append(path)
