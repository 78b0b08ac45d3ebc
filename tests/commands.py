"""The command line as its users meet it: a process of its own, in a folder."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

COMMAND = [sys.executable, "-m", "geomem"]


def geomem(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *arguments], cwd=cwd, capture_output=True, text=True, timeout=240)


def stopped(*arguments: str, cwd: Path, when: Callable[[], bool], by: signal.Signals) -> tuple[int, str]:
    """Exit code and standard error of a command that gets a signal once something has happened."""
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        [*COMMAND, *arguments], cwd=cwd, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stderr is not None
        while not when() and process.poll() is None:
            time.sleep(0.002)
        process.send_signal(by)
        said = process.stderr.read()
    return process.returncode, said


def assert_refused(result: subprocess.CompletedProcess[str], code: int, *words: str) -> None:
    """One clear message on standard error, nothing on standard output, no traceback."""
    assert result.returncode == code, result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""
    for word in words:
        assert word in result.stderr
