"""Every experiment at tiny settings: records, figure, verdicts; resumption, seeds, and what runs refuse."""

import json
import math
import shutil
import sys
from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import xarray as xr
from geomem.paper.spectra import M7, M15, CurveSettings, compared_parts

from geomem import theory
from geomem.errors import InputError, OutputError
from geomem.jobs.redraw import redraw
from geomem.manifolds import LinearManifold
from geomem.paper import EXPERIMENTS, expected_seconds, experiment_named, networks, run, run_all
from geomem.paper.algorithms import ReverseSettings, reverse_parts
from geomem.paper.claims import CLAIMS, judged
from geomem.paper.condensation import (
    OrderSettings,
    ScalingSettings,
    _half_condensed,
    order_parts,
    scaling_parts,
)
from geomem.paper.latent import GapSettings, PlaneSettings, _distinct, _evenly, gap_parts, plane_parts
from geomem.paper.run import finish, left_out, records_of
from geomem.records import Run
from geomem.scores import EmpiricalScore, NetworkScore
from geomem.seeds import derived_generator
from geomem.training import TrainState, load_checkpoint, train

NAMES = list(EXPERIMENTS)
NETWORKS = ("fig5", "fig15", "fig16")
NOTHING = SimpleNamespace()


def settings_of(name: str, **changes):
    return replace(EXPERIMENTS[name].settings["quick"], **changes)


def content(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir()}


def computed(name: str, folder: Path, parts: int | None = None, **changes) -> dict[str, xr.Dataset]:
    """Records as the parts make them, never saved."""
    settings = settings_of(name, **changes)
    place = Run.open(folder, "test", settings)
    made = {}
    for part, work in list(EXPERIMENTS[name].parts(settings).items())[:parts]:
        told: list[float] = []
        made[part] = work(place, told.append)
        assert told == sorted(told)
        assert not told or (told[0] > 0 and told[-1] == pytest.approx(1))
    return made


def forbid(patch: pytest.MonkeyPatch, name: str) -> None:
    """Every part of an experiment fails when it is computed."""

    def fail(run, tell):
        raise AssertionError("computed")

    whole = EXPERIMENTS[name]
    patch.setitem(EXPERIMENTS, name, replace(whole, parts=lambda s: dict.fromkeys(whole.parts(s), fail)))


# --- every experiment ---


def test_the_table_is_complete_and_its_names_are_unique() -> None:
    figures = {
        "fig1",
        "fig2",
        "fig3",
        "fig4",
        "fig5",
        "fig6",
        "fig7",
        "fig8",
        "fig9",
        "fig10",
        "fig11",
        "fig12",
        "fig13",
        "fig14",
    }
    names = [n for e in EXPERIMENTS.values() for n in (e.name, *e.also)]
    assert len(names) == len(set(names))
    assert figures | {"fig15", "fig16"} <= set(names)
    for name, experiment in EXPERIMENTS.items():
        assert experiment.name == name
        assert experiment.settings.keys() == experiment.seconds.keys() >= {"quick", "full"}
        assert type(experiment.settings["quick"]) is type(experiment.settings["full"])
        assert 0 < experiment.seconds["quick"] <= 80
        assert "seed" in {f.name for f in fields(experiment.settings["full"])}
    assert {name for claim in CLAIMS for name in claim.needs} <= EXPERIMENTS.keys()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.usefixtures("tiny_experiments")
def test_records_are_what_the_parts_make_by_the_seed_alone(name: str, gallery: Path, tmp_path: Path) -> None:
    """Saved and loaded they are, bit for bit, what the same seed makes again; another seed makes others."""
    saved = records_of(Run.existing(gallery / name))
    once = name in ("fig5", "fig15")  # as fig16, and slower
    again = computed(name, tmp_path / "again", 1 if once else None)
    assert list(again) == list(saved)[: len(again)]
    for part, arrays in again.items():
        xr.testing.assert_identical(saved[part], arrays)
        assert arrays.equals(saved[part])
        assert all(v.dtype == saved[part][k].dtype for k, v in arrays.data_vars.items())
    if not once:
        other = computed(name, tmp_path / "other", 1, seed=1)
        (part,) = other
        assert not other[part].equals(saved[part])


@pytest.mark.parametrize("name", NAMES)
def test_records_are_finite(name: str, gallery: Path) -> None:
    """Alg. 3 alone may have no answer."""
    for part, arrays in records_of(Run.existing(gallery / name)).items():
        for key, values in arrays.data_vars.items():
            if np.issubdtype(values.dtype, np.floating) and key != "dimension":
                assert np.isfinite(values.values).all(), f"{part}: {key}"
        assert set(arrays.sizes) <= {str(dim) for v in arrays.variables.values() for dim in v.dims}


@pytest.mark.parametrize("name", NAMES)
def test_the_figure_draws_the_records_and_says_where_they_come_from(name: str, gallery: Path) -> None:
    records = records_of(Run.existing(gallery / name))
    before = {part: arrays.copy(deep=True) for part, arrays in records.items()}
    figure = EXPERIMENTS[name].figure(records, "NOTE")
    assert any(text.get_text().endswith("NOTE") for text in figure.texts)
    panels = [axis for axis in figure.axes if axis.get_label() != "<colorbar>"]
    assert panels
    assert all(axis.has_data() for axis in panels)
    for part, arrays in records.items():
        xr.testing.assert_identical(arrays, before[part])
    picture = (gallery / name / f"{name}.png").read_bytes()
    assert picture[:8] == b"\x89PNG\r\n\x1a\n"
    assert len(picture) > 20_000


@pytest.mark.parametrize("name", NAMES)
def test_claims_that_rest_on_it_are_judged(name: str, gallery: Path) -> None:
    verdicts = judged({name: records_of(Run.existing(gallery / name))})
    assert [v.claim.key for v in verdicts] == [c.key for c in CLAIMS if name in c.needs]
    for v in verdicts:
        assert v.evidence.verdict in ("holds", "holds in part", "does not hold", "undecided")
        assert v.evidence.found
        assert all(any(c.isdigit() for c in sentence) for sentence in v.evidence.found), v.claim.key
        assert "nan" not in " ".join(v.evidence.found), v.claim.key
        if v.evidence.table is not None:
            assert {len(row) for row in v.evidence.table.rows} == {len(v.evidence.table.header)}
    assert json.loads((gallery / name / "claims.json").read_text()) == [v.plain() for v in verdicts]


# --- what parts measure, where that is known ---


def test_the_flow_has_exactly_its_predicted_error_and_the_diffusion_within_its_sampling_error(tmp_path: Path) -> None:
    settings = ReverseSettings(steps=(8, 16, 32), samples=4000, drawn=10, n_samples=20, draw_steps=5)
    arrays = reverse_parts(settings)["weak_error"](NOTHING, lambda share: None)
    error, predicted = arrays["error"], arrays["predicted"]
    xr.testing.assert_allclose(error.sel(sampler="flow"), predicted.sel(sampler="flow"), rtol=1e-9, atol=1e-9)
    sampled, exact = (a.sel(sampler="reverse diffusion") for a in (error, predicted))
    spread = (1 + exact) * arrays["standard_error"]
    assert float((np.abs(sampled - exact) / spread).max()) < 4
    assert float((exact / spread).min()) > 8
    assert arrays["variance"].values.tolist() == [1.0, 0.3]


def test_survival_of_the_plane_s_axes_is_exact_where_samples_are_many(tmp_path: Path) -> None:
    """With 20,000 samples at t = 1 each axis keeps s/(s + t), within 5 standard errors over points and data sets."""
    settings = PlaneSettings(n_samples=20_000, betas=(1.0,), datasets=3, points=20, grid=9)
    arrays = plane_parts(settings)["survival"](NOTHING, lambda share: None)
    np.testing.assert_allclose(arrays["exact"][0], [4 / 5, 0.04 / 1.04], rtol=1e-6)
    kept = arrays["survival"].values.reshape(-1, 2)
    error = kept.std(0, ddof=1) / math.sqrt(len(kept))
    assert np.all(np.abs(kept.mean(0) - arrays["exact"].values[0]) < 5 * error)
    assert np.all(np.abs(kept.mean(0) / arrays["exact"].values[0] - 1) < 0.05)


def test_exact_singular_values_stand_among_the_theory() -> None:
    settings = CurveSettings(M7, times=(0.1, 2.0), draws=5, datasets=1)
    arrays = compared_parts(settings)["theory"](NOTHING, lambda share: None)
    s = np.array([1.0] * 2 + [0.3] * 5 + [0.0] * 23)
    for t in settings.times:
        found = arrays["singular_value"].sel(form="exact", t=t).values
        np.testing.assert_allclose(found, np.sort(1 / (t + s))[::-1], rtol=1e-12)
    assert arrays.attrs["condensation_time"] == pytest.approx(float(theory.condensation_time(s, 1000)))
    assert np.all(np.diff(arrays["singular_value"].values, axis=-1) <= 0)


def test_axis_survival_of_a_linear_score_is_exact() -> None:
    """By least squares over mirrored directions a Gaussian's J is found to rounding, averaged over each group of axes."""
    s = np.array([1.0, 1.0, 0.3, 0.0])
    settings = networks.NetworkSettings({"m": ((2, 1.0), (1, 0.3))}, dim=4, points=2)
    t = torch.tensor([2.0, 0.01], dtype=torch.float64)
    points = torch.randn(5, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    groups = [torch.tensor(g) for g in ([0, 1], [2], [3])]
    arrays = networks._spectra(LinearManifold(torch.from_numpy(s)).score, points, t, groups, settings)
    expected = s[1:] / (s[1:] + t[:, None].numpy())
    np.testing.assert_allclose(arrays["axis_survival"], expected[:, None].repeat(5, 1), atol=1e-6)
    assert arrays["where"].values.tolist() == ["origin", *["training"] * 2, *["held_out"] * 2]
    # Values of tJ by the orthonormal probe are t/(s+t): 1, 0.87, 0.67, 0.67 at t = 2, where the widest step is the second.
    orthonormal = arrays.isel(probe=1)
    scaled = np.sort(t[:, None].numpy() / (s + t[:, None].numpy()))[:, ::-1]
    np.testing.assert_allclose(orthonormal["scaled_value"], np.stack([scaled] * 3), rtol=1e-5)
    assert orthonormal["pinned"].values.tolist() == [[4] * 5, [1] * 5]
    assert orthonormal["gap"].values.tolist() == [[2] * 5, [1] * 5]


def test_what_is_measured_is_the_average_of_the_weights_beside_the_samples_that_each_network_saw(gallery: Path) -> None:
    """From the checkpoint and the seed: every network at the origin, the first samples and new points."""
    folder = Run.existing(gallery / "fig16")
    settings = networks.NetworkSettings(**{f.name: folder.config[f.name] for f in fields(networks.NetworkSettings)})
    state, saved = load_checkpoint(folder.path / "m15.safetensors"), folder.load("m15")
    assert state.step == settings.steps == saved.attrs["steps"]
    manifold = LinearManifold.subspaces(30, M15)
    data = manifold.sample(5000, generator=derived_generator(0, "data"))
    new = manifold.sample(settings.points, generator=derived_generator(0, "held-out"))
    points = torch.cat([torch.zeros(1, 30), data[: settings.points], new])
    t = torch.tensor(settings.times, dtype=torch.float64)
    groups = [torch.arange(5), torch.arange(5, 15), torch.arange(15, 30)]
    for i, n in enumerate(settings.sizes):
        scores = {"network": NetworkScore(state.ensemble.member(i, state.average), (30,))}
        scores["empirical"] = EmpiricalScore(data[:n])
        for name, score in scores.items():
            found = networks._spectra(score, points, t, groups, settings)
            for key, values in found.data_vars.items():
                np.testing.assert_array_equal(values, saved[key].sel(size=n, score=name), err_msg=f"{name} {n} {key}")
    assert saved["variance"].values.tolist() == pytest.approx([1.0, 0.3, 0.0])
    assert saved["count"].values.tolist() == [5, 10, 15]
    weights = state.ensemble.member(0), state.ensemble.member(0, state.average)
    assert not torch.equal(*(w.leave.weight for w in weights))


def test_participation_ratios_go_from_one_sample_to_all() -> None:
    """Y = 1 far below the condensation time and 1/N far above it, for every data set and subspace."""
    settings = OrderSettings(sets=(M7,), n_samples=50, times=(1e-7, 1e7), datasets=4)
    arrays = order_parts(settings)["m7"](NOTHING, lambda share: None)
    np.testing.assert_allclose(arrays["participation"][..., 0], 1, atol=1e-9)
    np.testing.assert_allclose(arrays["participation"][..., 1], 1 / 50, rtol=1e-5)
    assert arrays["participation"].shape == (4, 2, 2)
    np.testing.assert_allclose(arrays["effective_samples"][1], 50, rtol=1e-3)
    assert arrays["variance"].values.tolist() == [1.0, 0.3]


def test_samples_that_prevent_condensation_are_counted_on_nested_data() -> None:
    """As the weights of the first n samples say, taken alone."""
    settings = ScalingSettings(ranks=(3,), dims=(6,), datasets=15)
    arrays = scaling_parts(settings)["ranks"](NOTHING, lambda share: None)
    manifold = LinearManifold.subspaces(6, [(3, 1.0)])
    largest = int(8 * float(arrays["required_samples"][0]))
    sizes = np.unique(np.round(2 * (largest / 2) ** np.linspace(0, 1, 24)).astype(int))
    y = np.zeros(sizes.size)
    for i in range(15):
        data = manifold.sample(largest, generator=derived_generator(0, "data", (3, 6, i)))
        y += [1 / float(EmpiricalScore(data[:n]).effective_samples(torch.zeros(6).double(), 0.1)) / 15 for n in sizes]
    expected = math.exp(np.interp(0.5, y[::-1], np.log(sizes)[::-1]))
    assert float(arrays["half_condensed"][0, 0]) == pytest.approx(expected, rel=1e-9)
    assert arrays["half_condensed"].shape == (1, 201)
    assert 2 < expected < largest


def test_a_sphere_opens_a_gap_after_its_codimension_and_a_well_across_it() -> None:
    """8 pinned directions of 10 for a sphere of dimension 2; across its span the potential is that of the noise alone."""
    arrays = gap_parts(GapSettings(n_samples=20_000, points=6))["spectra"](NOTHING, lambda share: None)
    scaled = arrays["singular_value"].values * 0.01
    assert np.all(scaled[:, :7] > 0.95)
    assert np.all((scaled[:, 8:] < 0.3) & (scaled[:, 7:8] > 0.7))
    step = arrays["step"].values
    across = np.abs(scaled[0] - 1) < 1e-9
    assert across.sum() == 7
    np.testing.assert_allclose(arrays["potential"].values[:, across], np.tile(step**2 / 2, (7, 1)).T, atol=1e-8)
    assert np.all(arrays["potential"].values[:, ~across][[0, -1]].min(1) < 3)


def test_probes_are_as_exact_as_they_are_known_to_be(gallery: Path) -> None:
    """On the exact score, which is linear: the orthonormal probe to rounding, Alg. 2 but for Gaussian noise."""
    for name, arrays in records_of(Run.existing(gallery / "algorithms")).items():
        exact = arrays.sel(score="exact")
        assert float(exact["deviation"].sel(probe="orthonormal").max()) < 1e-7, name
        assert float(arrays["bias"].sel(probe="orthonormal").max()) < 1e-9
        assert float(exact["deviation"].sel(probe="Alg. 2").min()) > 1e-3
        # Gaussian probes smear normal values over 1 ± sqrt((d-m)/K): more of it with fewer of them.
        assert float(arrays["bias"].sel(probe="Alg. 2, half").min()) > float(arrays["bias"].sel(probe="Alg. 2").max())
        if name != "uniform":  # whose smallest variances leave no gap
            read = exact["dimension"].sel(probe="orthonormal", rule="normal bundle", t=0.01)
            assert (read == arrays.attrs["rank"]).all()


def test_halves_of_uniform_variances() -> None:
    larger, smaller, none = networks._halves(torch.tensor([0.1, 0.0, 0.9, 0.5, 0.0, 0.3, 0.2]))
    assert larger.tolist() == [2, 3]
    assert smaller.tolist() == [5, 6, 0]
    assert sorted(none.tolist()) == [1, 4]


def test_half_condensed_is_where_the_mean_ratio_is_one_half() -> None:
    """Y = 2/n is 1/2 at n = 4, for every bootstrap draw; in between it is linear in ln n."""
    n = np.array([2, 3, 5, 8])
    rng = np.random.default_rng(0)
    draws = _half_condensed(n, np.tile(2 / n, (5, 1)), rng)
    assert draws.shape == (201,)
    between = math.exp(np.interp(0.5, [2 / 5, 2 / 3], [math.log(5), math.log(3)]))
    np.testing.assert_allclose(draws, between, rtol=1e-12)
    np.testing.assert_allclose(_half_condensed(np.array([2, 4, 8]), np.array([[1.0, 0.5, 0.1]]), rng), 4, rtol=1e-12)


def test_samples_of_curves_are_evenly_spaced_along_them() -> None:
    for height in (1.0, 0.6):
        points = _evenly(500, height)
        assert torch.allclose((points[:, 0] ** 2 + (points[:, 1] / height) ** 2), torch.ones(500).double(), atol=1e-6)
        chords = (points.roll(-1, 0) - points).norm(dim=1)
        assert float(chords.max() / chords.min()) < 1.001
    assert _distinct(torch.tensor([[0.0, 1.0], [1e-5, 1.0], [-1e-5, 1.0], [0.01, 1.0]]).double()) == 2


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
