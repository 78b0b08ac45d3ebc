"""Where the parts of a stage are computed, if not in the process of the run: other processes of this machine, or a Ray cluster.

A place takes parts, computes as many at a time as it can, and yields each with what went wrong, or None. A part that fails,
or whose process is killed, does not affect the others.
"""

import json
import os
import queue
import socket
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from importlib.util import find_spec
from typing import Any, Protocol, Self

from geomem.errors import InputError, reason_of
from geomem.jobs.job import Part, Stage
from geomem.jobs.request import Request
from geomem.jobs.worker import PARENT, attempt, described
from geomem.records import Run

__all__ = ["Local", "Outcome", "Place", "Ray", "Shares", "check", "cores", "usual_workers"]

Outcome = tuple[Part, str | None]
# Called with the share done of each part that is under way, and what is being done.
Shares = Callable[[dict[str, float], str], None]
_WORKER = ("-m", "geomem.jobs.worker")
_POLL_SECONDS = 0.2
# How often Ray computes a part anew whose worker died.
_RETRIES = 3
_ANSWER_SECONDS = 5.0
# Lines of a process's errors that are kept, to say why it failed.
_KEPT_LINES = 30


class Place(Protocol):
    """Where parts are computed, as a context: leaving it ends what is under way."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *raised: object) -> None: ...

    def work(self, stage: Stage, parts: Sequence[Part], tell: Shares) -> Iterator[Outcome]:
        """Compute and save parts, in any order."""
        ...


class Local:
    """Processes of this machine, on one thread each; they stay for all stages, so inputs are loaded once in each."""

    def __init__(self, run: Run, request: Request, workers: int | None) -> None:
        self._run, self._request = run, request
        self._count = workers or usual_workers()
        self._processes: dict[int, _Process] = {}
        self._said: queue.Queue[tuple[int, dict[str, Any] | None]] = queue.Queue()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        for process in self._processes.values():
            process.end()
        self._processes.clear()

    def work(self, stage: Stage, parts: Sequence[Part], tell: Shares) -> Iterator[Outcome]:
        """See `Place`."""
        waiting, busy, shares = deque(parts), dict[int, Part](), dict[str, float]()
        while waiting or busy:
            for slot in range(self._count):
                if slot not in busy and waiting:
                    if slot not in self._processes:
                        self._processes[slot] = _Process(slot, self._run, self._request, self._said)
                    busy[slot] = part = waiting.popleft()
                    self._processes[slot].begin(stage.name, part.name)
                    tell(shares, part.label)
            try:
                slot, said = self._said.get(timeout=_POLL_SECONDS)
            except queue.Empty:
                continue
            if said is None:  # the process has ended
                failure = self._processes.pop(slot).failure()
                if slot in busy:
                    part = busy.pop(slot)
                    shares.pop(part.name, None)
                    yield part, failure
            elif "done" in said:
                part = busy.pop(slot)
                shares.pop(part.name, None)
                yield part, said["failure"]
            elif slot in busy:
                shares[busy[slot].name] = said["share"]
                tell(shares, said["label"] or busy[slot].label)


class _Process:
    """A process that computes one part after another."""

    def __init__(
        self, slot: int, run: Run, request: Request, said: "queue.Queue[tuple[int, dict[str, Any] | None]]"
    ) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", PARENT: str(os.getpid())}
        devices = _devices()
        if devices:
            environment["CUDA_VISIBLE_DEVICES"] = devices[slot % len(devices)]
        self._process = subprocess.Popen(
            [sys.executable, *_WORKER, str(run.path), request.absolute().to_json()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            env=environment,
            start_new_session=True,  # Ctrl-C is for the command, which then ends its processes
        )
        self._slot, self._said = slot, said
        self._errors: deque[str] = deque(maxlen=_KEPT_LINES)
        self._readers = [threading.Thread(target=read, daemon=True) for read in (self._answers, self._complaints)]
        for reader in self._readers:
            reader.start()

    def begin(self, stage: str, part: str) -> None:
        assert self._process.stdin is not None
        with suppress(OSError):  # it has ended, which its reader says
            self._process.stdin.write(json.dumps([stage, part]) + "\n")
            self._process.stdin.flush()

    def _answers(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            try:
                said = json.loads(line)
            except ValueError:
                continue  # a library's own words
            if isinstance(said, dict):
                self._said.put((self._slot, said))
        self._said.put((self._slot, None))

    def _complaints(self) -> None:
        assert self._process.stderr is not None
        self._errors.extend(self._process.stderr)

    def failure(self) -> str:
        """Why it has ended."""
        code = self._process.wait()
        self._close()
        if code < 0:
            return f"its process was killed (signal {-code}), perhaps for lack of memory."
        lines = [line.strip() for line in self._errors if line.strip()]
        return lines[-1] if lines else f"its process ended with code {code}."

    def end(self) -> None:
        self._process.terminate()
        self._process.wait()
        self._close()

    def _close(self) -> None:
        for reader in self._readers:
            reader.join()
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            assert stream is not None
            with suppress(OSError):  # what it was sent last was never read
                stream.close()


class Ray:
    """Tasks of a Ray cluster whose machines reach the run's folder and the data by the same paths.

    Args:
        run: The run.
        request: What it was made for.
        on: "ray" for one started on this machine's cores, or the address of a cluster, as "ray://host:10001" or "auto".

    Raises:
        InputError: If there is no cluster at the address.
    """

    def __init__(self, run: Run, request: Request, on: str) -> None:
        self._run, self._request, self._on = run, request, on

    def __enter__(self) -> Self:
        import ray

        self._ray, self._begun = ray, not ray.is_initialized()
        if self._begun:
            options: dict[str, Any] = {"include_dashboard": False} if self._on == "ray" else {"address": self._on}
            try:
                ray.init(log_to_driver=False, **options)
            except Exception as error:  # Ray raises its own, gRPC's and the system's
                where = "this machine" if self._on == "ray" else self._on
                raise InputError(f"--on: no Ray cluster can be reached at {where} ({reason_of(error)}).") from error
        return self

    def __exit__(self, *raised: object) -> None:
        if self._begun:
            self._ray.shutdown()

    def work(self, stage: Stage, parts: Sequence[Part], tell: Shares) -> Iterator[Outcome]:
        """See `Place`."""
        devices = 1 if self._ray.cluster_resources().get("GPU", 0) else 0
        task = self._ray.remote(attempt).options(num_cpus=1, num_gpus=devices, max_retries=_RETRIES)
        asked = self._request.absolute().to_json()
        under_way = {task.remote(str(self._run.path), asked, stage.name, part.name): part for part in parts}
        try:
            while under_way:
                tell({}, next(iter(under_way.values())).label)
                done, _ = self._ray.wait(list(under_way), num_returns=1, timeout=1.0)
                for one in done:
                    part = under_way.pop(one)
                    try:
                        yield part, self._ray.get(one)
                    except self._ray.exceptions.RayTaskError as error:
                        yield part, described(error.cause)
                    except Exception as error:  # of the cluster: the worker died each time
                        yield part, f"its Ray worker died {1 + _RETRIES} times ({reason_of(error)})."
        finally:
            for one in under_way:
                self._ray.cancel(one, force=True)


def check(on: str) -> None:
    """Refuse a place where nothing can be computed, before anything is written.

    Raises:
        InputError: For a name that is not known, Ray that is not installed, or an address where nobody listens.
    """
    if on == "local":
        return
    if on not in ("ray", "auto") and ":" not in on:
        raise InputError(
            f"--on: {on!r} is not known; choose local, ray, or a Ray cluster's address, as ray://host:10001."
        )
    if find_spec("ray") is None:
        raise InputError("--on: Ray needs the extra ray: pip install 'geomem[ray]'.")
    if ":" in on:
        # Ray itself keeps trying for minutes.
        host, _, port = on.removeprefix("ray://").rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=_ANSWER_SECONDS).close()
        except (OSError, ValueError, OverflowError) as error:
            raise InputError(f"--on: no Ray cluster can be reached at {on} ({reason_of(error)}).") from error


def usual_workers() -> int:
    """Processes where nothing else is asked: one a GPU, or one a core."""
    return len(_devices()) or cores()


def cores() -> int:
    """Cores that this process may use, which in a container are fewer than the machine's."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _devices() -> list[str]:
    """CUDA devices that processes can be spread over."""
    import torch

    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [device for device in named.split(",") if device.strip()]
    return [str(i) for i in range(torch.cuda.device_count())]
