"""Commands beside each other in one folder, foreign files in it, full disks, and streams that cannot take what is printed."""

import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest

from commands import COMMAND, assert_refused, geomem

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

THEORY = ("theory", "--variances", "1x2,0.3x5", "--samples", "100", "--times", "0.1,1", "--quick")


def begun(folder: Path, process: "subprocess.Popen[str]") -> None:
    """Wait until a process has saved something."""
    while process.poll() is None and not list(folder.glob("*.nc")):
        time.sleep(0.005)


@pytest.mark.parametrize("job", ["data", "train"])
def test_of_two_commands_at_once_one_works(job: str, kills: ModuleType, place: Path) -> None:
    """The other says that the folder is in use, and the result is that of one alone."""
    outs = [(out, kills.started(job, place, "raced")) for out in "ab"]
    codes = sorted(process.wait(timeout=200) for _, process in outs)
    printed = (place / "raced.log").read_text()
    assert codes == [0, 3], printed
    assert "another run is using this folder" in printed
    assert "Traceback" not in printed
    if not (place / f"undisturbed-{job}").exists():
        kills.ended(job, place, f"undisturbed-{job}")
    assert kills.differences(place / "raced", place / f"undisturbed-{job}") == []
    shutil.rmtree(place / "raced")


@pytest.mark.parametrize(("job", "other"), [("data", ()), ("audit", ("--seed", "1")), ("demo", ("--seed", "1"))])
def test_force_beside_a_run_is_refused(job: str, other: tuple[str, ...], kills: ModuleType, place: Path) -> None:
    out = f"forced-{job}-{len(other)}"
    first = kills.started(job, place, out)
    begun(place / out, first)
    assert first.poll() is None, (place / f"{out}.log").read_text()
    command = [*COMMAND, *kills.JOBS[job], *other, "--force", "--out", out]
    first.send_signal(signal.SIGSTOP)  # it may be done before the other has imported what it needs
    try:
        second = subprocess.run(command, cwd=place, capture_output=True, text=True, timeout=200)
    finally:
        first.send_signal(signal.SIGCONT)
    code = first.wait(timeout=200)
    assert_refused(second, 3, "another run is using this folder")
    assert code == 0, (place / f"{out}.log").read_text()
    if not other:
        if not (place / f"undisturbed-{job}").exists():
            kills.ended(job, place, f"undisturbed-{job}")
        assert kills.differences(place / out, place / f"undisturbed-{job}") == []


@pytest.mark.parametrize(
    "name", ["thesis.tex", "folder/thesis.tex", "a.nc", "thesis.png", "notes.csv", "cells/x.nc", "model/x"]
)
def test_force_deletes_nothing_that_no_run_wrote(name: str, tmp_path: Path) -> None:
    assert geomem(*THEORY, "--out", "run", cwd=tmp_path).returncode == 0
    foreign = tmp_path / "run" / name
    foreign.parent.mkdir(exist_ok=True)
    foreign.write_text("years of work")
    before = {p: p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file()}
    result = geomem(*THEORY, "--seed", "1", "--force", "--out", "run", cwd=tmp_path)
    assert_refused(result, 3, Path(name).parts[0])
    assert {p: p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file()} == before


def test_force_replaces_a_run_and_follows_no_link(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "thesis.tex").write_text("years of work")
    assert geomem(*THEORY, "--out", "run", cwd=tmp_path).returncode == 0
    again = geomem(*THEORY, "--seed", "1", "--force", "--out", "run", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    (tmp_path / "run" / "link").symlink_to(tmp_path / "work")
    assert_refused(geomem(*THEORY, "--force", "--out", "run", cwd=tmp_path), 3, "link")
    assert (tmp_path / "work" / "thesis.tex").read_text() == "years of work"


# --- full disks ---


@pytest.mark.parametrize("limit", [0, 100, 4000, 20_000, 100_000])
def test_files_that_may_not_grow_are_one_message_and_leave_no_half(limit: int, tmp_path: Path) -> None:
    """At each size another file is the first that does not fit; with room, the same command ends."""

    def limited() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    command = [*COMMAND, *THEORY, "--out", "run"]
    # Python would leave compiled modules cut short at the limit, for all who import them later.
    done = subprocess.run(
        command,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        preexec_fn=limited,
    )
    assert_refused(done, 3, "cannot be written")
    assert not [p for p in tmp_path.rglob("*") if p.name.endswith(".part")]
    again = geomem(*THEORY, "--out", "run", cwd=tmp_path)
    assert again.returncode == 0, again.stderr


# --- streams ---


def printing(
    out: object, *words: str, cwd: Path, run: str = "run", **environment: str
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*COMMAND, *THEORY, *words, "--out", run],
        cwd=cwd,
        stdout=out,  # type: ignore[call-overload]
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        timeout=60,
        env={**os.environ, **environment},
    )


@pytest.mark.parametrize("words", [(), ("--json",)], ids=["text", "json"])
def test_a_full_device_for_what_is_printed_is_one_message(words: tuple[str, ...], tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = printing(full, *words, cwd=tmp_path)
    assert done.returncode == 3, done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    assert done.stderr.count("error: ") == 1
    assert (tmp_path / "run" / "summary.json").exists()


def test_a_reader_that_leaves_is_no_traceback(tmp_path: Path) -> None:
    """As `geomem theory ... | head -c 1`."""
    read, write = os.pipe()
    os.close(read)
    try:
        done = printing(write, cwd=tmp_path)
    finally:
        os.close(write)
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    assert (tmp_path / "run" / "summary.json").exists()


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
@pytest.mark.parametrize("words", [(), ("--json",)], ids=["text", "json"])
def test_streams_of_other_encodings_take_the_results(encoding: str, words: tuple[str, ...], tmp_path: Path) -> None:
    """The name of the page too, which no such stream has characters for."""
    done = printing(subprocess.PIPE, *words, cwd=tmp_path, run="σ²", PYTHONIOENCODING=encoding)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr


def test_no_stream_at_all_is_no_traceback(tmp_path: Path) -> None:
    """As `geomem theory ... >&- 2>&-`, of which only the exit code tells."""
    line = f'"{sys.executable}" -m geomem {" ".join(THEORY)} --out run >&- 2>&-'
    assert subprocess.run(["sh", "-c", line], cwd=tmp_path, timeout=60).returncode == 0
    assert (tmp_path / "run" / "summary.json").exists()
