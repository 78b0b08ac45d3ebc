"""The command line: help, theory end to end, messages, exit codes, and what is left on disk."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from commands import assert_refused, geomem, started

THEORY = ["theory", "--variances", "1x2,0.3x5", "--dim", "30", "--samples", "1000", "--quick"]


def test_help_names_the_commands(tmp_path: Path) -> None:
    result = geomem("--help", cwd=tmp_path)
    assert result.returncode == 0
    for command in ("audit", "data", "train", "sweep", "demo", "theory", "reproduce", "report", "claims"):
        assert command in result.stdout
    assert geomem("-h", cwd=tmp_path).stdout == result.stdout
    assert geomem(cwd=tmp_path).returncode == 0


def test_version(tmp_path: Path) -> None:
    from geomem import __version__

    assert geomem("--version", cwd=tmp_path).stdout.strip() == __version__


@pytest.mark.slow
def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from geomem.cli import main\nmain(['audit', '--help'])\n"
        "print({'torch', 'numpy', 'scipy', 'matplotlib', 'xarray', 'diffusers'} & set(sys.modules))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.strip().splitlines()[-1] == "set()"


@pytest.mark.usefixtures("undrawn")
def test_values_are_read_where_pydantic_is_imported(tmp_path: Path) -> None:
    import pydantic  # noqa: F401  # cyclopts then validates by it

    assert geomem(*THEORY, "--times", "0.1,1", cwd=tmp_path).returncode == 0


@pytest.mark.slow
def test_the_program_runs_as_a_module(tmp_path: Path) -> None:
    assert_refused(started("audits", cwd=tmp_path), 2, "audits")
    assert started(*THEORY, "--times", "0.1", cwd=tmp_path).returncode == 0


def test_theory_prints_a_table_and_leaves_record_and_figure(tmp_path: Path) -> None:
    result = geomem(*THEORY, "--times", "1e-3:10:5", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "0.024478" in result.stdout
    (folder,) = (tmp_path / "geomem-theory").iterdir()
    left = {
        "config.json",
        "environment.json",
        "manifest.txt",
        "metrics.jsonl",
        "summary.json",
        "theory.nc",
        "theory.png",
    }
    assert {p.name for p in folder.iterdir()} == left
    assert (folder / "theory.png").read_bytes()[:4] == b"\x89PNG"
    again = geomem(*THEORY, "--times", "1e-3:10:5", cwd=tmp_path)
    assert again.stdout == result.stdout
    assert len(list((tmp_path / "geomem-theory").iterdir())) == 1


@pytest.mark.usefixtures("undrawn")
def test_theory_json_holds_the_sheet_of_values(tmp_path: Path) -> None:
    result = geomem(*THEORY, "--times", "0.1,1", "--json", "--out", "here", cwd=tmp_path)
    shown = json.loads(result.stdout)
    values = shown["data_vars"]
    assert shown["coords"]["t"]["data"] == [0.1, 1.0]
    assert values["condensation_time"]["data"] == pytest.approx(0.0244780339033562, rel=1e-12)
    row = values["singular_values"]["data"][shown["coords"]["form"]["data"].index("row")][0]
    assert row == pytest.approx([2.5061906822, 3.27871926215, 10.0], rel=1e-10)
    assert Path(shown["page"]) == tmp_path / "here" / "theory.png"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--variances=-1x2", "--samples", "10"], ["--variances", "at least 0"]),
        (["--variances", "0x3", "--samples", "10"], ["--variances", "all are 0"]),
        (["--variances", "one", "--samples", "10"], ["'one'", "1x2,0.3x5"]),
        (["--variances", "1x2", "--samples", "1"], ["--samples", "at least 2"]),
        (["--variances", "1x2", "--samples", "nan"], ["--samples", "nan"]),
        (["--variances", "1x2"], ["--samples", "required"]),
        (["--variances", "1x4", "--dim", "3", "--samples", "10"], ["--dim", "3", "4"]),
        (["--variances", "1x2", "--samples", "10", "--times", "0:1:5"], ["--times", "above 0"]),
        (["--variances", "1x2", "--samples", "10", "--times", "-1"], ["--times"]),
        (["--variances", "1x2", "--samples", "10", "--times", "1,inf"], ["--times", "finite"]),
        (["--variances", "1x2", "--samples", "10", "--times", "nan"], ["--times", "finite"]),
        (["--variances", "1x2", "--samples", "10", "--times", "soon"], ["--times", "1e-3:10:40"]),
        (["--variances", "1x2", "--samples", "10", "--seed", "-1"], ["--seed", "at least 0"]),
        (["--variances", "1x2", "--samples", "10", "--seed", "three"], ["--seed", "three"]),
    ],
)
def test_theory_refuses_bad_input_and_leaves_nothing(tmp_path: Path, arguments: list[str], words: list[str]) -> None:
    assert_refused(geomem("theory", *arguments, cwd=tmp_path), 2, *words)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("undrawn")
def test_another_run_is_kept_unless_forced(tmp_path: Path) -> None:
    foreign = tmp_path / "mine"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("years of work")
    first = [*THEORY, "--times", "0.1", "--out", "t"]
    other = [*THEORY, "--times", "0.2", "--out", "t"]
    assert_refused(geomem(*THEORY, "--force", "--out", str(foreign), cwd=tmp_path), 3, "not a geomem run")
    assert (foreign / "thesis.txt").read_text() == "years of work"
    assert geomem(*first, cwd=tmp_path).returncode == 0
    before = (tmp_path / "t" / "theory.nc").read_bytes()
    assert_refused(geomem(*other, cwd=tmp_path), 3, "times", "--force")
    assert (tmp_path / "t" / "theory.nc").read_bytes() == before
    assert geomem(*other, "--force", cwd=tmp_path).returncode == 0


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert_refused(geomem(*THEORY, "--out", "file", cwd=tmp_path), 3, "is a file")
    assert_refused(geomem(*THEORY, "--out", "file/below", cwd=tmp_path), 3, "cannot be written", "--out")


def test_report_draws_the_figure_of_theory_again(tmp_path: Path) -> None:
    assert geomem(*THEORY, "--times", "0.1", "--out", "t", cwd=tmp_path).returncode == 0
    (tmp_path / "t" / "theory.png").unlink()
    assert geomem("report", "t", cwd=tmp_path).stdout.strip() == str(tmp_path / "t" / "theory.png")
    assert (tmp_path / "t" / "theory.png").exists()


@pytest.mark.usefixtures("undrawn")
def test_report_refuses_what_is_no_finished_run(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    assert_refused(geomem("report", "mine", cwd=tmp_path), 2, "no geomem run")
    assert_refused(geomem("report", "nowhere", cwd=tmp_path), 2, "not a folder")
    assert geomem(*THEORY, "--times", "0.1", "--out", "t", cwd=tmp_path).returncode == 0
    (tmp_path / "t" / "theory.nc").unlink()
    assert_refused(geomem("report", "t", cwd=tmp_path), 2, "not finished", "theory missing")
