"""Trainings that are killed, meet a full disk or numbers that are not finite, and resume as if nothing had happened."""

import math
import os
import resource
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
import torch

from commands import geomem
from geomem.errors import OutputError, TrainingError
from geomem.jobs.engine import run
from geomem.jobs.train.request import TrainRequest
from geomem.records import Run
from geomem.training import denoising
from geomem.training import run as runs
from geomem.training.checkpoint import load_training
from geomem.training.presets import TrainSettings
from training.folders import files, header_of, leftovers

# The command whose runs are killed below, and the same as a request.
KILLED = [
    *("train", "digits", "--preset", "mlp", "--steps", "150", "--batch-size", "16", "--limit", "100"),
    *("--hold-out", "9"),
]
LONG = TrainRequest("digits", 9, preset="mlp", steps=150, batch_size=16, limit=100)
SHORT = TrainRequest("digits", preset="mlp", steps=6, batch_size=4)


@pytest.fixture
def often(monkeypatch):
    """A checkpoint after every step."""
    monkeypatch.setattr(runs, "_SAVE_SECONDS", -1.0)
    monkeypatch.setattr(runs, "_SAVING", math.inf)


PATCHED = """
import os, signal, sys
import geomem.training.checkpoint as c
import geomem.training.run as r

r._SAVE_SECONDS, r._SAVING, left = -1.0, float("inf"), int(sys.argv.pop(1))
write = c.write_tensors

def deadly(path, tensors, header):
    global left
    left -= 1
    write(path, tensors, header)
    if left == 0:
        os.truncate(path, path.stat().st_size // 2)
        os.kill(os.getpid(), signal.SIGKILL)

c.write_tensors = deadly
from geomem.cli import main
main()
"""


@dataclass(frozen=True)
class Killed:
    """What was seen of a run that was killed twice and then left to end."""

    folder: object
    first: int
    second: int
    parts: list
    sizes: list
    last: subprocess.CompletedProcess


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """The run that nothing disturbed."""
    return run(LONG, out=tmp_path_factory.mktemp("straight") / "run").folder


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """Killed from outside at any moment after a checkpoint, then in the midst of writing its fourth; then left alone."""
    cwd = tmp_path_factory.mktemp("killed")
    folder, environment = cwd / "run", {**os.environ, "OMP_NUM_THREADS": "1"}
    log, saved = folder / "metrics.jsonl", folder / "checkpoint.safetensors"

    def start(writes):
        command = [sys.executable, "-c", PATCHED, str(writes), *KILLED, "--out", "run"]
        return subprocess.Popen(command, cwd=cwd, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    with start(0) as process:
        while process.poll() is None and not (saved.exists() and log.read_text().count('"loss"') > 5):
            time.sleep(0.005)
        process.kill()
        process.communicate()
    assert process.returncode == -signal.SIGKILL
    first = header_of(saved)["step"]
    with start(4) as process:
        process.communicate(timeout=240)
    assert process.returncode == -signal.SIGKILL
    parts = leftovers(folder)
    sizes = [(folder / name).stat().st_size for name in parts]
    second = header_of(saved)["step"]
    return Killed(folder, first, second, parts, sizes, geomem(*KILLED, "--out", "run", cwd=cwd))


@pytest.mark.slow
def test_a_killed_run_goes_on_from_its_last_whole_checkpoint(killed):
    assert 1 <= killed.first < 149
    assert killed.second == killed.first + 3
    # The second died while it wrote, and left half a file; nothing of it is in the way, or remains.
    (size,) = killed.sizes
    assert 0 < size < (killed.folder / "checkpoint.safetensors").stat().st_size
    assert killed.last.returncode == 0, killed.last.stderr
    assert "Traceback" not in killed.last.stderr
    assert leftovers(killed.folder) == []
    starts = [line["step"] for line in Run.existing(killed.folder).metrics() if "commit" in line]
    assert starts == [0, killed.first, killed.second]


@pytest.mark.slow
def test_a_killed_run_ends_with_the_bytes_of_one_that_was_not(killed, straight):
    mine, theirs = files(killed.folder), files(straight)
    assert {"checkpoint.safetensors", "training.npy", "held-out.npy", "config.json"} < mine.keys()
    assert len([name for name in mine if name.startswith("model/")]) == 4
    assert mine.keys() == theirs.keys()
    assert [name for name in mine if mine[name] != theirs[name]] == []


def test_a_finished_run_is_not_trained_again(straight, monkeypatch):
    own = (".lock", "summary.json")
    before = {p: p.stat().st_mtime_ns for p in straight.rglob("*")}
    monkeypatch.setattr(runs, "steps", None)
    monkeypatch.setattr(runs, "load_training", None)
    result = run(LONG, out=straight)
    assert result.page == straight / "model"
    assert len(result.summary["losses"]) == 150
    assert {p: p.stat().st_mtime_ns for p in straight.rglob("*") if p.is_file() and p.name not in own} == {
        p: when for p, when in before.items() if p.is_file() and p.name not in own
    }


# --- a disk that is full ---


@contextmanager
def full_disk(limit):
    """Files of this process end at `limit` bytes, by the system's own doing."""
    before, compiled = resource.getrlimit(resource.RLIMIT_FSIZE), sys.dont_write_bytecode
    sys.dont_write_bytecode = True  # modules that are imported now would be left cut short
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        sys.dont_write_bytecode = compiled


def test_a_full_disk_keeps_the_last_checkpoint_whole(tmp_path, monkeypatch, often):
    """The third does not fit: its beginning is taken away, the second stays, and the run goes on from there."""
    save, written = runs.save_training, []

    def limited(path, state):
        if len(written) < 2:
            save(path, state)
            written.append(path.read_bytes())
            return
        with full_disk(len(written[-1]) // 2):
            save(path, state)

    out = tmp_path / "run"
    with monkeypatch.context() as patched:
        patched.setattr(runs, "save_training", limited)
        with pytest.raises(
            OutputError, match=r"checkpoint\.safetensors: cannot be written .*free some space"
        ) as refused:
            run(SHORT, out=out)
    assert refused.value.exit_code == 3
    assert leftovers(out) == []
    assert (out / "checkpoint.safetensors").read_bytes() == written[-1]
    assert not (out / "model").exists()
    run(SHORT, out=out)
    run(SHORT, out=tmp_path / "straight")
    assert files(out) == files(tmp_path / "straight")


def test_a_disk_that_fills_while_the_model_is_written_keeps_the_training(tmp_path, monkeypatch):
    out = tmp_path / "run"
    with monkeypatch.context() as patched:
        folder = Run.writing_folder

        @contextmanager
        def limited(self, name):
            with folder(self, name) as temporary, full_disk(10_000):
                yield temporary

        patched.setattr(Run, "writing_folder", limited)
        with pytest.raises(OutputError, match=r"model: cannot be written .*Earlier results are saved"):
            run(SHORT, out=out)
    assert leftovers(out) == []
    assert not (out / "model").exists()
    assert header_of(out / "checkpoint.safetensors")["step"] == 6
    before = [line for line in Run.existing(out).metrics() if "loss" in line]
    run(SHORT, out=out)
    assert [line for line in Run.existing(out).metrics() if "loss" in line] == before  # no step is done again
    run(SHORT, out=tmp_path / "straight")
    assert files(out) == files(tmp_path / "straight")


# --- numbers that are no longer finite ---


def test_the_last_good_state_is_kept(tmp_path, monkeypatch):
    """A batch that is no number at step 5: the checkpoint holds what four good steps made, to the byte."""
    draw = denoising.batch_loss

    def poisoned(network, process, images, *, step, **named):
        return draw(network, process, images, step=step, **named) * (math.nan if step == 4 else 1)

    out = tmp_path / "run"
    with monkeypatch.context() as patched:
        patched.setattr(denoising, "batch_loss", poisoned)
        with pytest.raises(TrainingError, match=r"not finite at step 5.*after 4 good steps is saved in") as stopped:
            run(SHORT, out=out)
    assert stopped.value.exit_code == 1
    assert str(out / "checkpoint.safetensors") in str(stopped.value)
    assert not (out / "model").exists()
    assert leftovers(out) == []
    settings = TrainSettings.read(Run.existing(out).config["settings"])
    kept = load_training(out / "checkpoint.safetensors", settings)
    assert kept.step == 4
    assert all(bool(torch.isfinite(p).all()) for p in [*kept.network.parameters(), *kept.average.shadow_params])
    run(SHORT, out=out)
    run(SHORT, out=tmp_path / "straight")
    assert files(out) == files(tmp_path / "straight")
