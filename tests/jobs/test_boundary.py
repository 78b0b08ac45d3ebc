"""Errors that nobody raised on purpose: one sentence, exit code 1, saved parts, and a file with the traceback."""

import re
from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray as xr

from commands import geomem
from geomem.errors import GeomemError, InputError
from geomem.jobs.boundary import boundary, readable
from geomem.jobs.data.work import Work
from geomem.netcdf import read, write
from runs import begun


def fails() -> None:
    raise KeyError("nothing of that name")


def test_an_unexpected_error_says_what_was_done_and_where_the_traceback_is(tmp_path):
    run = begun(tmp_path / "run", "demo", {})
    with (
        pytest.raises(GeomemError, match=r"unexpected error at .adding.: KeyError: .*Progress is saved in") as raised,
        boundary(lambda: "adding", run),
    ):
        fails()
    assert raised.value.exit_code == 1
    assert str(run.path / "traceback.txt") in str(raised.value)
    assert "in fails\n" in (run.path / "traceback.txt").read_text()
    begun(tmp_path / "run", "demo", {"seed": 1}, force=True)  # the traceback is the run's own
    assert not (run.path / "traceback.txt").exists()


def test_without_a_run_the_traceback_is_a_temporary_file():
    with pytest.raises(GeomemError, match="details in") as raised, boundary(lambda: "adding"):
        fails()
    path = Path(re.search(r"details in (\S+)$", str(raised.value))[1])
    assert "KeyError" in path.read_text()
    path.unlink()


def test_errors_on_purpose_pass():
    with pytest.raises(InputError, match=r"^run: as it is$"), boundary(lambda: "adding"), readable(Path("run")):
        raise InputError("as it is")


def test_memory_that_does_not_suffice_is_said():
    with pytest.raises(GeomemError, match=r"out of memory at .adding."), boundary(lambda: "adding"):
        raise MemoryError


def test_a_fault_of_a_command_is_one_line_and_resumes(tmp_path, monkeypatch):
    asked = ["data", "digits", "--quick", "--limit", "60", "--out", "run"]
    with monkeypatch.context() as patched:
        patched.setattr(Work, "condensation", property(lambda self: fails()), raising=False)
        patched.setattr("geomem.jobs.data.work.condensation", lambda *given, **named: fails())
        failed = geomem(*asked, cwd=tmp_path)
    assert failed.returncode == 1
    last = failed.stderr.strip().splitlines()[-1]
    assert last.startswith("geomem: error: unexpected error at ")
    assert (tmp_path / "run" / "traceback.txt").exists()
    assert geomem(*asked, cwd=tmp_path).returncode == 0


# --- records from elsewhere ---


@pytest.fixture
def record(tmp_path):
    write(tmp_path / "a.nc", xr.Dataset({"a": ("n", np.arange(4.0)), "b": ("m", ["x", "y"]), "c": ((), 1.0)}))
    return tmp_path / "a.nc"


def test_a_record_comes_back(record):
    assert read(record)["a"].values.tolist() == [0.0, 1.0, 2.0, 3.0]


def external_link(file, secret):
    file["d"] = h5py.ExternalLink(str(secret), "a")


def soft_link(file, secret):
    file["d"] = h5py.SoftLink("/a")


def external_storage(file, secret):
    file.create_dataset("d", (4,), "f8", external=[(str(secret), 0, 32)])


def virtual(file, secret):
    layout = h5py.VirtualLayout((4,), "f8")
    layout[:] = h5py.VirtualSource(str(secret), "a", (4,))
    file.create_virtual_dataset("d", layout)


def group(file, secret):
    file.create_group("d")


def bomb(file, secret):
    file.create_dataset("d", (10**12,), "f8", chunks=(1000,), compression="gzip")


@pytest.mark.parametrize("attack", [external_link, soft_link, external_storage, virtual, group, bomb])
def test_a_record_that_points_elsewhere_or_claims_too_much_is_not_read(record, tmp_path, attack):
    secret = tmp_path / "secret.nc"
    write(secret, xr.Dataset({"a": ("n", np.arange(4.0))}))
    with h5py.File(record, "a") as file:
        attack(file, secret)
    with pytest.raises(InputError, match=r"a\.nc: (its 'd' .* geomem never writes|claims .* more than the file holds)"):
        read(record)
