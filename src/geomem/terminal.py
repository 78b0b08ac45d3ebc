"""What commands print: findings and tables on standard output, progress and messages on standard error."""

import errno
import io
import json
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geomem.errors import Interrupted, OutputError, Terminated

if TYPE_CHECKING:
    from geomem.jobs.job import Result
    from geomem.jobs.progress import Progress
    from geomem.page import Table

__all__ = ["interruptible", "print_result", "print_results", "print_table", "printing", "progress_bar", "say"]

# Between two lines of a stage that goes on, where there is no terminal.
_QUIET_SECONDS, _NEWS = 10.0, 0.05


# Characters that move the cursor, change colors or the direction of text, or are no text: in a name they could show something else
# than it is.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
# Characters of a message: names that it repeats may be of any length.
_LONGEST = 800
# How a full or vanished standard output fails.
_UNWRITTEN = {errno.EPIPE, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF}
_GONE = 141  # what a shell says of a program whose reader went away


def escaped(text: str) -> str:
    r"""Text with control characters written as Python writes them.

    >>> print(escaped("a\x1b[2Jb"))
    a\x1b[2Jb
    """
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


@contextmanager
def printing() -> Iterator[None]:
    """Standard output that takes any text in any encoding, and whose failure is an error of its own.

    Raises:
        OutputError: If it cannot be written, as on a full disk.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # it was closed before Python began
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115 - it stays open as long as the process
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        yield
        sys.stdout.flush()
    except OSError as error:
        # Runs turn what they cannot write into errors of their own.
        if error.errno not in _UNWRITTEN:
            raise
        _drop_output()
        if isinstance(error, BrokenPipeError):
            sys.exit(_GONE)
        raise OutputError(
            f"standard output cannot be written ({(error.strerror or str(error)).lower()}). Results that were to be saved are saved: "
            "run the same command again to see them."
        ) from error


def _drop_output() -> None:
    """Send what is still buffered nowhere, so that Python does not fail again when it ends."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def print_results(results: "Sequence[Result]", json_: bool) -> None:
    """What runs found, for people or as JSON (a list where there are several)."""
    if not json_:
        for result in results:
            print_result(result)
        return
    stated = [{"folder": str(r.folder), "page": str(r.page), **r.summary} for r in results]
    if stated:
        print(json.dumps(stated[0] if len(stated) == 1 else stated, indent=2))


def print_result(result: "Result") -> None:
    """The verdict, how sure, what to do next and the short findings of a run, and where its page, figure or model is."""
    from rich.console import Console

    summary = result.summary
    console = Console()
    console.print(f"\n{escaped(summary['title'])}", style="bold", markup=False, highlight=False)
    for name in ("sure", "next"):
        if summary.get(name):
            console.print()
            for line in escaped(summary[name]).split("\n"):
                # A command that is broken into lines cannot be pasted.
                console.print(line, markup=False, highlight=False, soft_wrap=line.startswith("geomem "))
    if result.report.table is not None:
        print_table(result.report.table)
    if summary.get("short"):
        console.print()
    for sentence in summary.get("short", ()):
        console.print(f"• {escaped(sentence)}", markup=False, highlight=False)
    console.print(f"\n{escaped(str(result.page))}", soft_wrap=True, markup=False, highlight=False)


def print_table(table: "Table") -> None:
    """A table's first rows: numbers aligned at the right, words at the left."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table as Grid
    from rich.text import Text

    from geomem.page import cell_text

    grid = Grid(box=SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    for column in table.columns:
        grid.add_column(Text(column.title), justify="right" if column.spec else "left")
    for row in table.rows[: table.shown]:
        grid.add_row(*(Text(escaped(cell_text(cell, c.spec))) for cell, c in zip(row, table.columns, strict=True)))
    Console().print(grid)


def say(text: str) -> None:
    """A line on standard error; where that cannot be written, the work goes on."""
    with suppress(OSError):
        shown = text if len(text) <= _LONGEST else f"{text[: _LONGEST // 2]} ... {text[-_LONGEST // 2 :]}"
        line = escaped(shown).replace("\n", "\\n")
        print(f"geomem: {line}", file=sys.stderr)


@contextmanager
def interruptible() -> Iterator[None]:
    """Ctrl-C, and SIGTERM alike, as an error with its own words and exit code."""

    def terminated(number: int, frame: object) -> None:
        raise Terminated

    main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, terminated) if main else None
    try:
        yield
    except KeyboardInterrupt as stopped:
        code, word = (143, "ended by SIGTERM") if isinstance(stopped, Terminated) else (130, "interrupted")
        raise Interrupted(f"{word}; progress is saved. Run the same command again to resume.", code) from None
    finally:
        if main:
            signal.signal(signal.SIGTERM, before)


@contextmanager
def progress_bar() -> Iterator["Progress"]:
    """A bar with what is being done and the time left; a line for each stage where there is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        said, at, reached = "", 0.0, 0.0

        def line(label: str, share: float) -> None:
            nonlocal said, at, reached
            # What follows the dot changes all the time.
            stage, now = label.partition(" · ")[0], time.monotonic()
            news = label != said or share > reached + _NEWS
            if stage != said.partition(" · ")[0] or (news and now - at > _QUIET_SECONDS):
                said, at, reached = label, now, share
                say(f"{share:4.0%} {label}")

        yield line
        return
    columns: list[Any] = [TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn()]
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as bars:
        task = bars.add_task("starting", total=1.0)
        yield lambda label, share: bars.update(task, description=escaped(label), completed=share)
