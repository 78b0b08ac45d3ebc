"""`geomem report`: the page and figures of a run again, from its records alone."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from geomem.jobs.boundary import readable
from geomem.jobs.engine import finish
from geomem.jobs.job import Result
from geomem.records import Run

__all__ = ["redraw", "report"]


def redraw(folder: Path | str) -> Result:
    """Make a run's page and figures again, as this version of geomem makes them.

    Raises:
        InputError: If the folder holds no finished run, or one whose records this version does not read.
        OutputError: If it cannot be written.
    """
    run = Run.existing(folder)
    with run.alone(), readable(run.path):
        return finish(run)


def report(run: Annotated[Path, Parameter(help="Folder of a finished run.")], /) -> None:
    """Draw a run's figures and page again from its records."""
    print(redraw(run).page)
