"""Runs of `geomem data` that were spread over processes, or met a full disk; and data that changed."""

import shutil
import subprocess
from pathlib import Path

import pytest
from PIL import Image

from commands import assert_refused, geomem, started
from data.data_inputs import ROWS, records

COMMAND = ["data", "real", "--samples", "made", "--quick", "--out", "run"]


def copied(straight: Path, to: Path, *names: str) -> None:
    for name in names:
        shutil.copytree(straight.parent / name, to / name)


@pytest.mark.slow
def test_processes_make_the_same_record(straight: Path, tmp_path: Path) -> None:
    copied(straight, tmp_path, "real", "made")
    result = started(*COMMAND, "--workers", "2", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert records(tmp_path / "run")["posterior.nc"].identical(records(straight)["posterior.nc"])


def test_changed_data_under_the_same_name_are_another_run(straight: Path, tmp_path: Path) -> None:
    copied(straight, tmp_path, "real", "made", "run")
    Image.fromarray(ROWS[199]).save(tmp_path / "real" / "0003.png")
    assert_refused(geomem(*COMMAND, cwd=tmp_path), 3, "fingerprint", "--force")


@pytest.mark.slow
def test_a_full_disk_is_one_message_and_loses_nothing(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a small disk cannot be mounted here")
    try:
        result = geomem("data", "digits", "--quick", "--out", str(disk / "run"), cwd=tmp_path)
        assert_refused(result, 3, "cannot be written (no space left on device)", "run the same command again")
        assert (disk / "run" / "duplicates.nc").stat().st_size > 0
        assert not [p for p in (disk / "run").iterdir() if p.name.endswith(".part")]
        assert subprocess.run([*mount[:3], "-o", "remount,size=40m", str(disk)], capture_output=True).returncode == 0
        again = geomem("data", "digits", "--quick", "--out", str(disk / "run"), cwd=tmp_path)
        assert again.returncode == 0, again.stderr
        assert "looking for duplicates" not in again.stderr
    finally:
        subprocess.run(["umount", str(disk)], check=True)
