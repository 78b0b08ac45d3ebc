"""The command line as its users meet it: in this process as a rule, and in one of its own where that is the point."""

import contextlib
import io
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

from geomem.cli import main

COMMAND = [sys.executable, "-m", "geomem"]


def geomem(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """A command in this process: its exit code, and what it printed."""
    out, error, code = io.StringIO(), io.StringIO(), 0
    shown = warnings.showwarning
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error), contextlib.chdir(cwd):
            main(arguments)
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 1
    finally:
        warnings.showwarning = shown
    return subprocess.CompletedProcess([*arguments], code, out.getvalue(), error.getvalue())


def process(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """A command in a process of its own."""
    return subprocess.run([*COMMAND, *arguments], cwd=cwd, capture_output=True, text=True, timeout=240)


def stopped(*arguments: str, cwd: Path, when: Callable[[], bool], by: signal.Signals) -> tuple[int, str]:
    """Exit code and standard error of a process that gets a signal once something has happened."""
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        [*COMMAND, *arguments], cwd=cwd, stderr=subprocess.PIPE, text=True, env=environment
    ) as running:
        assert running.stderr is not None
        while not when() and running.poll() is None:
            time.sleep(0.002)
        running.send_signal(by)
        said = running.stderr.read()
    return running.returncode, said


def assert_refused(result: subprocess.CompletedProcess[str], code: int, *words: str) -> None:
    """One clear message on standard error, nothing on standard output, no traceback."""
    assert result.returncode == code, result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""
    for word in words:
        assert word in result.stderr
