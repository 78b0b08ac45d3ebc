"""Sweeps over processes: one that is killed resumes, and processes and Ray leave the records of one process."""

import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import xarray as xr

from geomem.jobs.engine import run
from geomem.jobs.sweep.request import SweepRequest
from geomem.records import Run

pytestmark = pytest.mark.slow

TINY = SweepRequest("digits", (2, 20), preset="mlp", steps=40, points=2, samples=5)
NAMES = ("n000002-seed0", "n000020-seed0")


def swept(out: Path, request: SweepRequest = TINY, **options: Any) -> Run:
    result = run(request, out=out, **options)
    assert result is not None
    assert result.page.exists()
    return Run.existing(result.folder)


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A tiny sweep in one process."""
    return swept(tmp_path_factory.mktemp("straight") / "run", workers=1)


def running(pid: int) -> bool:
    """Whether a process is there and not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def until(happened: Callable[[], Any], seconds: float) -> Any:
    """What `happened` says once it says something."""
    end = time.monotonic() + seconds
    while not (found := happened()) and time.monotonic() < end:
        time.sleep(0.02)
    return found


def child_of(pid: int) -> int | None:
    """The process of a cell that a process has started."""
    for path in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == pid and b"geomem.jobs.worker" in (path / "cmdline").read_bytes():
                return int(path.name)
        except OSError:
            continue
    return None


@pytest.mark.timeout(600)
def test_processes_leave_the_records_of_one(straight: Run, tmp_path: Path) -> None:
    here = swept(tmp_path / "run", workers=2)
    for name in NAMES:
        xr.testing.assert_identical(here.load(name), straight.load(name))


@pytest.mark.timeout(600)
def test_cells_end_with_a_killed_sweep_which_resumes_at_once_and_ends_as_an_undisturbed_one(tmp_path: Path) -> None:
    # Steps enough that the cell would train on for longer than it takes to see that it is alone.
    request = replace(TINY, sizes=(2, 3), steps=400, samples=2)
    words = [
        "sweep",
        "digits",
        "--preset",
        "mlp",
        "--sizes",
        "2,3",
        "--points",
        "2",
        "--samples",
        "2",
        "--steps",
        "400",
    ]
    command = [sys.executable, "-m", "geomem", *words, "--workers", "2", "--out", str(tmp_path / "run")]
    cell = None
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as parent:
        try:
            log = tmp_path / "run" / "cells" / NAMES[0] / "metrics.jsonl"
            assert until(lambda: log.exists() and log.read_text().count("\n") > 3, 120)
            cell = child_of(parent.pid)
            assert cell is not None
        finally:
            parent.send_signal(signal.SIGKILL)
        assert parent.wait() == -signal.SIGKILL
    try:
        # At once: the first cells may be at work still, and have a second to see that they are alone.
        here = swept(tmp_path / "run", request, workers=2)
        assert not running(cell)
    finally:
        if running(cell):
            os.kill(cell, signal.SIGKILL)
    whole = swept(tmp_path / "whole", request, workers=1)
    xr.testing.assert_identical(here.load(NAMES[0]), whole.load(NAMES[0]))
    # The first process was stopped in its midst: training began twice.
    steps = [line["step"] for line in Run.existing(here.path / "cells" / NAMES[0]).metrics()]
    assert steps.count(0) == 2
    assert steps.count(400) == 1


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """A Ray of two workers on this machine."""
    ray = pytest.importorskip("ray")
    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        warnings.simplefilter("ignore")  # Ray's own
        patch.setenv("OMP_NUM_THREADS", "1")
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
        yield
        ray.shutdown()


@pytest.mark.timeout(600)
def test_ray_leaves_the_records_of_one_process(cluster: None, straight: Run, tmp_path: Path) -> None:
    here = swept(tmp_path / "run", on="ray")
    for name in NAMES:
        xr.testing.assert_identical(here.load(name), straight.load(name))
