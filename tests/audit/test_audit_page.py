"""The page of an audited model: verdict, pictures, tables, the command that repeats it, and a reading that is new."""

import csv
import html
import json
import re
import shlex
import warnings
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from geomem.cli import main
from geomem.jobs import engine
from geomem.jobs.audit.request import AuditRequest
from geomem.jobs.engine import finish
from geomem.records import Run
from geomem.spectra import dimension
from geomem.spectra.dimension import DimensionEstimate

PROBE = ["--probe", "orthonormal"]
MORE = {
    "plain": ["--trained-on", "data.npy", "--held-out", "held-out.npy"],
    "probed": ["--trained-on", "data.npy", "--held-out", "held-out.npy", *PROBE, "--preset", "mnist"],
    "without": ["--trained-on", "data.npy"],
    "probed without": ["--trained-on", "data.npy", *PROBE],
    "alone": ["--held-out", "data.npy"],
    "few directions": ["--trained-on", "data.npy", "--held-out", "held-out.npy", *PROBE, "--directions", "9"],
}
COMMON = ["--quick", "--points", "4", "--times", "0.1:0.3:3"]


def triple(spectrum):
    """Three times the number of directions, as a reading that someone may add."""
    value = np.full(tuple(spectrum.t.shape), 3.0 * spectrum.dim)
    return DimensionEstimate(value, np.zeros_like(value, dtype=int), np.full(value.shape, "ok"))


@pytest.fixture(scope="module", params=MORE)
def run(request: pytest.FixtureRequest, made: Path) -> tuple[str, Path]:
    name = request.param
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(made)
        patch.setattr(warnings, "showwarning", warnings.showwarning)
        patch.setitem(dimension.READINGS, "triple", triple)
        draws = [] if name == "alone" else ["--draws", "4"]
        main(["audit", "model", *COMMON, *draws, *MORE[name], "--out", name])
    return name, made / name


@pytest.fixture
def page(run) -> str:
    return html.unescape((run[1] / "index.html").read_text())


@pytest.fixture
def summary(run) -> dict:
    return json.loads((run[1] / "summary.json").read_text())


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_the_box_holds_the_verdict(page, summary):
    assert summary["title"] in re.sub(r"\s+", " ", page.replace("\N{NO-BREAK SPACE}", " "))
    assert summary["title"].startswith("Undecided whether this model memorizes: ")
    assert summary["sure"] in page
    assert summary["next"] in page
    assert len(summary["short"]) <= 5


def test_summary_holds_what_scripts_read(run, summary):
    assert set(summary["verdict"]) == {"word", "reason", "images_needed"}
    compared = run[0] not in ("without", "probed without", "alone")
    for key, path in (("lost", "fraction"), ("membership", "auc")):
        assert summary[key] is None or {"value", "low", "high"} <= set(summary[key][path])
        assert (summary[key] is not None) == compared
    assert (summary["calibration"] is not None) == (compared or run[0] == "alone")
    assert summary["reference_t"] in [row["t"] for row in summary["levels"]]
    assert summary["cost"]["evaluations"] > 0
    assert summary["cost"]["seconds"] > 0
    assert all({"section", "text", "value"} == set(finding) for finding in summary["findings"].values())
    assert summary["held_out"] == compared


def test_pictures(run, page):
    name, folder = run
    expected = {"dimension", "images"} | (set() if name == "alone" else {"closest_pairs"})
    expected |= {"spectra"} if name in ("probed", "probed without") else set()
    assert {path.stem for path in folder.glob("*.png")} == expected
    assert page.count("<img") == page.count('alt="') == len(expected)


def test_nothing_on_the_page_is_a_hole(page):
    text = re.sub(r"<pre>.*?</pre>|<style>.*?</style>|<[^>]*>", " ", page, flags=re.S)
    for hole in (r"\bNone\b", r"\bnan\b", r"\[-?inf", r"inf\]", r"\{[a-z_]+", r"Interval\(", r"-0\.0\b", r"-0%"):
        assert not re.search(hole, text), re.search(f".*{hole}.*", text)
    for sentence in re.findall(r"<li>(.*?)</li>", page, re.S):
        assert len(sentence.split()) <= 40, sentence


def test_the_table_of_levels_is_that_of_the_saved_records(run):
    name, folder = run
    screened = xr.load_dataset(folder / "screened.nc", engine="netcdf4").sel(score="model")
    rows = rows_of(folder / "levels.csv")
    np.testing.assert_allclose([float(row["t"]) for row in rows], screened["t"].values)
    for where in screened["set"].values:
        expected = screened["squares"].sel(set=where).mean("point")
        np.testing.assert_allclose([float(row[str(where)]) for row in rows], expected.values)
    if "probed" in name or name == "few directions":
        model = xr.load_dataset(folder / "model.nc", engine="netcdf4").isel(score=0)
        reading = "degrees_of_freedom" if name == "few directions" else "resolved"
        training = model["dimension"].sel(reading=reading, set="training").mean("point")
        rows = rows_of(folder / "spectra.csv")
        np.testing.assert_allclose([float(row["training"]) for row in rows], training.values)


def test_all_images_are_listed(run, summary):
    rows = rows_of(run[1] / "images.csv")
    assert [row["image"] for row in rows] == [image["image"] for image in summary["closer"]["images"]]
    assert len(rows) == 4
    if summary["probed"] is not None:
        rows = rows_of(run[1] / "pairs.csv")
        assert [row["training image"] for row in rows] == [image["image"] for image in summary["probed"]["images"]]


def test_a_new_reading_is_in_record_table_and_page(run, page):
    """A function and a line in READINGS; nothing else."""
    name, folder = run
    if "probed" not in name and name != "few directions":
        assert not (folder / "readings.csv").exists()
        return
    model = xr.load_dataset(folder / "model.nc", engine="netcdf4")
    assert "triple" in model["reading"].values
    rows = [row for row in rows_of(folder / "readings.csv") if row["reading"] == "triple"]
    assert len(rows) == model.sizes["t"]
    assert "triple" in page
    if name != "few directions":  # of random directions there is no spectrum to read
        assert all(float(row["model, training"]) == 3 * 64 for row in rows)


def test_a_preset_reads_at_its_own_level(run, page, summary):
    read = summary["probed"] is not None and summary["probed"]["preset_t"] is not None
    assert read == (run[0] == "probed")
    assert ("The preset reads Alg. 3" in page) == read


def test_what_the_data_alone_tell_is_a_command_away(page):
    assert "geomem data data.npy" in page


def test_the_command_on_the_page_finds_the_same_run(run, page, made, monkeypatch, capsys):
    _, folder = run
    (command,) = re.findall(r"<pre>(geomem audit.*?)</pre>", page)
    monkeypatch.chdir(made)
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    before = {path.name: path.read_bytes() for path in folder.glob("*.nc")}
    main(shlex.split(command)[1:])
    assert "screening" not in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in folder.glob("*.nc")} == before


def test_the_report_is_made_from_the_records_alone(run):
    _, folder = run
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix in (".png", ".html", ".csv")}
    for name in before:
        (folder / name).unlink()
    finish(Run.existing(folder))
    assert {name: (folder / name).read_bytes() for name in before} == before


def test_without_held_out_images_nothing_is_decided(run, page, summary):
    name, folder = run
    points = xr.load_dataset(folder / "points.nc", engine="netcdf4")
    assert ("partner" in points) == (name not in ("without", "probed without", "alone"))
    if "without" in name:
        assert summary["verdict"]["word"] == "undecided"
        assert "Only copies can be found without held-out images" in page
    if name == "probed without":
        empirical = xr.load_dataset(folder / "empirical.nc", engine="netcdf4")
        assert empirical["score"].values.tolist() == ["empirical", "left-out"]
    if name == "alone":
        assert summary["verdict"]["reason"] in ("alone", "unfit")


def test_the_page_has_the_screening_and_the_whole_ranking_beside_it(here):
    request = AuditRequest(model="model", trained_on="data.npy", held_out="held-out.npy", quick=True, points=4, draws=0)
    result = engine.run(request, out="run")
    page = (here / "run" / "index.html").read_text()
    assert "Images screened" in page
    assert result.summary["findings"]["membership"]["text"] in page
    with (here / "run" / "screened.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 60
    assert {row["training image"] for row in rows} == {f"row {i}" for i in range(60)}
    assert (here / "run" / "screening.csv").exists()
