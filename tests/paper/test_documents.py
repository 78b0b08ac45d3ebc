"""The documents that `geomem claims` writes: what they link, what they rest on, and when they are stale."""

import json
import re
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from commands import geomem
from geomem.errors import InputError, OutputError
from geomem.paper.claims import CLAIMS
from geomem.paper.document import _options, _table, documents, stale, verdicts_of, write
from geomem.paper.errata import ERRATA
from geomem.paper.experiments import EXPERIMENTS
from geomem.paper.verdict import Table
from geomem.records import Run

LINK = re.compile(r"\]\(([^)#]*)(#[^)]*)?\)")


def tables(text: str) -> list[list[list[str]]]:
    """Cells of every table, by row; an escaped bar is no border."""
    blocks = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    return [
        [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in block.splitlines()]
        for block in blocks
    ]


def change(folder: Path, name: str, edit) -> None:
    """Load arrays of a run, edit them, and save them."""
    run = Run.existing(folder)
    arrays = run.load(name)
    edit(arrays)
    run.save(name, arrays)


@pytest.fixture(scope="module")
def written(gallery: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with records in gallery/ and documents in docs/, which no test changes."""
    folder = tmp_path_factory.mktemp("written")
    write(shutil.copytree(gallery, folder / "gallery"), folder / "docs")
    return folder


@pytest.fixture
def own(written: Path, tmp_path: Path) -> Path:
    """The same without the pictures, elsewhere, for a test of its own."""
    return shutil.copytree(written, tmp_path / "own", ignore=shutil.ignore_patterns("*.png"))


def pages(folder: Path) -> list[Path]:
    return [folder / "docs" / "claims.md", folder / "docs" / "errata.md", folder / "gallery" / "README.md"]


def test_every_link_leads_somewhere(written: Path) -> None:
    seen = 0
    for page in pages(written):
        text = page.read_text()
        for target, anchor in LINK.findall(text):
            if target == "equations.md":  # written by hand
                continue
            assert (page.parent / target).exists(), f"{page.name}: {target}"
            if anchor:
                assert f'<a id="{anchor[1:]}"></a>' in text
            seen += 1
    assert seen > 2 * len(CLAIMS)


def test_tables_are_whole(written: Path) -> None:
    for page in pages(written):
        text = page.read_text()
        assert text.startswith("<!-- Written by `geomem claims` from the records in ")
        assert "nan" not in text
        for rows in tables(text):
            assert {len(row) for row in rows} == {len(rows[0])}, f"{page.name}: {rows[0]}"
            assert len(rows) > 2


def test_claims_state_the_verdicts_and_errata_the_numbers(written: Path) -> None:
    claims, errata, _ = (page.read_text() for page in pages(written))
    overview = tables(claims)[0][2:]
    assert len(overview) == len(CLAIMS)
    for v, (statement, place, verdict) in zip(verdicts_of(written / "gallery"), overview, strict=True):
        assert (statement, place) == (f"[{v.claim.statement}](#{v.claim.key})", v.claim.place)
        assert verdict == f"**{v.evidence.verdict}**"
    numbers = Run.existing(written / "gallery" / "equations").load("numbers")
    rows = tables(errata)[0][2:]
    assert [row[0] for row in rows] == [e.place for e in ERRATA]
    for row in rows:
        at = numbers.sel(place=row[0])
        assert float(row[4]) == pytest.approx(float(at["printed"]), rel=1e-3)
        assert float(row[5].removesuffix(" (heuristic)")) == pytest.approx(float(at["derived"]), rel=1e-3)
        decided = row[6].removeprefix("**").split("**")[0].split(" ± ")
        assert float(decided[0]) == pytest.approx(float(at["decides"]), rel=1e-3)
        assert len(decided) == 1 + (float(at["error"]) > 0)
    assert "over 10 data sets" in errata


def test_documents_are_stale_where_records_change_and_nowhere_else(own: Path) -> None:
    """Nothing depends on where the records are, nor on pictures; a verdict and a number depend on them."""
    claims, errata, readme = pages(own)
    assert stale(own / "gallery", own / "docs") == []

    def agree(arrays) -> None:
        exact = arrays["condensation_time"].sel(form="exact").values
        arrays["condensation_time"].loc[{"form": "expansion"}] = exact

    change(own / "gallery" / "fig8", "loads", agree)
    assert stale(own / "gallery", own / "docs") == [claims]
    row = re.compile(r"\| \[[^|]*\]\(#expansion\) \|[^|]*\| \*\*(.*)\*\* \|")
    verdicts = [row.search(claims.read_text())[1]]
    write(own / "gallery", own / "docs")
    verdicts.append(row.search(claims.read_text())[1])
    assert verdicts == ["does not hold", "holds"]

    def shift(arrays) -> None:
        arrays["printed"][0] = -8.5

    change(own / "gallery" / "equations", "numbers", shift)
    readme.unlink()
    assert stale(own / "gallery", own / "docs") == [errata, readme]


def test_commands_in_the_gallery_make_the_same_run() -> None:
    """Scale, training steps and seed as options; other settings have no command."""

    def said(name: str, scale: str, **changes) -> str:
        settings = replace(EXPERIMENTS[name].settings[scale], **changes)
        return _options(Run(Path(), json.loads(json.dumps(asdict(settings)))), EXPERIMENTS[name])

    for name, experiment in EXPERIMENTS.items():
        for scale in experiment.settings:
            folder = " --data FOLDER" if experiment.check_data and scale != "quick" else ""
            assert said(name, scale) == f" --scale {scale}{folder}"
    assert said("fig2", "full", seed=3) == " --scale full --seed 3"
    assert said("fig5", "full", seed=3, steps=1000) == " --scale full --seed 3 --steps 1000"
    assert said("fig15", "quick", steps=7) == " --scale quick --steps 7"
    assert said("fig5", "full", hidden=64) == " (with settings of its own)"
    assert said("fig2", "quick", points=9) == " (with settings of its own)"


def test_steps_of_a_sampler_are_settings_of_its_own() -> None:
    settings = replace(EXPERIMENTS["reverse"].settings["full"], steps=(8, 16))
    run = Run(Path(), json.loads(json.dumps(asdict(settings))))
    assert _options(run, EXPERIMENTS["reverse"]) == " (with settings of its own)"


# --- what is refused ---


def test_incomplete_galleries_are_refused_with_what_is_missing(runs: Path, tmp_path: Path) -> None:
    (runs / "fig9" / "samples-200.nc").unlink()
    for use in (verdicts_of, lambda folder: documents(folder, tmp_path)):
        with pytest.raises(InputError, match=r"fig9: is not finished \(samples-200 missing\)"):
            use(runs)
    shutil.rmtree(runs / "fig9")
    shutil.rmtree(runs / "order")
    with pytest.raises(InputError, match="has no run of fig9, order; make all of them"):
        documents(runs, tmp_path)
    keys = {v.claim.key for v in verdicts_of(runs)}
    assert {"lost-first-simulation", "lost-first-theory"} & keys == set()
    assert "closing" in keys  # fig10 is there
    with pytest.raises(InputError, match="holds no run of an experiment"):
        verdicts_of(tmp_path / "nowhere")


def test_foreign_runs_are_refused(runs: Path, tmp_path: Path) -> None:
    config = json.loads((runs / "fig2" / "config.json").read_text())
    (runs / "fig2" / "config.json").write_text(json.dumps({**config, "command": "demo"}))
    with pytest.raises(InputError, match="fig2: was made by geomem demo"):
        documents(runs, tmp_path)


def test_a_run_in_another_experiment_s_folder_is_refused(runs: Path, tmp_path: Path) -> None:
    shutil.rmtree(runs / "fig9")
    shutil.copytree(runs / "fig10", runs / "fig9")
    with pytest.raises(InputError, match="fig9"):
        documents(runs, tmp_path)


def test_documents_that_cannot_be_written_are_named(runs: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"claims\.md: cannot be written"):
        write(runs, tmp_path / "file")
    assert list(runs.rglob("*.part")) == []


# --- as their users meet them ---


def test_claims_of_a_part_of_the_experiments_are_printed_and_not_written(gallery: Path, tmp_path: Path) -> None:
    shutil.copytree(gallery / "fig8", tmp_path / "one" / "fig8")
    result = geomem("claims", "--records", "one", "--out", "docs", "--json", cwd=tmp_path)
    stated = json.loads(result.stdout)
    assert [s["claim"] for s in stated] == ["expansion", "position"]
    assert stated == json.loads((gallery / "fig8" / "claims.json").read_text())
    assert "Traceback" not in result.stderr
    assert "has no run of fig1, fig2" in result.stderr
    assert not (tmp_path / "docs").exists()


def test_the_check_fails_and_writes_nothing_and_without_it_all_is_written(own: Path) -> None:
    claims, errata, readme = pages(own)
    right = errata.read_text()
    errata.write_text(right.replace("Eq. 7", "Eq. 70", 1))
    readme.unlink()
    command = ("claims", "--records", "gallery", "--out", "docs")
    failed = geomem(*command, "--check", cwd=own)
    assert failed.returncode == 1
    assert "docs/errata.md, gallery/README.md: not what the records say" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert "claims.md" not in failed.stderr
    assert errata.read_text() != right
    assert not readme.exists()
    lines = failed.stdout.splitlines()
    assert [line.split("  ")[-1] for line in lines] == [f"{c.statement} ({c.place})" for c in CLAIMS]
    before = claims.read_text()
    written = geomem(*command, "--json", cwd=own)
    assert written.returncode == 0, written.stderr
    assert "wrote docs/errata.md" in written.stderr
    stated = json.loads(written.stdout)
    assert [s["claim"] for s in stated] == [c.key for c in CLAIMS]
    assert [line.split("  ")[-2].strip() for line in lines] == [s["verdict"] for s in stated]
    assert (errata.read_text(), claims.read_text()) == (right, before)
    assert readme.exists()


def test_bars_in_cells_are_no_borders() -> None:
    lines = _table(Table(("a", "var(x|y)"), (("E[z|w]", "1"),)))
    assert lines == ["| a | var(x\\|y) |", "| --- | --- |", "| E[z\\|w] | 1 |"]
