"""Runs of experiments: resumption, seeds, folders, and what is refused."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import xarray as xr

from geomem.errors import InputError, OutputError
from geomem.jobs.again import redraw
from geomem.jobs.engine import finish
from geomem.paper import networks
from geomem.paper.experiments import EXPERIMENTS, experiment_named
from geomem.paper.job import ReproduceJob
from geomem.paper.records import records_of
from geomem.paper.request import ReproduceRequest
from geomem.records import Run
from paper.tiny import content, quick_settings, reproduce

NAMES = list(EXPERIMENTS)
NETWORKS = ("fig5", "fig15", "fig16")
JOB = ReproduceJob()


def notice(name: str, scale: str, steps: int | None = None) -> str | None:
    request = ReproduceRequest(name, scale=scale, steps=steps)
    return JOB.notice(request, JOB.open(request))


# --- resumption ---


@pytest.mark.usefixtures("tiny_experiments")
def test_only_missing_parts_are_computed(gallery: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(gallery / "fig9", tmp_path / "fig9")
    before = content(folder)
    times = {p.name: p.stat().st_mtime_ns for p in folder.glob("*.nc")}
    (folder / "samples-50.nc").unlink()
    with pytest.raises(InputError, match="is not finished \\(samples-50 missing\\)"):
        finish(Run.existing(folder))
    said: list[tuple[str, float]] = []
    result = reproduce("fig9", out=folder, progress=lambda label, share: said.append((label, share)))
    after = {p.name: p.stat().st_mtime_ns for p in folder.glob("*.nc")}
    assert [name for name in times if after[name] != times[name]] == ["samples-50.nc"]
    assert content(folder).keys() == before.keys()
    xr.testing.assert_identical(
        Run.existing(folder).load("samples-50"), Run.existing(gallery / "fig9").load("samples-50")
    )
    shares = [share for _, share in said]
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1)
    assert {label for label, _ in said} == {"fig9: samples-50", "writing the report"}
    assert (result.folder, result.page) == (folder, folder / "fig9.png")
    assert [c["claim"] for c in result.summary["claims"]] == ["closing"]
    assert len(result.summary["short"]) == 2
    assert result.summary["short"][1].startswith("These verdicts are of the quick scale")
    assert result.summary["title"].startswith("Fig. 9: ")


@pytest.mark.usefixtures("tiny_experiments")
def test_trained_networks_are_measured_without_training(gallery: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(gallery / "fig16", tmp_path / "fig16")
    (folder / "m15.nc").unlink()
    before = [line for line in Run.existing(folder).metrics() if "step" in line]
    reproduce("fig16", out=folder)
    assert [line for line in Run.existing(folder).metrics() if "step" in line] == before
    xr.testing.assert_identical(Run.existing(folder).load("m15"), Run.existing(gallery / "fig16").load("m15"))


@pytest.mark.usefixtures("tiny_experiments")
def test_steps_and_seed_of_networks_are_taken_and_recorded(tmp_path: Path) -> None:
    reproduce("fig16", steps=3, seed=4, out=tmp_path / "run")
    folder = Run.existing(tmp_path / "run")
    assert (folder.config["command"], folder.config["steps"], folder.config["seed"]) == ("reproduce fig16", 3, 4)
    assert (folder.load("m15").attrs["steps"], folder.load("m15").attrs["seed"]) == (3, 4)
    lines = [line for line in folder.metrics() if "step" in line]
    assert [line["step"] for line in lines] == [0, 1, 2, 3]
    assert "commit" in lines[0]
    assert all(line["networks"] == "m15" for line in lines)


# --- folders ---


@pytest.mark.usefixtures("tiny_experiments")
def test_folders_are_named_by_scale_and_name_and_by_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    usual = reproduce("fig2").folder
    assert usual == tmp_path / "geomem-reproduce" / "quick" / "fig2"
    other = reproduce("fig2", seed=3).folder
    assert other.parent == usual.parent
    assert other.name.startswith("fig2-")
    assert Run.existing(other).config["seed"] == 3
    with pytest.raises(OutputError, match="seed = 0, not 5"):
        reproduce("fig2", seed=5, out=usual)
    kept = content(usual)
    assert reproduce("fig2", seed=5, out=usual, force=True).folder == usual
    assert content(usual)["spectra.nc"] != kept["spectra.nc"]


def test_all_stands_for_each_that_has_its_data(tmp_path: Path) -> None:
    def names(**options) -> list[str]:
        requests = JOB.expanded(ReproduceRequest("all", seed=2, **options))
        assert all(r.name == name and r.seed == 2 for name, r in requests.items())
        return list(requests)

    assert names() == NAMES
    assert names(scale="full") == [name for name in NAMES if name != "fig6"]
    assert names(scale="full", data=str(tmp_path)) == NAMES


def test_report_draws_the_figure_and_verdicts_again(gallery: Path, tmp_path: Path) -> None:
    """From the records and the configuration alone, whatever the settings of this version."""
    folder = shutil.copytree(gallery / "fig4", tmp_path / "fig4")
    before = content(folder)
    for name in ("fig4.png", "claims.json"):
        (folder / name).unlink()
    assert redraw(folder).page == folder / "fig4.png"
    assert content(folder) == before


def test_a_run_of_another_version_is_not_drawn(gallery: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(gallery / "fig2", tmp_path / "fig2")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({k: v for k, v in config.items() if k != "rank"}))
    with pytest.raises(InputError, match="another version of geomem \\(no 'rank'\\); make it again"):
        redraw(folder)
    (folder / "config.json").write_text(json.dumps({**config, "command": "reproduce fig99"}))
    with pytest.raises(InputError, match="'fig99': is no experiment"):
        redraw(folder)
    with pytest.raises(InputError, match="made by geomem audit, not by geomem reproduce"):
        records_of(Run(folder, {**config, "command": "audit"}))


# --- what runs refuse ---


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("fig99", {}, ["'fig99'", *NAMES, "--list"]),
        ("fig2", {"scale": "huge"}, ["--scale", "'huge'", "quick"]),
        ("fig1", {"scale": "reduced"}, ["--scale", "fig1 has no scale 'reduced'; choose one of quick, full."]),
        ("fig2", {"seed": -1}, ["--seed", "-1"]),
        ("fig2", {"steps": 10}, ["--steps", "fig2 trains no networks"]),
        ("reverse", {"steps": 10}, ["--steps", "reverse trains no networks"]),
        ("fig5", {"steps": 0}, ["--steps", "at least 1", "0"]),
        ("all", {"steps": 3}, ["--steps", "one experiment"]),
    ],
)
def test_wrong_requests_are_refused_and_leave_nothing(
    name: str, options: dict, words: list[str], tmp_path: Path
) -> None:
    with pytest.raises(InputError) as refused:
        reproduce(name, out=tmp_path / "run", **options)
    for word in words:
        assert word in str(refused.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("name", "other"), [("fig4", "fig11"), ("fig6", "fig7")])
def test_other_names_are_the_same_experiment(name: str, other: str) -> None:
    """A run under one name resumes under the other."""
    assert experiment_named(other) is EXPERIMENTS[name]
    requests = ReproduceRequest(name), ReproduceRequest(other)
    one, two = (JOB.settings(request, JOB.open(request)) for request in requests)
    assert one == two
    assert JOB.default_folder(requests[0], "") == JOB.default_folder(requests[1], "")


# --- how long it takes ---


def test_long_runs_are_announced(monkeypatch: pytest.MonkeyPatch) -> None:
    assert notice("fig11", "full") is None
    assert notice("fig5", "quick") is None
    timed = replace(EXPERIMENTS["fig5"], training_seconds=lambda settings: 2.0 * settings.steps)
    monkeypatch.setitem(EXPERIMENTS, "fig5", timed)
    assert notice("fig5", "full", 3600) == "fig5 at full scale takes about 2.0 h; interrupted, it resumes."


@pytest.mark.parametrize("name", NETWORKS)
def test_training_is_timed_on_the_settings_own_networks(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """25 steps are done and 20 timed: at a second each, all of them take steps x manifolds seconds."""
    settings = quick_settings(name, steps=1000, hidden=8, batch_size=4, sizes=(50,))
    clock, taken = [0.0], []

    class Data:
        def __init__(self, state: object, data: torch.Tensor) -> None:
            self.shape = data.shape

    def steps(state: object, objective: Data):
        for _ in range(100):
            clock[0] += 1
            taken.append(objective.shape)
            yield None

    monkeypatch.setattr(networks, "EnsembleObjective", Data)
    monkeypatch.setattr(networks, "steps", steps)
    monkeypatch.setattr(networks.time, "perf_counter", lambda: clock[0])
    assert networks.training_seconds(settings) == 1000 * len(settings.manifolds)
    assert taken == [(50, settings.dim)] * 25
