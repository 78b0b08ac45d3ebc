"""Jobs that are killed at random moments, terminated, or interrupted, and resume to the same bits.

`benchmarks/kills.py` does the same hundreds of times.
"""

import random
import shutil
import signal
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import xarray as xr

pytestmark = pytest.mark.slow

# Kills of each job; a start takes seconds, so that these are few.
KILLS = {"theory": 2, "data": 2, "audit": 2, "train": 2, "reproduce": 1, "sweep": 1, "demo": 1}


@pytest.mark.timeout(240)
@pytest.mark.parametrize("job", KILLS)
def test_killed_jobs_resume_to_the_same_bits(job: str, kills: ModuleType, place: Path) -> None:
    tally = kills.killed(job, place, KILLS[job], kills.undisturbed(job, place), random.Random(job))
    assert (tally.kills, tally.wrong) == (KILLS[job], [])
    assert tally.same == tally.runs >= 1
    assert tally.soon * 2 >= tally.kills


@pytest.mark.timeout(240)
@pytest.mark.parametrize(("by", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
@pytest.mark.parametrize("job", ["data", "train"])
def test_signals_say_what_is_saved_and_how_to_resume(
    by: signal.Signals, code: int, job: str, kills: ModuleType, place: Path
) -> None:
    out = f"{job}-{by.name}"
    ended, printed = kills.stopped(job, place, out, by, changes=6)
    assert ended == code, printed
    assert "saved" in printed
    assert "Run the same command again to resume" in printed
    assert "Traceback" not in printed
    assert not list((place / out).rglob("*.part"))
    if not (place / f"undisturbed-{job}").exists():
        kills.ended(job, place, f"undisturbed-{job}")
    kills.ended(job, place, out)
    # A loss in the log is a mean over the steps since the last line, or since training resumed within them.
    logged = {"losses.nc differs", "summary.json differs"} if job == "train" else set()
    assert set(kills.differences(place / out, place / f"undisturbed-{job}")) <= logged


def test_differences_are_seen(kills: ModuleType, tmp_path: Path) -> None:
    """A bit of a value, a file, a word of the summary, and what is half-written; not the time."""
    one, other = tmp_path / "one", tmp_path / "other"
    one.mkdir()
    arrays = xr.Dataset({"x": ("i", np.array([1.0, np.nan])), "seconds": 1.0}, attrs={"seconds_each": 1.0})
    arrays.to_netcdf(one / "a.nc", engine="netcdf4")
    (one / "summary.json").write_text('{"word": "yes", "cost": {"seconds": 1}}')
    (one / "w.safetensors").write_bytes(b"a")
    shutil.copytree(one, other)
    changed = arrays.assign(seconds=2.0).assign_attrs(seconds_each=2.0)
    changed.to_netcdf(other / "a.nc", engine="netcdf4")
    (other / "summary.json").write_text('{"word": "yes", "cost": {"seconds": 2}}')
    assert kills.differences(one, other) == []
    changed.assign(x=("i", np.nextafter([1.0, np.nan], 2))).to_netcdf(other / "a.nc", engine="netcdf4")
    (other / "summary.json").write_text('{"word": "no"}')
    (other / "w.safetensors").write_bytes(b"b")
    (other / "b.npy").write_bytes(b"")
    (one / ".a.nc.part").write_bytes(b"")
    assert kills.differences(one, other) == [
        ".a.nc.part is left half-written",
        "only one has b.npy",
        "a.nc differs",
        "summary.json differs",
        "w.safetensors differs",
    ]
