"""What a sweep says: numbers by hand, sentences, figures, page, the command, and Figs. 6 and 7 of the paper."""

import io
import json
import math
import shutil
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from geomem.jobs.sweep.page import sweep_table
from geomem.jobs.sweep.run import joined
from geomem.jobs.sweep.summary import copies, dimension, rows, spoken_time, summarise
from matplotlib.figure import Figure

from commands import assert_refused, geomem
from geomem.cli import main
from geomem.errors import InputError
from geomem.figures import sweep as figures
from geomem.figures.style import HELD_OUT, TRAINING
from geomem.jobs.redraw import redraw
from geomem.jobs.sweep import SweepSettings
from geomem.paper import images as image_experiments
from geomem.paper.images import SCALED, ImageSettings, ImageSweep, drawn_images, image_parts
from geomem.paper.run import experiment_named
from geomem.paper.run import run as reproduce
from geomem.records import Run

RUN = sys.modules["geomem.paper.run"]
SCORES, SETS = ["network", "empirical"], ["training", "held-out"]
READINGS = ["resolved", "degrees_of_freedom", "largest_gap", "second_difference"]
COMMAND = [
    *("sweep", "digits", "--preset", "mlp", "--sizes", "2,20", "--seeds", "1", "--steps", "30", "--points", "2"),
    *("--samples", "10", "--out", "run"),
]
NEAR, FAR = np.array([0.1, 1.0]), np.array([0.9, 1.0])  # distances of a copy and of none


def made(
    sizes: tuple[int, ...] = (2, 64, 1000),
    seeds: tuple[int, ...] = (0, 1),
    times: tuple[float, ...] = (0.01, 0.1, 1.0),
    points: int = 2,
    direction: int = 64,
    samples: int = 10,
    controls: int = 40,
) -> xr.Dataset:
    """A sweep without copies, whose dimension is that of `value_at`, whose spectra are a step at a third of all directions."""
    shape = (len(sizes), len(seeds), 2, 2, len(times), 4, points)
    axes = ("size", "seed", "score", "set", "t", "estimator", "point")
    index = dict(zip(axes, np.ogrid[tuple(slice(n) for n in shape)], strict=True))
    values = 10 + 20 * index["set"] + 4 * index["seed"] + 2 * index["point"] + 0 * sum(index.values())
    step = np.where(np.arange(direction) < direction // 3, 0.9, 0.3 - 0.01 * np.linspace(0, 1, direction) ** 2)
    spectra = np.broadcast_to(step.astype(np.float32), (len(sizes), len(seeds), 2, 2, len(times), direction))
    kept = {"sample": samples, "control": controls}
    distances = {
        f"{name}_distance": (
            ("size", "seed", name, "neighbour"),
            np.broadcast_to(FAR, (len(sizes), len(seeds), n, 2)).copy(),
        )
        for name, n in kept.items()
    }
    error = np.broadcast_to(np.asarray([1.0, 2.0])[:, None, None], (2, points, len(times)))
    return xr.Dataset(
        {
            "scaled_value": (("size", "seed", "score", "set", "t", "direction"), spectra.copy()),
            "example": (("size", "seed", "t", "direction"), spectra[:, :, 0, 0].copy()),
            "dimension": (axes, values.astype(np.float64)),
            "denoising": (
                ("size", "seed", "set", "point", "t"),
                np.broadcast_to(error, (len(sizes), len(seeds), *error.shape)).copy(),
            ),
            **distances,
            "loss": (("size", "seed"), np.broadcast_to(np.linspace(0.5, 0.7, len(seeds)), shape[:2]).copy()),
        },
        coords={
            "size": list(sizes),
            "seed": list(seeds),
            "score": SCORES,
            "set": SETS,
            "t": list(times),
            "estimator": READINGS,
            "point": np.arange(points),
        },
        attrs={
            "data": "made",
            "network": "mlp",
            "flow": "vp",
            "parameters": 12_345,
            "steps": 3000,
            "batch_size": 128,
            "precision": "float32",
            "held_out": controls,
            "discard": 8,
            "threshold": 15.0,
            "cells": len(sizes) * len(seeds),
        },
    )


def told(arrays: xr.Dataset) -> dict[str, str]:
    """Sentences of each section of findings, as one text."""
    return {name: " ".join(found) for name, found in summarise(arrays)["findings"].items()}


def test_dimensions_are_means_over_points_of_all_trainings_with_student_s_interval() -> None:
    arrays = made()
    # 10, 12, 14, 16: mean 13, variance 20/3, Student's quantile of three degrees of freedom 3.18245.
    found = dimension(arrays, 64, 0.1, "training")
    half = 3.182446305 * math.sqrt(20 / 3 / 4)
    assert (found.value, found.low, found.high, found.n) == pytest.approx((13, 13 - half, 13 + half, 4))
    assert dimension(arrays, 64, 0.1, "held-out").value == 33
    arrays["dimension"].loc[{"size": 64, "t": 0.1, "set": "training", "score": "empirical", "seed": 1}] = np.nan
    some = dimension(arrays, 64, 0.1, "training", score="empirical", reading="largest_gap")
    assert (some.value, some.n) == (11, 2)
    assert some.low == pytest.approx(max(0, 11 - 12.70620474 * math.sqrt(2 / 2)))  # 10, 12; cut at 0
    assert some.high == pytest.approx(11 + 12.70620474)
    assert dimension(arrays, 64, 0.1, "training").n == 4  # the network's are untouched


def test_intervals_end_at_the_number_of_directions_and_one_point_has_none() -> None:
    arrays = made(seeds=(0,))
    arrays["dimension"].loc[{"size": 2, "point": 0}] = 64.0
    arrays["dimension"].loc[{"size": 2, "point": 1}] = 60.0
    assert dimension(arrays, 2, 0.1, "training").high == 64
    arrays["dimension"].loc[{"size": 2, "point": 1}] = np.nan
    one = dimension(arrays, 2, 0.1, "training")
    assert (one.value, one.n) == (64, 0)
    assert math.isnan(one.low)
    assert math.isnan(one.high)
    arrays["dimension"].loc[{"size": 2}] = np.nan
    assert math.isnan(dimension(arrays, 2, 0.1, "training").value)


def test_copies_are_counted_over_all_trainings_with_exact_intervals() -> None:
    arrays = made()
    arrays["sample_distance"].loc[{"size": 2}] = NEAR
    arrays["sample_distance"].loc[{"size": 64, "seed": 1}][:5] = NEAR
    rate, control = copies(arrays, 2)
    # Clopper-Pearson at all and at none of n: (1 - level)/2 to the power 1/n.
    assert (rate.count, rate.total, rate.high) == (20, 20, 1)
    assert rate.low == pytest.approx(0.025 ** (1 / 20))
    assert (control.count, control.total, control.low) == (0, 80, 0)
    assert control.high == pytest.approx(1 - 0.025 ** (1 / 80))
    assert copies(arrays, 64)[0].value == 0.25
    # A third is no copy, and samples that others have not are left out.
    arrays["sample_distance"].loc[{"size": 1000}] = np.array([1.0, 3.0])
    arrays["sample_distance"].loc[{"size": 1000, "seed": 0}] = np.nan
    assert (copies(arrays, 1000)[0].count, copies(arrays, 1000)[0].total) == (0, 10)


def test_each_size_and_time_has_a_row() -> None:
    arrays = made()
    table = rows(arrays)
    assert [(row["size"], row["t"]) for row in table] == [(n, t) for n in (2, 64, 1000) for t in (0.01, 0.1, 1.0)]
    for row in table:
        assert row["loss"] == pytest.approx(0.6)
        assert row["denoising"] == {"training": 1, "held-out": 2}
        assert row["by_seed"] == {"training": [11, 15], "held-out": [31, 35]}
        assert row["dimension"]["resolved"]["network"]["training"] == dimension(
            arrays, row["size"], row["t"], "training"
        )
    assert spoken_time(arrays) == 0.1
    assert spoken_time(made(times=(0.01, 0.1, 1.0, 2.0))) == 1.0
    table_of = sweep_table(summarise(arrays))
    lines = table_of.rows
    assert list(table_of.head)[:3] == ["N", "training", "held-out"]
    assert [line[0] for line in lines] == ["2", "64", "1,000"]
    assert [line[1:3] for line in lines] == [["13.0 [8.9, 17.1]", "33.0 [28.9, 37.1]"]] * 3
    assert [line[list(table_of.head).index("copies")] for line in lines] == ["0.0% [0.0, 16.8]"] * 3
    assert [line[list(table_of.head).index("loss")] for line in lines] == ["0.6000"] * 3


def test_memorizing_at_few_images_is_said_with_where_it_ends() -> None:
    arrays = made()
    arrays["sample_distance"].loc[{"size": 2}] = NEAR
    arrays["dimension"].loc[{"size": 2, "score": "network"}] = 0.0
    said = told(arrays)
    assert said["copies"].startswith("Copies among samples: 100.0% [83.2, 100.0] at N = 2.")
    assert said["copies"].endswith("no more often than images never seen at N = 64, 1,000.")
    assert "0.0 [0.0, 0.0] dimensions of 64 at training images of N = 2" in said["dimensions"]
    assert "13.0 [8.9, 17.1] at those of N = 1,000" in said["dimensions"]
    # Welch's interval of two groups of 4 with variance 20/3 each: 6 degrees of freedom, 2.44691.
    half = 2.446911851 * math.sqrt(2 * 20 / 3 / 4)
    assert f"never seen less those at training images: 20.0 [{20 - half:.1f}, {20 + half:.1f}]." in said["dimensions"]
    assert "may be none" not in said["dimensions"]


def test_no_copies_and_no_difference_are_said_to_be_none() -> None:
    arrays = made()
    arrays["dimension"].loc[{"set": "held-out"}] = arrays["dimension"].sel(set="training").values
    said = told(arrays)
    assert said["copies"] == "Samples are copies no more often than images never seen at N = 2, 64, 1,000."
    assert "0.0 [-4.5, 4.5], which may be none." in said["dimensions"]


def test_copies_everywhere_leave_no_size_without() -> None:
    arrays = made(sizes=(2, 64))
    arrays["sample_distance"].loc[{}] = NEAR
    said = told(arrays)["copies"]
    assert "at N = 2, 100.0% [83.2, 100.0] at N = 64" in said
    assert "no more" not in said


def test_copies_beside_few_images_never_seen_are_not_denied() -> None:
    arrays = made(sizes=(2, 64), seeds=(0,), controls=2)
    arrays["sample_distance"].loc[{"size": 2}] = NEAR
    said = told(arrays)["copies"]
    assert said.startswith("Too few were compared to tell copies from chance: 100.0%")
    assert said.endswith("no more often than images never seen at N = 64.")


def test_dimensions_that_no_reading_finds_are_said_to_be_none() -> None:
    arrays = made()
    at = {"estimator": "second_difference", "score": "network"}
    assert "median over points) of 23 at N = 2" in told(arrays)["reading"]  # of 10, 12, 14, 16, 30, 32, 34, 36
    arrays["dimension"].loc[at | {"size": 64}] = np.nan
    assert "N = 64" not in told(arrays)["reading"]
    arrays["dimension"].loc[at] = np.nan
    assert told(arrays)["reading"] == "Alg. 3 finds no kink in any spectrum at t = 0.01, the smallest."


def test_times_that_models_do_not_see_are_named() -> None:
    arrays = made()
    assert "do not see" not in told(arrays)["dimensions"]
    arrays["dimension"].loc[{"size": 1000, "t": 0.01, "score": "network", "estimator": "resolved"}] = 63.0
    assert "At t = 0.01 the models of the largest N" in told(arrays)["dimensions"]


def drawn(figure: Figure) -> None:
    with io.BytesIO() as stream:
        figure.savefig(stream, format="png", dpi=40)
        assert stream.getvalue()[:4] == b"\x89PNG"


def lines_of(axis: Any, colour: str, style: str) -> list[np.ndarray]:
    return [line.get_ydata() for line in axis.lines if (line.get_color(), line.get_linestyle()) == (colour, style)]


@pytest.mark.parametrize(
    "arrays",
    [
        made(),
        made(sizes=(2,), seeds=(0,), times=(0.1,)),
        made(sizes=(500,), seeds=(3,), times=(0.1, 0.2), samples=1, controls=2),
        made().where(made()["estimator"] != "second_difference"),
        made(points=2).where(made()["point"] < 1),
    ],
    ids=["whole", "one", "one size", "no kink", "one point"],
)
def test_figures_are_drawn_from_any_record(arrays: xr.Dataset) -> None:
    arrays = arrays.copy(deep=True)
    for name in ("sample_distance", "control_distance", "example", "scaled_value", "loss"):  # which `where` widened
        extra = [k for k in ("estimator", "point") if k in arrays[name].dims]
        arrays[name] = arrays[name].isel(dict.fromkeys(extra, 0), drop=True)
    if "estimator" in arrays["denoising"].dims:
        arrays["denoising"] = arrays["denoising"].isel(estimator=0, drop=True)
    table, t = rows(arrays), spoken_time(arrays)
    for figure in (
        figures.dimension_figure(table, "note"),
        figures.spectra_figure(arrays, "note"),
        figures.copies_figure(table, t, "note"),
        figures.kink_figure(arrays, "note"),
        drawn_images({"one": arrays, "two": arrays}, "note"),
    ):
        drawn(figure)


def test_figures_show_the_numbers_of_the_table() -> None:
    arrays = made()
    arrays["sample_distance"].loc[{"size": 2}] = NEAR
    arrays["dimension"].loc[{"size": 64, "score": "network"}] += 5
    axes = figures.dimension_figure(rows(arrays), "note").axes
    assert len(axes) == 3
    for axis in axes:
        assert lines_of(axis, TRAINING, "-")[0].tolist() == [13, 18, 13]
        assert lines_of(axis, HELD_OUT, "-")[0].tolist() == [33, 38, 33]
        assert lines_of(axis, TRAINING, ":")[0].tolist() == [13, 13, 13]
    left, right = figures.copies_figure(rows(arrays), 0.1, "note").axes
    assert lines_of(left, TRAINING, "-")[0].tolist() == [1, 0, 0]
    assert lines_of(right, HELD_OUT, "-")[0].tolist() == [2, 2, 2]
    spectra = figures.spectra_figure(arrays, "note").axes
    assert len(spectra[0].lines) == 3 * 2
    np.testing.assert_allclose(spectra[0].lines[0].get_ydata(), arrays["example"].values[0, 0, 0])


def test_the_kink_is_where_the_spectrum_has_its_step() -> None:
    arrays = made()
    arrays["dimension"].loc[{"estimator": "second_difference"}] = 64 - 21
    (axis, *_) = figures.kink_figure(arrays, "note").axes
    kinks = next(line for line in axis.lines if len(line.get_xdata()) > 2)
    found = kinks.get_xdata()[np.argmax(kinks.get_ydata())]
    # The 21st value is the last before the step: D is largest at n and n + 1 around it, of dimensions 43 and 42.
    assert found in (43, 42)
    assert kinks.get_xdata()[0] == 64 - 8 - 2
    assert 43 in [line.get_xdata()[0] for line in axis.lines]
    assert "dimension 43" in axis.get_title()


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which the command was given."""
    folder = tmp_path_factory.mktemp("finished")
    result = geomem(*COMMAND, cwd=folder)
    assert result.returncode == 0, result.stderr
    assert "Traceback" not in result.stderr
    assert f"Page: {folder / 'run' / 'index.html'}" in result.stdout
    for word in ("digits: dimensions", "N = 20", "Alg. 3", "amples"):
        assert word in result.stdout
    return folder


def spoken(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], folder: Path, *arguments: str
) -> tuple[int, str, str]:
    """Exit code, output and messages of a command in this process."""
    with monkeypatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["geomem", *arguments])
        patch.setattr(warnings, "showwarning", warnings.showwarning)
        with pytest.raises(SystemExit) as ended:
            main()
    said = capsys.readouterr()
    return int(ended.value.code or 0), said.out, said.err


def test_the_command_ends_with_page_summary_and_pictures(finished: Path) -> None:
    run = Run.existing(finished / "run")
    arrays = joined(run, SweepSettings.read(run.config))
    hand = made()
    assert set(hand.data_vars) == set(arrays.data_vars)  # the records of this file are as the command's
    assert {name: set(hand[name].dims) for name in hand} == {name: set(arrays[name].dims) for name in arrays}
    assert set(arrays.attrs) <= set(hand.attrs)
    page = (run.path / "index.html").read_text()
    assert page.count("<img") == 4
    for name in ("dimension", "spectra", "copies", "kinks"):
        assert (run.path / f"{name}.png").read_bytes()[:4] == b"\x89PNG"
    assert "<table" in page
    summary = json.loads((run.path / "summary.json").read_text())
    made_now = summarise(arrays)
    assert summary["title"] == made_now["title"]
    assert summary["findings"] == made_now["findings"]
    assert [row["size"] for row in summary["rows"]] == [2] * 4 + [20] * 4
    for line in sweep_table(made_now).rows:
        assert str(line[1]) in page
    for sentence in made_now["findings"]["copies"]:
        assert sentence in page.replace("&#39;", "'")


def test_the_command_prints_json_alone(
    finished: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = spoken(monkeypatch, capsys, finished, *COMMAND, "--json")
    assert code == 0
    stated = json.loads(out)
    assert stated["page"] == str(finished / "run" / "index.html")
    stated.pop("page")
    assert stated == json.loads((finished / "run" / "summary.json").read_text())


def test_other_settings_in_the_same_folder_are_refused_and_it_is_kept(
    finished: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.stat().st_mtime_ns for path in (finished / "run").glob("*.nc")}
    other = [word.replace("2,20", "2,21") for word in COMMAND]
    code, out, err = spoken(monkeypatch, capsys, finished, *other)
    assert (code, out) == (3, "")
    assert "--force" in err
    assert {path: path.stat().st_mtime_ns for path in (finished / "run").glob("*.nc")} == before


def test_report_draws_a_sweep_again(finished: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(finished / "run", tmp_path / "run"))
    old = (folder / "index.html").read_text()
    for path in (*folder.glob("*.png"), folder / "index.html", folder / "summary.json"):
        path.unlink()
    assert redraw(folder) == folder / "index.html"
    assert (folder / "index.html").read_text() == old
    assert len(list(folder.glob("*.png"))) == 4


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
        (["--sizes", "2", "--size", "8"], ["--size", "image files"]),
        (["--sizes", "2", "--preset", "huge"], ["--preset", "'huge'", "small-unet"]),
        (["--sizes", "2", "--precision", "fp8"], ["--precision", "'fp8'"]),
    ],
)
def test_bad_options_are_refused_without_traceback_and_leave_nothing(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    words: list[str],
) -> None:
    code, out, err = spoken(monkeypatch, capsys, tmp_path, "sweep", "digits", "--preset", "mlp", *options)
    assert (code, out) == (2, "")
    assert "Traceback" not in err
    for word in words:
        assert word in err
    assert list(tmp_path.iterdir()) == []


def test_data_that_are_not_there_are_refused_as_a_user_meets_it(tmp_path: Path) -> None:
    refused = geomem("sweep", "nowhere.npy", "--preset", "mlp", "--sizes", "2", cwd=tmp_path)
    assert_refused(refused, 2, "nowhere.npy", "does not exist")
    assert list(tmp_path.iterdir()) == []


def test_fig_7_is_fig_6() -> None:
    assert experiment_named("fig7") is experiment_named("fig6")
    assert experiment_named("fig7").reads


@pytest.mark.parametrize("scale", ["reduced", "full"])
def test_data_that_do_not_come_along_are_asked_for(tmp_path: Path, scale: str) -> None:
    with pytest.raises(InputError, match=r"mnist: .*--data.*mnist\.npy, or mnist\.npz.*train-images-idx3-ubyte"):
        reproduce("fig6", scale=scale, out=tmp_path / "none")
    with pytest.raises(InputError, match=r"holds no mnist; it should hold mnist\.npy"):
        reproduce("fig6", scale=scale, out=tmp_path / "empty", data=tmp_path)


def test_data_that_are_not_there_leave_no_run_behind(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--data"):
        reproduce("fig6", scale="reduced", out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_data_are_found_in_the_forms_that_people_have(tmp_path: Path) -> None:
    (tmp_path / "celeba").mkdir()
    (tmp_path / "celeba" / "a.png").touch()
    one = ImageSweep("celeba", "paper", image_size=64)
    folder = image_experiments._source("celeba", one, tmp_path)
    assert (folder.path, folder.image_size) == (str(tmp_path / "celeba"), 64)
    (tmp_path / "celeba.npy").touch()
    array = image_experiments._source("celeba", one, tmp_path)
    assert (array.path, array.image_size) == (str(tmp_path / "celeba.npy"), None)
    (tmp_path / "mnist").mkdir()
    (tmp_path / "mnist" / "train-images-idx3-ubyte.gz").touch()
    (tmp_path / "mnist" / "t10k-images-idx3-ubyte.gz").touch()
    idx = image_experiments._source("mnist", ImageSweep("mnist", "paper"), tmp_path)
    assert idx.path == str(tmp_path / "mnist" / "train-images-idx3-ubyte.gz")
    assert image_experiments._source("digits", ImageSweep("mlp", (2,)), None).path == "digits"


def test_scales_that_an_experiment_lacks_are_refused_with_those_it_has(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"fig1 has no scale 'reduced'; choose one of quick, full\."):
        reproduce("fig1", scale="reduced", out=tmp_path / "run")
    with pytest.raises(InputError, match=r"'big'; choose one of quick, reduced, full\."):
        reproduce("fig6", scale="big", out=tmp_path / "run")
    with pytest.raises(InputError, match="--steps: at least 1"):
        reproduce("fig6", steps=0, out=tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_the_settings_of_all_scales_are_the_paper_s_sizes_or_fewer_and_have_parts(tmp_path: Path) -> None:
    assert {scale: list(image_parts(settings)) for scale, settings in SCALED.items()} == {
        "quick": ["digits"],
        "reduced": ["mnist", "fashion-mnist", "emoji"],
        "full": ["mnist", "cifar10", "celeba"],
    }
    full = SCALED["full"].sweeps
    assert {(one.preset, one.sizes, one.steps) for one in full.values()} == {(name, "paper", None) for name in full}


def test_a_tiny_experiment_ends_with_record_and_figure_and_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny = ImageSettings({"digits": ImageSweep("mlp", (2, 20), trainings=2, steps=500, points=2, samples=5)})
    monkeypatch.setitem(SCALED, "quick", tiny)
    result = reproduce("fig7", steps=5, seed=3, out=tmp_path / "run")
    assert result.page == tmp_path / "run" / "fig6.png"
    assert result.page.read_bytes()[:4] == b"\x89PNG"
    arrays = Run.existing(tmp_path / "run").load("digits")
    assert (arrays["size"].values.tolist(), arrays["seed"].values.tolist()) == ([2, 20], [3, 4])
    assert arrays.attrs["steps"] == 5
    assert (tmp_path / "run" / "claims.json").exists()
    inner = tmp_path / "run" / "sweeps" / "digits"
    before = {path: path.stat().st_mtime_ns for path in inner.glob("*.nc")}
    assert len(before) == 4
    (tmp_path / "run" / "digits.nc").unlink()
    reproduce("fig6", steps=5, seed=3, out=tmp_path / "run")
    assert {path: path.stat().st_mtime_ns for path in inner.glob("*.nc")} == before
    xr.testing.assert_identical(Run.existing(tmp_path / "run").load("digits"), arrays)


def test_all_experiments_are_told_where_the_data_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(RUN, "run", lambda name, **options: asked.append((name, options["data"])))
    list(RUN.run_all(scale="full", data=tmp_path))
    assert ("fig6", tmp_path) in asked
