"""A run is a folder: what was asked, where it ran, and its results; every file is written completely or not at all.

    config.json        the command and its settings; a run resumes in a folder with the same settings, and never overwrites others
    environment.json   versions, platform and commit of the first start
    metrics.jsonl      one JSON object per line, in the order of writing
    <name>.nc          labelled arrays (xarray) with units in their attributes

The folder is locked while a command uses it, and holds a list of what was written; see `geomem.folder`.
"""

import hashlib
import json
import platform
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import xarray as xr

from geomem import netcdf
from geomem.errors import GeomemError, InputError, OutputError
from geomem.files import is_folder, path_of, printable, read_json
from geomem.folder import Folder, append_line, atomic_path, reason

__all__ = ["Run", "digest", "environment"]

_CONFIG, _ENVIRONMENT = "config.json", "environment.json"
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
        self._folder = Folder(path, always=(_ENVIRONMENT, _CONFIG))

    @classmethod
    @contextmanager
    def open(cls, path: Path | str, command: str, settings: Any, *, force: bool = False) -> Iterator["Run"]:
        """Lock a folder for the block, and create a run in it, or resume one that the same command made with the same settings.

        Args:
            path: The folder; missing parents are created.
            command: Name of the command.
            settings: A mapping or dataclass instance that JSON can represent.
            force: Delete another run and start again. A folder that is not a run is never deleted, nor one that holds anything
                that geomem did not write.

        Raises:
            OutputError: If the path is a file, cannot be written, is used by another process, or holds something else.
        """
        folder = _placed(path, OutputError)
        identity = {"format": _FORMAT, "geomem": version("geomem"), "command": command}
        plain = asdict(settings) if is_dataclass(settings) and not isinstance(settings, type) else settings
        run = cls(folder, json.loads(json.dumps({**identity, **plain})))
        with _writable(folder):
            if folder.exists() and not folder.is_dir():
                raise OutputError(f"{folder}: is a file; choose a folder for the results with --out.")
            folder.mkdir(parents=True, exist_ok=True)
        with run._folder.alone():  # before anything in the folder is looked at
            with _writable(folder):
                run._begin(force)
            yield run

    def _begin(self, force: bool) -> None:
        """Resume in the locked folder, or write the configuration of a new run."""
        # Files of a start that was killed before it wrote its configuration may be overwritten.
        if any(not _of_a_start(path.name) for path in self.path.iterdir()):
            held = _read_config(self.path)
            if held is None:
                raise OutputError(
                    f"{self.path}: holds files that are not a geomem run and are kept; choose another folder with --out."
                )
            if held == self.config and not force:
                self._folder.sweep()
                return
            if not force:
                raise OutputError(
                    f"{self.path}: holds another run ({_difference(held, self.config)}); it is kept. Choose another folder "
                    "with --out, or replace it with --force."
                )
            self._folder.clear()
        self._write_json(_ENVIRONMENT, environment())
        self._write_json(_CONFIG, self.config)
        self._folder.sweep()

    @classmethod
    def existing(cls, path: Path | str) -> "Run":
        """The run in a folder, of any command.

        Raises:
            InputError: If the folder does not exist or holds no run.
        """
        folder = _placed(path, InputError)
        config = _read_config(folder)
        if config is None:
            what = "holds no geomem run (no config.json of one)" if is_folder(folder) else "is not a folder"
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
            netcdf.write(temporary, arrays)
            self._folder.seal(f"{name}.nc", temporary)

    def load(self, name: str) -> xr.Dataset:
        """Labelled arrays saved under `name`, read into memory.

        Raises:
            InputError: If the file is not what was written, or geomem cannot have written it.
        """
        return netcdf.read(self.path / f"{name}.nc", lambda: self._folder.intact(f"{name}.nc"))

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
        for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if log.is_file() else ():
            try:
                held = json.loads(line)
            except (ValueError, RecursionError):
                continue  # a killed process can leave a partial line
            if isinstance(held, dict) and isinstance(held.get("time"), str):
                lines.append(held)
        return lines

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Lock the folder of an existing run for this process, and remove what a killed process left half-written.

        Raises:
            OutputError: If another process is using it.
        """
        with self._folder.alone():
            with _writable(self.path):
                self._folder.sweep()
            yield

    @contextmanager
    def within(self, name: str, command: str, settings: Any) -> Iterator["Run"]:
        """A run in a folder below, opened as by `Run.open`; it belongs to this one."""
        self.owns(f"{name}/")
        with Run.open(self.path / name, command, settings) as run:
            yield run

    def owns(self, *names: str) -> None:
        """Note files that are written by other means than this class, before they are; see `Folder.add`."""
        with _writable(self.path):
            self._folder.add(*names)

    def log(self, **metrics: float | str | Sequence[float]) -> None:
        """Append one line to metrics.jsonl."""
        line = json.dumps({"time": datetime.now(UTC).isoformat(timespec="milliseconds"), **metrics})
        with _writable(self.path / "metrics.jsonl"):
            self._folder.add("metrics.jsonl")
            append_line(self.path / "metrics.jsonl", line)

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
        try:
            return {**dict.fromkeys(environment()), **read_json(self.path / _ENVIRONMENT)}
        except InputError as error:
            raise InputError(f"{error} The run's page cannot be redrawn.") from error

    def note(self) -> str:
        """The small print of a figure: version, command, commit and seed."""
        where = self.environment()
        commit = f", commit {where['commit']}" if where["commit"] else ""
        seed = f", seed {self.config['seed']}" if "seed" in self.config else ""
        return f"geomem {where['geomem']} {self.config['command']}{commit}{seed}"

    @contextmanager
    def writing(self, name: str) -> Iterator[Path]:
        """A temporary path, renamed to `name` in the folder if the block succeeds, and deleted otherwise."""
        with _writable(self.path / name, _KEPT), self._folder.writing(name) as temporary:
            yield temporary

    @contextmanager
    def writing_folder(self, name: str) -> Iterator[Path]:
        """A temporary folder, renamed to `name` in this one if the block succeeds, and deleted otherwise."""
        with _writable(self.path / name, _KEPT), self._folder.writing_folder(name) as temporary:
            yield temporary

    def _write_json(self, name: str, content: Mapping[str, Any]) -> None:
        with atomic_path(self.path / name) as temporary:
            temporary.write_text(json.dumps(content, indent=2) + "\n")


_KEPT = ". Earlier results are saved; free some space or choose another folder, and run the same command again."


@contextmanager
def _writable(path: Path, advice: str = "; choose another folder with --out.") -> Iterator[None]:
    """The operating system's refusals to write, as errors for people."""
    try:
        yield
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({reason(error)}){advice}") from error


def _placed(path: Path | str, error: type[GeomemError]) -> Path:
    """The absolute path of a run's folder.

    Raises:
        GeomemError: Of the kind given, for a path that leads nowhere, or whose name is no text, which records cannot have.
    """
    expanded, why = path_of(path), "there is no such user"
    if not str(expanded).startswith("~"):
        try:
            folder = expanded.resolve()
            str(folder).encode()
        except UnicodeEncodeError:
            why = "its name is not valid UTF-8"
        except (OSError, RuntimeError):
            why = "its links lead in a circle"
        else:
            return folder
    another = "choose another with --out" if error is OutputError else "name another"
    raise error(f"{printable(path)}: cannot be used as a folder, since {why}; {another}.")


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


def _read_config(folder: Path) -> Mapping[str, Any] | None:
    try:
        config = read_json(folder / _CONFIG)
    except InputError:
        return None
    return config if config.get("format") == _FORMAT and isinstance(config.get("command"), str) else None


def _of_a_start(name: str) -> bool:
    """Whether a file is one that `Run.open` writes before the configuration, or its temporary form."""
    temporary = name.startswith((f".{_CONFIG}.", f".{_ENVIRONMENT}.")) and name.endswith(".part")
    return name in (_ENVIRONMENT, ".lock") or temporary


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
