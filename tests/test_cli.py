"""The command line end to end, in a temporary folder: results, messages, exit codes, and what is left on disk."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from commands import assert_refused, geomem, stopped

THEORY = ["theory", "--variances", "1x2,0.3x5", "--dim", "30", "--samples", "1000", "--quick"]


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A quick demo that nothing disturbed."""
    folder = tmp_path_factory.mktemp("straight")
    result = geomem("demo", "--quick", "--out", "run", cwd=folder)
    assert result.returncode == 0, result.stderr
    return folder / "run"


def test_help_names_the_commands_and_imports_nothing_heavy(tmp_path: Path) -> None:
    result = geomem("--help", cwd=tmp_path)
    assert result.returncode == 0
    assert "demo" in result.stdout
    for command in ("audit", "report", "theory"):
        assert command in result.stdout
    heavy = (
        "import sys, geomem.cli; print({'torch', 'numpy', 'scipy', 'matplotlib', 'xarray', 'rich'} & set(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", heavy], capture_output=True, text=True).stdout.strip() == "set()"


def test_theory_prints_a_table_and_leaves_record_and_figure(tmp_path: Path) -> None:
    result = geomem(*THEORY, "--times", "1e-3:10:5", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "0.024478" in result.stdout
    (folder,) = (tmp_path / "geomem-theory").iterdir()
    assert {p.name for p in folder.iterdir()} == {"config.json", "environment.json", "theory.nc", "theory.png"}
    assert (folder / "theory.png").read_bytes()[:4] == b"\x89PNG"
    again = geomem(*THEORY, "--times", "1e-3:10:5", cwd=tmp_path)
    assert again.stdout == result.stdout
    assert len(list((tmp_path / "geomem-theory").iterdir())) == 1


def test_theory_json_holds_the_sheet_of_values(tmp_path: Path) -> None:
    result = geomem(*THEORY, "--times", "0.1,1", "--json", "--out", "here", cwd=tmp_path)
    shown = json.loads(result.stdout)
    values = shown["data_vars"]
    assert shown["coords"]["t"]["data"] == [0.1, 1.0]
    assert values["condensation_time"]["data"] == pytest.approx(0.0244780339033562, rel=1e-12)
    row = values["singular_values"]["data"][shown["coords"]["form"]["data"].index("row")][0]
    assert row == pytest.approx([2.5061906822, 3.27871926215, 10.0], rel=1e-10)
    assert Path(shown["figure"]) == tmp_path / "here" / "theory.png"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--variances=-1x2", "--samples", "10"], ["variances", "negative"]),
        (["--variances", "0x3", "--samples", "10"], ["variances", "all are 0"]),
        (["--variances", "one", "--samples", "10"], ["'one'", "1x2,0.3x5"]),
        (["--variances", "1x2", "--samples", "1"], ["n_samples", "at least 2"]),
        (["--variances", "1x2", "--samples", "nan"], ["n_samples", "nan"]),
        (["--variances", "1x4", "--dim", "3", "--samples", "10"], ["--dim", "3", "4"]),
        (["--variances", "1x2", "--samples", "10", "--times", "0:1:5"], ["--times", "above 0"]),
        (["--variances", "1x2", "--samples", "10", "--times", "-1"], ["--times", "above 0"]),
        (["--variances", "1x2", "--samples", "10", "--times", "1,inf"], ["--times", "finite"]),
        (["--variances", "1x2", "--samples", "10", "--times", "nan"], ["--times", "finite"]),
        (["--variances", "1x2", "--samples", "10", "--times", "soon"], ["--times", "1e-3:10:40"]),
        (["--variances", "1x2", "--samples", "10", "--seed", "-1"], ["seed", "negative"]),
    ],
)
def test_theory_refuses_bad_input_and_leaves_nothing(tmp_path: Path, arguments: list[str], words: list[str]) -> None:
    assert_refused(geomem("theory", *arguments, cwd=tmp_path), 2, *words)
    assert list(tmp_path.iterdir()) == []


def test_unknown_options_and_values_are_usage_errors(tmp_path: Path) -> None:
    assert_refused(geomem("demo", "--sed", "3", cwd=tmp_path), 2, "--sed")
    assert_refused(geomem("demo", "--seed", "three", cwd=tmp_path), 2, "--seed", "integer")
    assert_refused(geomem("audits", cwd=tmp_path), 2, "audits")


def test_demo_leaves_a_page_with_its_figures_inside(straight: Path) -> None:
    page = (straight / "index.html").read_text()
    summary = json.loads((straight / "summary.json").read_text())
    assert summary["title"] in page
    assert page.count("data:image/png;base64,") == 10
    assert page.count("<img") == page.count('alt="')
    assert 'src="http' not in page
    assert 'href="http' not in page
    for name in ("digits", "manifold"):
        assert {row["source"] for row in summary[name]["rows"]} == {
            "network",
            "empirical",
            "empirical, same probe",
            "theory",
        }
    assert not [p for p in straight.iterdir() if p.name.endswith(".part")]


def test_demo_says_so_when_networks_have_hardly_trained(straight: Path) -> None:
    summary = json.loads((straight / "summary.json").read_text())
    assert "hardly trained" in summary["title"]


def test_demo_json_is_the_summary(straight: Path) -> None:
    result = geomem("demo", "--quick", "--out", "run", "--json", cwd=straight.parent)
    shown = json.loads(result.stdout)
    assert Path(shown.pop("page")) == straight / "index.html"
    assert shown == json.loads((straight / "summary.json").read_text())


def test_another_run_is_kept_unless_forced(straight: Path, tmp_path: Path) -> None:
    before = (straight / "summary.json").read_bytes()
    assert_refused(geomem("demo", "--quick", "--seed", "1", "--out", str(straight), cwd=tmp_path), 3, "seed", "--force")
    assert (straight / "summary.json").read_bytes() == before
    foreign = tmp_path / "mine"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("years of work")
    assert_refused(geomem("demo", "--quick", "--force", "--out", str(foreign), cwd=tmp_path), 3, "not a geomem run")
    assert (foreign / "thesis.txt").read_text() == "years of work"
    first = geomem(*THEORY, "--times", "0.1", "--out", "t", cwd=tmp_path)
    other = [*THEORY, "--times", "0.2", "--out", "t"]
    assert first.returncode == 0
    assert_refused(geomem(*other, cwd=tmp_path), 3, "times", "--force")
    assert geomem(*other, "--force", cwd=tmp_path).returncode == 0


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert_refused(geomem("demo", "--quick", "--out", "file", cwd=tmp_path), 3, "is a file")
    assert_refused(geomem("demo", "--quick", "--out", "file/below", cwd=tmp_path), 3, "cannot be written", "--out")


def test_interrupted_demo_resumes_to_the_same_result(straight: Path, tmp_path: Path) -> None:
    checkpoint = tmp_path / "run" / "digits_networks_0.safetensors"
    code, said = stopped("demo", "--quick", "--out", "run", cwd=tmp_path, when=checkpoint.exists, by=signal.SIGINT)
    assert code == 130, said
    assert "interrupted" in said
    assert "Traceback" not in said
    assert not (tmp_path / "run" / "index.html").exists()
    assert geomem("demo", "--quick", "--out", "run", cwd=tmp_path).returncode == 0
    summary = (tmp_path / "run" / "summary.json").read_bytes()
    assert summary == (straight / "summary.json").read_bytes()


def test_report_draws_a_demo_again_from_its_records(straight: Path) -> None:
    page = straight / "index.html"
    before = page.read_bytes()
    page.unlink()
    for picture in straight.glob("*.png"):
        picture.unlink()
    result = geomem("report", str(straight), cwd=straight.parent)
    assert result.stdout.strip() == str(page)
    assert page.read_bytes() == before
    assert len(list(straight.glob("*.png"))) == 10


def test_report_draws_the_figure_of_theory_again(tmp_path: Path) -> None:
    assert geomem(*THEORY, "--times", "0.1", "--out", "t", cwd=tmp_path).returncode == 0
    (tmp_path / "t" / "theory.png").unlink()
    assert geomem("report", "t", cwd=tmp_path).stdout.strip() == str(tmp_path / "t" / "theory.png")
    assert (tmp_path / "t" / "theory.png").exists()


def test_report_refuses_what_is_no_finished_run(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    assert_refused(geomem("report", "mine", cwd=tmp_path), 2, "no geomem run")
    assert_refused(geomem("report", "nowhere", cwd=tmp_path), 2, "no folder")
    assert geomem(*THEORY, "--times", "0.1", "--out", "t", cwd=tmp_path).returncode == 0
    (tmp_path / "t" / "theory.nc").unlink()
    assert_refused(geomem("report", "t", cwd=tmp_path), 2, "not finished", "theory missing")
