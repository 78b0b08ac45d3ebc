"""A run is a folder: what was asked, where it ran, and its results; every file is written completely or not at all.

    config.json        the command and its settings; a run resumes in a folder with the same settings, and never overwrites others
    environment.json   versions, platform and commit of the first start
    metrics.jsonl      one JSON object per line, in the order of writing
    <name>.nc          labelled arrays (xarray) with units in their attributes

Files are written under a temporary name in the same folder and then renamed.
"""

import errno
import hashlib
import json
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, is_dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import xarray as xr
from filelock import FileLock, Timeout

from geomem.errors import InputError, OutputError

__all__ = ["Run", "atomic_path", "digest", "environment"]

_CONFIG, _ENVIRONMENT, _LOCK = "config.json", "environment.json", ".lock"
_FORMAT = "geomem run 1"


class Run:
    """A run's folder, new or resumed; make one with `Run.open`.

    Attributes:
        path: The folder.
        config: Its settings.
    """

    def __init__(self, path: Path, config: Mapping[str, Any]) -> None:
        self.path = path
        self.config = config

    @classmethod
    def open(cls, path: Path | str, command: str, settings: Any, *, force: bool = False) -> "Run":
        """Create the folder, or resume in one that the same command made with the same settings.

        Args:
            path: The folder; missing parents are created.
            command: Name of the command.
            settings: A mapping or dataclass instance that JSON can represent.
            force: Delete a run with other settings and start again. A folder that is not a run is never deleted.

        Raises:
            OutputError: If the path is a file, cannot be written, or holds something else.
        """
        folder = Path(path).expanduser().resolve()
        identity = {"format": _FORMAT, "geomem": version("geomem"), "command": command}
        config = json.loads(
            json.dumps(
                {
                    **identity,
                    **(asdict(settings) if is_dataclass(settings) and not isinstance(settings, type) else settings),
                }
            )
        )
        if folder.exists() and not folder.is_dir():
            raise OutputError(f"{folder}: is a file; choose a folder for the results with --out.")
        try:
            # Files of a start that was killed before it wrote its configuration may be overwritten.
            occupied = folder.exists() and any(not _of_a_start(p.name) for p in folder.iterdir())
            if occupied:
                held = _read_config(folder)
                if held is None:
                    raise OutputError(
                        f"{folder}: holds files that are not a geomem run and are kept; choose another folder with --out."
                    )
                if held == config and not force:
                    return cls(folder, config)
                if not force:
                    raise OutputError(
                        f"{folder}: holds another run ({_difference(held, config)}); it is kept. Choose another folder "
                        "with --out, or replace it with --force."
                    )
                with _held(folder):
                    # Delete the configuration last, so that a half-deleted run is still recognized as a run.
                    for path in sorted(folder.iterdir(), key=lambda path: path.name == _CONFIG):
                        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
            folder.mkdir(parents=True, exist_ok=True)
            run = cls(folder, config)
            run._write_json(_ENVIRONMENT, environment())
            run._write_json(_CONFIG, config)
        except OSError as error:
            raise OutputError(
                f"{folder}: cannot be written ({_reason(error)}); choose another folder with --out."
            ) from error
        return run

    @classmethod
    def existing(cls, path: Path | str) -> "Run":
        """The run in a folder, of any command.

        Raises:
            InputError: If the folder does not exist or holds no run.
        """
        folder = Path(path).expanduser().resolve()
        config = _read_config(folder)
        if config is None:
            what = "holds no geomem run (no config.json of one)" if folder.is_dir() else "is not a folder"
            raise InputError(f"{folder}: {what}; give the folder that a command's --out named.")
        return cls(folder, config)

    def has(self, name: str) -> bool:
        """Whether the arrays `name` were saved."""
        return (self.path / f"{name}.nc").exists()

    def save(self, name: str, arrays: xr.Dataset) -> None:
        """Save labelled arrays under `name`, all or nothing.

        Raises:
            OutputError: If the disk refuses.
        """
        with self.writing(f"{name}.nc") as temporary:
            try:
                arrays.to_netcdf(temporary, engine="netcdf4")
            except RuntimeError as error:  # netCDF has no words for a full disk
                full = shutil.disk_usage(self.path).free < arrays.nbytes
                raise (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) if full else OSError(str(error))) from error

    def load(self, name: str) -> xr.Dataset:
        """Labelled arrays saved under `name`, read into memory.

        Raises:
            InputError: If the file is damaged.
        """
        path = self.path / f"{name}.nc"
        try:
            return xr.load_dataset(path, engine="netcdf4")
        except (OSError, RuntimeError, ValueError, KeyError) as error:
            raise InputError(
                f"{path}: is damaged ({error}); delete it and rerun the command that made it, which then resumes."
            ) from error

    def load_all(self, names: Sequence[str]) -> dict[str, xr.Dataset]:
        """The arrays of all names.

        Raises:
            InputError: If some were not saved yet, or a file is damaged.
        """
        missing = [name for name in names if not self.has(name)]
        if missing:
            raise InputError(
                f"{self.path}: is not finished ({', '.join(missing)} missing); rerun the command that made it, which then "
                "resumes."
            )
        return {name: self.load(name) for name in names}

    def remove(self, name: str) -> None:
        """Delete the arrays `name`, if they are there."""
        (self.path / f"{name}.nc").unlink(missing_ok=True)

    def metrics(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl, in order."""
        log = self.path / "metrics.jsonl"
        lines = []
        for line in log.read_text(encoding="utf-8").splitlines() if log.is_file() else ():
            try:
                lines.append(json.loads(line))
            except ValueError:
                continue  # a killed process can leave a partial line
        return lines

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Lock the folder for this process, and remove what a killed process left half-written.

        Raises:
            OutputError: If another process is using it.
        """
        with _held(self.path):
            try:
                for left in self.path.glob(".*.part"):
                    shutil.rmtree(left) if left.is_dir() else left.unlink(missing_ok=True)
            except OSError as error:
                raise OutputError(f"{self.path}: cannot be written ({_reason(error)}).") from error
            yield

    def log(self, **metrics: float | str | Sequence[float]) -> None:
        """Append one line to metrics.jsonl."""
        line = json.dumps({"time": datetime.now(UTC).isoformat(timespec="milliseconds"), **metrics}) + "\n"
        try:
            with (self.path / "metrics.jsonl").open("ab+") as stream:
                end = stream.seek(0, os.SEEK_END)
                stream.seek(max(0, end - 1))
                # A killed process can leave a line without a newline.
                stream.write((b"\n" if stream.read(1) not in (b"", b"\n") else b"") + line.encode())
        except OSError as error:
            raise OutputError(f"{self.path / 'metrics.jsonl'}: cannot be written ({_reason(error)}).") from error

    def write_text(self, name: str, text: str) -> Path:
        """Write a text file into the folder, all or nothing, and return its path."""
        with self.writing(name) as temporary:
            temporary.write_text(text, encoding="utf-8")
        return self.path / name

    def environment(self) -> dict[str, Any]:
        """The environment of the first start.

        Raises:
            InputError: If its file is missing or damaged.
        """
        path = self.path / _ENVIRONMENT
        try:
            loaded: dict[str, Any] = json.loads(path.read_text())
            return {**dict.fromkeys(environment()), **loaded}
        except (OSError, ValueError, TypeError) as error:
            raise InputError(f"{path}: is missing or damaged ({error}); the run's page cannot be redrawn.") from error

    def note(self) -> str:
        """The small print of a figure: version, command, commit and seed."""
        where = self.environment()
        commit = f", commit {where['commit']}" if where["commit"] else ""
        seed = f", seed {self.config['seed']}" if "seed" in self.config else ""
        return f"geomem {where['geomem']} {self.config['command']}{commit}{seed}"

    @contextmanager
    def writing(self, name: str) -> Iterator[Path]:
        """A temporary path, renamed to `name` in the folder if the block succeeds, and deleted otherwise."""
        try:
            with atomic_path(self.path / name) as temporary:
                yield temporary
        except OSError as error:
            raise OutputError(
                f"{self.path / name}: cannot be written ({_reason(error)}). Earlier results are saved; free some space "
                "or choose another folder, and run the same command again."
            ) from error

    def _write_json(self, name: str, content: Mapping[str, Any]) -> None:
        with atomic_path(self.path / name) as temporary:
            temporary.write_text(json.dumps(content, indent=2) + "\n")


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Lock a folder; the lock is released when the process ends, for whatever reason."""
    lock = FileLock(folder / _LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise OutputError(
            f"{folder}: another run is using this folder; wait until it ends, or choose another folder with --out."
        ) from None
    except OSError as error:
        raise OutputError(
            f"{folder}: cannot be locked ({_reason(error)}); choose another folder with --out."
        ) from error
    try:
        yield
    finally:
        with suppress(OSError):  # some systems do not delete open files
            (folder / _LOCK).unlink()
        lock.release()


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path in the same folder, renamed to `path` if the block succeeds and deleted otherwise."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as stream:
            os.fsync(stream.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def digest(settings: Any) -> str:
    """Six characters that identify settings (a mapping or a dataclass), for folder names."""
    held = asdict(settings) if is_dataclass(settings) and not isinstance(settings, type) else settings
    return hashlib.blake2b(json.dumps(held).encode(), digest_size=3).hexdigest()


def environment() -> dict[str, str | None]:
    """Versions, platform, threads and commit, for the record."""
    import torch

    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "geomem": version("geomem"),
        "commit": _commit(),
        "python": platform.python_version(),
        "torch": version("torch"),
        "numpy": version("numpy"),
        "scipy": version("scipy"),
        "platform": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "threads": str(torch.get_num_threads()),
    }


def _commit() -> str | None:
    """Commit of the checkout that geomem runs from, marked "-dirty" if its source was changed; None for an installed package."""
    where = Path(__file__).resolve().parents[2]
    if not (where / ".git").exists():
        return None

    def git(*command: str) -> str:
        done = subprocess.run(["git", *command], cwd=where, capture_output=True, text=True, check=True, timeout=10)
        return done.stdout.strip()

    try:
        # Only the package's files count: records inside the checkout change while a run writes them.
        changed = git("status", "--porcelain", "--", "src")
        return git("rev-parse", "--short=12", "HEAD") + ("-dirty" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _read_config(folder: Path) -> dict[str, Any] | None:
    try:
        config = json.loads((folder / _CONFIG).read_text())
    except (OSError, ValueError):
        return None
    return config if isinstance(config, dict) and config.get("format") == _FORMAT else None


def _of_a_start(name: str) -> bool:
    """Whether a file is one that `Run.open` writes before the configuration, or its temporary form."""
    temporary = name.startswith((f".{_CONFIG}.", f".{_ENVIRONMENT}.")) and name.endswith(".part")
    return name == _ENVIRONMENT or temporary


def _difference(held: Mapping[str, Any], asked: Mapping[str, Any]) -> str:
    """The difference between two configurations, in a few words."""
    if held.get("command") != asked["command"]:
        return f"of geomem {held.get('command')}"
    held, asked = _flat(held), _flat(asked)
    keys = [k for k in asked if held.get(k) != asked[k]] or [k for k in held if k not in asked]
    if not keys:
        return "finished or interrupted with the same settings"
    shown = [f"{k} = {json.dumps(held.get(k))}, not {json.dumps(asked.get(k))}" for k in keys[:2]]
    return "; ".join(shown) + (f"; and {len(keys) - 2} more" if len(keys) > 2 else "")


def _flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings within settings as "outer.inner"."""
    out: dict[str, Any] = {}
    for key, value in settings.items():
        out |= {f"{key}.{inner}": v for inner, v in value.items()} if isinstance(value, dict) else {key: value}
    return out


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
