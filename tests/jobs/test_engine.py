"""The engine over a job that counts: resuming, failures, places, equal bits."""

import json
from pathlib import Path

import pytest
import xarray as xr

from geomem.errors import GeomemError, InputError, OutputError
from geomem.jobs import places, registry
from geomem.jobs.again import redraw
from geomem.jobs.engine import run
from geomem.records import Run
from jobs import toy
from jobs.toy import ToyRequest


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "COMMANDS", dict(registry.COMMANDS))
    monkeypatch.setattr(places, "_WORKER", toy.WORKER)
    toy.register()


@pytest.fixture
def number(tmp_path: Path) -> str:
    path = tmp_path / "number"
    path.write_text("2.5")
    return str(path)


def sums(folder: Path) -> xr.Dataset:
    return Run.existing(folder).load("counted")


def test_a_run_leaves_its_record_summary_and_page(tmp_path: Path, number: str) -> None:
    said: list[tuple[str, float]] = []
    result = run(ToyRequest(number), out=tmp_path / "run", progress=lambda label, share: said.append((label, share)))
    assert result is not None
    assert result.page == tmp_path / "run" / "index.html"
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["sum"] == pytest.approx(float(sums(result.folder)["sum"].sum()))
    assert summary["title"].startswith("The sum is")
    assert summary["short"] == ["One finding."]
    assert not list((tmp_path / "run").glob("part_*"))
    shares = [share for _, share in said]
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1)
    assert ("part 2 halfway", pytest.approx(0.5 + 0.5 * 2.5 / 4)) in said


def test_config_holds_the_request_and_what_it_read(tmp_path: Path, number: str) -> None:
    run(ToyRequest(number, count=2), out=tmp_path / "run")
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["command"] == "toy"
    assert {key: config[key] for key in ("data", "count", "seed", "value")} == {
        "data": number,
        "count": 2,
        "seed": 0,
        "value": 2.5,
    }
    assert "fail" not in config  # results do not depend on it


def test_parts_that_are_saved_are_not_computed_again(
    tmp_path: Path, number: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match="part 2 was told to fail"):
        run(ToyRequest(number, fail="part_2"), out=tmp_path / "run")
    computed: list[int] = []
    honest = toy.counted

    def counted(request: ToyRequest, start: float, i: int, tell: toy.Tell) -> xr.Dataset:
        computed.append(i)
        return honest(request, start, i, tell)

    monkeypatch.setattr(toy, "counted", counted)
    run(ToyRequest(number), out=tmp_path / "run")
    assert computed == [2, 3]
    run(ToyRequest(number), out=tmp_path / "run")
    assert computed == [2, 3]


def test_a_stage_that_keeps_going_reports_the_other_parts(tmp_path: Path, number: str) -> None:
    request = ToyRequest(number, fail="part_1", how="bug", keep_going=True)
    with pytest.raises(GeomemError, match=r"1 part failed \(part 1: ZeroDivisionError: division by zero\.\)") as error:
        run(request, out=tmp_path / "run")
    assert "retry" in str(error.value)
    assert "sum" in json.loads((tmp_path / "run" / "summary.json").read_text())
    run(ToyRequest(number, keep_going=True), out=tmp_path / "run")
    assert Run.existing(tmp_path / "run").has("part_1")


def test_bad_input_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        run(ToyRequest(str(tmp_path / "nothing")), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_another_request_keeps_the_run(tmp_path: Path, number: str) -> None:
    run(ToyRequest(number, count=1), out=tmp_path / "run")
    with pytest.raises(OutputError, match="count = 1, not 2"):
        run(ToyRequest(number, count=2), out=tmp_path / "run")
    run(ToyRequest(number, count=2), out=tmp_path / "run", force=True)
    Path(number).write_text("3")
    with pytest.raises(OutputError, match=r"value = 2.5, not 3"):
        run(ToyRequest(number, count=2), out=tmp_path / "run")


def test_a_run_at_work_is_left_alone(tmp_path: Path, number: str) -> None:
    run(ToyRequest(number), out=tmp_path / "run")
    with Run.existing(tmp_path / "run").alone(), pytest.raises(OutputError, match="another run is using this folder"):
        run(ToyRequest(number), out=tmp_path / "run")


def test_the_report_is_made_again_from_the_records(tmp_path: Path, number: str) -> None:
    run(ToyRequest(number), out=tmp_path / "run")
    page = (tmp_path / "run" / "index.html").read_bytes()
    (tmp_path / "run" / "index.html").unlink()
    assert redraw(tmp_path / "run").page.read_bytes() == page
    assert b"geomem toy " in page  # the command that makes it again


def test_a_report_of_an_unknown_command_is_refused(tmp_path: Path, number: str) -> None:
    run(ToyRequest(number), out=tmp_path / "run")
    del registry.COMMANDS["toy"]
    with pytest.raises(InputError, match="geomem toy, which this version"):
        redraw(tmp_path / "run")


@pytest.mark.parametrize(("workers", "on", "message"), [(0, "local", "--workers"), (1, "mars", "--on: 'mars'")])
def test_places_that_do_not_exist(tmp_path: Path, number: str, workers: int, on: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        run(ToyRequest(number), out=tmp_path / "run", workers=workers, on=on)
    assert not (tmp_path / "run").exists()


def test_no_cluster_listens(tmp_path: Path, number: str) -> None:
    with pytest.raises(InputError, match="no Ray cluster can be reached at 127"):
        run(ToyRequest(number), out=tmp_path / "run", on=r"127\.0\.0\.1:1")


@pytest.mark.slow
def test_processes_leave_the_same_bits(tmp_path: Path, number: str) -> None:
    run(ToyRequest(number), out=tmp_path / "here")
    run(ToyRequest(number), out=tmp_path / "workers", workers=2)
    assert sums(tmp_path / "here").identical(sums(tmp_path / "workers"))
    assert sums(tmp_path / "workers")["threads"].values.tolist() == [1] * 4


@pytest.mark.slow
def test_a_killed_process_costs_its_part_alone(tmp_path: Path, number: str) -> None:
    request = ToyRequest(number, fail="part_0", how="killed", keep_going=True)
    with pytest.raises(GeomemError, match=r"part 0: its process was killed \(signal 9\)"):
        run(request, out=tmp_path / "run", workers=2)
    assert [Run.existing(tmp_path / "run").has(f"part_{i}") for i in range(4)] == [False, True, True, True]


@pytest.mark.slow
def test_an_error_in_a_process_comes_back(tmp_path: Path, number: str) -> None:
    with pytest.raises(GeomemError, match="part 1: part 1 was told to fail"):
        run(ToyRequest(number, fail="part_1"), out=tmp_path / "run", workers=2)


@pytest.mark.slow
def test_data_that_changed_under_a_process_are_noticed(tmp_path: Path, number: str) -> None:
    from geomem.jobs.worker import attempt

    request = ToyRequest(number)
    run(request, out=tmp_path / "run")
    Run.existing(tmp_path / "run").remove("counted")
    Path(number).write_text("3")
    said = attempt(str(tmp_path / "run"), request.to_json(), "counted", "part_0")
    assert said is not None
    assert "not what they were when this run began (value)" in said
