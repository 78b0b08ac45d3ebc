"""What `geomem data` refuses, in one message, before anything is written; and damaged runs."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from commands import assert_refused, geomem
from data.data_inputs import FINE, ROWS, save_images


@pytest.mark.parametrize("damage", ["truncate", "environment", "content", "config"])
def test_damaged_runs_are_refused_in_words(straight: Path, tmp_path: Path, damage: str) -> None:
    run = tmp_path / "run"
    shutil.copytree(straight, run)
    if damage == "truncate":
        (run / "duplicates.nc").write_bytes((run / "duplicates.nc").read_bytes()[:3000])
        (run / "theory.nc").write_bytes((run / "theory.nc").read_bytes()[:3000])
    elif damage == "environment":
        (run / "environment.json").unlink()
    elif damage == "content":
        shutil.copy(run / "data.nc", run / "posterior.nc")
    else:
        config = json.loads((run / "config.json").read_text())
        del config["samples"]
        (run / "config.json").write_text(json.dumps(config))
    assert_refused(geomem("report", "run", cwd=tmp_path), 2, str(run))


@pytest.mark.usefixtures("undrawn")
def test_a_damaged_stage_is_named_and_made_again_once_it_is_deleted(straight: Path, tmp_path: Path) -> None:
    for name in ("real", "made", "run"):
        shutil.copytree(straight.parent / name, tmp_path / name)
    run = tmp_path / "run"
    (run / "duplicates.nc").write_bytes((run / "duplicates.nc").read_bytes()[:3000])
    (run / "data.nc").unlink()
    command = ["data", "real", "--samples", "made", "--quick", "--out", "run"]
    assert_refused(geomem(*command, cwd=tmp_path), 2, "duplicates.nc", "delete it")
    (run / "duplicates.nc").unlink()
    assert geomem(*command, cwd=tmp_path).returncode == 0
    assert json.loads((run / "summary.json").read_text()) == json.loads((straight / "summary.json").read_text())


@pytest.fixture
def data(tmp_path: Path) -> Path:
    np.save(tmp_path / "good.npy", ROWS)
    np.save(tmp_path / "other.npy", np.zeros((30, 9, 9), np.uint8))
    np.save(tmp_path / "constant.npy", np.full((50, 4), 0.5))
    np.save(tmp_path / "same.npy", np.tile(np.arange(4.0), (50, 1)))
    np.save(tmp_path / "few.npy", np.tile(np.arange(12.0).reshape(6, 2), (20, 1)))
    np.save(tmp_path / "nan.npy", np.where(np.arange(100).reshape(50, 2) == 31, np.nan, 1.0))
    np.save(tmp_path / "objects.npy", np.array([{"a": 1}] * 30), allow_pickle=True)
    np.save(tmp_path / "columns.npy", np.zeros((50, 0)))
    np.save(tmp_path / "one.npy", np.zeros((1, 4)))
    (tmp_path / "cut.npy").write_bytes((tmp_path / "good.npy").read_bytes()[:500])
    (tmp_path / "empty").mkdir()
    save_images(tmp_path / "one", ROWS[:1])
    save_images(tmp_path / "text", ROWS[:30])
    (tmp_path / "text" / "0003.png").write_text("no image")
    save_images(tmp_path / "sizes", ROWS[:30])
    Image.fromarray(ROWS[0][:4]).save(tmp_path / "sizes" / "0004.png")
    save_images(tmp_path / "colours", ROWS[:30])
    Image.fromarray(np.stack([ROWS[0]] * 3, -1)).save(tmp_path / "colours" / "0005.png")
    (tmp_path / "file").write_text("")
    np.save(tmp_path / "unit.npy", ROWS / 255.0)
    np.save(tmp_path / "huge.npy", 1e200 * FINE[:60])
    np.save(tmp_path / "tiny.npy", 1e-200 * FINE[:60])
    np.save(tmp_path / "seven.npy", FINE[400:407])
    np.save(tmp_path / "fine.npy", FINE[:200])
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["nowhere"], 2, ["nowhere", "does not exist"]),
        (["cut.npy"], 2, ["cut.npy", "not a complete NumPy file"]),
        (["empty"], 2, ["empty", "no image files"]),
        (["text"], 2, ["text/0003.png", "not an image"]),
        (["sizes"], 2, ["0000.png has 8x8", "0004.png has 8x4", "--size"]),
        (["colours"], 2, ["0000.png is gray", "0005.png is color", "--mode"]),
        (["nan.npy"], 2, ["row 15", "not finite"]),
        (["constant.npy"], 2, ["every value is 0.5"]),
        (["same.npy"], 2, ["every sample equals the first"]),
        (["few.npy"], 2, ["6 distinct samples among 120", "at least 40"]),
        (["one.npy"], 2, ["one sample", "at least 40"]),
        (["one"], 2, ["one sample", "at least 40"]),
        (["objects.npy"], 2, ["pickle", "numpy.save"]),
        (["columns.npy"], 2, ["zero columns"]),
        (["good.npy", "--limit", "500"], 2, ["--limit", "500", "200"]),
        (["good.npy", "--sizes", "500"], 2, ["--sizes", "160", "500"]),
        (["good.npy", "--sizes", "ten"], 2, ["--sizes", "'ten'", "100,1000"]),
        (["good.npy", "--hold-out", "100"], 2, ["--hold-out", "100", "40"]),
        (["good.npy", "--t", "0"], 2, ["--t", "above 0"]),
        (["good.npy", "--seed", "-1"], 2, ["--seed"]),
        (["digits", "--size", "4"], 2, ["--size", "images of bytes", "float64"]),
        (["good.npy", "--mode", "grey"], 2, ["--mode", "gray, rgb"]),
        (["good.npy", "--background", "red"], 2, ["--background", "white, black, ignore"]),
        (["good.npy", "--limit", "39"], 2, ["--limit", "at least 40"]),
        (["good.npy", "--samples", "other.npy"], 2, ["(9, 9)", "(8, 8)"]),
        (["good.npy", "--samples", "nowhere"], 2, ["nowhere", "does not exist"]),
        (["good.npy", "--held-out", "good.npy"], 2, ["--held-out", "--samples"]),
        (["good.npy", "--samples", "unit.npy"], 2, ["unit.npy", "0 to 1", "-1 to 1"]),
        (["unit.npy", "--samples", "fine.npy"], 2, ["fine.npy", "0 to 1", "-1 to 1"]),
        (["huge.npy"], 2, ["huge.npy", "rescale"]),
        (["tiny.npy"], 2, ["tiny.npy", "rescale"]),
        (["fine.npy", "--samples", "fine.npy", "--held-out", "fine.npy"], 2, ["--held-out", "200 of the 200"]),
        (["fine.npy", "--samples", "fine.npy", "--held-out", "seven.npy"], 2, ["--held-out", "7 samples"]),
        (["good.npy", "--hold-out", "5"], 2, ["--hold-out", "at least 8"]),
        (["hf:someone/something"], 2, ["hf:someone/something", "numpy.save"]),
        (["good.npy", "--out", "file"], 3, ["is a file", "--out"]),
        (["good.npy", "--out", "file/below"], 3, ["cannot be written", "--out"]),
    ],
)
def test_bad_input_is_one_message_and_leaves_nothing(
    data: Path, arguments: list[str], code: int, words: list[str]
) -> None:
    before = sorted(data.rglob("*"))
    assert_refused(geomem("data", *arguments, cwd=data), code, *words)
    assert sorted(data.rglob("*")) == before
