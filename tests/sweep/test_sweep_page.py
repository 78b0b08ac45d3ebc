"""The command as its users meet it: what it leaves, prints and refuses, and that a new reading appears in all of it."""

import csv
import json
import shutil
from pathlib import Path

import pytest

from commands import assert_refused, geomem
from geomem.errors import InputError
from geomem.jobs.again import redraw
from geomem.jobs.sweep.cells import joined
from geomem.jobs.sweep.job import SweepJob
from geomem.jobs.sweep.measure import NOISY
from geomem.jobs.sweep.request import SweepRequest
from geomem.jobs.sweep.settings import SweepSettings, cell_name
from geomem.measure.screening import STATISTICS
from geomem.records import Run
from geomem.spectra import Spectrum
from geomem.spectra.dimension import READINGS, DimensionEstimate, degrees_of_freedom
from runs import begun
from sweep.records import made

COMMAND = [
    *("sweep", "digits", "--preset", "mlp", "--sizes", "2,20", "--seeds", "1", "--steps", "30", "--points", "2"),
    *("--samples", "10", "--out", "run", "--workers", "1"),
]


def doubled(spectrum: Spectrum) -> DimensionEstimate:
    """A reading that nobody knows."""
    found = degrees_of_freedom(spectrum)
    return DimensionEstimate(2 * found.value, found.index, found.status)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which the command was given, in a geomem with one reading more."""
    folder = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(READINGS, "doubled", doubled)
        result = geomem(*COMMAND, cwd=folder)
    assert result.returncode == 0, result.stderr
    assert str(folder / "run" / "index.html") in result.stdout
    for word in ("No verdict", "Train longer", "held-out", "N = 20"):
        assert word in result.stdout
    return folder


def test_the_command_leaves_page_summary_tables_and_pictures(finished: Path) -> None:
    run = Run.existing(finished / "run")
    settings = SweepSettings.read(run.config["settings"])
    arrays = joined([run.load(cell_name(*cell)) for cell in settings.cells], settings)
    hand = made()
    # The records of these tests are as the command's, but for the images that were screened, and may be those of older commands.
    assert set(hand.data_vars) | set(STATISTICS) == set(arrays.data_vars)
    arrays = arrays.drop_vars(STATISTICS)
    assert {name: set(hand[name].dims) for name in hand} == {name: set(arrays[name].dims) for name in arrays}
    assert set(arrays.attrs) <= set(hand.attrs)
    page = (run.path / "index.html").read_text()
    assert page.count("<img") == 4
    for name in ("dimension", "spectra", "copies", "kinks"):
        assert (run.path / f"{name}.png").read_bytes()[:4] == b"\x89PNG"
    for name, count in (("sizes", 2), ("dimensions", 8), ("screening", 8), ("readings", 2 * 4 * 8)):
        with (run.path / f"{name}.csv").open() as stream:
            assert len(list(csv.reader(stream))) == 1 + count
    summary = json.loads((run.path / "summary.json").read_text())
    assert [row["size"] for row in summary["rows"]] == [2] * 4 + [20] * 4
    assert 1 <= len(summary["short"]) <= 5
    for sentence in (summary["title"], summary["sure"], *summary["short"]):
        assert sentence in page.replace("&#39;", "'").replace("\N{NO-BREAK SPACE}", " ")
    assert set(summary["findings"]) >= {"dimension.first", "dimension.last", "copies.none", "blind", "alg3"}
    assert "How to read this page" in page
    (again,) = [line for line in page.splitlines() if line.startswith("<pre>geomem sweep ")]
    for words in (" digits", " --sizes 2,20", " --preset mlp", " --steps 30", " --out run"):
        assert words in again
    assert "None" not in page


def test_a_new_reading_is_in_record_table_and_page(finished: Path) -> None:
    run = Run.existing(finished / "run")
    record = run.load(cell_name(20, 0))["dimension"]
    assert record["reading"].values.tolist() == [*READINGS, "doubled", "flipd", NOISY]
    assert (record.sel(reading="doubled") == 2 * record.sel(reading="degrees_of_freedom")).all()
    with (run.path / "readings.csv").open() as stream:
        assert sum("doubled" in line for line in stream) == 2 * 4
    assert ">doubled</td>" in (run.path / "index.html").read_text()
    summary = json.loads((run.path / "summary.json").read_text())
    assert "doubled" in summary["rows"][0]["dimension"]


def test_the_command_prints_json_alone_and_resumes_what_is_done(finished: Path) -> None:
    result = geomem(*COMMAND, "--json", cwd=finished)
    assert result.returncode == 0
    stated = json.loads(result.stdout)
    assert stated.pop("page") == str(finished / "run" / "index.html")
    assert stated.pop("folder") == str(finished / "run")
    assert stated == json.loads((finished / "run" / "summary.json").read_text())


def test_other_settings_in_the_same_folder_are_refused_and_it_is_kept(finished: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in (finished / "run").glob("*.nc")}
    result = geomem(*[word.replace("2,20", "2,21") for word in COMMAND], cwd=finished)
    assert_refused(result, 3, "sizes = ", "--force")
    assert {path: path.stat().st_mtime_ns for path in (finished / "run").glob("*.nc")} == before


def test_report_makes_the_page_again(finished: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(finished / "run", tmp_path / "run"))
    old = (folder / "index.html").read_text()
    for path in (*folder.glob("*.png"), *folder.glob("*.csv"), folder / "index.html", folder / "summary.json"):
        path.unlink()
    assert redraw(folder).page == folder / "index.html"
    assert (folder / "index.html").read_text() == old
    assert len(list(folder.glob("*.png"))) == 4


def test_each_of_several_trainings_has_a_row() -> None:
    from geomem.jobs.sweep.findings import findings
    from geomem.jobs.sweep.numbers import rows
    from geomem.jobs.sweep.sections import page

    arrays = made()
    made_page = page(arrays, rows(arrays), findings(arrays, rows(arrays)), 0, "note")
    (table,) = next(section for section in made_page.sections if section.heading == "Trainings one by one").tables
    assert table.rows[:3] == [[2, 0, 11.0, 31.0], [2, 1, 15.0, 35.0], [64, 0, 11.0, 31.0]]
    assert len(made_page.short) <= 5
    one = made(seeds=(0,))
    made_page = page(one, rows(one), findings(one, rows(one)), 0, "note")
    assert not next(s for s in made_page.sections if s.heading == "Trainings one by one").tables


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--sizes", "2,many"], ["--sizes", "'2,many'", "100,1000"]),
        (["--sizes", "1,20"], ["--sizes", "at least 2"]),
        (["--sizes", ""], ["--sizes", "at least one size"]),
        (["--sizes", "2,5000"], ["--sizes", "5,000", "1,438"]),
        (["--sizes", "2", "--seeds", "-1"], ["--seeds", "negative"]),
        (["--sizes", "2", "--seeds", "one"], ["--seeds", "'one'"]),
        (["--sizes", "2", "--seeds", "1,1"], ["--seeds", "twice"]),
        (["--sizes", "2", "--times", "soon"], ["--times", "'soon'"]),
        (["--sizes", "2", "--points", "0"], ["--points", "at least 2"]),
        (["--sizes", "2", "--workers", "0"], ["--workers", "at least 1"]),
        (["--sizes", "2", "--size", "4"], ["--size", "images of bytes"]),
        (["--sizes", "2", "--preset", "huge"], ["--preset", "'huge'", "small-unet"]),
        (["--sizes", "2", "--precision", "fp8"], ["--precision", "'fp8'"]),
        (["--sizes", "2", "--on", "moon"], ["--on", "'moon'"]),
        (["--sizes", "2", "--limit", "5"], ["--limit"]),
    ],
)
def test_bad_options_are_refused_and_leave_nothing(tmp_path: Path, options: list[str], words: list[str]) -> None:
    preset = [] if "--preset" in options else ["--preset", "mlp"]
    assert_refused(geomem("sweep", "digits", *preset, *options, cwd=tmp_path), 2, *words)
    assert list(tmp_path.iterdir()) == []


def test_data_that_are_not_there_are_refused(tmp_path: Path) -> None:
    refused = geomem("sweep", "nowhere.npy", "--preset", "mlp", "--sizes", "2", cwd=tmp_path)
    assert_refused(refused, 2, "nowhere.npy", "does not exist")
    assert list(tmp_path.iterdir()) == []


def test_a_sweep_of_an_earlier_version_is_not_reported_and_the_default_folder_says_what_is_swept(
    tmp_path: Path,
) -> None:
    old = begun(tmp_path / "old", "sweep", {})
    with pytest.raises(InputError, match=r"old: was made by an earlier version of geomem; make the run again"):
        redraw(old.path)
    assert SweepJob().folder(SweepRequest("some/digits.npy", (2,), preset="mlp")) == "digits-mlp"
