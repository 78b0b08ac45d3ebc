"""The demo end to end at its quick scale: page, records, JSON, resuming, and a reading that someone adds."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from commands import assert_refused, geomem
from geomem.jobs.demo.measure import SCORES
from geomem.records import Run
from geomem.spectra.dimension import READINGS, DimensionEstimate

PICTURES = 11


def table(path: Path) -> list[dict[str, str]]:
    """Rows of a CSV file."""
    return list(csv.DictReader(path.read_text().splitlines()))


@pytest.fixture
def copied(straight: Path, tmp_path: Path) -> Path:
    """The quick demo, to be changed."""
    shutil.copytree(straight, tmp_path / "run")
    return tmp_path / "run"


def test_page_holds_its_figures_and_the_verdict(straight: Path) -> None:
    page = (straight / "index.html").read_text()
    summary = json.loads((straight / "summary.json").read_text())
    assert summary["title"] in page
    assert summary["next"] in page
    assert page.count("data:image/png;base64,") == page.count("<img") == PICTURES
    assert "-0.0" not in page
    assert "None" not in page
    assert "geomem demo --quick --out run" in page
    assert not [p for p in straight.iterdir() if p.name.endswith(".part")]


def test_records_hold_every_reading_of_every_score(straight: Path) -> None:
    run = Run.existing(straight)
    for name in ("digits", "manifold"):
        points = run.load(f"{name}_points")
        assert tuple(points["score"].values) == SCORES
        assert list(points["reading"].values) == [*READINGS, "flipd"]
        assert list(points["size"].values) == run.config[name]["sizes"]
        known = points["dimension"].notnull().any(["set", "point", "t", "size"])
        assert bool(known.sel(reading=["resolved", "degrees_of_freedom"]).all())
        # Theory predicts no score, which FLIPD needs.
        assert known.sel(reading="flipd").values.tolist() == [True, True, True, False]


def test_readings_of_survival_agree_with_it(straight: Path) -> None:
    points = Run.existing(straight).load("digits_points")
    measured = points["survival"].notnull().all("direction")
    count = (points["survival"] > 0.5).sum("direction").where(measured)
    np.testing.assert_array_equal(
        *np.broadcast_arrays(count, points["dimension"].sel(reading="resolved").transpose(*count.dims))
    )
    s = points["variance"].values
    assert np.all(np.diff(s) <= 0)


def test_summary_says_so_when_networks_have_hardly_trained(straight: Path) -> None:
    summary = json.loads((straight / "summary.json").read_text())
    assert "hardly trained" in summary["title"]
    assert "without --quick" in summary["next"]
    assert len(summary["short"]) == 2
    assert summary["quick"] is True


def test_terminal_shows_verdict_table_and_page(straight: Path) -> None:
    shown = (straight.parent / "stdout").read_text()
    summary = json.loads((straight / "summary.json").read_text())
    assert " ".join(shown.split()).startswith(summary["title"])
    assert "lost at" in shown
    assert str(straight / "index.html") in shown


def test_report_draws_the_page_again_from_the_records(copied: Path, straight: Path) -> None:
    before = (copied / "index.html").read_bytes()
    for path in (*copied.glob("*.png"), *copied.glob("*.csv"), copied / "index.html"):
        path.unlink()
    assert geomem("report", str(copied), cwd=copied.parent).stdout.strip() == str(copied / "index.html")
    assert (copied / "index.html").read_bytes() == before
    assert len(list(copied.glob("*.png"))) == PICTURES


@pytest.mark.usefixtures("undrawn")
def test_an_added_reading_is_in_record_table_and_page_and_json_is_the_summary(
    copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half(spectrum: object) -> DimensionEstimate:
        found = READINGS["degrees_of_freedom"](spectrum)
        return DimensionEstimate(found.value / 2, found.index, found.status)

    monkeypatch.setitem(READINGS, "half_the_freedom", half)
    (copied / "digits_points.nc").unlink()
    result = geomem("demo", "--quick", "--out", "run", "--json", cwd=copied.parent)
    assert result.returncode == 0
    shown = json.loads(result.stdout)
    assert Path(shown.pop("page")) == copied / "index.html"
    assert Path(shown.pop("folder")) == copied
    assert shown == json.loads((copied / "summary.json").read_text())
    dimension = Run.existing(copied).load("digits_points")["dimension"]
    twice = 2 * dimension.sel(reading="half_the_freedom", drop=True)
    np.testing.assert_allclose(twice, dimension.sel(reading="degrees_of_freedom"))
    rows = table(copied / "digits_readings.csv")
    mine = [row for row in rows if row["reading"] == "half the freedom"]
    assert len(mine) == dimension.sizes["size"] * dimension.sizes["t"]
    assert all(float(row["theory, training"]) >= 0 for row in mine)
    assert "half the freedom" in (copied / "index.html").read_text()


def test_tables_hold_all_rows_with_the_reference_t_first(straight: Path) -> None:
    config = Run.existing(straight).config["digits"]
    rows = table(straight / "digits_readings.csv")
    readings = len(READINGS) + 1
    assert len(rows) == len(config["sizes"]) * len(config["times"]) * readings
    first = {float(row["t"]) for row in rows[: len(config["sizes"]) * readings]}
    assert first == {config["focus"]}
    scores = table(straight / "digits_scores.csv")
    assert [row["score"] for row in scores[: len(SCORES)]] == list(SCORES)


def test_another_run_and_bad_seeds_are_refused(straight: Path, tmp_path: Path) -> None:
    before = (straight / "summary.json").read_bytes()
    assert_refused(geomem("demo", "--quick", "--seed", "1", "--out", str(straight), cwd=tmp_path), 3, "seed", "--force")
    assert (straight / "summary.json").read_bytes() == before
    assert_refused(geomem("demo", "--seed", "-1", cwd=tmp_path), 2, "--seed", "at least 0")
    assert_refused(geomem("demo", "--seed", "three", cwd=tmp_path), 2, "--seed", "three")
    assert_refused(geomem("demo", "--sed", "3", cwd=tmp_path), 2, "--sed")
    assert list(tmp_path.iterdir()) == []


def test_a_run_without_its_networks_is_not_finished(copied: Path) -> None:
    (copied / "digits_networks_0.nc").unlink()
    assert_refused(geomem("report", str(copied), cwd=copied.parent), 2, "not finished", "digits_networks_0")


def test_a_damaged_checkpoint_is_named(copied: Path) -> None:
    (copied / "digits_networks_0.safetensors").write_bytes(b"damaged")
    (copied / "digits_samples.nc").unlink()
    result = geomem("demo", "--quick", "--out", "run", cwd=copied.parent)
    assert_refused(result, 2, "digits_networks_0.safetensors", "checkpoint")


@pytest.mark.slow
def test_processes_make_the_same_records(straight: Path, tmp_path: Path) -> None:
    assert geomem("demo", "--quick", "--workers", "2", "--out", "run", cwd=tmp_path).returncode == 0
    runs = [Run.existing(straight), Run.existing(tmp_path / "run")]
    for path in straight.glob("*.nc"):
        one, other = (run.load(path.stem) for run in runs)
        assert one.identical(other), path.stem
    assert (tmp_path / "run" / "summary.json").read_bytes() == (straight / "summary.json").read_bytes()
