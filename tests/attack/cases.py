"""Malformed input given to commands in this process, and what every command owes whoever gives it.

A case writes files into an empty folder and says which command reads them. `attack` runs the command there and looks at the exit
code, the message, the files left, and the memory taken. Commands that read data or models stop once their inputs are opened and
read to the end, unless a case wants the whole of them.
"""

import hashlib
import json
import os
import shlex
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from attack.carried import SECONDS, apart, here
from commands import geomem
from geomem.errors import GeomemError
from geomem.jobs.registry import COMMANDS, job_named

__all__ = ["REFUSED", "SAME", "TAKEN", "VALID", "Case", "attack", "attacks"]

# What is asked of a command: to refuse (exit 2 or 3); to take the input; to do either; or, for formats with checksums, to refuse
# or read the very values that were there before the file was damaged.
REFUSED, TAKEN, VALID, SAME = "refused", "taken", "either", "same"
# Bytes that the process may grow by in one case.
_GROWTH = 256 << 20
_LONGEST = 900
_PATIENCE = 5
# Files that code in the input would write if it were run.
MARK = "ran"
_RECORDS = (".nc", ".npy", ".safetensors", ".jsonl", "config.json", "environment.json")


@dataclass(frozen=True)
class Case:
    """One malformed input.

    Attributes:
        name: In the test's name.
        make: Writes the input into a folder; the words of the command line, which is run there.
        expect: What is asked of the command.
        says: Any of these must be in a refusal; by default the names that the command line holds.
        whole: Whether the command runs to its end.
        fair: Whether an input that was taken was in truth acceptable.
        same: Makes the undamaged input, for `SAME`.
        writes: Folder that the command writes into though it is no --out; records and settings there stay as they are.
        apart: Whether a library may hang or crash, so that the command is carried out in a process of its own.
    """

    name: str
    make: Callable[[Path], Sequence[str]]
    expect: str = REFUSED
    says: tuple[str, ...] = ()
    whole: bool = False
    fair: Callable[[Path], bool] | None = None
    same: Callable[[Path], Sequence[str]] | None = None
    writes: str = ""
    apart: bool = False

    def __str__(self) -> str:
        return self.name


def attacks(cases: Sequence[Case]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A test for each case, none of which may take longer than it takes to refuse."""
    assert len({case.name for case in cases}) == len(cases), "names of cases must differ"

    def marked(test: Callable[..., None]) -> Callable[..., None]:
        made: Callable[..., None] = pytest.mark.parametrize("case", cases, ids=str)(test)
        for mark in (pytest.mark.slow, pytest.mark.timeout(SECONDS + 10, func_only=True)):
            made = mark(made)
        made.cases = len(cases)  # type: ignore[attr-defined]
        return made

    return marked


def attack(case: Case, folder: Path) -> None:
    """Carry out a case and name everything that is wrong about the answer."""
    words = [str(word) for word in case.make(folder)]
    before = _files(folder)
    out = words[words.index("--out") + 1] if "--out" in words else None
    carry = apart if case.apart else here
    with _opened_only(not case.whole), _unblocked(folder) as waited:
        done = carry(words, folder)
    if done.fault:
        pytest.fail(_text(f"{_again(folder, words)}\n{done.fault}"), pytrace=False)
    faults = [
        *_of_code(case, done.code),
        *(_of_message(case, words, done.said) if done.code else ()),
        *_of_files(case, folder, before, out, refused=done.code != 0),
    ]
    if done.code == 0 and case.fair is not None and not case.fair(folder):
        faults.append("what it took is not acceptable")
    if done.code == 0 and case.same is not None and _digest(done.said) != _original(case.same, folder):
        faults.append("what it took is not what the undamaged file holds")
    if waited:
        faults.append(f"waits for somebody to write into {', '.join(waited)}")
    if done.grown > _GROWTH:
        faults.append(f"took {done.grown >> 20} MiB")
    if faults:
        listed = "\n".join(f"- {fault}" for fault in faults)
        pytest.fail(_text(f"{_again(folder, words)}\n{listed}\n{done.said[-1500:]}"), pytrace=False)


def _text(said: str) -> str:
    """A message that can be sent between processes, whatever is in it."""
    return said.encode("utf-8", "backslashreplace").decode()


def _again(folder: Path, words: Sequence[str]) -> str:
    """The command that does it again, in a shell that keeps bytes as they are."""
    return (
        f"cd {shlex.quote(str(folder))} && geomem {shlex.join(words)[:1000].encode(errors='backslashreplace').decode()}"
    )


def _of_code(case: Case, code: int) -> Iterator[str]:
    allowed = {REFUSED: (2, 3), TAKEN: (0,)}.get(case.expect, (0, 2, 3))
    if code not in allowed:
        yield f"exit code {code}, not {' or '.join(map(str, allowed))}"


def _of_message(case: Case, words: Sequence[str], printed: str) -> Iterator[str]:
    """A refusal is one line: short, without control characters, and naming the file or the option."""
    lines = [line for line in printed.split("\n") if line.startswith("geomem: error: ")]
    if "Traceback" in printed:
        yield "a traceback"
    if len(lines) != 1:
        yield f"{len(lines)} messages of an error"
        return
    message = lines[0].removeprefix("geomem: error: ")
    # A message may repeat the command's own words, and the folder that it was run in.
    if len(message) > _LONGEST + sum(map(len, words)):
        yield f"a message of {len(message)} characters"
    if bad := sorted({c for c in printed.replace("\n", "") if not c.isprintable()}):
        yield f"characters that cannot be printed: {bad!r}"
    named = case.says or tuple(
        word.partition("=")[0] if word.startswith("-") else Path(word).name for word in words[1:]
    )
    if not any(_in(name, message) for name in named):
        yield f"a message that names none of {', '.join(named)[:300]}"


def _in(name: str, message: str) -> bool:
    """Whether a message holds a name, whose control characters it escapes, and whose end it may leave out."""
    pieces = "".join(c if c.isprintable() else "\n" for c in name).split("\n")
    return any(pieces) and all(piece[:20] in message for piece in pieces)


def _of_files(case: Case, folder: Path, before: Mapping[str, str], out: str | None, *, refused: bool) -> Iterator[str]:
    """Nothing half-written stays, no file changed but those that the command writes, and a refusal leaves no run."""
    after = _files(folder)
    if half := [name for name in after if name.endswith((".part", ".lock"))]:
        yield f"left {', '.join(half)}"
    if any(Path(name).name == MARK for name in after):
        yield "RAN CODE OF THE INPUT"
    changed = [name for name in sorted({*after, *before}) if after.get(name) != before.get(name)]
    place = Path(out or MARK)  # and the folders that it is in
    runs = [n for n in changed if n.startswith("geomem-") or Path(n).is_relative_to(place) or place.is_relative_to(n)]
    if refused and runs:
        yield f"left {', '.join(runs[:5])} though it refused"
    drawn = [n for n in changed if n.startswith(case.writes) and not n.endswith(_RECORDS)] if case.writes else []
    if others := [name for name in changed if name not in {*runs, *drawn}]:
        yield f"changed {', '.join(others[:5])}"


def _files(folder: Path) -> dict[str, str]:
    """Name to kind and digest of everything in a folder; large files by their size and time."""
    found = {}
    for place, folders, names in os.walk(folder):
        for name in (*folders, *names):
            path = os.path.join(place, name)  # noqa: PTH118 - names need not be text
            held = os.lstat(path)
            key = os.path.relpath(path, folder)
            if not stat.S_ISREG(held.st_mode):
                found[key] = stat.filemode(held.st_mode)[0]
            elif held.st_size > 1 << 22:
                found[key] = f"{held.st_size} {held.st_mtime_ns}"
            else:
                with open(path, "rb") as stream:  # noqa: PTH123
                    found[key] = hashlib.blake2b(stream.read()).hexdigest()
    return found


# Run as a process of its own: a library that waits may hold all threads of this one.
_UNBLOCK = """
import os, sys, time
while True:
    time.sleep(float(sys.argv[1]))
    for path in sys.argv[2:]:
        try:
            os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
        except OSError:
            continue  # nobody reads it
        print(path, flush=True)
"""


@contextmanager
def _unblocked(folder: Path) -> Iterator[list[str]]:
    """End what waits for a FIFO to be written, which no signal can where a library tries again; names those."""
    pipes = [str(folder / name) for name, kind in _files(folder).items() if kind == "p"]
    waited: list[str] = []
    if not pipes:
        yield waited
        return
    command = [sys.executable, "-S", "-c", _UNBLOCK, str(_PATIENCE), *pipes]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield waited
        finally:
            process.kill()
            waited += sorted({Path(line).name for line in process.communicate()[0].splitlines()})


class _Opened(GeomemError):
    """Inputs were opened, and read to their end; not an error."""

    exit_code = 0


@contextmanager
def _opened_only(wanted: bool) -> Iterator[None]:
    """End commands once they have opened their inputs and read all values, with a digest of these as their message."""
    with pytest.MonkeyPatch.context() as patch:
        for name in COMMANDS if wanted else ():
            job: Any = type(job_named(name))

            def opened(self: Any, request: Any, original: Callable[..., Any] = job.open) -> Any:
                facts = self.facts(request, original(self, request))
                raise _Opened(f"opened {hashlib.blake2b(json.dumps(facts, default=str).encode()).hexdigest()}")

            patch.setattr(job, "open", opened)
        yield


def _digest(printed: str) -> str:
    return printed.rpartition("opened ")[2].strip()


def _original(make: Callable[[Path], Sequence[str]], folder: Path) -> str:
    """The digest of what the undamaged files hold."""
    good = folder / "undamaged"
    good.mkdir()
    words = make(good)
    with _opened_only(True):
        return _digest(geomem(*words, cwd=good).stderr)
