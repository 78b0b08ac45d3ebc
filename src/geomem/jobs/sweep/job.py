"""`geomem sweep`: one model for each number of images and seed, each a part of one stage, measured and compared."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from geomem.errors import InputError
from geomem.findings.plain import plain
from geomem.jobs.job import Job, Report, Stage
from geomem.jobs.sweep.cells import Sweep, joined, open_sweep, sweep_stage
from geomem.jobs.sweep.findings import findings
from geomem.jobs.sweep.numbers import reading_of, reference_time, rows
from geomem.jobs.sweep.request import SweepRequest
from geomem.jobs.sweep.sections import page, short_table
from geomem.jobs.sweep.settings import SweepSettings, cell_name
from geomem.records import Run

__all__ = ["SweepJob"]


class SweepJob(Job[SweepRequest, Sweep]):
    """See `SweepRequest`."""

    name = "sweep"
    request = SweepRequest

    def open(self, request: SweepRequest) -> Sweep:
        """Read the images, and refuse what cannot be done with them."""
        return open_sweep(request)

    def facts(self, request: SweepRequest, inputs: Sweep) -> Mapping[str, Any]:
        """The settings, with a digest of the data and the precision that was chosen."""
        settings = inputs.settings
        return {"precision": settings.training.precision, "settings": asdict(settings)}

    def notice(self, request: SweepRequest, inputs: Sweep) -> str | None:
        """What was left out of the data."""
        return request.omitted(inputs.data)

    def folder(self, request: SweepRequest) -> str:
        """Data and preset."""
        return f"{Path(request.data).stem}-{request.preset}"

    def stages(self, request: SweepRequest, inputs: Sweep, run: Run) -> Sequence[Stage]:
        """One stage; its records stay one a cell, so that what is done is reported where others fail."""
        return [sweep_stage("cells", inputs, run)]

    def report(self, run: Run) -> Report:
        """Verdict, table, figures and page of the cells that are done."""
        if "settings" not in run.config:
            raise InputError(f"{run.path}: was made by an earlier version of geomem; make the run again.")
        settings = SweepSettings.read(run.config["settings"])
        names = [cell_name(*cell) for cell in settings.cells]
        done = [name for name in names if run.has(name)]
        if not done:
            raise InputError(f"{run.path}: no model is done; run the command that made it again to resume.")
        arrays = joined([run.load(name) for name in done], settings)
        table, t = rows(arrays), reference_time(arrays)
        found = findings(arrays, table)
        missing = len(names) - len(done)
        where = run.environment()
        seeds = ", ".join(map(str, settings.seeds))
        commit = f", commit {where['commit']}" if where["commit"] else ""
        made = page(arrays, table, found, missing, f"geomem {where['geomem']} sweep{commit}, seeds {seeds}")
        summary = {"t": t, "missing": missing, "findings": found.plain(), "rows": plain(table)}
        at = [row for row in table if row["t"] == t]
        return Report(made.box.verdict, summary, page=made, table=short_table(at, reading_of(arrays)))
