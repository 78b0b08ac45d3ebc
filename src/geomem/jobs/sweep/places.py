"""Where the cells of a sweep are worked on: processes of this machine, or a Ray cluster.

A place takes cells, works on as many at a time as it can, and yields each with what went wrong, or None. A cell that
fails, or whose process is killed, takes no other with it.
"""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from importlib.util import find_spec
from typing import Any

from geomem.errors import GeomemError, InputError, reason_of
from geomem.jobs.sweep.cell import PARENT, Cell, work

__all__ = ["Outcome", "check", "cores", "here", "local", "ray"]

Outcome = tuple[Cell, str | None]
_POLL_SECONDS = 0.2
# How often Ray starts a cell anew whose worker died.
_RETRIES = 3
_ANSWER_SECONDS = 5.0


def here(cells: Sequence[Cell], tell: Callable[[float], None]) -> Generator[Outcome, None, None]:
    """Work on cells in this process, one after the other; they are told of as in `local`."""
    for cell in cells:
        yield cell, _attempted(cell, lambda label, share: tell(share))


def local(cells: Sequence[Cell], workers: int, tell: Callable[[float], None]) -> Generator[Outcome, None, None]:
    """Work on cells in processes of this machine, each with its share of the cores.

    Args:
        cells: The cells.
        workers: Processes at a time.
        tell: Told, a few times a second, what cells under way have done of their work, summed.
    """
    waiting, running = deque(cells), dict[int, _Process]()
    try:
        while waiting or running:
            for slot in range(workers):
                if slot not in running and waiting:
                    running[slot] = _Process(waiting.popleft(), slot, workers)
            time.sleep(_POLL_SECONDS)
            for slot, process in list(running.items()):
                if process.ended:
                    del running[slot]
                    yield process.cell, process.failure()
            tell(sum(process.share for process in running.values()))
    finally:
        for process in running.values():
            process.end()


def check(on: str) -> None:
    """Refuse a place where no cells can be worked on, before anything is written.

    Raises:
        InputError: For a name that is not known, Ray that is not installed, or an address where nobody listens.
    """
    if on in ("here", "local"):
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


class _Process:
    """A cell in a process of its own."""

    def __init__(self, cell: Cell, slot: int, workers: int) -> None:
        self.cell, self.share = cell, 0.0
        threads = str(max(1, cores() // workers))
        environment = (
            {"OMP_NUM_THREADS": threads, **os.environ} if workers == 1 else {**os.environ, "OMP_NUM_THREADS": threads}
        )
        environment[PARENT] = str(os.getpid())
        devices = _devices()
        if devices:
            environment["CUDA_VISIBLE_DEVICES"] = devices[slot % len(devices)]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "geomem.jobs.sweep.cell", cell.plain()],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            env=environment,
            start_new_session=True,  # Ctrl-C is for the sweep, which then ends its cells
        )
        self._said: deque[str] = deque(maxlen=30)
        self._readers = [threading.Thread(target=read, daemon=True) for read in (self._progress, self._errors)]
        for reader in self._readers:
            reader.start()

    def _progress(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            try:
                self.share = float(json.loads(line)[1])
            except (ValueError, LookupError, TypeError):
                continue  # a library's own words

    def _errors(self) -> None:
        assert self._process.stderr is not None
        self._said.extend(self._process.stderr)

    @property
    def ended(self) -> bool:
        return self._process.poll() is not None

    def failure(self) -> str | None:
        """What went wrong, once it has ended."""
        self._close()
        code = self._process.returncode
        if code == 0:
            return None
        if code < 0:
            return f"its process was killed (signal {-code}), perhaps for want of memory."
        said = [line.strip() for line in self._said if line.strip()]
        return said[-1] if said else f"its process ended with code {code}."

    def end(self) -> None:
        self._process.terminate()
        self._process.wait()
        self._close()

    def _close(self) -> None:
        for reader in self._readers:
            reader.join()
        for stream in (self._process.stdout, self._process.stderr):
            assert stream is not None
            stream.close()


def cores() -> int:
    """Cores that this process may use, which in a container are fewer than the machine's."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _devices() -> list[str]:
    """CUDA devices that processes can be spread over."""
    import torch

    asked = os.environ.get("CUDA_VISIBLE_DEVICES")
    if asked is not None:
        return [device for device in asked.split(",") if device.strip()]
    return [str(i) for i in range(torch.cuda.device_count())]


def ray(cells: Sequence[Cell], address: str | None, tell: Callable[[float], None]) -> Generator[Outcome, None, None]:
    """Work on cells as tasks of a Ray cluster, whose machines reach the sweep's folder and the data under the same
    paths.

    Args:
        cells: The cells.
        address: Of the cluster, as "ray://host:10001" or "auto"; None for one of this machine's cores, started for the
            occasion.
        tell: Told what cells under way have done: 0, for Ray does not say.

    Raises:
        InputError: If there is no cluster at the address.
    """
    check(address or "ray")
    import ray as cluster

    begun = not cluster.is_initialized()
    if begun:
        options: dict[str, Any] = {"address": address} if address else {"include_dashboard": False}
        try:
            cluster.init(log_to_driver=False, **options)
        except Exception as error:  # Ray raises its own, gRPC's and the system's
            raise InputError(
                f"--on: no Ray cluster can be reached at {address or 'this machine'} ({reason_of(error)})."
            ) from error
    under_way: dict[Any, Cell] = {}
    try:
        devices = 1 if cluster.cluster_resources().get("GPU", 0) else 0
        task = cluster.remote(_attempted).options(num_cpus=1, num_gpus=devices, max_retries=_RETRIES)
        under_way = {task.remote(cell): cell for cell in cells}
        while under_way:
            tell(0.0)
            done, _ = cluster.wait(list(under_way), num_returns=1, timeout=1.0)
            for one in done:
                cell = under_way.pop(one)
                try:
                    yield cell, cluster.get(one)
                except cluster.exceptions.RayTaskError as error:
                    yield cell, f"{type(error.cause).__name__}: {reason_of(error.cause)}."
                except Exception as error:  # of the cluster: the worker died each time
                    yield cell, f"its Ray worker died {1 + _RETRIES} times ({reason_of(error)})."
    finally:
        for one in under_way:
            cluster.cancel(one, force=True)
        if begun:
            cluster.shutdown()


def _attempted(cell: Cell, told: Callable[[str, float], None] = lambda label, share: None) -> str | None:
    """A cell's work, and what went wrong."""
    try:
        work(cell, tell=told)
    except Exception as error:  # of whatever kind: a cell takes no other with it
        return str(error) if isinstance(error, GeomemError) else f"{type(error).__name__}: {reason_of(error)}."
    return None
