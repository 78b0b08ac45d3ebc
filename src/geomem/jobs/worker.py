"""Computing a part in another process: `python -m geomem.jobs.worker FOLDER REQUEST`.

The process reads [stage, part] as JSON lines, computes each part, saves its record in the run's folder, and answers with what
went wrong, if anything. It ends with the process that started it. Ray's workers call `attempt`.
"""

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import lru_cache

from geomem.errors import GeomemError, InputError, reason_of
from geomem.jobs.boundary import traceback_kept
from geomem.jobs.job import Part, Stage
from geomem.jobs.registry import job_named
from geomem.precision import one_thread
from geomem.records import Run

__all__ = ["PARENT", "attempt", "described"]

# Variable with the number of the process that started this one, which may end before this one has looked.
PARENT = "GEOMEM_PARENT"
_WATCHED_SECONDS = 1.0


def attempt(
    folder: str, request: str, stage: str, part: str, tell: Callable[[float, str], None] = lambda share, label: None
) -> str | None:
    """Compute and save one part; what went wrong, or None."""
    try:
        opened = _opened(folder, request)
        if not opened.run.has(part):
            with one_thread():
                opened.run.save(part, opened.parts(stage)[part].make(tell))
    except Exception as error:  # of whatever kind: a part does not affect the others
        if not isinstance(error, GeomemError):
            with suppress(GeomemError):
                traceback_kept(error, f"computing {part}", Run.existing(folder))
        return described(error)
    return None


def described(error: BaseException) -> str:
    """An error in a sentence: geomem's own as it is, others with their type."""
    return str(error) if isinstance(error, GeomemError) else f"{type(error).__name__}: {reason_of(error)}."


class _Opened:
    """A run with its inputs loaded."""

    def __init__(self, folder: str, request: str) -> None:
        self.run = Run.existing(folder)
        job = job_named(self.run.config["command"])
        asked = job.request.read(json.loads(request))
        inputs = job.open(asked)
        held = job.settings(asked, inputs)
        changed = [key for key in job.facts(asked, inputs) if self.run.config.get(key) != held[key]]
        if changed:
            raise InputError(
                f"{folder}: data or model are not what they were when this run began ({', '.join(changed)})."
            )
        self._stages: Mapping[str, Stage] = {stage.name: stage for stage in job.stages(asked, inputs, self.run)}
        self._parts: dict[str, dict[str, Part]] = {}

    def parts(self, stage: str) -> dict[str, Part]:
        """The parts of a stage by name; the stages before are saved."""
        if stage not in self._parts:
            self._parts[stage] = {part.name: part for part in self._stages[stage].parts()}
        return self._parts[stage]


@lru_cache(maxsize=1)
def _opened(folder: str, request: str) -> _Opened:
    return _Opened(folder, request)


def main(folder: str, request: str) -> None:
    """Compute what standard input names, until it ends."""
    _end_with_parent()
    # What libraries print must not be taken for an answer.
    answers, sys.stdout = sys.stdout, sys.stderr
    said = 0.0

    def tell(share: float, label: str = "") -> None:
        nonlocal said
        if time.monotonic() - said > _WATCHED_SECONDS:
            said = time.monotonic()
            print(json.dumps({"share": share, "label": label}), file=answers, flush=True)

    for line in sys.stdin:
        stage, part = json.loads(line)
        failure = attempt(folder, request, stage, part, tell)
        print(json.dumps({"done": part, "failure": failure}), file=answers, flush=True)


def _end_with_parent() -> None:
    """End with the process that started this one, even where that was killed: its next start takes the part up again."""
    parent = int(os.environ.get(PARENT, os.getppid()))

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_WATCHED_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    main(*sys.argv[1:])
