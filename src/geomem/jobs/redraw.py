"""`geomem report`: the figures and the page of a run again, from its records alone."""

from pathlib import Path

from geomem.errors import InputError
from geomem.records import Run

__all__ = ["redraw"]


def redraw(folder: Path | str) -> Path:
    """Draw a run's figures and page again, as this version of geomem draws them; the page, or the figure of a run that has no page.

    Raises:
        InputError: If the folder holds no finished run of a command that makes a page.
        OutputError: If it cannot be written.
    """
    run = Run.existing(folder)
    try:
        return _redrawn(run)
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{run.path}: its records are not what this version of geomem writes ({error}); make the run again."
        ) from error


def _redrawn(run: Run) -> Path:
    match run.config["command"]:
        case "audit":
            from geomem.jobs.audit.run import finish as finish_audit

            return finish_audit(run).page
        case "demo":
            from geomem.jobs.engine import finish as finish_demo

            return finish_demo(run).page
        case "sweep":
            from geomem.jobs.sweep.run import finish as finish_sweep

            return finish_sweep(run).page
        case "theory":
            from geomem.jobs.theory.predictions import finish as finish_theory

            return finish_theory(run).figure
        case command if command.startswith("reproduce "):
            from geomem.paper.run import finish as finish_reproduction

            return finish_reproduction(run).page
        case other:
            raise InputError(f"{run.path}: was made by geomem {other}, which this version cannot draw.")
