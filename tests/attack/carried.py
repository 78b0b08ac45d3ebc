"""A command carried out for a case: with a limit of memory, and apart from this process where a library may hang or crash."""

import json
import os
import resource
import select
import signal
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from commands import geomem

__all__ = ["SECONDS", "Carried", "apart", "here"]

# Bytes that a command may ask for beyond what is held: then the machine lives on, whatever the command does.
_ASKED = 3 << 30
SECONDS = 20


@dataclass(frozen=True)
class Carried:
    """What a command did.

    Attributes:
        code: Exit code.
        said: What it wrote to standard error.
        grown: Bytes by which the process grew.
        fault: What went wrong, where it did not end as a command does.
    """

    code: int
    said: str
    grown: int
    fault: str = ""


def here(words: Sequence[str], folder: Path) -> Carried:
    """Carry out a command in this process."""
    grown = -_reset_peak()
    try:
        with _bounded():
            done = geomem(*words, cwd=folder)
    except Exception as error:
        return Carried(1, "", grown + _peak(), f"ended with {type(error).__name__}: {str(error)[:500]}")
    return Carried(done.returncode, done.stderr, grown + _peak())


def apart(words: Sequence[str], folder: Path) -> Carried:
    """The same in a fork of this process, which can be ended where a library turns in circles or crashes."""
    read, write = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of threads, which stay behind
        child = os.fork()
    if child == 0:
        try:
            done = here(words, folder)
            os.write(write, json.dumps([done.code, done.said[-20_000:], done.grown, done.fault]).encode())
        finally:
            os._exit(0)
    os.close(write)
    answer = b""
    try:
        while select.select([read], [], [], SECONDS)[0] and (more := os.read(read, 1 << 16)):
            answer += more
        hangs = not select.select([read], [], [], 0)[0]
    finally:
        os.close(read)
        if not answer:
            os.kill(child, signal.SIGKILL)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if answer:
        return Carried(*json.loads(answer))
    return Carried(1, "", 0, f"hangs for more than {SECONDS} s" if hangs else f"ended by signal {-status}")


@contextmanager
def _bounded() -> Iterator[None]:
    """Refuse this process more than some GiB beyond what it has, so that a bomb fails here and not on the machine."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + _ASKED, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def _reset_peak() -> int:
    """Forget the most memory that this process has held; what it holds now."""
    Path("/proc/self/clear_refs").write_text("5")
    return _peak()


def _peak() -> int:
    """Bytes that this process has held at most, since that was forgotten."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024
