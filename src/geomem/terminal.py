"""What commands print: findings and tables on standard output, progress and messages on standard error."""

import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geomem.errors import Interrupted
from geomem.jobs.progress import duration

if TYPE_CHECKING:
    from geomem.jobs.progress import Progress
    from geomem.jobs.theory import Predictions

__all__ = [
    "interruptible",
    "print_claims",
    "print_experiments",
    "print_findings",
    "print_table",
    "print_theory",
    "progress_bar",
    "say",
]

# Between two lines of a stage that goes on, where there is no terminal.
_QUIET_SECONDS, _NEWS = 10.0, 0.05


def print_findings(page: Path, summary: Mapping[str, Any], json_: bool, what: str = "page") -> None:
    """The title and the findings of a summary, and where the page, or `what` else was made, is."""
    if json_:
        print(json.dumps({what: str(page), **summary}, indent=2))
        return
    from rich.console import Console

    console = Console()
    console.print(f"\n{summary['title']}.\n", style="bold", markup=False, highlight=False)
    # Some stand both among the short findings and in their own section.
    for sentence in dict.fromkeys(s for sentences in summary["findings"].values() for s in sentences):
        console.print(f"• {sentence}", markup=False, highlight=False)
    console.print(f"\n{what.capitalize()}: {page}", soft_wrap=True, highlight=False)


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Cells as text, aligned at the right."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    for column in head:
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(*row)
    Console().print(table)


def print_experiments() -> None:
    """The experiments of `geomem reproduce`, where they are in the paper, and how long they take."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    from geomem.paper import EXPERIMENTS

    table = Table(box=SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    for column in ("name", "place", "quick", "full", "what"):
        table.add_column(column, no_wrap=column != "what")
    for e in EXPERIMENTS.values():
        names = ", ".join((e.name, *e.also))
        table.add_row(names, e.place, duration(e.seconds["quick"]), duration(e.seconds["full"]), e.title)
    Console().print(table)


def print_claims(title: str, claims: Sequence[Mapping[str, Any]]) -> None:
    """Verdicts, with what was found."""
    from rich.console import Console

    console = Console()
    console.print(f"{title}.", style="bold", markup=False, highlight=False)
    for claim in claims:
        console.print(f"• {claim['statement']} {claim['place']}: {claim['verdict']}.", markup=False, highlight=False)
        for sentence in claim["found"]:
            console.print(f"  {sentence}", markup=False, highlight=False)


def print_theory(result: "Predictions") -> None:
    """The table of `geomem theory`."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    arrays = result.arrays
    console = Console()
    n = arrays.attrs["n_samples"]
    console.print(
        f"d = {arrays.attrs['dim']}, m = {arrays.attrs['rank']}, N = {n:,.0f}. Condensation time at the origin "
        f"{float(arrays['condensation_time']):.6g} (Eq. 15: {float(arrays['expansion']):.6g}); a training point holds half of "
        f"its weight at {float(arrays['half_weight_time']):.6g}.",
        highlight=False,
    )
    console.print(
        "Effective samples by three estimates; singular values of the empirical score's Jacobian by variance s (row form "
        "of Eq. 18; the exact score's are 1/(t + s)).",
        highlight=False,
    )
    table = Table(box=SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    table.add_column("t", justify="right", no_wrap=True)
    for method in arrays["estimator"].values:
        table.add_column(str(method), justify="right", no_wrap=True)
    for level in arrays["level"].values:
        table.add_column(f"s = {level:g}", justify="right", no_wrap=True)
    for i, t in enumerate(arrays["t"].values):
        active = [f"{float(v):.3g}" for v in arrays["effective_samples"][:, i]]
        values = [f"{v:.4g}" for v in arrays["singular_values"].sel(form="row").values[i]]
        table.add_row(f"{t:.3g}", *active, *values)
    console.print(table)
    console.print(f"Figure: {result.figure}", soft_wrap=True, highlight=False)


def say(text: str) -> None:
    """A line on standard error."""
    print(f"geomem: {text}", file=sys.stderr)


@contextmanager
def interruptible() -> Iterator[None]:
    """Ctrl-C as an error with its own words and exit code."""
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted("interrupted; what was done is kept. Run the same command again to go on.") from None


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
