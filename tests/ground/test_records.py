"""A run's folder is whole or absent, resumed by its own settings alone, and never deleted by mistake."""

import json
import shutil
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from geomem.errors import InputError, OutputError
from geomem.folder import atomic_path
from geomem.records import Run, environment
from runs import begun


@dataclass(frozen=True)
class Settings:
    sizes: tuple[int, ...] = (16, 64)
    seed: int = 0
    rate: float = 0.1
    nested: dict[str, int] = field(default_factory=lambda: {"a": 1})


ARRAYS = xr.Dataset(
    {"t_c": ("n", np.array([0.1, 0.2]), {"units": "data units squared", "long_name": "condensation time"})},
    coords={"n": ("n", [16, 64], {"units": "samples"})},
    attrs={"seed": 3},
)


def files(folder):
    """Content of a folder and all below, by name."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture
def run(tmp_path):
    return begun(tmp_path / "deep" / "run", "demo", Settings())


def test_new_run_says_what_was_asked_and_where(run):
    config = json.loads((run.path / "config.json").read_text())
    assert config.pop("format") == "geomem run 1"
    assert config.pop("geomem") == version("geomem")
    assert config == {"command": "demo", "sizes": [16, 64], "seed": 0, "rate": 0.1, "nested": {"a": 1}}
    assert {"format": "geomem run 1", "geomem": version("geomem"), **config} == run.config
    assert set(files(run.path)) == {"config.json", "environment.json"}
    where = run.environment()
    for name in ("geomem", "python", "torch", "numpy", "scipy"):
        assert where[name]
        assert where[name][0].isdigit()
    assert {"platform", "processor", "threads", "started", "commit"} <= where.keys()
    assert environment().keys() == where.keys()


def test_arrays_come_back_with_their_labels_and_units(run):
    assert not run.has("theory")
    run.save("theory", ARRAYS)
    assert run.has("theory")
    loaded = run.load("theory")
    xr.testing.assert_identical(loaded, ARRAYS)
    assert loaded["t_c"].attrs["units"] == "data units squared"
    assert loaded["n"].attrs["units"] == "samples"
    # In memory: the file may be replaced or deleted while its content is in use.
    if Path("/proc/self/fd").is_dir():
        held = [str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
        assert not [name for name in held if name.endswith(".nc")]
    run.save("theory", ARRAYS * 2)
    np.testing.assert_array_equal(loaded["t_c"], [0.1, 0.2])
    np.testing.assert_array_equal(run.load("theory")["t_c"], [0.2, 0.4])


def test_texts_of_joined_records_are_not_cut_to_the_width_of_the_first(run):
    for name, text in (("first", "row 9"), ("second", "row 1234")):
        run.save(name, xr.Dataset({"label": ("point", [text])}))
    run.save("both", xr.concat([run.load("first"), run.load("second")], "point"))
    assert run.load("both")["label"].values.tolist() == ["row 9", "row 1234"]


def test_a_record_that_is_not_what_was_written_is_refused_before_it_is_opened(run, monkeypatch):
    run.save("theory", ARRAYS * 3)
    run.save("theory", ARRAYS)
    path = run.path / "theory.nc"
    whole = path.read_bytes()
    xr.testing.assert_identical(Run.existing(run.path).load("theory"), ARRAYS)
    monkeypatch.setattr("geomem.netcdf._check", lambda path: pytest.fail("HDF5 has seen it"))
    for place in range(0, len(whole), len(whole) // 50):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(InputError, match=r"theory\.nc: is damaged \(its content is not what was written\)"):
            Run.existing(run.path).load("theory")


def test_metrics_are_appended_line_by_line(run):
    run.log(step=1, loss=[0.5, 0.25])
    run.log(step=2, note="half-way")
    lines = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2]
    assert lines[0]["loss"] == [0.5, 0.25]
    assert all("time" in line for line in lines)


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_interrupted_writing_leaves_the_old_file_and_nothing_else(run, error):
    run.write_text("report.html", "old")
    before = files(run.path)

    def interrupted():
        with run.writing("report.html") as temporary:
            temporary.write_text("half of the n")
            raise error

    with pytest.raises(error):
        interrupted()
    assert files(run.path) == before


def test_failed_save_leaves_no_file(run):
    with pytest.raises((TypeError, ValueError)):
        run.save("theory", ARRAYS.assign_attrs(impossible={"a": object()}))
    assert not run.has("theory")
    assert set(files(run.path)) == {"config.json", "environment.json", "manifest.txt"}


def test_file_appears_whole_at_the_end(run):
    with run.writing("a.txt") as temporary:
        temporary.write_text("new")
        assert temporary.parent == run.path
        assert not (run.path / "a.txt").exists()
    assert (run.path / "a.txt").read_text() == "new"
    assert (run.path / "a.txt").stat().st_mode & 0o777 == 0o644
    assert run.write_text("b.txt", "é") == run.path / "b.txt"
    assert (run.path / "b.txt").read_bytes() == "é".encode()
    with atomic_path(run.path / "a.txt") as temporary:
        temporary.write_text("newer")
    assert (run.path / "a.txt").read_text() == "newer"


def test_full_disk_is_an_output_error(run):
    def fails():
        with run.writing("a.txt"):
            raise OSError(28, "No space left on device")

    with pytest.raises(OutputError, match=r"a\.txt: cannot be written \(no space left on device\)\. Earlier results"):
        fails()
    assert not (run.path / "a.txt").exists()


def test_same_settings_resume(run):
    run.save("theory", ARRAYS)
    before = files(run.path)
    again = begun(str(run.path), "demo", Settings(sizes=(16, 64)))
    assert files(again.path) == before
    assert again.config == run.config
    assert again.has("theory")


@pytest.mark.parametrize(
    ("command", "settings", "message"),
    [
        ("demo", Settings(seed=1), r"holds another run \(seed = 0, not 1\); it is kept\..*--out.*--force"),
        ("demo", Settings(seed=1, rate=0.2), r"seed = 0, not 1; rate = 0.1, not 0.2\)"),
        ("demo", Settings(seed=1, rate=0.2, sizes=()), r"sizes = \[16, 64\], not \[\]; seed = 0, not 1; and 1 more"),
        ("theory", Settings(), r"holds another run \(of geomem demo\)"),
    ],
)
def test_other_settings_are_refused_and_replaced_by_force(run, command, settings, message):
    run.save("theory", ARRAYS)
    before = files(run.path)
    with pytest.raises(OutputError, match=message):
        begun(run.path, command, settings)
    assert files(run.path) == before
    replaced = begun(run.path, command, settings, force=True)
    assert set(files(replaced.path)) == {"config.json", "environment.json"}
    assert json.loads((run.path / "config.json").read_text()) == replaced.config


@pytest.mark.parametrize(
    "foreign", ["thesis.tex", "notes/thesis.tex", "empty/", "cells/a/thesis.tex", "model/mine.txt"]
)
def test_force_keeps_a_folder_that_holds_anything_else(run, foreign):
    written(run)
    path = run.path / foreign
    if foreign.endswith("/"):
        path.mkdir()
    else:
        path.parent.mkdir(exist_ok=True)
        path.write_text("years of work")
    before = files(run.path)
    with pytest.raises(
        OutputError, match=rf"holds what geomem did not write \({foreign.split('/')[0]}.*Move that elsewhere"
    ):
        begun(run.path, "demo", Settings(), force=True)
    assert files(run.path) == before


def test_force_deletes_all_that_was_written(run):
    written(run)
    for left in (".theory.nc.x1.part", "cells/a/.deep.nc.x2.part", "cells/a/.lock"):
        (run.path / left).write_text("half")
    (run.path / ".model.x3.part").mkdir()
    begun(run.path, "demo", Settings(seed=1), force=True)
    assert set(files(run.path)) == {"config.json", "environment.json"}
    assert [p.name for p in run.path.iterdir() if p.is_dir()] == []


def test_a_folder_that_is_not_in_the_manifest_is_no_part_of_the_run(run):
    """As the runs of versions that kept no manifest."""
    run.save("theory", ARRAYS)
    (run.path / "manifest.txt").unlink()
    with pytest.raises(OutputError, match=r"holds what geomem did not write \(theory\.nc\)"):
        begun(run.path, "demo", Settings(), force=True)


def test_a_link_is_deleted_and_not_what_it_points_at(run, tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    run.save("theory", ARRAYS)
    (run.path / "theory.nc").unlink()
    (run.path / "theory.nc").symlink_to(tmp_path / "thesis.tex")
    begun(run.path, "demo", Settings(), force=True)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"
    assert set(files(run.path)) == {"config.json", "environment.json"}


def written(run):
    """All kinds of things that a run writes."""
    run.save("theory", ARRAYS)
    run.log(step=1)
    with run.writing_folder("model") as temporary:
        (temporary / "unet").mkdir()
        (temporary / "unet" / "config.json").write_text("{}")
    run.owns("tracked/*")
    (run.path / "tracked" / "deep").mkdir(parents=True)
    (run.path / "tracked" / "deep" / "events").write_text("1")
    with run.within("cells/a", "cell", {"seed": 1}) as cell:
        cell.save("deep", ARRAYS)


@pytest.mark.parametrize("force", [False, True])
def test_nothing_in_a_folder_is_looked_at_before_it_is_locked(run, force, monkeypatch):
    looked = []
    monkeypatch.setattr(Run, "_begin", lambda self, force: looked.append(force))
    with run.alone(), pytest.raises(OutputError, match="another run is using this folder"):
        begun(run.path, "demo", Settings(), force=force)
    assert looked == []


def test_force_starts_the_same_settings_anew(run):
    run.save("theory", ARRAYS)
    assert not begun(run.path, "demo", Settings(), force=True).has("theory")


FOREIGN = {
    "some files": {"thesis.tex": "years of work"},
    "foreign config": {"config.json": '{"model_type": "bert"}', "model.bin": "weights"},
    "command of another program": {"config.json": '{"command": "npm start", "scripts": {}}', "index.js": "code"},
    "no JSON": {"config.json": "command = demo", "thesis.tex": "years of work"},
    "no object": {"config.json": '["command"]'},
}


@pytest.mark.parametrize("force", [False, True], ids=["plain", "force"])
@pytest.mark.parametrize("name", FOREIGN)
def test_folder_that_is_no_run_is_kept(name, force, tmp_path):
    for file, content in FOREIGN[name].items():
        (tmp_path / file).write_text(content)
    before = files(tmp_path)
    with pytest.raises(OutputError, match=r"choose another folder with --out|Choose another folder with --out"):
        begun(tmp_path, "demo", Settings(), force=force)
    assert files(tmp_path) == before


def test_empty_folder_is_taken(tmp_path):
    assert begun(tmp_path, "demo", Settings()).path == tmp_path.resolve()


@pytest.mark.parametrize("force", [False, True], ids=["plain", "force"])
def test_path_that_is_a_file_is_refused(tmp_path, force):
    path = tmp_path / "file"
    path.write_text("mine")
    with pytest.raises(OutputError, match="file: is a file; choose a folder for the results with --out"):
        begun(path, "demo", Settings(), force=force)
    with pytest.raises(OutputError, match=r"cannot be written \(not a directory\); choose another folder with --out"):
        begun(path / "below" / "it", "demo", Settings())
    assert path.read_text() == "mine"


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs a file system that nobody may write to")
def test_unwritable_folder_is_refused():
    with pytest.raises(OutputError, match=r"/proc/geomem: cannot be written \(.*\); choose another folder with --out"):
        begun("/proc/geomem", "demo", Settings())


def test_lost_folder_is_an_output_error(run):
    for file in run.path.iterdir():
        file.unlink()
    run.path.rmdir()
    for write in (lambda: run.log(step=1), lambda: run.write_text("a", "b"), lambda: run.save("theory", ARRAYS)):
        with pytest.raises(OutputError, match=r"cannot be written \(no such file or directory\)"):
            write()


def test_home_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert begun("~/run", "demo", Settings()).path == (tmp_path / "run").resolve()


@pytest.mark.parametrize("stopped", ["environment.json", "config.json"])
def test_start_that_was_killed_can_be_started_again(stopped, tmp_path, monkeypatch):
    """Killed without a chance to clean up while the first files are written: the same command must go on.

    What a kill leaves is the folder as it is just before the file appears under its name.
    """
    original, killed = Path.replace, tmp_path / "killed"

    def replace(self, target):
        if Path(target).name == stopped:
            shutil.copytree(tmp_path / "run", killed)
        return original(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    begun(tmp_path / "run", "demo", Settings())
    monkeypatch.undo()
    assert stopped not in files(killed)
    assert any(name.startswith(stopped) or stopped in name for name in files(killed))
    again = begun(killed, "demo", Settings())
    assert (again.path / "config.json").exists()
