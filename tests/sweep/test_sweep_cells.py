"""Cells: what is measured against closed forms, and that what failed or stands keeps nothing else from being done."""

import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

import geomem.jobs.train as training_run
from geomem.data import DataSet, load
from geomem.errors import GeomemError, InputError, TrainingError
from geomem.jobs.sweep import Cell, Source, SweepSettings, settings_for, sweep
from geomem.jobs.sweep import cell as cell_module
from geomem.jobs.sweep import places as places_module
from geomem.jobs.sweep.measure import measured
from geomem.jobs.sweep.run import finish
from geomem.manifolds import random_rotation
from geomem.models.model import Model
from geomem.records import Result, Run
from geomem.scores import EmpiricalScore
from geomem.scores.gaussian import GaussianScore

SHAPE, DIM = (1, 4, 4), 16
VARIANCES = torch.tensor([1.0] * 3 + [0.1] * 5 + [0.0] * 8, dtype=torch.float64)
TINY: dict[str, Any] = {"preset": "mlp", "sizes": (2, 20), "steps": 20, "points": 3, "samples": 10, "on": "here"}


def settings(**changed: Any) -> SweepSettings:
    made = settings_for(load("digits"), "mlp", (2,), points=3, times=(0.01, 0.3, 2.0), samples=12)
    return replace(made, **{"discard": 1, **changed})


def model(score: Any) -> Model:
    return Model(score, "exact", "as it was given", 0, "cpu")


def images(count: int, seed: int, shape: tuple[int, ...] = SHAPE) -> torch.Tensor:
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def gaussian() -> GaussianScore:
    rotation = random_rotation(DIM, generator=torch.Generator().manual_seed(1))
    return GaussianScore(VARIANCES, basis=rotation, shape=SHAPE)


@pytest.fixture(scope="module")
def exact(gaussian: GaussianScore) -> xr.Dataset:
    """A cell whose model is a linear manifold: 2 training images, fewer than the 3 points, and 6 held-out ones."""
    told: list[float] = []
    out = measured(model(gaussian), images(2, 2), images(6, 3), settings(), seed=0, tell=told.append)
    assert told == sorted(told)
    assert told[-1] == pytest.approx(0.9)
    return out


def test_dimensions_of_a_linear_manifold_are_its_closed_forms(exact: xr.Dataset) -> None:
    s = VARIANCES.numpy()
    dimension = exact["dimension"].sel(score="network")
    for t in (0.01, 0.3, 2.0):
        at = dimension.sel(t=t)
        finite = at.sel(estimator="resolved").notnull()
        assert int(finite.sum()) == 2 + 3
        for name, truth in (("resolved", np.sum(s > t)), ("degrees_of_freedom", np.sum(s / (s + t)))):
            values = at.sel(estimator=name).values
            np.testing.assert_allclose(values[finite.values], truth, rtol=1e-9, err_msg=f"{name} at {t}")
        scaled = exact["scaled_value"].sel(score="network", t=t)
        np.testing.assert_allclose(scaled, np.broadcast_to(np.sort(t / (t + s))[::-1], (2, DIM)), rtol=1e-6)
        np.testing.assert_allclose(exact["example"].sel(t=t), np.sort(t / (t + s))[::-1], rtol=1e-6)
    # At t = 0.01 both gap rules see the eight directions that the manifold does not have.
    for name in ("largest_gap", "second_difference"):
        assert dimension.sel(t=0.01, estimator=name).sel(set="held-out").values.tolist() == [8, 8, 8]


def test_the_constants_of_alg_3_are_the_sweep_s(gaussian: GaussianScore) -> None:
    # Without the first eight values and those next to them the first kink is between variances 0.1 and 1.
    seen = measured(model(gaussian), images(2, 2), images(6, 3), settings(discard=8, times=(0.01,)), seed=0)
    found = seen["dimension"].sel(score="network", set="held-out", estimator="second_difference")
    assert np.unique(found).tolist() == [3]
    none = settings(threshold=1e9, times=(0.01,), discard=0)
    smooth = GaussianScore(torch.linspace(0.1, 2, DIM, dtype=torch.float64), shape=SHAPE)
    seen = measured(model(smooth), images(2, 2), images(6, 3), none, seed=0)
    assert np.isnan(seen["dimension"].sel(score="network", estimator="second_difference")).all()


def test_the_empirical_score_of_two_images_has_one_direction_whose_survival_is_known(exact: xr.Dataset) -> None:
    pair = images(2, 2).to(torch.float64).flatten(1)
    gap = float((pair[0] - pair[1]).square().sum())
    for where, points in (("training", pair), ("held-out", images(6, 3).to(torch.float64).flatten(1)[:3])):
        for t in (0.3, 2.0):
            weight = torch.softmax(-torch.cdist(points, pair).square() / (2 * t), 1)
            kappa = (weight.prod(1) * gap / t).numpy()  # w_1 w_2 |y_1 - y_2|^2 / t
            at = exact["dimension"].sel(score="empirical", set=where, t=t)[:, : len(points)]
            np.testing.assert_allclose(at.sel(estimator="degrees_of_freedom"), kappa, rtol=1e-6, atol=1e-12)
            np.testing.assert_array_equal(at.sel(estimator="resolved"), (kappa > 0.5).astype(float))


def test_sizes_below_the_points_have_none_where_there_are_no_images(exact: xr.Dataset) -> None:
    assert exact.sizes["point"] == 3
    for name in ("resolved", "degrees_of_freedom"):
        values = exact["dimension"].sel(estimator=name)
        assert np.isnan(values.sel(set="training", point=2)).all()
        assert np.isfinite(values.sel(set="training", point=[0, 1])).all()
        assert np.isfinite(values.sel(set="held-out")).all()
    assert np.isnan(exact["denoising"].sel(set="training", point=2)).all()
    assert np.isfinite(exact["denoising"].sel(set="held-out")).all()


def test_the_denoising_error_of_a_point_mass_is_the_distance_to_it() -> None:
    mass = GaussianScore(torch.zeros(DIM, dtype=torch.float64), mean=images(1, 5)[0].to(torch.float64))
    training, held_out = images(3, 2), images(6, 3)
    seen = measured(model(mass), training, held_out, settings(times=(0.01, 2.0)), seed=0)
    for where, points in (("training", training), ("held-out", held_out[:3])):
        truth = (points - images(1, 5)).flatten(1).to(torch.float64).square().sum(1)[:, None].expand(3, 2)
        np.testing.assert_allclose(seen["denoising"].sel(set=where), truth, rtol=1e-5)


def test_the_denoising_error_without_denoising_is_the_noise_s_the_same_at_all_points_and_sizes() -> None:
    wide = GaussianScore(torch.full((DIM,), 1e12, dtype=torch.float64), shape=SHAPE)
    few, more = (
        measured(model(wide), images(n, 2), images(6, 3), settings(times=(0.1, 2.0)), seed=4)["denoising"]
        for n in (2, 5)
    )
    error = more.values[0, 0]
    np.testing.assert_allclose(more, np.broadcast_to(error, more.shape), rtol=1e-4)
    np.testing.assert_allclose(few.sel(point=0), more.sel(point=0), rtol=1e-4)
    # Per unit of t a mean of 8 chi-squared numbers of d degrees: 5 standard deviations.
    np.testing.assert_allclose(error / [0.1, 2.0], DIM, atol=5 * math.sqrt(2 * DIM / 8))


def test_samples_of_the_empirical_score_are_copies_and_its_spectra_are_those_beside_it() -> None:
    data = load("digits")
    rows = data.rows(np.arange(60)).reshape(60, 1, 8, 8).float()
    known, unseen = rows[:5], rows[5:]
    seen = measured(model(EmpiricalScore(known)), known, unseen, settings(), seed=0)
    d = seen["sample_distance"].transpose("sample", "neighbour").values
    assert d.shape == (12, 2)
    assert (d[:, 0] < d[:, 1] / 3).all()
    assert len({round(x, 3) for x in d[:, 1]}) > 1  # not all of one image
    control = seen["control_distance"].transpose("control", "neighbour").values
    brute = np.sort(torch.cdist(unseen.flatten(1).double(), known.flatten(1).double()).numpy(), 1)[:, :2]
    np.testing.assert_allclose(control, brute, rtol=1e-6)
    assert not (control[:, 0] < control[:, 1] / 3).any()
    for name in ("dimension", "scaled_value"):
        np.testing.assert_allclose(seen[name].sel(score="network"), seen[name].sel(score="empirical"), rtol=1e-9)
    # A training point at small t holds all weight: no direction is left.
    assert (seen["dimension"].sel(estimator="resolved", set="training", t=0.01) == 0).all()


def test_times_are_brought_into_the_model_s_reach(gaussian: GaussianScore) -> None:
    class Short:
        shape, reach = SHAPE, (0.05, 1.5)

        def __call__(self, x: torch.Tensor, t: torch.Tensor | float) -> torch.Tensor:
            assert 0.049 < float(torch.as_tensor(t).min()) <= float(torch.as_tensor(t).max()) < 1.51
            return gaussian(x, t)

    seen = measured(model(Short()), images(2, 2), images(6, 3), settings(), seed=0)
    assert seen["t"].values.tolist() == [0.05, 0.3, 1.5]
    resolved = seen["dimension"].sel(score="network", set="held-out", estimator="resolved")
    assert resolved.transpose("t", "point").values.tolist() == [[8] * 3, [3] * 3, [0] * 3]


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Result:
    """A tiny sweep that nothing disturbed."""
    return sweep("digits", out=tmp_path_factory.mktemp("straight") / "run", **TINY)


@pytest.fixture
def copied(straight: Result, tmp_path: Path) -> Run:
    """The same in a folder of its own."""
    return Run.existing(shutil.copytree(straight.folder, tmp_path / "run"))


def same(one: Run, other: Run, name: str) -> None:
    a, b = one.load(name), other.load(name)
    assert a.attrs == b.attrs
    xr.testing.assert_identical(a, b)


def test_each_cell_is_trained_on_the_first_of_one_order_and_measured(straight: Result) -> None:
    run, data = Run.existing(straight.folder), load("digits").values
    folders = [run.path / "cells" / name for name in ("n000002-seed0", "n000020-seed0")]
    few, many = (np.load(folder / "training.npy") for folder in folders)
    np.testing.assert_array_equal(few, many[:2])
    apart = [np.load(folder / "held-out.npy") for folder in folders]
    np.testing.assert_array_equal(*apart)
    assert apart[0].shape == (359, *data.shape[1:])
    for size, folder in zip((2, 20), folders, strict=True):
        record = run.load(folder.name)
        assert (record.attrs["size"], record.attrs["seed"], record.attrs["steps"]) == (size, 0, 20)
        assert record.attrs["parameters"] > 1000
        assert record.attrs["loss"] == Run.existing(folder).metrics()[-1]["loss"]
        assert record.sizes["sample"] == 10
        assert record.sizes["control"] == 359


def test_cells_that_stand_are_not_worked_on_again(copied: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    times = {path: path.stat().st_mtime_ns for path in copied.path.glob("*.nc")}
    assert len(times) == 2

    def fail(*args: object, **options: object) -> None:
        raise AssertionError("was trained again")

    monkeypatch.setattr(training_run, "train_in", fail)
    shares: list[float] = []
    again = sweep("digits", out=copied.path, progress=lambda label, share: shares.append(share), **TINY)
    assert {path: path.stat().st_mtime_ns for path in copied.path.glob("*.nc")} == times
    assert shares == [1.0]
    assert again.page.exists()
    for name in ("n000002-seed0", "n000020-seed0"):  # nor by a process of its own
        cell_module.work(Cell(str(copied.path), Source("digits"), int(name[1:7]), 0))


def test_a_cell_that_fails_is_named_loses_no_other_and_is_alone_done_again(
    straight: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, trained = training_run.train_in, []

    def failing(folder: Any, data: Any, training: Any, **options: Any) -> Any:
        trained.append(training.size)
        if len(trained) == 1:
            raise TrainingError("the loss is not finite at step 3.")
        return real(folder, data, training, **options)

    monkeypatch.setattr(training_run, "train_in", failing)
    with pytest.raises(GeomemError) as raised:
        sweep("digits", out=tmp_path / "run", **TINY)
    assert raised.value.exit_code == 1
    for word in ("1 of 2 cells", "N = 2, seed 0", "not finite at step 3", str(tmp_path / "run"), "same command"):
        assert word in str(raised.value)
    run = Run.existing(tmp_path / "run")
    assert [run.has(name) for name in ("n000002-seed0", "n000020-seed0")] == [False, True]
    assert "N = 20" in (run.path / "index.html").read_text()  # what is done is drawn
    assert [bool(line["failure"]) for line in run.metrics()] == [True, False]
    assert trained == [2, 20]
    again = sweep("digits", out=tmp_path / "run", **TINY)
    assert trained == [2, 20, 2]
    for name in ("n000002-seed0", "n000020-seed0"):
        same(Run.existing(straight.folder), run, name)
    assert again.summary == straight.summary


def test_a_cell_goes_on_with_the_model_that_it_has_trained(
    straight: Result, copied: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from geomem.training import run

    copied.remove("n000002-seed0")
    monkeypatch.setattr(run, "Training", None)  # nothing is trained anew
    sweep("digits", out=copied.path, **TINY)
    same(Run.existing(straight.folder), copied, "n000002-seed0")


def test_another_library_s_error_loses_no_other_cell(copied: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("n000002-seed0", "n000020-seed0"):
        copied.remove(name)
    real = places_module.work

    def failing(cell: Cell, **options: Any) -> None:
        if cell.size == 2:
            raise RuntimeError("CUDA out of memory.")
        real(cell, **options)

    monkeypatch.setattr(places_module, "work", failing)
    with pytest.raises(GeomemError, match=r"1 of 2 cells failed.*out of memory"):
        sweep("digits", out=copied.path, **TINY)
    assert copied.has("n000020-seed0")


def test_a_cell_whose_data_changed_since_is_refused(copied: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    copied.remove("n000002-seed0")
    data, reads = load("digits"), []
    other = data.values.copy()
    other[5] += 1

    def read(source: Source) -> DataSet:
        reads.append(source)
        return data if len(reads) == 1 else replace(data, values=other)

    monkeypatch.setattr(Source, "read", read)
    with pytest.raises(GeomemError, match=r"N = 2, seed 0: digits: is not what it was.*--out"):
        sweep("digits", out=copied.path, **TINY)
    assert not copied.has("n000002-seed0")
    assert copied.has("n000020-seed0")


def test_a_process_says_what_went_wrong_and_how_far_it_is(
    copied: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cell_module, "_end_with_parent", lambda: None)
    cell = Cell(str(copied.path), Source("digits"), 2, 0)
    assert cell_module.main(cell.plain()) == 0
    assert capsys.readouterr() == ("", "")
    monkeypatch.setattr(cell_module, "work", lambda cell, tell: tell("measuring", 0.75))
    assert cell_module.main(cell.plain()) == 0
    assert capsys.readouterr().out == '["measuring", 0.75]\n'

    def fail(cell: Cell, tell: object) -> None:
        raise InputError("a word.")

    monkeypatch.setattr(cell_module, "work", fail)
    assert cell_module.main(cell.plain()) == 2
    assert capsys.readouterr().err == "a word.\n"


def test_damaged_and_missing_records_are_named(copied: Run) -> None:
    path = copied.path / "n000020-seed0.nc"
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(InputError, match=r"n000020-seed0\.nc: is damaged.*delete it"):
        sweep("digits", out=copied.path, **TINY)
    path.unlink()
    assert [row[0] for row in finish(copied).summary["table"]["rows"]] == ["2"]
    (copied.path / "n000002-seed0.nc").unlink()
    with pytest.raises(InputError, match="no cell is done"):
        finish(copied)


def test_times_that_the_network_cannot_tell_apart_are_one(tmp_path: Path) -> None:
    result = sweep("digits", out=tmp_path / "run", **(TINY | {"sizes": (2,), "steps": 2, "times": (1e-6, 1e-5)}))
    assert result.page.exists()
    (row,) = result.summary["rows"]  # both are below DDPM's first step
    assert row["t"] == pytest.approx(1.0001e-4, rel=1e-4)


@pytest.mark.parametrize("workers", [0, -2])
def test_no_workers_are_refused_and_nothing_is_left(tmp_path: Path, workers: int) -> None:
    with pytest.raises(InputError, match=rf"--workers: at least 1 is needed, got {workers}"):
        sweep("digits", out=tmp_path / "run", workers=workers, **TINY)
    assert list(tmp_path.iterdir()) == []
