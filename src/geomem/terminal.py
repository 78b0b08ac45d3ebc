"""What commands print: findings and tables on standard output, progress and messages on standard error."""

import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from geomem.errors import Interrupted

if TYPE_CHECKING:
    from geomem.jobs.job import Result
    from geomem.jobs.progress import Progress
    from geomem.page import Table

__all__ = ["interruptible", "print_result", "print_results", "print_table", "progress_bar", "say"]

# Between two lines of a stage that goes on, where there is no terminal.
_QUIET_SECONDS, _NEWS = 10.0, 0.05


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
    console.print(f"\n{summary['title']}", style="bold", markup=False, highlight=False)
    for name in ("sure", "next"):
        if summary.get(name):
            console.print()
            for line in summary[name].split("\n"):
                # A command that is broken into lines cannot be pasted.
                console.print(line, markup=False, highlight=False, soft_wrap=line.startswith("geomem "))
    if result.report.table is not None:
        print_table(result.report.table)
    if summary.get("short"):
        console.print()
    for sentence in summary.get("short", ()):
        console.print(f"• {sentence}", markup=False, highlight=False)
    console.print(f"\n{result.page}", soft_wrap=True, markup=False, highlight=False)


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
        grid.add_row(*(Text(cell_text(cell, c.spec)) for cell, c in zip(row, table.columns, strict=True)))
    Console().print(grid)


def say(text: str) -> None:
    """A line on standard error."""
    print(f"geomem: {text}", file=sys.stderr)


@contextmanager
def interruptible() -> Iterator[None]:
    """Ctrl-C as an error with its own words and exit code."""
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted("interrupted; progress is saved. Run the same command again to resume.") from None


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
    columns: list[Any] = [TextColumn("{task.description}"), BarColumn(), TaskProgressColumn()]
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as bars:
        task = bars.add_task("starting", total=1.0)
        yield lambda label, share: bars.update(task, description=label, completed=share)
