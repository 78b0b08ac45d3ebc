"""`geomem data` end to end: records, numbers, page, and what samples are compared with."""

import csv
import html
import json
import os
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest

from commands import assert_refused, geomem
from data.data_inputs import FINE, ROWS, records, save_images, shown, without_time
from geomem.spectra import dimension

# What a page may hold that is loaded from elsewhere.
OUTSIDE = ('src="http', 'href="http', "url(", "@import", "<script", "<link")


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_it_finds_the_copies_and_says_so(straight: Path) -> None:
    summary = json.loads((straight / "summary.json").read_text())
    assert summary["title"].startswith("The model that made these samples memorizes")
    assert summary["copies"]["generated"]["count"] >= 18
    assert summary["copies"]["control"]["count"] <= 2
    named = {(pair["sample"], pair["training"]) for pair in summary["copies"]["closest"]}
    # The copy of image i is sample 40 + i.
    assert named == {(sample, f"{int(sample[:4]) - 40:04}.png") for sample, _ in named}
    assert len(named) == 10
    table = rows_of(straight / "closest_samples.csv")
    assert len(table) == 60
    assert table[0]["sample"] == summary["copies"]["closest"][0]["sample"]
    assert float(table[0]["d₁/d₂"]) == summary["copies"]["closest"][0]["ratio"]


def test_run_holds_config_environment_and_records_with_units(straight: Path) -> None:
    config = json.loads((straight / "config.json").read_text())
    assert (config["command"], config["data"], config["samples"], config["seed"]) == ("data", "real", "made", 0)
    assert len(config["fingerprint"]) == len(config["samples_fingerprint"]) == 16
    assert config["extent"]["points"] == 24
    assert {"geomem", "commit", "python", "torch"} <= json.loads((straight / "environment.json").read_text()).keys()
    parts = [json.loads(line) for line in (straight / "metrics.jsonl").read_text().splitlines()]
    assert all(line["seconds"] >= 0 for line in parts)
    saved = records(straight)
    names = ("copies", "condensation", "data", "directions", "duplicates", "memorized", "posterior", "search", "theory")
    assert set(saved) == {f"{name}.nc" for name in names}
    measured = saved["posterior.nc"]
    assert measured["t"].attrs["units"] == "data units squared"
    assert {"effective_samples", "own_weight", "information", "dimension", "pull", "outside"} <= set(measured)
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


def test_page_is_one_file_with_alt_texts_and_tables_beside_it(straight: Path) -> None:
    page = (straight / "index.html").read_text()
    pictures = len(list(straight.glob("*.png")))
    assert page.count("<img") == page.count("data:image/png;base64,") == pictures == 10
    assert 'alt=""' not in page
    for address in OUTSIDE:
        assert address not in page.replace("url(data:", "")
    assert "The model that made these samples memorizes" in page
    for path in straight.glob("*.csv"):
        assert f'href="{path.name}"' in page
    for unwanted in ("commit None", "-0.0"):
        assert unwanted not in page


def test_lists_are_whole_in_their_files(straight: Path) -> None:
    ranked = rows_of(straight / "memorized_first.csv")
    assert len(ranked) == 64
    times = [float(row["half of the weight up to t"]) for row in ranked]
    assert times == sorted(times, reverse=True)
    assert {row["training image"] for row in ranked} <= {f"{i:04}.png" for i in range(150)}
    variances = records(straight)["data.nc"]["variance"].values
    summary = json.loads((straight / "summary.json").read_text())
    assert len(rows_of(straight / "directions.csv")) == int(np.sum(variances > summary["t"]))


def test_findings_are_found_by_key_and_stand_on_the_page(straight: Path) -> None:
    summary = json.loads((straight / "summary.json").read_text())
    page = html.unescape((straight / "index.html").read_text())
    for key in (
        "copies.rate",
        "duplicates.exact",
        "condensation.half",
        "dimensions.lost",
        "needed.now",
        "memorized.first",
    ):
        assert summary["findings"][key]["text"] in page
    assert summary["findings"]["condensation.half"]["value"] == summary["condensation"]["half"]
    assert len(summary["short"]) == 5
    assert all(len(finding["text"].split()) < 40 for finding in summary["findings"].values())


def test_the_command_on_the_page_finds_the_same_run(straight: Path) -> None:
    before = without_time(straight)
    command = re.search(r"<pre>geomem (.*)</pre>", (straight / "index.html").read_text())
    assert command is not None
    words = shlex.split(html.unescape(command[1]))
    assert words == ["data", "real", "--samples", "made", "--quick", "--out", "run"]
    result = geomem(*words, cwd=straight.parent)
    assert result.returncode == 0, result.stderr
    assert "posterior" not in result.stderr
    assert without_time(straight) == before


def test_report_draws_the_page_again_without_the_data(straight: Path, tmp_path: Path) -> None:
    shutil.copytree(straight, tmp_path / "run")
    for path in (tmp_path / "run").iterdir():
        if path.suffix in (".png", ".html", ".csv") or path.name == "summary.json":
            path.unlink()
    assert geomem("report", "run", cwd=tmp_path).returncode == 0
    assert without_time(tmp_path / "run") == without_time(straight)


@pytest.mark.usefixtures("undrawn")
def test_data_alone_say_what_memorizing_them_leaves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Duplicates have a finding and rows of their own and are left out; a reading that is added is on page and in tables."""
    monkeypatch.setitem(dimension.READINGS, "above_a_quarter", lambda s: dimension.resolved(s, threshold=0.25))
    np.save(tmp_path / "data.npy", np.concatenate([ROWS[:100], ROWS[:7], ROWS[:3]]))
    summary = shown("data.npy", cwd=tmp_path)
    assert summary["title"].startswith("Memorizing these 80 images leaves ")
    assert summary["copies"] is None
    assert (summary["duplicates"]["exact_rows"], summary["duplicates"]["exact_groups"]) == (10, 7)
    assert summary["data"]["used"] == 100
    assert any(sentence.startswith("10 images repeat an earlier one exactly") for sentence in summary["short"])
    assert summary["next"].startswith("Remove the 10 exact duplicate images before training")
    table = rows_of(tmp_path / "run" / "duplicates.csv")
    assert [(row["duplicate"], row["of"]) for row in table][:10:9] == [("row 100", "row 0"), ("row 109", "row 2")]
    assert "above_a_quarter" in records(tmp_path / "run")["posterior.nc"]["reading"]
    assert "above a quarter" in (tmp_path / "run" / "index.html").read_text()
    assert "above a quarter" in (tmp_path / "run" / "readings.csv").read_text()


@pytest.mark.usefixtures("undrawn")
def test_the_reference_noise_variance_can_be_chosen(tmp_path: Path) -> None:
    np.save(tmp_path / "data.npy", FINE[:200])
    summary = shown("data.npy", "--t", "0.5", "--sizes", "40,20", cwd=tmp_path)
    assert summary["t"] == 0.5
    assert [row["size"] for row in summary["dimensions"]["rows"]] == [20, 40, 160]
    assert [row["t"] for row in summary["needed"]["rows"]] == [0.5]
    summary = shown("data.npy", "--t", "50", cwd=tmp_path)
    assert summary["title"].startswith("These 160 images vary along no direction by more than the noise")
    assert "--t" in summary["next"]


@pytest.mark.usefixtures("undrawn")
def test_embeddings_of_both_sides_are_compared_without_pictures(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    np.save(tmp_path / "data.npy", rng.standard_normal((120, 6)) @ rng.standard_normal((6, 40)))
    np.save(tmp_path / "samples.npy", rng.standard_normal((100, 6)) @ rng.standard_normal((6, 40)))
    summary = shown("data.npy", "--samples", "samples.npy", cwd=tmp_path)
    assert summary["copies"]["verdict"] == "no sign"
    assert "image" not in summary["title"]
    names = {p.name for p in (tmp_path / "run").glob("*.png")}
    assert "closest_pairs.png" not in names
    assert "dimension_by_size.png" in names


@pytest.mark.usefixtures("undrawn")
def test_near_duplicates_are_found_where_half_of_the_rows_have_one_and_none_is_held_out(tmp_path: Path) -> None:
    twins = FINE[:120] + np.random.default_rng(0).normal(0, 1e-4, (120, 8, 8))
    np.save(tmp_path / "data.npy", np.concatenate([FINE[:240], twins]))
    summary = shown("data.npy", cwd=tmp_path)
    assert summary["duplicates"]["near_pairs"] == 120
    held_out = records(tmp_path / "run")["data.nc"]["held_out"].values
    assert np.all((held_out >= 120) & (held_out < 240))
    assert len(rows_of(tmp_path / "run" / "duplicates.csv")) == 120
    half, clean = (summary["condensation"][k] for k in ("half", "half_without_near_duplicates"))
    assert clean["low"] < clean["value"] < clean["high"]
    assert half["value"] != clean["value"]
    assert summary["findings"]["duplicates.half"]["value"] == clean


def test_names_with_signs_and_bytes_of_all_kinds(tmp_path: Path) -> None:
    name = "co$st^_$x_{"
    save_images(tmp_path / name, ROWS[:60])
    (tmp_path / name / "0003.png").rename(tmp_path / name / os.fsdecode(b"\xff\xfe.png"))
    result = geomem("data", name, "--quick", "--out", "run", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert geomem("report", "run", cwd=tmp_path).returncode == 0
    assert name in (tmp_path / "run" / "index.html").read_text()


@pytest.mark.usefixtures("undrawn")
def test_images_that_cannot_be_read_stop_it_unless_they_may_be_left_out(tmp_path: Path) -> None:
    save_images(tmp_path / "real", ROWS[:80])
    for name in ("0003.png", "0070.png"):
        (tmp_path / "real" / name).write_bytes(b"no image")
    result = geomem("data", "real", "--quick", "--out", "run", cwd=tmp_path)
    assert_refused(result, 2, "0003.png", "in real, 2 images cannot be read. To go on without, add --skip-unreadable")
    assert not (tmp_path / "run").exists()
    result = geomem("data", "real", "--quick", "--skip-unreadable", "--out", "run", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "2 images could not be read and were left out." in (tmp_path / "run" / "index.html").read_text()
    assert json.loads((tmp_path / "run" / "config.json").read_text())["skip_unreadable"] is True
