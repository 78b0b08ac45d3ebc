"""Where cells are worked on: processes that fail, are killed or lose their parent, and a Ray whose workers die."""

import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import xarray as xr
from geomem.jobs.sweep.run import COMMAND

from geomem.errors import GeomemError, InputError
from geomem.jobs.sweep import Cell, Source, places, settings_for, sweep
from geomem.records import Run

TINY: dict[str, Any] = {"preset": "mlp", "sizes": (2, 20), "steps": 40, "points": 2, "samples": 5}
NAMES = ("n000002-seed0", "n000020-seed0")


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A tiny sweep that nothing disturbed, on one thread as each of two processes on two cores is."""
    return Run.existing(sweep("digits", out=tmp_path_factory.mktemp("straight") / "run", on="here", **TINY).folder)


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(places, "cores", lambda: 2)  # one thread for each of two processes, whatever the machine


def script(monkeypatch: pytest.MonkeyPatch, folder: Path, text: str) -> None:
    """Have cells worked on by a shell script instead of Python, which is called as Python would be: -m module cell."""
    path = folder / "python"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    monkeypatch.setattr(places, "sys", SimpleNamespace(executable=str(path)))


def cells(folder: Path, *sizes: int) -> list[Cell]:
    return [Cell(str(folder), Source("digits"), size, 0) for size in sizes]


def running(pid: int) -> bool:
    """Whether a process is there and not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def until(happened: Callable[[], Any], seconds: float) -> Any:
    """What `happened` says once it says something."""
    end = time.monotonic() + seconds
    while not (found := happened()) and time.monotonic() < end:
        time.sleep(0.02)
    return found


def killed(pid: int | None) -> None:
    if pid is not None and running(pid):
        os.kill(pid, signal.SIGKILL)


def child_of(pid: int) -> int | None:
    """The process of a cell that a process has started."""
    for path in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == pid and b"geomem.jobs.sweep.cell" in (path / "cmdline").read_bytes():
                return int(path.name)
        except OSError:
            continue
    return None


def test_processes_are_so_many_at_a_time_each_with_its_cores_and_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    monkeypatch.setattr(places, "cores", lambda: 9)
    script(
        monkeypatch,
        tmp_path,
        f"""echo "$OMP_NUM_THREADS $CUDA_VISIBLE_DEVICES $1 $2" >> {tmp_path}/seen
touch {tmp_path}/busy.$$; ls {tmp_path} | grep -c busy >> {tmp_path}/busy-at-a-time; sleep 0.4; rm {tmp_path}/busy.$$""",
    )
    done = list(places.local(cells(tmp_path, 2, 3, 4, 5, 6), 2, lambda share: None))
    assert sorted(cell.size for cell, _ in done) == [2, 3, 4, 5, 6]
    assert {failure for _, failure in done} == {None}
    seen = (tmp_path / "seen").read_text().splitlines()
    assert {line.split()[1] for line in seen[:2]} == {"4", "7"}
    assert {line.split()[0] for line in seen} == {"4"}
    assert {line.split(maxsplit=2)[2] for line in seen} == {"-m geomem.jobs.sweep.cell"}
    assert "2" in (at_once := (tmp_path / "busy-at-a-time").read_text().split())
    assert set(at_once) - {"1", "2", "3"} == set()  # the file that counts has the word in its own name


def test_what_a_process_said_last_is_what_went_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script(
        monkeypatch,
        tmp_path,
        """case "$3" in
*'"size": 2,'*) echo "a warning" >&2; echo "no disk." >&2; exit 3;;
*'"size": 3,'*) exit 4;;
*'"size": 4,'*) kill -9 $$;;
*) echo "a warning" >&2;;
esac""",
    )
    found = dict(places.local(cells(tmp_path, 2, 3, 4, 5), 4, lambda share: None))
    by_size = {cell.size: failure for cell, failure in found.items()}
    assert by_size[2] == "no disk."
    assert "code 4" in str(by_size[3])
    assert "killed (signal 9)" in str(by_size[4])
    assert by_size[5] is None


def test_progress_is_summed_over_processes_and_other_words_are_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script(
        monkeypatch,
        tmp_path,
        """echo 'Loading ...'; echo '["training", 0.25]'; echo '[1]'; echo 7; sleep 0.7""",
    )
    told: list[float] = []
    list(places.local(cells(tmp_path, 2, 3), 2, told.append))
    assert max(told) == 0.5
    assert told[-1] == 0


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_library_that_prints_json_of_its_own_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script(monkeypatch, tmp_path, """echo '{"level": "info"}'; echo '["training", 0.25]'; sleep 0.7""")
    told: list[float] = []
    list(places.local(cells(tmp_path, 2), 1, told.append))
    assert max(told) == 0.25


def test_pipes_of_processes_are_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[str]] = []

    def popen(*arguments: Any, **options: Any) -> subprocess.Popen[str]:
        started.append(subprocess.Popen(*arguments, **options))
        return started[-1]

    fake = SimpleNamespace(Popen=popen, PIPE=subprocess.PIPE)
    monkeypatch.setattr(places, "subprocess", fake)
    script(monkeypatch, tmp_path, """case "$3" in *'"size": 2,'*) exit 0;; esac; exec sleep 60""")
    outcomes = places.local(cells(tmp_path, 2, 3), 2, lambda share: None)
    next(outcomes)
    outcomes.close()
    assert len(started) == 2
    assert [(p.stdout.closed, p.stderr.closed) for p in started if p.stdout and p.stderr] == [(True, True)] * 2


def test_processes_end_with_the_sweep_that_started_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script(
        monkeypatch,
        tmp_path,
        f"""case "$3" in *'"size": 2,'*) exit 0;; esac
echo $$ > {tmp_path}/pid.part; mv {tmp_path}/pid.part {tmp_path}/pid; exec sleep 60""",
    )
    outcomes = places.local(cells(tmp_path, 2, 3), 2, lambda share: None)
    assert next(outcomes)[0].size == 2
    assert until((tmp_path / "pid").exists, 5)
    pid = int((tmp_path / "pid").read_text())
    assert running(pid)
    outcomes.close()
    assert not running(pid)


def test_a_killed_cell_is_named_the_others_are_done_and_it_alone_is_done_again(
    straight: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        script(patch, tmp_path, f"""case "$3" in *'"size": 2,'*) kill -9 $$;; esac; exec {sys.executable} "$@" """)
        with pytest.raises(GeomemError) as raised:
            sweep("digits", out=tmp_path / "run", on="local", workers=2, **TINY)
    assert raised.value.exit_code == 1
    for word in ("1 of 2 cells failed", "N = 2, seed 0", "killed (signal 9)", "same command"):
        assert word in str(raised.value)
    run = Run.existing(tmp_path / "run")
    assert [run.has(name) for name in NAMES] == [False, True]
    assert not (run.path / "cells" / NAMES[0]).exists()
    done = (run.path / f"{NAMES[1]}.nc").stat().st_mtime_ns
    result = sweep("digits", out=run.path, on="local", workers=2, **TINY)
    assert result.page.exists()
    assert (run.path / f"{NAMES[1]}.nc").stat().st_mtime_ns == done
    for name in NAMES:  # the processes' records are this process's, bit for bit
        xr.testing.assert_identical(run.load(name), straight.load(name))


def test_cells_end_with_a_killed_sweep_which_starts_again_at_once_and_ends_as_an_undisturbed_one(
    tmp_path: Path,
) -> None:
    # Steps enough that the cell would train on for longer than it takes to see that it is alone.
    asked = ["digits", "--preset", "mlp", "--sizes", "2", "--points", "2", "--samples", "2", "--workers", "1"]
    command = [sys.executable, "-m", "geomem", "sweep", *asked, "--steps", "800", "--out", str(tmp_path / "run")]
    cell = None
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as parent:
        try:
            log = tmp_path / "run" / "cells" / NAMES[0] / "metrics.jsonl"
            assert until(lambda: log.exists() and log.read_text().count("\n") > 3, 90)
            cell = child_of(parent.pid)
            assert cell is not None
        finally:
            parent.send_signal(signal.SIGKILL)
        assert parent.wait() == -signal.SIGKILL
    try:
        # At once: the first cell may be at work still, and has a second to see that it is alone.
        options: dict[str, Any] = {"preset": "mlp", "sizes": (2,), "steps": 800, "points": 2, "samples": 2}
        sweep("digits", out=tmp_path / "run", on="local", workers=1, **options)
        assert not running(cell)
    finally:
        killed(cell)
    run, settings = Run.existing(tmp_path / "run"), {"on": "here", **options}
    whole = Run.existing(sweep("digits", out=tmp_path / "whole", **settings).folder)
    xr.testing.assert_identical(run.load(NAMES[0]), whole.load(NAMES[0]))
    # The first process was stopped in its midst: training began twice.
    steps = [line["step"] for line in Run.existing(run.path / "cells" / NAMES[0]).metrics()]
    assert steps.count(0) == 2
    assert steps.count(800) == 1


def test_a_cell_ends_as_well_with_a_sweep_that_is_killed_while_it_starts(tmp_path: Path) -> None:
    settings = settings_for(Source("digits").read(), "mlp", (2,), steps=10**6)
    run = Run.open(tmp_path / "run", COMMAND, settings)
    text = f"""
import os
from geomem.jobs.sweep import Cell, Source, places
started = places._Process(Cell({str(run.path)!r}, Source("digits"), 2, 0), 0, 1)
print(started._process.pid, flush=True)
os.kill(os.getpid(), 9)
"""
    out = tmp_path / "pid"
    with out.open("w") as stream:  # no pipe, which the cell would hold open
        ended = subprocess.run([sys.executable, "-c", text], stdout=stream, stderr=subprocess.DEVNULL, timeout=90)
    assert ended.returncode == -signal.SIGKILL
    pid = int(out.read_text())
    try:
        at_work = run.path / "cells" / NAMES[0] / "metrics.jsonl"
        until(lambda: at_work.exists() or not running(pid), 60)
        assert until(lambda: not running(pid), 3)
    finally:
        killed(pid)


def without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "find_spec", lambda name: None)


def test_ray_that_is_not_installed_is_named_with_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_ray(monkeypatch)
    with pytest.raises(InputError, match=r"--on: Ray needs the extra ray: pip install 'geomem\[ray\]'"):
        list(places.ray(cells(tmp_path, 2), None, lambda share: None))


def test_a_place_that_cannot_be_used_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_ray(monkeypatch)
    with pytest.raises(InputError, match="--on"):
        sweep("digits", out=tmp_path / "run", on="ray", **TINY)
    assert not (tmp_path / "run").exists()


@pytest.mark.timeout(240)
@pytest.mark.parametrize("address", ["lokal", "auto"])
def test_an_address_without_a_cluster_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    import ray

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    if ray.is_initialized() or Path("/tmp/ray/ray_current_cluster").exists():
        pytest.skip("a Ray is running here")
    begun = time.monotonic()
    with pytest.raises(InputError, match=r"--on: ('lokal' is not known|no Ray cluster can be reached at auto)"):
        list(places.ray(cells(tmp_path, 2), address, lambda share: None))
    assert time.monotonic() - begun < 60


@pytest.mark.timeout(240)
def test_a_host_and_port_without_a_cluster_are_refused_within_seconds(tmp_path: Path) -> None:
    text = """
import ray
from geomem.errors import InputError
from geomem.jobs.sweep import Cell, Source, places
try:
    list(places.ray([Cell("/nowhere", Source("digits"), 2, 0)], "127.0.0.1:1", lambda share: None))
except InputError as error:
    assert "127.0.0.1:1" in str(error)
    print("refused")
"""
    command = [sys.executable, "-c", text]
    said = subprocess.run(command, capture_output=True, text=True, timeout=20, cwd=tmp_path)
    assert "refused" in said.stdout


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """A Ray of two workers on this machine."""
    import ray

    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        warnings.simplefilter("ignore")  # Ray's own
        patch.setenv("OMP_NUM_THREADS", "1")
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
        yield
        ray.shutdown()


def dying_once(marks: Path, always: int) -> Callable[[Cell], str | None]:
    """`_attempted` whose worker dies the first time at N = 2, each time at N = `always`, and fails unasked at N = 7."""
    folder = str(marks)

    def attempted(cell):  # has no name of this module in it, which the workers do not know
        import os
        from pathlib import Path

        from geomem.jobs.sweep.places import _attempted

        mark = Path(folder) / f"{cell.name}.{len(list(Path(folder).glob(cell.name + '*')))}"
        mark.touch()
        if cell.size == always or (cell.size == 2 and mark.name.endswith(".0")):
            os.kill(os.getpid(), 9)
        if cell.size == 7:
            raise RuntimeError("CUDA out of memory")
        return _attempted(cell)

    return attempted


@pytest.mark.timeout(240)
def test_a_ray_sweep_outlives_a_worker_and_has_the_same_records(
    cluster: None, straight: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    marks = tmp_path / "marks"
    marks.mkdir()
    monkeypatch.setattr(places, "_attempted", dying_once(marks, always=-1))
    result = sweep("digits", out=tmp_path / "run", on="ray", **TINY)
    assert sorted(path.name for path in marks.iterdir()) == [f"{NAMES[0]}.0", f"{NAMES[0]}.1", f"{NAMES[1]}.0"]
    run = Run.existing(result.folder)
    for name in NAMES:
        xr.testing.assert_identical(run.load(name), straight.load(name))
    assert result.page.exists()
    assert ray.is_initialized()  # a cluster that was there stays


@pytest.mark.timeout(240)
def test_a_ray_worker_that_always_dies_and_a_cell_that_fails_lose_no_other_cell(
    cluster: None, straight: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "_attempted", dying_once(tmp_path, always=3))
    monkeypatch.setattr(places, "_RETRIES", 1)
    # N = 20 stands in the folder; N = 5 is no cell of the sweep, whose data it does not find.
    nowhere = Cell(str(straight.path), Source(str(tmp_path / "nowhere.npy")), 5, 0)
    asked = [*cells(straight.path, 3), nowhere, *cells(straight.path, 20)]
    found = {cell.size: failure for cell, failure in places.ray(asked, None, lambda share: None)}
    assert "worker died 2 times" in str(found[3])
    assert "nowhere.npy: does not exist" in str(found[5])
    assert found[20] is None
    assert len(list(tmp_path.glob("n000003*"))) == 2


@pytest.mark.timeout(240)
def test_another_library_s_error_is_not_called_a_worker_s_death(
    cluster: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "_attempted", dying_once(tmp_path, always=-1))
    ((_, failure),) = places.ray(cells(tmp_path, 7), None, lambda share: None)
    assert len(list(tmp_path.glob("n000007*"))) == 1
    assert "out of memory" in str(failure)
    assert "died" not in str(failure)
