"""A folder that geomem writes: locked while it is used, with a list of what was written, so that nothing else is ever deleted.

    .lock           locked by the process that uses the folder; the lock ends with the process
    manifest.txt    every file that was written here, a path a line, added before the file itself: "name/" for a folder with a
                    manifest of its own, "name/*" for all of one that a library fills. A file that must come back as it was
                    written has a line more, with its digest behind a tab
    .<name>.*.part  <name> while it is written; it takes its name when it is whole

A killed process leaves at most parts. They are removed when the folder is locked again.
"""

import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from geomem.errors import OutputError

__all__ = ["Folder", "append_line", "atomic_path", "reason"]

_LOCK, _MANIFEST = ".lock", "manifest.txt"
_PART = re.compile(r"\.(.+)\.[^.]*\.part")
# Foreign files that a message names.
_NAMED = 3


class Folder:
    """A folder that geomem writes.

    Args:
        path: The folder.
        always: Files that are geomem's own without being listed, in the order in which they are deleted: last.
    """

    def __init__(self, path: Path, always: tuple[str, ...] = ()) -> None:
        self.path, self._always = path, always
        self._listed: set[str] | None = None

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Lock the folder for this process.

        Raises:
            OutputError: If another process uses it, or it cannot be locked.
        """
        lock = FileLock(self.path / _LOCK)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise OutputError(
                f"{self.path}: another run is using this folder; wait until it ends, or choose another folder with --out."
            ) from None
        except OSError as error:
            raise OutputError(
                f"{self.path}: cannot be locked ({reason(error)}); choose another folder with --out."
            ) from error
        try:
            yield
        finally:
            # While it is held: a process that opened the same file in the meantime notices that it is gone.
            with suppress(OSError):  # some systems do not delete open files
                (self.path / _LOCK).unlink()
            lock.release()

    def add(self, *names: str) -> None:
        """Note that files are written, by their paths in the folder, before they are."""
        if self._listed is None:
            self._listed = set(self._read())
        new = [name for name in names if name not in self._listed]
        if new:
            append_line(self.path / _MANIFEST, "\n".join(new))
            self._listed.update(new)

    def seal(self, name: str, written: Path) -> None:
        """Note the digest of a file, while it has its temporary path."""
        append_line(self.path / _MANIFEST, f"{name}\t{_digest(written)}")

    def intact(self, name: str) -> bool:
        """Whether a file is what was written; also where no digest was noted.

        Raises:
            OSError: If it cannot be read.
        """
        noted = {
            digest for line in self._lines() for held, tab, digest in [line.partition("\t")] if tab and held == name
        }
        return not noted or _digest(self.path / name) in noted

    @contextmanager
    def writing(self, name: str) -> Iterator[Path]:
        """A temporary path, which becomes the file `name` if the block succeeds."""
        self.add(name)
        with atomic_path(self.path / name) as temporary:
            yield temporary

    @contextmanager
    def writing_folder(self, name: str) -> Iterator[Path]:
        """A temporary folder, which becomes the folder `name` if the block succeeds."""
        self.add(name)
        temporary = Path(tempfile.mkdtemp(prefix=f".{name}.", suffix=".part", dir=self.path))
        try:
            yield temporary
            for path in sorted(temporary.rglob("*")):
                if path.is_file():
                    self.add(f"{name}/{path.relative_to(temporary).as_posix()}")
                    _to_disk(path)
            temporary.chmod(0o755)
            temporary.replace(self.path / name)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def sweep(self) -> None:
        """Remove what killed processes left half-written."""
        for path in self._own()[0]:
            if _PART.fullmatch(path.name):
                _delete(path)

    def clear(self) -> None:
        """Delete all that geomem wrote, what marks the folder as geomem's last.

        Raises:
            OutputError: If anything else lies there. Nothing is deleted then.
        """
        own, foreign = self._own()
        if foreign:
            more = f" and {len(foreign) - _NAMED} more" if len(foreign) > _NAMED else ""
            raise OutputError(
                f"{self.path}: holds what geomem did not write ({', '.join(foreign[:_NAMED])}{more}), and is kept as it is. Move "
                "that elsewhere, or choose another folder with --out."
            )
        last = [self.path / name for name in (_MANIFEST, *self._always)]
        for path in [*(path for path in own if path not in last), *last]:
            _delete(path)
        self._listed = None

    def _own(self) -> tuple[list[Path], list[str]]:
        """What geomem wrote, folders after what is in them, and the paths of all else."""
        listed = {_MANIFEST, _LOCK, *self._always, *self._read()}
        own: list[Path] = []
        foreign: list[str] = []
        parents = {parent.as_posix() for name in listed for parent in Path(name).parents}

        def look(folder: Path) -> None:
            with os.scandir(folder) as entries:
                found = sorted(entries, key=lambda entry: entry.name)
            for entry in found:
                path = Path(entry.path)
                name = path.relative_to(self.path).as_posix()
                part = _PART.fullmatch(entry.name)
                inner = entry.is_dir(follow_symlinks=False)
                if part and path.with_name(part[1]).relative_to(self.path).as_posix() in listed:
                    own.append(path)
                elif inner and f"{name}/*" in listed:
                    own.extend([*sorted(path.rglob("*"), reverse=True), path])
                elif inner and f"{name}/" in listed:
                    its = Folder(path, self._always)._own()
                    own.extend([*its[0], path])
                    foreign.extend(f"{name}/{other}" for other in its[1])
                elif inner and name in parents:
                    look(path)
                    own.append(path)
                elif not inner and name in listed:
                    own.append(path)
                else:
                    foreign.append(f"{name}/" if inner else name)

        look(self.path)
        return own, foreign

    def _read(self) -> list[str]:
        return [line.partition("\t")[0] for line in self._lines()]

    def _lines(self) -> list[str]:
        try:
            return (self.path / _MANIFEST).read_text(encoding="utf-8", errors="surrogateescape").splitlines()
        except OSError:
            return []


def append_line(path: Path, line: str) -> None:
    """Append a line to a file, in one write; a line that a killed process cut short is ended first."""
    with path.open("ab+") as stream:
        end = stream.seek(0, os.SEEK_END)
        stream.seek(max(0, end - 1))
        torn = stream.read(1) not in (b"", b"\n")
        stream.write((b"\n" if torn else b"") + line.encode("utf-8", "surrogateescape") + b"\n")


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path in the same folder, renamed to `path` if the block succeeds and deleted otherwise."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        _to_disk(temporary)
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def reason(error: OSError) -> str:
    """The system's own words."""
    return (error.strerror or str(error)).lower()


def _to_disk(path: Path) -> None:
    with path.open("rb") as stream:
        os.fsync(stream.fileno())


def _delete(path: Path) -> None:
    if not path.is_dir() or path.is_symlink():
        path.unlink(missing_ok=True)
    elif _PART.fullmatch(path.name):
        shutil.rmtree(path)
    else:
        path.rmdir()
