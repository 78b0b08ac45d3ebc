"""The command line as its users meet it, in this process or in one of its own."""

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
# Python shows no other warnings by itself.
UNSEEN = (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning)


def geomem(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """What a command prints and its exit code, run here: starting Python and importing torch takes seconds."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    with (
        contextlib.chdir(cwd),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        warnings.catch_warnings(),  # also puts back showwarning, which `main` replaces
    ):
        warnings.simplefilter("default")
        for kind in UNSEEN:
            warnings.simplefilter("ignore", kind)
        try:
            main(arguments)
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    return subprocess.CompletedProcess([*COMMAND, *arguments], code, out.getvalue(), err.getvalue())


def started(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """The same in a process of its own, for what depends on being one."""
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
