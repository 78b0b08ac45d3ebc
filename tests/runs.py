"""Run folders for tests."""

from pathlib import Path
from typing import Any

from geomem.records import Run

__all__ = ["begun"]


def begun(path: Path | str, command: str, settings: Any, *, force: bool = False) -> Run:
    """A run that was begun in a folder, which no process holds any more."""
    with Run.open(path, command, settings, force=force) as run:
        return run
