"""The page of an audited model: verdict, pictures, tables, and the command that repeats it."""

import base64
import html
import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from commands import geomem
from models import saved
from reference import digits

MORE = {
    "with new images": ["--control", "unseen.npy", "--preset", "mnist"],
    "without": [],
    "few directions": ["--control", "unseen.npy", "--directions", "9"],
}
PICTURES = {"model_dimension", "model_spectra", "lost_images"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, images = tmp_path_factory.mktemp("page"), digits()
    np.save(folder / "data.npy", images[:60])
    np.save(folder / "unseen.npy", images[60:100])
    saved(folder / "model")
    return folder


@pytest.fixture(scope="module", params=MORE)
def run(request: pytest.FixtureRequest, made: Path) -> tuple[str, Path]:
    name = request.param
    options = ["--model", "model", "--quick", "--points", "4", "--draws", "4", "--times", "0.1:0.3:3"]
    result = geomem("audit", "data.npy", *options, *MORE[name], "--out", name, cwd=made)
    assert result.returncode == 0, result.stderr
    return name, made / name


@pytest.fixture
def page(run) -> str:
    return (run[1] / "index.html").read_text()


@pytest.fixture
def summary(run) -> dict:
    return json.loads((run[1] / "summary.json").read_text())


def tables(page: str) -> list[tuple[list[str], list[list[str]]]]:
    """Heads and rows of the tables, as text."""
    found = []
    for part in page.split("<table>")[1:]:
        part = part.split("</table>")[0]
        head = [html.unescape(cell) for cell in re.findall(r"<th [^>]*>(.*?)</th>", part, re.S)]
        rows = [re.findall(r"<td[^>]*>(.*?)</td>", row, re.S) for row in part.split("<tr")[1:]]
        found.append((head, [[html.unescape(cell) for cell in row] for row in rows if row]))
    return found


def test_title_holds_the_verdict(page, summary):
    assert f"<h1>{html.escape(summary['title'])}" in page.replace("&#39;", "&#x27;")
    words = {
        "undecided": "Undecided whether this model memorizes: ",
        "memorizing": "This model is memorizing: ",
        "losing dimensions": "This model is losing dimensions: ",
        "generalizing": "This model is generalizing: ",
    }
    assert summary["title"].startswith(words[summary["model"]["word"]])


def test_pictures_of_the_model_are_in_the_page(run, page):
    name, folder = run
    expected = PICTURES - {"model_spectra"} if name == "few directions" else PICTURES
    assert {path.stem for path in folder.glob("*.png")} & PICTURES == expected
    for picture in expected:
        assert base64.b64encode((folder / f"{picture}.png").read_bytes()).decode() in page
    assert page.count("<img") == page.count('alt="') == len(list(folder.glob("*.png")))
    assert 'alt=""' not in page


def test_nothing_on_the_page_is_a_hole(page):
    text = re.sub(r"<pre>.*?</pre>|<[^>]*>", " ", page, flags=re.S)
    for hole in (r"\bNone\b", r"\bnan\b", r"\[-?inf", r"inf\]", r"\{[a-z_]+", r"Interval\("):
        assert not re.search(hole, text), re.search(f".*{hole}.*", text)


def test_every_finding_on_the_model_stands_on_the_page(page, summary):
    text = html.unescape(page)
    for sentence in summary["findings"]["model"]:
        assert sentence in text


def test_table_of_noise_levels_is_that_of_the_saved_arrays(run, page, summary):
    name, folder = run
    model, points = (xr.load_dataset(folder / f"{n}.nc", engine="h5netcdf") for n in ("model", "points"))
    if name == "few directions":
        training = model["degrees_of_freedom"].sel(set="training")
    else:
        training = (model["survival"].sel(set="training") > 0.5).sum("direction")
    rows = next(rows for head, rows in tables(page) if head[:2] == ["t", "model, training"])
    assert [row[0] for row in rows] == [f"{t:.3g}" for t in points["t"].values]
    for row, mean in zip(rows, training.mean("point").values, strict=True):
        assert row[1].startswith(f"{float(mean):.1f} [")
    shown = next(rows for head, rows in tables(page) if head[:2] == ["training image", "dimension"])
    assert [row[0] for row in shown] == [image["image"] for image in summary["model"]["images"]]
    assert len(shown) == 4


def test_table_of_rules(run, page, summary):
    rows = next(rows for head, rows in tables(page) if head[:2] == ["t", "rule"])
    rules = {row[1] for row in rows}
    assert {"degrees of freedom", "flipd"} <= rules
    assert ("resolved" in rules) == (run[0] != "few directions")
    at = {summary["model"]["t"], summary["model"]["preset_t"]} - {None}
    assert len(rows) == len(rules) * len(at)
    marked = [row for row in rows if "(preset)" in row[0]]
    assert len(marked) == (len(rules) if run[0] == "with new images" else 0)


def test_the_command_on_the_page_finds_the_same_run(run, page, made):
    _, folder = run
    (command,) = re.findall(r"<pre>(geomem audit.*?)</pre>", page)
    words = shlex.split(html.unescape(command))
    assert words[words.index("--model") + 1] == "model"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    result = geomem(*words[1:], cwd=made)
    assert result.returncode == 0, result.stderr
    assert "spectra" not in result.stderr
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_without_new_images_nothing_is_decided_and_the_page_is_whole(run, page, summary):
    name, folder = run
    points = xr.load_dataset(folder / "points.nc", engine="h5netcdf")
    assert summary["model"]["held_out"] == ("partner" in points) == (name != "without")
    if name == "without":
        assert summary["model"]["word"] == "undecided"
        assert "--control" in html.unescape(page)
        assert points["set"].values.tolist() == ["training"]
        assert "when a score condenses" in page
