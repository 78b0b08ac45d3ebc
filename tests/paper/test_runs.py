"""Runs of experiments: resumption, seeds, folders, and what is refused."""

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import xarray as xr
from tiny import content, settings_of

from geomem.errors import InputError, OutputError
from geomem.jobs.redraw import redraw
from geomem.manifolds import LinearManifold
from geomem.paper import EXPERIMENTS, expected_seconds, experiment_named, networks, run, run_all
from geomem.paper.parameters import M15
from geomem.paper.run import finish, left_out, records_of
from geomem.records import Run
from geomem.seeds import derived_generator
from geomem.training import TrainState, train

NAMES = list(EXPERIMENTS)
NETWORKS = ("fig5", "fig15", "fig16")


def forbid(patch: pytest.MonkeyPatch, name: str) -> None:
    """Every part of an experiment fails when it is computed."""

    def fail(run, tell):
        raise AssertionError("computed")

    whole = EXPERIMENTS[name]
    patch.setitem(EXPERIMENTS, name, replace(whole, parts=lambda s: dict.fromkeys(whole.parts(s), fail)))


# --- resumption ---


@pytest.mark.usefixtures("tiny_experiments")
def test_a_finished_run_computes_nothing_again(gallery: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = shutil.copytree(gallery / "fig9", tmp_path / "fig9")
    times = {p.name: p.stat().st_mtime_ns for p in folder.glob("*.nc")}
    before = content(folder)
    forbid(monkeypatch, "fig9")
    result = run("fig9", out=folder)
    assert {p.name: p.stat().st_mtime_ns for p in folder.glob("*.nc")} == times
    assert content(folder) == before
    assert result.folder == folder
    assert result.page == folder / "fig9.png"
    assert [c["claim"] for c in result.summary["claims"]] == ["closing"]
    assert len(result.summary["findings"]["claims"]) == 1
    assert result.summary["title"].startswith("Fig. 9: ")


@pytest.mark.usefixtures("tiny_experiments")
def test_parts_that_are_missing_alone_are_computed(gallery: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(gallery / "fig9", tmp_path / "fig9")
    before = content(folder)
    times = {p.name: p.stat().st_mtime_ns for p in folder.glob("*.nc")}
    (folder / "samples-50.nc").unlink()
    with pytest.raises(InputError, match="is not finished \\(samples-50 missing\\)"):
        finish(Run.existing(folder))
    said: list[tuple[str, float]] = []
    run("fig9", out=folder, progress=lambda label, share: said.append((label, share)))
    after = {p.name: p.stat().st_mtime_ns for p in folder.glob("*.nc")}
    assert [name for name in times if after[name] != times[name]] == ["samples-50.nc"]
    assert content(folder).keys() == before.keys()
    xr.testing.assert_identical(
        Run.existing(folder).load("samples-50"), Run.existing(gallery / "fig9").load("samples-50")
    )
    shares = [share for _, share in said]
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1)
    assert {label for label, _ in said} == {"fig9: samples-50", "fig9: drawing"}


@pytest.mark.usefixtures("tiny_experiments")
def test_an_interrupted_training_goes_on_to_the_same_weights(
    gallery: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped in step 13 of 20 after the checkpoint of step 12, it does steps 13 to 20 and ends bit for bit the same."""
    monkeypatch.setattr(networks, "_SAVE_SECONDS", -1)

    def stop(label: str, share: float) -> None:
        if share > 0.9 * 12.5 / 20:
            raise KeyboardInterrupt

    def steps() -> list[int]:
        lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
        return [line["step"] for line in lines if "loss" in line]

    with pytest.raises(KeyboardInterrupt):
        run("fig16", out=tmp_path / "run", progress=stop)
    assert steps() == list(range(1, 14))
    assert not (tmp_path / "run" / "m15.nc").exists()
    run("fig16", out=tmp_path / "run")
    assert steps() == [*range(1, 14), *range(13, 21)]
    name = "m15.safetensors"
    assert (tmp_path / "run" / name).read_bytes() == (gallery / "fig16" / name).read_bytes()
    xr.testing.assert_identical(Run.existing(tmp_path / "run").load("m15"), Run.existing(gallery / "fig16").load("m15"))


@pytest.mark.usefixtures("tiny_experiments")
def test_trained_networks_are_measured_without_training(
    gallery: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shutil.copytree(gallery / "fig16", tmp_path / "fig16")
    (folder / "m15.nc").unlink()
    monkeypatch.setattr(networks, "train", None)
    run("fig16", out=folder)
    xr.testing.assert_identical(Run.existing(folder).load("m15"), Run.existing(gallery / "fig16").load("m15"))


@pytest.mark.usefixtures("tiny_experiments")
def test_steps_and_seed_of_networks_are_taken_and_recorded(tmp_path: Path) -> None:
    run("fig16", steps=3, seed=4, out=tmp_path / "run")
    folder = Run.existing(tmp_path / "run")
    assert (folder.config["command"], folder.config["steps"], folder.config["seed"]) == ("reproduce fig16", 3, 4)
    assert (folder.load("m15").attrs["steps"], folder.load("m15").attrs["seed"]) == (3, 4)
    lines = [json.loads(line) for line in (folder.path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [0, 1, 2, 3]
    assert "commit" in lines[0]
    assert all(line["networks"] == "m15" for line in lines)
    manifold = LinearManifold.subspaces(30, M15)
    data = manifold.sample(5000, generator=derived_generator(4, "data"))
    state = TrainState(settings_of("fig16", steps=3, seed=4).training, 30, float(data.std(correction=0)))
    for line, step in zip(lines[1:], train(state, data), strict=True):
        assert line["loss"] == pytest.approx(step.loss.tolist())


# --- folders ---


@pytest.mark.usefixtures("tiny_experiments")
def test_folders_are_named_by_scale_and_name_and_by_what_is_not_usual(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    usual = run("fig2").folder
    assert usual == tmp_path / "geomem-reproduce" / "quick" / "fig2"
    other = run("fig2", seed=3).folder
    assert other.parent == usual.parent
    assert other.name.startswith("fig2-")
    assert Run.existing(other).config["seed"] == 3
    with pytest.raises(OutputError, match="seed = 0, not 5"):
        run("fig2", seed=5, out=usual)
    kept = content(usual)
    assert run("fig2", seed=5, out=usual, force=True).folder == usual
    assert content(usual)["spectra.nc"] != kept["spectra.nc"]


def test_all_passes_over_what_lacks_its_data(tmp_path: Path) -> None:
    assert left_out("quick", None) == []
    assert left_out("full", None) == ["fig6"]
    assert left_out("full", tmp_path) == []


@pytest.mark.usefixtures("tiny_experiments")
def test_all_runs_each_in_a_folder_of_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    some = {name: EXPERIMENTS[name] for name in ("fig2", "fig13")}
    monkeypatch.setattr(sys.modules[run.__module__], "EXPERIMENTS", some)
    results = run_all(out=tmp_path / "here", seed=2)
    assert not (tmp_path / "here").exists()
    assert next(results).page == tmp_path / "here" / "fig2" / "fig2.png"
    assert {p.name for p in (tmp_path / "here").iterdir()} == {"fig2"}
    assert next(results).folder == tmp_path / "here" / "fig13"
    assert list(results) == []
    assert Run.existing(tmp_path / "here" / "fig13").config["seed"] == 2


def test_report_draws_the_figure_and_verdicts_again(gallery: Path, tmp_path: Path) -> None:
    """From the records and the configuration alone, whatever the settings of this version."""
    folder = shutil.copytree(gallery / "fig4", tmp_path / "fig4")
    before = content(folder)
    for name in ("fig4.png", "claims.json"):
        (folder / name).unlink()
    assert redraw(folder) == folder / "fig4.png"
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
        ("", {}, ["is no experiment"]),
        ("fig2", {"scale": "huge"}, ["--scale", "'huge'", "quick, full"]),
        ("fig2", {"seed": -1}, ["--seed", "negative", "-1"]),
        ("fig2", {"steps": 10}, ["--steps", "fig2 trains no networks"]),
        ("reverse", {"steps": 10}, ["--steps", "reverse trains no networks"]),
        ("fig5", {"steps": 0}, ["--steps", "at least 1", "0"]),
    ],
)
def test_wrong_requests_are_refused_and_leave_nothing(
    name: str, options: dict, words: list[str], tmp_path: Path
) -> None:
    with pytest.raises(InputError) as refused:
        run(name, out=tmp_path / "run", **options)
    for word in words:
        assert word in str(refused.value)
    assert list(tmp_path.iterdir()) == []


def test_other_names_are_the_same_experiment() -> None:
    assert experiment_named("fig11") is experiment_named("fig4") is EXPERIMENTS["fig4"]


def test_expected_seconds_are_the_table_s_but_measured_for_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["geomem.paper.run"], "training_seconds", lambda settings: 2.0 * settings.steps)
    assert expected_seconds("fig11", "full") == EXPERIMENTS["fig4"].seconds["full"]
    assert expected_seconds("fig5", "quick") == EXPERIMENTS["fig5"].seconds["quick"]
    assert 0 <= expected_seconds("fig5", "full", 1000) - 2000 <= 3600
    with pytest.raises(InputError, match="--steps"):
        expected_seconds("fig2", "quick", 3)


@pytest.mark.parametrize("name", NETWORKS)
def test_training_is_timed_on_the_settings_own_networks(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """25 steps are done and 20 timed: at a second each, all of them take steps x manifolds seconds."""
    settings = settings_of(name, steps=1000, hidden=8, batch_size=4, sizes=(50,))
    clock, taken = [0.0], []

    def steps(state, data):
        for _ in range(100):
            clock[0] += 1
            taken.append(data.shape)
            yield None

    monkeypatch.setattr(networks, "train", steps)
    monkeypatch.setattr(networks.time, "perf_counter", lambda: clock[0])
    assert networks.training_seconds(settings) == 1000 * len(settings.manifolds)
    assert taken == [(50, settings.dim)] * 25
