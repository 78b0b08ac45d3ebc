"""`geomem claims` and `geomem reproduce` as their users meet them, and the documents of this repository."""

import json
import shutil
import signal
from pathlib import Path

import pytest

from commands import assert_refused, geomem, stopped
from geomem.paper.claims import CLAIMS, needs
from geomem.paper.experiments import EXPERIMENTS

ROOT = Path(__file__).parents[2]


def test_claims_are_distinct_and_rest_on_experiments_that_exist() -> None:
    assert len({claim.key for claim in CLAIMS}) == len(CLAIMS)
    assert {name for claim in CLAIMS for name in needs(claim)} <= set(EXPERIMENTS)


def test_the_repository_s_documents_say_what_its_records_say() -> None:
    result = geomem("claims", "--check", cwd=ROOT)
    assert result.returncode == 0, result.stderr
    assert "lost first" in result.stdout


def test_an_edited_document_fails_the_check_and_is_written_again(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    page = tmp_path / "docs" / "claims.md"
    page.write_text(page.read_text() + "edited\n")
    result = geomem("claims", "--check", cwd=tmp_path)
    assert result.returncode == 1
    assert "claims.md" in result.stderr
    assert "Traceback" not in result.stderr
    page.unlink()
    assert geomem("claims", cwd=tmp_path).returncode == 0
    assert page.read_text() == (ROOT / "docs" / "claims.md").read_text()


def test_reproduce_says_what_there_is(tmp_path: Path) -> None:
    listed = geomem("reproduce", "--list", cwd=tmp_path)
    assert listed.returncode == 0
    for name in (*EXPERIMENTS, "fig7", "fig11"):
        assert name in listed.stdout
    assert geomem("reproduce", cwd=tmp_path).stdout == listed.stdout
    assert_refused(geomem("reproduce", "fig17", cwd=tmp_path), 2, "fig17", "fig8")
    assert_refused(geomem("reproduce", "fig2", "--scale", "big", cwd=tmp_path), 2, "big", "quick")
    assert_refused(geomem("reproduce", "all", "--steps", "5", cwd=tmp_path), 2, "--steps")
    assert list(tmp_path.iterdir()) == []


def test_reproduce_prints_verdicts_and_json(tmp_path: Path) -> None:
    plain = geomem("reproduce", "fig8", cwd=tmp_path)
    assert plain.returncode == 0, plain.stderr
    assert "does not hold" in plain.stdout
    assert (tmp_path / "geomem-reproduce" / "quick" / "fig8" / "fig8.png").exists()
    stated = json.loads(geomem("reproduce", "fig8", "--json", cwd=tmp_path).stdout)
    assert {c["claim"] for c in stated["claims"]} == {"expansion", "position"}


def test_claims_without_records_are_refused(tmp_path: Path) -> None:
    assert_refused(geomem("claims", cwd=tmp_path), 2, "docs/gallery", "reproduce all")
    (tmp_path / "fig1").mkdir()
    (tmp_path / "fig1" / "config.json").write_text("{}")
    assert_refused(geomem("claims", "--records", ".", cwd=tmp_path), 2, "fig1")


@pytest.mark.slow
def test_an_interrupted_experiment_resumes(tmp_path: Path) -> None:
    """Stopped after the first of several parts it says so; run again it keeps that part."""
    first = tmp_path / "run" / "samples-50.nc"
    code, said = stopped("reproduce", "fig10", "--out", "run", cwd=tmp_path, when=first.exists, by=signal.SIGINT)
    assert code == 130, said
    assert "interrupted; progress is saved" in said
    assert "Traceback" not in said
    assert {p.suffix for p in first.parent.iterdir()} <= {".json", ".jsonl", ".nc", ".txt"}
    assert [p.name for p in first.parent.glob("*.nc")] == ["samples-50.nc"]
    made = first.stat().st_mtime_ns
    result = geomem("reproduce", "fig10", "--out", "run", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert first.stat().st_mtime_ns == made
    assert "fig10: samples-50\n" not in result.stderr
    assert "fig10: samples-250" in result.stderr
