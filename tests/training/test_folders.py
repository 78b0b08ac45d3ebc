"""A training's folder: one process at a time, no half-written files, and a log that may be cut short."""

import subprocess
import sys
from dataclasses import replace

import pytest

from geomem.errors import OutputError
from geomem.records import Run
from models import TRAINING
from runs import begun
from training.folders import files, leftovers

SETTINGS = replace(TRAINING, steps=8)


def test_what_a_killed_process_left_half_written_is_removed_and_nothing_else(tmp_path):
    run = begun(tmp_path / "run", "train", SETTINGS)
    run.owns("checkpoint.safetensors", "model")  # as before they are written
    (run.path / ".checkpoint.safetensors.x1.part").write_bytes(b"half")
    (run.path / ".model.x2.part" / "unet").mkdir(parents=True)
    (run.path / ".model.x2.part" / "unet" / "config.json").write_text("{")
    (run.path / "mine.part").write_text("kept")
    before = files(run.path)
    with run.alone():
        pass
    assert files(run.path) == {k: v for k, v in before.items() if not k.startswith(".")}
    assert (run.path / "mine.part").read_text() == "kept"


def test_a_folder_in_use_is_refused_and_its_files_are_left(tmp_path):
    run = begun(tmp_path / "run", "train", SETTINGS)
    again = begun(tmp_path / "run", "train", SETTINGS)
    run.owns("checkpoint.safetensors")
    with run.alone():
        (run.path / ".checkpoint.safetensors.x1.part").write_bytes(b"half")  # being written
        with pytest.raises(OutputError, match=r"run: another run is using this folder.*--out"), again.alone():
            pass
        assert leftovers(run.path) == [".checkpoint.safetensors.x1.part"]
        for settings in (SETTINGS, replace(SETTINGS, seed=9)):
            with pytest.raises(OutputError, match="another run is using this folder"):
                begun(tmp_path / "run", "train", settings, force=True)
        assert {"config.json", "manifest.txt", ".checkpoint.safetensors.x1.part"} == files(run.path).keys()
        assert Run.existing(run.path).config["seed"] == 3
    with again.alone():
        pass
    assert begun(tmp_path / "run", "train", replace(SETTINGS, seed=9), force=True).config["seed"] == 9
    assert files(run.path).keys() == {"config.json"}


@pytest.mark.slow
def test_the_folder_is_free_again_after_an_error_and_after_a_kill(tmp_path):
    run = begun(tmp_path / "run", "train", SETTINGS)
    with pytest.raises(KeyError), run.alone():
        raise KeyError
    with run.alone():
        pass
    held = (
        "import os, signal, sys; from geomem.records import Run\n"
        "with Run.existing(sys.argv[1]).alone(): print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", held, str(run.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "held\n"
        with pytest.raises(OutputError, match="another run is using this folder"), run.alone():
            pass
        process.kill()
        process.wait()
    with run.alone():
        pass


def test_lines_of_the_log_that_were_cut_short_are_passed_over(tmp_path):
    """Where the process was killed, or the disk was full, while a line was written; and the run went on later."""
    run = begun(tmp_path / "run", "train", SETTINGS)
    assert run.metrics() == []
    run.log(step=1, loss=0.5)
    log = run.path / "metrics.jsonl"
    whole = log.read_bytes()
    for cut in range(1, len(whole)):
        log.write_bytes(whole + whole[:cut])
        assert [line["step"] for line in run.metrics()][:1] == [1], cut


@pytest.mark.parametrize("cut", [1, 20, -1])
def test_a_log_that_was_cut_short_is_gone_on_with(tmp_path, cut):
    run = begun(tmp_path / "run", "train", SETTINGS)
    run.log(step=1, loss=0.5)
    log = run.path / "metrics.jsonl"
    whole = log.read_text()
    log.write_text(whole + whole[:cut])
    run.log(step=2, loss=0.25)
    run.log(step=3, loss=0.125)
    found = [line["step"] for line in run.metrics()]
    assert found[0] == 1
    assert found[-2:] == [2, 3]


def test_a_folder_that_cannot_be_locked_is_an_output_error(tmp_path):
    """As on a file system that is mounted to be read: going on in a run there is refused in words."""
    run = begun(tmp_path / "run", "train", SETTINGS)
    (run.path / ".lock").mkdir()
    with pytest.raises(OutputError, match="run: cannot be locked"), run.alone():
        pass


def test_a_log_that_cannot_be_written_is_an_output_error(tmp_path):
    run = begun(tmp_path / "run", "train", SETTINGS)
    (run.path / "metrics.jsonl").mkdir()
    with pytest.raises(OutputError, match=r"metrics\.jsonl: cannot be written"):
        run.log(step=1)
