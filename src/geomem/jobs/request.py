"""Requests: frozen dataclasses whose fields are the options of a command.

A field is the only place where an option is written: its name, type, default, help and bounds. The command line, the Python
call, config.json and the page's "run this again" line are made from it. Modules that define requests import nothing heavy, so
that help is instant.

    @dataclass(frozen=True)
    class CountRequest(Request):
        data: str = option(help="Data to count.", positional=True)
        limit: int | None = option(None, help="Use this many rows.", least=1)

`count DATA --limit N` on the command line, `CountRequest("digits", limit=5)` in Python.
"""

import json
import math
import shlex
from collections.abc import Callable, Collection, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from importlib import import_module
from pathlib import Path
from typing import Any, Self

from geomem.errors import InputError
from geomem.files import exists, path_of

__all__ = ["EXECUTION", "RUN", "Execution", "Option", "Request", "flag", "option", "options"]


# No option counts as far as this; larger integers overflow in the libraries that get them.
_LONG = 2**63 - 1


@dataclass(frozen=True)
class Option:
    """What a field says beside its name, type and default.

    Attributes:
        help: A short sentence for people.
        positional: Whether it is an argument, given by its place.
        group: Heading under which help lists it; "" for none.
        least: Smallest value allowed.
        most: Largest value allowed.
        above: Value that must be exceeded.
        below: Value that must not be reached.
        choices: Names allowed, or "module:attribute" of a mapping that holds them.
        read: Makes a value of the text that the command line gives; None for plain types.
        write: Makes that text of a value; None for `str`.
        path: Whether it names a file or folder, which other processes must find too.
        recorded: Whether results depend on it, so that it is part of config.json.
    """

    help: str
    positional: bool = False
    group: str = ""
    least: float | None = None
    most: float | None = None
    above: float | None = None
    below: float | None = None
    choices: Collection[str] | str | None = None
    read: Callable[[str], Any] | None = None
    write: Callable[[Any], str] | None = None
    path: bool = False
    recorded: bool = True

    def known(self) -> Collection[str] | None:
        """The names allowed; None for anything."""
        if not isinstance(self.choices, str):
            return self.choices
        module, _, attribute = self.choices.partition(":")
        found: Collection[str] = getattr(import_module(module), attribute)
        return found

    def check(self, name: str, value: Any) -> None:
        """Refuse a value out of bounds.

        Raises:
            InputError: Naming the option.
        """
        known = self.known() if value is not None else None
        if known is not None and value not in known:
            raise InputError(f"{name}: {value!r} is not known; choose one of {', '.join(known)}.")
        for number in value if isinstance(value, tuple) else (value,):
            if isinstance(number, bool) or not isinstance(number, int | float):
                continue
            # An integer may be too large to become a float.
            got = (
                f"{number:g}"
                if isinstance(number, float) or abs(number) < _LONG
                else f"a number of {_digits(number)} digits"
            )
            if isinstance(number, float) and not math.isfinite(number):
                raise InputError(f"{name}: must be finite, got {got}.")
            if self.least is not None and number < self.least:
                raise InputError(f"{name}: must be at least {self.least:g}, got {got}.")
            if self.above is not None and number <= self.above:
                raise InputError(f"{name}: must be above {self.above:g}, got {got}.")
            if self.below is not None and number >= self.below:
                raise InputError(f"{name}: must be below {self.below:g}, got {got}.")
            most = self.most if self.most is not None else _LONG if isinstance(number, int) else math.inf
            if number > most:
                raise InputError(f"{name}: must be at most {most:,}, got {got}.")


def _digits(number: int) -> int:
    return math.floor(math.log10(abs(number))) + 1


def option(default: Any = MISSING, *, help: str, **more: Any) -> Any:
    """A field of a request; see `Option` for what it may say."""
    return field(default=default, metadata={"help": help, "option": Option(help, **more)})


def flag(name: str) -> str:
    """A field's name on the command line.

    >>> flag("held_out")
    '--held-out'
    """
    return f"--{name.rstrip('_').replace('_', '-')}"


def options(request: type) -> dict[str, tuple[Field[Any], Option]]:
    """The fields of a request that are options, by name."""
    return {f.name: (f, f.metadata["option"]) for f in fields(request) if "option" in f.metadata}


@dataclass(frozen=True)
class Request:
    """The options of a command, as a frozen dataclass.

    Raises:
        InputError: For a value out of its bounds, naming the option.
    """

    def __post_init__(self) -> None:
        for name, (_, said) in options(type(self)).items():
            value = getattr(self, name)
            if isinstance(value, list):
                value = tuple(value)
            elif said.path and isinstance(value, Path):
                value = str(value)
            object.__setattr__(self, name, value)
            said.check(name if said.positional else flag(name), value)
        self.check()

    def check(self) -> None:
        """Refuse options that do not go together; commands override it."""

    def recorded(self) -> dict[str, Any]:
        """The options that results depend on, as config.json holds them."""
        return {name: getattr(self, name) for name, (_, said) in options(type(self)).items() if said.recorded}

    def absolute(self) -> Self:
        """The same with absolute paths, for other processes; names that are no paths stay."""
        changed = {
            name: str(path_of(value).resolve())
            for name, (_, said) in options(type(self)).items()
            if said.path and isinstance(value := getattr(self, name), str) and exists(path_of(value))
        }
        return type(self)(**{**{name: getattr(self, name) for name in options(type(self))}, **changed})

    @property
    def portable(self) -> bool:
        """Whether another process can be given it: False where it holds an object, as a score."""
        try:
            self.to_json()
        except TypeError:
            return False
        return True

    def to_json(self) -> str:
        """As text, for another process."""
        return json.dumps({name: getattr(self, name) for name in options(type(self))})

    @classmethod
    def read(cls, held: Mapping[str, Any]) -> Self:
        """From what `to_json` or config.json holds.

        Raises:
            KeyError: If an option without default is missing.
        """
        return cls(
            **{name: held[name] for name, (f, _) in options(cls).items() if name in held or f.default is MISSING}
        )

    def command_line(self, command: str, *, out: str = "") -> str:
        """The command that asks for the same: options that differ from their defaults.

        >>> Execution(force=True).command_line("geomem demo")
        'geomem demo --force'
        """
        places, words = [], []
        for name, (f, said) in options(type(self)).items():
            value = getattr(self, name)
            if value == f.default or value is None:
                continue
            text = said.write(value) if said.write is not None else str(value)
            if said.positional:
                places.append(text)
            else:
                words += [flag(name)] if isinstance(value, bool) else [flag(name), text]
        words = [*shlex.split(command), *places, *words]
        return shlex.join([*words, *(["--out", out] if out else [])])


# Heading of the options that results do not depend on.
RUN = "How it runs"


@dataclass(frozen=True)
class Execution(Request):
    """Where and how a request is carried out; results do not depend on it."""

    out: str | None = option(
        None, help="Folder of the run; an interrupted run resumes.", path=True, recorded=False, group=RUN
    )
    workers: int | None = option(
        None,
        help="Number of parallel processes; by default one per core (or GPU) where that is faster.",
        least=1,
        most=4096,
        recorded=False,
        group=RUN,
    )
    on: str = option(
        "local",
        help="Where to compute: local, ray, or the address of a Ray cluster that shares the file system.",
        recorded=False,
        group=RUN,
    )
    force: bool = option(False, help="Replace another run in the output folder.", recorded=False, group=RUN)
    json: bool = option(False, help="Print the results as JSON.", recorded=False, group=RUN)


EXECUTION = tuple(options(Execution))
