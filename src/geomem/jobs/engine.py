"""The engine: a request becomes parts, their records, findings and a page. It resumes, locks, and spreads parts.

open      inputs are loaded and checked; nothing is written
run       the folder is locked, then opened: new, or resumed where it was made by the same request
stages    one after the other; parts that are saved already are skipped, the rest is computed in this process, in
`workers` processes, or on Ray. A part depends on the request and its name alone, and every part is computed on
one thread, so records have the same bits wherever they were computed.
finish    the report is made from the records alone, so `geomem report` can make it again
"""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, nullcontext, suppress
from pathlib import Path
from typing import Any

from geomem.errors import GeomemError, InputError
from geomem.jobs import places
from geomem.jobs.boundary import boundary, traceback_kept
from geomem.jobs.job import Job, Part, Report, Result, Stage
from geomem.jobs.progress import Progress, Stages
from geomem.jobs.registry import job_named, job_of
from geomem.jobs.request import Request
from geomem.jobs.worker import described
from geomem.page import write_page, write_picture
from geomem.precision import one_thread
from geomem.records import Run, digest

__all__ = ["again", "finish", "run"]

# A stage that takes longer than this is spread over processes by default: starting one takes some seconds.
_LONG_SECONDS = 20.0
# Failed parts that are named.
_NAMED = 3


def run(
    request: Request,
    *,
    out: Path | str | None = None,
    force: bool = False,
    workers: int | None = None,
    on: str = "local",
    progress: Progress | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> Result | None:
    """Carry out a request. Interrupted, the same request resumes.

    Args:
        request: Any command's request.
        out: Folder of the run; None for one below geomem-<command>/ that only the same request shares.
        force: Replace another run in the folder.
        workers: Processes that share the parts of a stage; None for one a core (or GPU) where a stage is long.
        on: "local", "ray" (on this machine), or the address of a Ray cluster that shares the file system.
        progress: Called with what is being done and the share of the whole that is done.
        say: Called with what should be known before the work begins.

    Returns:
        Folder, page (or figure), and summary; None in a process that only helped another.

    Raises:
        InputError: For a request that cannot be carried out.
        OutputError: If the folder cannot be used, or another run is at work in it.
        GeomemError: If parts failed, once all others are done.
    """
    places.check(on)
    if workers is not None and workers < 1:
        raise InputError(f"--workers: must be at least 1, got {workers}.")
    job = job_of(request)
    with boundary(lambda: "reading what was given"):
        with one_thread():
            inputs = job.open(request)
        settings = job.settings(request, inputs)
        path = job.default_folder(request, digest(settings)) if out is None else Path(out)
        if job.follows(request, inputs, path):
            return None
    told = Stages(progress)
    with Run.open(path, job.title(request), settings, force=force) as folder, boundary(lambda: told.doing, folder):
        notice = job.notice(request, inputs)
        if notice is not None:
            say(notice)
        with ExitStack() as stack:
            stages = job.stages(request, inputs, folder)
            told.expect({stage.name: stage.share for stage in stages})
            work = _Work(folder, told, request, workers, on, stack, say)
            failed: list[places.Outcome] = []
            for stage in stages:
                failed += work.stage(stage)
        told.say("writing the report")
        if failed:
            raise _failures(job, folder, failed)
        return finish(folder)


def finish(run: Run) -> Result:
    """Page (or figures) and summary.json, from the records of a finished run.

    Raises:
        InputError: For a run that has not finished, or was made by another version.
        OutputError: If the folder cannot be written.
    """
    job = job_named(run.config["command"])
    report = job.report(run)
    left = _written(run, job, report)
    summary = json.loads(json.dumps({**_stated(report), **report.summary}))
    run.write_text("summary.json", json.dumps(summary, indent=2) + "\n")
    return Result(run.path, left, summary, report)


def _written(run: Run, job: Job[Any, Any], report: Report) -> Path:
    """Write page and pictures; the file that the job is for."""
    pictures = [write_picture(run, picture) for picture in report.pictures]
    if report.page is not None:
        return write_page(run, report.page, command=f"geomem {run.config['command']}", again=again(job, run))
    return report.left or pictures[0]


def _stated(report: Report) -> dict[str, Any]:
    """The page's first screen, for JSON and the terminal."""
    if report.page is None:
        return {"title": report.title, "short": list(report.lines)}
    box = report.page.box
    return {"title": box.verdict, "sure": box.sure, "next": box.next, "short": list(report.page.short)}


def again(job: Job[Any, Any], run: Run) -> str:
    """The command that makes a run again, from the folder that it was made in."""
    request: Request = job.request.read(run.config)
    chosen = run.path.parent.name != f"geomem-{job.name}"  # where runs go that no folder was named for
    return request.command_line(f"geomem {job.name}", out=run.path.name if chosen else "")


class _Work:
    """Computes the parts of stages, where they are not saved already."""

    def __init__(
        self,
        run: Run,
        told: Stages,
        request: Request,
        workers: int | None,
        on: str,
        stack: ExitStack,
        say: Callable[[str], None],
    ) -> None:
        self.run, self.told, self.request, self.say = run, told, request, say
        self.workers, self.on, self.stack = workers, on, stack
        self._place: places.Local | places.Ray | None = None

    def stage(self, stage: Stage) -> list[places.Outcome]:
        """Compute a stage; returns the parts that failed, where the others may go on without them."""
        if stage.join is not None and self.run.has(stage.name):
            self.told.done(stage.name)
            return []
        parts = stage.parts()
        missing = [part for part in parts if not self.run.has(part.name)]
        notice = stage.notice() if missing else None
        if notice is not None:
            self.say(notice)
        failed = self._compute(stage, parts, missing) if missing else []
        if stage.join is not None and not failed:
            self.run.save(stage.name, stage.join([self.run.load(part.name) for part in parts]))
            for part in parts:
                self.run.remove(part.name)
        self.told.done(stage.name)
        return failed

    def _compute(self, stage: Stage, parts: Sequence[Part], missing: Sequence[Part]) -> list[places.Outcome]:
        whole = sum(part.cost for part in parts)
        costs = {part.name: part.cost / whole for part in parts}
        done = 1 - sum(costs[part.name] for part in missing)
        begun = time.monotonic()
        failed: list[places.Outcome] = []
        self.told.begin(stage.name, missing[0].label, done)

        def tell(shares: dict[str, float], label: str) -> None:
            part = sum(costs[name] * share for name, share in shares.items())
            self.told.begin(stage.name, label, done + part)

        place = self._where(stage, missing)
        outcomes = place.work(stage, missing, tell) if place else _here(self.run, stage, missing, tell)
        with nullcontext() if stage.all_cores and place is None else one_thread():
            for part, failure in outcomes:
                done += costs[part.name]
                self.run.log(
                    part=part.name,
                    seconds=round(time.monotonic() - begun, 2),
                    **({"failure": failure} if failure else {}),
                )
                if failure is not None:
                    failed.append((part, failure))
                    if not stage.keep_going:
                        raise _failures(None, self.run, failed)
        return failed

    def _where(self, stage: Stage, missing: Sequence[Part]) -> places.Place | None:
        """None for this process: for a stage of one part, or a short one where nothing else was asked."""
        if stage.all_cores or (self.on == "local" and len(missing) == 1):
            return None
        if self.on == "local":
            seconds = stage.seconds() if callable(stage.seconds) else stage.seconds
            usual = places.usual_workers() if seconds > _LONG_SECONDS else 1
            if (self.workers or usual) == 1:
                return None
        if not self.request.portable:
            if self.on == "local" and self.workers is None:
                return None
            raise InputError(
                "workers, on: a score that is given as an object stays in this process; give a model's folder."
            )
        if self._place is None:
            if self.on == "local":
                self._place = self.stack.enter_context(places.Local(self.run, self.request, self.workers))
            else:
                self._place = self.stack.enter_context(places.Ray(self.run, self.request, self.on))
        return self._place


def _here(run: Run, stage: Stage, parts: Sequence[Part], tell: places.Shares) -> Iterator[places.Outcome]:
    """Compute parts in this process, one after the other.

    Errors of a stage that cannot go on without a part are raised as they are.
    """
    for part in parts:
        tell({part.name: 0.0}, part.label)

        def told(share: float, label: str = "", part: Part = part) -> None:
            tell({part.name: share}, label or part.label)

        try:
            run.save(part.name, part.make(told))
        except Exception as error:
            if not stage.keep_going:
                raise
            if not isinstance(error, GeomemError):
                traceback_kept(error, part.label, run)
            yield part, described(error)
        else:
            yield part, None


def _failures(job: Job[Any, Any] | None, run: Run, failed: Sequence[places.Outcome]) -> GeomemError:
    """What is said of parts that failed; the report of the others is made where it can be."""
    # Before the dot a label says what is done to every part alike.
    shown = "; ".join(f"{part.label.rpartition(' · ')[2]}: {why}" for part, why in failed[:_NAMED])
    more = f"; and {len(failed) - _NAMED} more" if len(failed) > _NAMED else ""
    kept = "The others are saved"
    if job is not None:
        with suppress(InputError):  # where nothing was computed
            finish(run)
            kept = "The others are saved, and reported,"
    count = "1 part" if len(failed) == 1 else f"{len(failed)} parts"
    return GeomemError(f"{count} failed ({shown}{more}). {kept} in {run.path}; run the same command again to retry.")
