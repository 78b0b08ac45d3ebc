"""Cells of a sweep: what they leave, and that what failed or is done does not affect the others."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from geomem.data import DataSet, load
from geomem.errors import GeomemError, InputError, TrainingError
from geomem.jobs.engine import finish, run
from geomem.jobs.job import Result
from geomem.jobs.sweep import cells
from geomem.jobs.sweep.cells import open_sweep, sweep_stage
from geomem.jobs.sweep.request import SweepRequest
from geomem.records import Run
from runs import begun

pytestmark = pytest.mark.usefixtures("undrawn")

TINY = SweepRequest("digits", (2, 20), preset="mlp", steps=20, points=3, samples=10)
NAMES = ("n000002-seed0", "n000020-seed0")


def swept(out: Path, request: SweepRequest = TINY, **options: Any) -> Result:
    result = run(request, out=out, workers=1, **options)
    assert result is not None
    return result


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Result:
    """A tiny sweep that nothing disturbed."""
    return swept(tmp_path_factory.mktemp("straight") / "run")


@pytest.fixture
def copied(straight: Result, tmp_path: Path) -> Run:
    """The same in a folder of its own."""
    return Run.existing(shutil.copytree(straight.folder, tmp_path / "run"))


def same(one: Run, other: Run, name: str) -> None:
    a, b = one.load(name), other.load(name)
    assert a.attrs == b.attrs
    xr.testing.assert_identical(a, b)


def test_each_cell_is_trained_on_the_first_of_one_order_and_measured(straight: Result) -> None:
    whole, data = Run.existing(straight.folder), load("digits").values
    folders = [whole.path / "cells" / name for name in NAMES]
    few, many = (np.load(folder / "training.npy") for folder in folders)
    np.testing.assert_array_equal(few, many[:2])
    apart = [np.load(folder / "held-out.npy") for folder in folders]
    np.testing.assert_array_equal(*apart)
    assert apart[0].shape == (359, *data.shape[1:])
    for size, folder in zip((2, 20), folders, strict=True):
        record = whole.load(folder.name)
        assert (record.attrs["size"], record.attrs["seed"], record.attrs["steps"]) == (size, 0, 20)
        assert record.attrs["parameters"] > 1000
        assert record.attrs["loss"] == Run.existing(folder).metrics()[-1]["loss"]
        assert record.sizes["sample"] == 10
        assert record.sizes["control"] == 359


def test_cells_that_are_done_are_not_trained_again(copied: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    times = {path: path.stat().st_mtime_ns for path in copied.path.glob("*.nc")}
    assert len(times) == 2

    def fail(*args: object, **options: object) -> None:
        raise AssertionError("was trained again")

    monkeypatch.setattr(cells, "train_model", fail)
    shares: list[float] = []
    again = swept(copied.path, progress=lambda label, share: shares.append(share))
    assert {path: path.stat().st_mtime_ns for path in copied.path.glob("*.nc")} == times
    assert set(shares) <= {1.0}
    assert again.page.exists()


def test_a_cell_that_fails_is_named_and_does_not_affect_the_others_and_is_alone_done_again(
    straight: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, trained = cells.train_model, []

    def failing(run: Any, data: Any, training: Any, *rest: Any, **options: Any) -> None:
        trained.append(training.size)
        if len(trained) == 1:
            raise TrainingError("the loss is not finite at step 3.")
        real(run, data, training, *rest, **options)

    monkeypatch.setattr(cells, "train_model", failing)
    with pytest.raises(GeomemError) as raised:
        swept(tmp_path / "run")
    assert raised.value.exit_code == 1
    for word in ("1 part failed", "(N = 2, seed 0: the loss", "step 3", str(tmp_path / "run"), "same command"):
        assert word in str(raised.value)
    here = Run.existing(tmp_path / "run")
    assert [here.has(name) for name in NAMES] == [False, True]
    page = (here.path / "index.html").read_text()
    assert "1 model is missing: run the same command again." in page  # what is done is reported
    assert trained == [2, 20]
    again = swept(tmp_path / "run")
    assert trained == [2, 20, 2]
    for name in NAMES:
        same(Run.existing(straight.folder), here, name)
    assert again.summary == straight.summary


def test_a_cell_resumes_with_the_model_that_it_has_trained(
    straight: Result, copied: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from geomem.training import run as training_run

    copied.remove(NAMES[0])
    monkeypatch.setattr(training_run, "Training", None)  # nothing is trained anew
    swept(copied.path)
    same(Run.existing(straight.folder), copied, NAMES[0])


def test_a_cell_whose_log_is_gone_has_no_loss(copied: Run) -> None:
    copied.remove(NAMES[0])
    (copied.path / "cells" / NAMES[0] / "metrics.jsonl").unlink()
    swept(copied.path)
    assert np.isnan(copied.load(NAMES[0]).attrs["loss"])


def test_another_library_s_error_does_not_affect_other_cells(copied: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        copied.remove(name)
    real = cells.opened

    def failing(source: Path, *args: Any, **options: Any) -> Any:
        if NAMES[0] in str(source):
            raise RuntimeError("CUDA out of memory.")
        return real(source, *args, **options)

    monkeypatch.setattr(cells, "opened", failing)
    with pytest.raises(GeomemError, match=r"1 part failed \(N = 2, seed 0: .*out of memory"):
        swept(copied.path)
    assert copied.has(NAMES[1])


def test_data_that_changed_since_are_another_run(copied: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    copied.remove(NAMES[0])
    data = load("digits")
    other = data.values.copy()
    other[5] += 1
    monkeypatch.setattr(SweepRequest, "load", lambda self, source: DataSet(data.name, data.kind, other))
    with pytest.raises(GeomemError, match=r"holds another run \(settings\.training = .*--out"):
        swept(copied.path)
    assert not copied.has(NAMES[0])


def test_damaged_and_missing_records_are_named(copied: Run) -> None:
    path = copied.path / f"{NAMES[1]}.nc"
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(InputError, match=r"n000020-seed0\.nc: is damaged.*delete it"):
        swept(copied.path)
    path.unlink()
    report = finish(copied).report
    assert report.table is not None
    assert [row[0] for row in report.table.rows] == [2]
    (copied.path / f"{NAMES[0]}.nc").unlink()
    with pytest.raises(InputError, match="no model is done"):
        finish(copied)


def test_times_that_the_network_cannot_tell_apart_are_one(tmp_path: Path) -> None:
    result = swept(tmp_path / "run", replace(TINY, sizes=(2,), steps=2, times=(1e-6, 1e-5)))
    assert result.page.exists()
    (row,) = result.summary["rows"]  # both are below DDPM's first step
    assert row["t"] == pytest.approx(1.0001e-4, rel=1e-4)


def test_the_sweep_of_another_job_has_names_of_its_own_and_one_record(straight: Result, tmp_path: Path) -> None:
    """As the paper's job asks for it: a stage among others, whose record is the joined one."""
    here = begun(tmp_path / "other", "reproduce fig6", {})
    stage = sweep_stage("digits", open_sweep(TINY), here, prefix="digits-", join=True)
    parts = stage.parts()
    assert [part.name for part in parts] == [f"digits-{name}" for name in NAMES]
    assert stage.seconds == pytest.approx(2 * 20 * 0.005)
    whole = Run.existing(straight.folder)
    assert stage.join is not None
    arrays = stage.join([whole.load(name) for name in NAMES])
    assert (arrays["size"].values.tolist(), arrays["seed"].values.tolist()) == ([2, 20], [0])
    assert (arrays.attrs["noise_process"], arrays.attrs["cells"]) == ("vp", 2)
    with pytest.raises(InputError, match="no model of this sweep is done"):
        stage.join([])
    record = parts[0].make(lambda share, label: None)
    xr.testing.assert_identical(record, whole.load(NAMES[0]))
    assert (here.path / "cells" / f"digits-{NAMES[0]}" / "model").is_dir()
