"""`geomem audit` end to end: what it leaves, what it refuses, and that nothing stops it for good."""

import html
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from PIL import Image

from commands import assert_refused, geomem, stopped
from geomem.data import digits

ROWS = ((digits().numpy() + 1) * 127.5).round().astype(np.uint8)[:200]


def save_images(folder: Path, images: np.ndarray) -> Path:
    folder.mkdir(parents=True)
    for i, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{i:04}.png")
    return folder


def arrays(run: Path) -> dict[str, xr.Dataset]:
    return {p.name: xr.load_dataset(p, engine="h5netcdf") for p in sorted(run.glob("*.nc"))}


def without_time(run: Path) -> dict[str, bytes]:
    """Everything that depends on the question alone, not on when and how fast it was answered."""
    return {p.name: p.read_bytes() for p in run.iterdir() if p.suffix in (".png", ".html") or p.name == "summary.json"}


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A quick audit of a folder of images, with samples of which a third are noisy copies."""
    folder = tmp_path_factory.mktemp("straight")
    save_images(folder / "real", ROWS[:150])
    noise = np.random.default_rng(0).normal(0, 3, (20, 8, 8))
    copies = (ROWS[:20] + noise).clip(0, 255).astype(np.uint8)
    save_images(folder / "made", np.concatenate([ROWS[150:190], copies]))
    result = geomem("audit", "real", "--samples", "made", "--quick", "--out", "run", cwd=folder)
    assert result.returncode == 0, result.stderr
    assert result.stderr.count("warning") == 0, result.stderr
    assert "Page: " in result.stdout
    return folder / "run"


def test_audit_finds_the_copies_and_says_so(straight: Path) -> None:
    summary = json.loads((straight / "summary.json").read_text())
    assert summary["title"].startswith("This model memorizes")
    assert summary["copies"]["generated"]["count"] >= 18
    assert summary["copies"]["control"]["count"] <= 2
    named = {(pair["sample"], pair["training"]) for pair in summary["copies"]["closest"]}
    # The copy of image i is sample 40 + i.
    assert named == {(sample, f"{int(sample[:4]) - 40:04}.png") for sample, _ in named}
    assert len(named) == 10


def test_run_holds_config_environment_stages_and_arrays_with_units(straight: Path) -> None:
    config = json.loads((straight / "config.json").read_text())
    assert (config["command"], config["data"], config["samples"], config["seed"]) == ("audit", "real", "made", 0)
    assert len(config["fingerprint"]) == 16
    assert {"geomem", "commit", "python", "torch"} <= json.loads((straight / "environment.json").read_text()).keys()
    stages = [json.loads(line) for line in (straight / "metrics.jsonl").read_text().splitlines()]
    assert all(line["seconds"] >= 0 for line in stages)
    assert {"duplicates", "condensation", "theory", "memorized", "copies"} <= {line["stage"] for line in stages}
    saved = arrays(straight)
    assert set(saved) == {
        f"{name}.nc"
        for name in ("copies", "condensation", "data", "directions", "duplicates", "memorized", "posterior", "theory")
    }
    measured = saved["posterior.nc"]
    assert measured["t"].attrs["units"] == "data units squared"
    assert {"effective_samples", "own_weight", "information", "resolved", "degrees_of_freedom"} <= set(measured)
    assert all("units" in v.attrs for v in measured.values())
    assert not [p for p in straight.iterdir() if p.name.endswith(".part")]


def test_training_points_lose_more_than_held_out_points(straight: Path) -> None:
    rows = json.loads((straight / "summary.json").read_text())["dimensions"]["rows"]
    assert [row["size"] for row in rows] == [30, 120]
    for row in rows:
        assert row["training"]["value"] < row["held_out"]["value"]
        for key in ("training", "held_out", "difference", "theory_training", "theory_held_out"):
            assert row[key]["low"] <= row[key]["value"] <= row[key]["high"]


def test_every_number_with_an_interval_lies_inside_it(straight: Path) -> None:
    found = []

    def look(value: object) -> None:
        if isinstance(value, dict):
            if {"value", "low", "high"} <= value.keys():
                found.append(tuple(float(value[k]) for k in ("low", "value", "high")))
            for part in value.values():
                look(part)
        elif isinstance(value, list):
            for part in value:
                look(part)

    look(json.loads((straight / "summary.json").read_text()))
    assert len(found) > 30
    assert all(low <= value <= high for low, value, high in found if not np.isnan(value))


def test_page_is_one_file_with_alt_texts_and_the_command_to_run_again(straight: Path) -> None:
    page = (straight / "index.html").read_text()
    assert page.count("<img") == page.count('alt="') == page.count("data:image/png;base64,") == 10
    assert 'alt=""' not in page
    for address in ('src="http', 'href="http', "url(", "@import", "<script", "<link"):
        assert address not in page
    assert "geomem audit real --samples made --seed 0 --quick --out run" in page
    assert "This model memorizes" in page


def test_closest_pairs_stand_under_their_headings(straight: Path) -> None:
    page = (straight / "index.html").read_text()
    pair = json.loads((straight / "summary.json").read_text())["copies"]["closest"][0]
    (table,) = [part for part in page.split("<table>")[1:] if "d₁/d₂" in part]
    head = re.findall(r"<th[^>]*>([^<]*)</th>", table)
    cells = re.findall(r"<td>([^<]*)</td>", table)[:4]
    assert [name.split(" ")[0] for name in head] == ["sample", "d₁/d₂", "nearest", "distance"]
    assert cells == [pair["sample"], f"{pair['ratio']:.3f}", pair["training"], f"{pair['distance']:.3g}"]


def test_the_command_on_the_page_finds_the_same_run(straight: Path) -> None:
    before = without_time(straight)
    command = re.search(r"<pre>geomem (.*)</pre>", (straight / "index.html").read_text())
    assert command is not None
    result = geomem(*shlex.split(html.unescape(command[1])), cwd=straight.parent)
    assert result.returncode == 0, result.stderr
    assert "posterior" not in result.stderr
    assert without_time(straight) == before


def test_report_draws_an_audit_again_without_the_data(straight: Path, tmp_path: Path) -> None:
    shutil.copytree(straight, tmp_path / "run")
    for path in (*(tmp_path / "run").glob("*.png"), tmp_path / "run" / "index.html", tmp_path / "run" / "summary.json"):
        path.unlink()
    assert geomem("report", "run", cwd=tmp_path).returncode == 0
    assert without_time(tmp_path / "run") == without_time(straight)


@pytest.mark.parametrize("after", ["duplicates.nc", "posterior_120_0.nc"])
def test_killed_audit_goes_on_to_the_same_result(straight: Path, tmp_path: Path, after: str) -> None:
    for name in ("real", "made"):
        shutil.copytree(straight.parent / name, tmp_path / name)
    command = ["audit", "real", "--samples", "made", "--quick", "--out", "run"]
    stage = tmp_path / "run" / after
    code, said = stopped(*command, cwd=tmp_path, when=stage.exists, by=signal.SIGKILL)
    assert code == -signal.SIGKILL, said
    assert not (tmp_path / "run" / "index.html").exists()
    result = geomem(*command, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "looking for duplicates" not in result.stderr
    assert json.loads((tmp_path / "run" / "summary.json").read_text()) == json.loads(
        (straight / "summary.json").read_text()
    )


def test_changed_data_under_the_same_name_are_another_run(straight: Path, tmp_path: Path) -> None:
    for name in ("real", "made", "run"):
        shutil.copytree(straight.parent / name, tmp_path / name)
    Image.fromarray(ROWS[199]).save(tmp_path / "real" / "0003.png")
    command = ["audit", "real", "--samples", "made", "--quick", "--out", "run"]
    assert_refused(geomem(*command, cwd=tmp_path), 3, "fingerprint", "--force")


def test_full_disk_is_one_message_and_loses_nothing(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a small disk cannot be mounted here")
    try:
        result = geomem("audit", "digits", "--quick", "--out", str(disk / "run"), cwd=tmp_path)
        assert_refused(result, 3, "cannot be written (no space left on device)", "run the same command again")
        assert (disk / "run" / "duplicates.nc").stat().st_size > 0
        assert not [p for p in (disk / "run").iterdir() if p.name.endswith(".part")]
        assert subprocess.run([*mount[:3], "-o", "remount,size=40m", str(disk)], capture_output=True).returncode == 0
        again = geomem("audit", "digits", "--quick", "--out", str(disk / "run"), cwd=tmp_path)
        assert again.returncode == 0, again.stderr
        assert "looking for duplicates" not in again.stderr
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_embeddings_of_both_sides_are_compared_without_pictures(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    data = rng.standard_normal((120, 6)) @ rng.standard_normal((6, 40))
    np.save(tmp_path / "data.npy", data)
    np.save(tmp_path / "samples.npy", rng.standard_normal((100, 6)) @ rng.standard_normal((6, 40)))
    command = ["audit", "data.npy", "--samples", "samples.npy", "--quick", "--json", "--out", "run"]
    result = geomem(*command, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    shown = json.loads(result.stdout)
    assert shown["copies"]["verdict"] == "no sign"
    assert len(shown["copies"]["closest"]) == 10
    assert "image" not in shown["title"]
    names = {p.name for p in (tmp_path / "run").glob("*.png")}
    assert "closest_pairs.png" not in names
    assert "dimension_by_size.png" in names


def compared(folder: Path, **arrays: np.ndarray) -> tuple[dict[str, object], str]:
    """The verdict on arrays `samples` for `data`, with a `control` where given, and its title."""
    for name, values in arrays.items():
        np.save(folder / f"{name}.npy", values)
    options = [word for name in arrays if name != "data" for word in (f"--{name}", f"{name}.npy")]
    result = geomem("audit", "data.npy", *options, "--quick", "--json", "--out", "run", "--force", cwd=folder)
    assert result.returncode == 0, result.stderr
    shown = json.loads(result.stdout)
    return shown["copies"], shown["title"]


FINE = digits().numpy()


def test_one_identical_sample_is_a_reproduction(tmp_path: Path) -> None:
    copies, title = compared(tmp_path, data=FINE[:200], samples=FINE[199:400])
    assert (copies["verdict"], copies["identical"]) == ("identical", 1)
    assert "1 of 201 samples equals a training image value for value" in title


def test_noisy_copies_that_the_rate_misses_are_told_by_their_ranks(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(0, 0.2, (200, 8, 8))
    copies, title = compared(tmp_path, data=FINE[:400], samples=FINE[:200] + noise)
    assert copies["generated"]["value"] < 0.05
    assert copies["nearer"]["low"] > 0.8
    assert copies["verdict"] == "likely"
    assert "probably" in title


def test_samples_far_from_all_data_are_not_judged(tmp_path: Path) -> None:
    copies, _ = compared(tmp_path, data=FINE[:200], samples=5 * np.random.default_rng(0).normal(size=(200, 8, 8)))
    assert copies["verdict"] == "far"


def test_small_controls_and_large_ones_count(tmp_path: Path) -> None:
    copies, _ = compared(tmp_path, data=FINE[:200], samples=FINE[200:400], control=FINE[400:422])
    assert copies["verdict"] == "too few"
    copies, _ = compared(tmp_path, data=FINE[:200], samples=FINE[200:400], control=FINE[400:600])
    assert copies["verdict"] == "no sign"
    assert "control.npy" in copies["control_kind"]


def test_copies_are_looked_for_in_all_rows_whatever_the_limit(tmp_path: Path) -> None:
    np.save(tmp_path / "data.npy", FINE[:400])
    np.save(tmp_path / "samples.npy", FINE[:100] + 1e-3)
    command = ["audit", "data.npy", "--samples", "samples.npy", "--limit", "60", "--quick", "--json", "--out", "run"]
    shown = json.loads(geomem(*command, cwd=tmp_path).stdout)
    assert shown["data"]["used"] == 60
    assert shown["copies"]["generated"]["count"] == 100


def test_near_duplicates_are_found_where_half_of_the_rows_have_one_and_none_is_kept_apart(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    twins = FINE[:120] + rng.normal(0, 1e-4, (120, 8, 8))
    np.save(tmp_path / "data.npy", np.concatenate([FINE[:240], twins]))
    result = geomem("audit", "data.npy", "--quick", "--json", "--out", "run", cwd=tmp_path)
    shown = json.loads(result.stdout)
    assert shown["duplicates"]["near_pairs"] == 120
    saved = arrays(tmp_path / "run")["data.nc"]
    assert np.all(saved["held_out"].values >= 120)
    assert np.all(saved["held_out"].values < 240)
    half, clean = (shown["condensation"][k] for k in ("half", "half_without_near_duplicates"))
    assert clean["low"] < clean["value"] < clean["high"]
    assert half["value"] != clean["value"]


def test_names_with_signs_and_bytes_of_all_kinds(tmp_path: Path) -> None:
    name = "co$st^_$x_{"
    save_images(tmp_path / name, ROWS[:60])
    odd = os.fsdecode(b"\xff\xfe.png")
    (tmp_path / name / "0003.png").rename(tmp_path / name / odd)
    result = geomem("audit", name, "--quick", "--out", "run", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert geomem("report", "run", cwd=tmp_path).returncode == 0
    assert name in (tmp_path / "run" / "index.html").read_text()


def test_samples_are_brought_to_the_size_and_the_channels_of_square_data(tmp_path: Path) -> None:
    np.save(tmp_path / "data.npy", ROWS[:60])
    large = ROWS[100:150].repeat(4, axis=1).repeat(4, axis=2)
    save_images(tmp_path / "made", np.stack([large] * 3, -1))
    command = ["audit", "data.npy", "--samples", "made", "--quick", "--json", "--out", "run"]
    shown = json.loads(geomem(*command, cwd=tmp_path).stdout)
    assert shown["copies"]["notes"] == []
    assert shown["copies"]["generated"]["n"] == 50
    Image.fromarray(np.stack([large[0], large[0] // 2, large[0]], -1)).save(tmp_path / "made" / "0000.png")
    shown = json.loads(geomem(*command, "--force", cwd=tmp_path).stdout)
    assert any("in colour" in note for note in shown["copies"]["notes"])


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


def test_a_damaged_stage_is_named_and_made_again_once_it_is_deleted(straight: Path, tmp_path: Path) -> None:
    for name in ("real", "made", "run"):
        shutil.copytree(straight.parent / name, tmp_path / name)
    run = tmp_path / "run"
    (run / "duplicates.nc").write_bytes((run / "duplicates.nc").read_bytes()[:3000])
    (run / "data.nc").unlink()
    command = ["audit", "real", "--samples", "made", "--quick", "--out", "run"]
    assert_refused(geomem(*command, cwd=tmp_path), 2, "duplicates.nc", "delete it")
    (run / "duplicates.nc").unlink()
    assert geomem(*command, cwd=tmp_path).returncode == 0
    assert json.loads((run / "summary.json").read_text()) == json.loads((straight / "summary.json").read_text())


def test_duplicates_have_a_line_of_their_own_and_are_left_out(tmp_path: Path) -> None:
    rows = np.concatenate([ROWS[:100], ROWS[:7], ROWS[:3]])
    np.save(tmp_path / "data.npy", rows)
    result = geomem("audit", "data.npy", "--quick", "--json", "--out", "run", cwd=tmp_path)
    shown = json.loads(result.stdout)
    assert (shown["duplicates"]["exact_rows"], shown["duplicates"]["exact_groups"]) == (10, 7)
    assert shown["data"]["used"] == 100
    assert any("Exact duplicates: 10" in sentence for sentence in shown["findings"]["short"])
    page = (tmp_path / "run" / "index.html").read_text()
    assert "<td>row 100</td><td>equals</td><td>row 0</td>" in page
    assert "<td>row 109</td><td>equals</td><td>row 2</td>" in page


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
        (["cut.npy"], 2, ["cut.npy", "not a whole NumPy file"]),
        (["empty"], 2, ["empty", "no image files"]),
        (["text"], 2, ["text/0003.png", "not an image"]),
        (["sizes"], 2, ["0000.png has 8x8", "0004.png has 8x4", "--size"]),
        (["colours"], 2, ["0000.png is gray", "0005.png is colour", "--mode"]),
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
        (["good.npy", "--held-out", "100"], 2, ["--held-out", "100", "40"]),
        (["good.npy", "--t", "0"], 2, ["--t", "above 0"]),
        (["good.npy", "--seed", "-1"], 2, ["--seed"]),
        (["good.npy", "--size", "4"], 2, ["--size"]),
        (["good.npy", "--samples", "other.npy"], 2, ["(9, 9)", "(8, 8)"]),
        (["good.npy", "--samples", "nowhere"], 2, ["nowhere", "does not exist"]),
        (["good.npy", "--control", "good.npy"], 2, ["--control", "--samples"]),
        (["good.npy", "--samples", "unit.npy"], 2, ["unit.npy", "0 to 1", "-1 to 1"]),
        (["unit.npy", "--samples", "fine.npy"], 2, ["fine.npy", "0 to 1", "-1 to 1"]),
        (["huge.npy"], 2, ["huge.npy", "rescale"]),
        (["tiny.npy"], 2, ["tiny.npy", "rescale"]),
        (["fine.npy", "--samples", "fine.npy", "--control", "fine.npy"], 2, ["--control", "200 of the 200"]),
        (["fine.npy", "--samples", "fine.npy", "--control", "seven.npy"], 2, ["--control", "7 samples"]),
        (["good.npy", "--held-out", "5"], 2, ["--held-out", "at least 8"]),
        (["hf:someone/something"], 2, ["hf:someone/something", "numpy.save"]),
        (["good.npy", "--out", "file"], 3, ["is a file", "--out"]),
        (["good.npy", "--out", "file/below"], 3, ["cannot be written", "--out"]),
    ],
)
def test_bad_input_is_one_message_and_leaves_nothing(
    data: Path, arguments: list[str], code: int, words: list[str]
) -> None:
    before = sorted(data.rglob("*"))
    assert_refused(geomem("audit", *arguments, cwd=data), code, *words)
    assert sorted(data.rglob("*")) == before
