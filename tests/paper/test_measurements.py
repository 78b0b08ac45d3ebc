"""What single parts of experiments measure, where the truth is known."""

import math
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import xarray as xr

from geomem import theory
from geomem.manifolds import LinearManifold
from geomem.paper import networks
from geomem.paper.curves import CurveSettings, compared_parts
from geomem.paper.gap import GapSettings, gap_parts
from geomem.paper.latent import LatentSettings, _distinct, _evenly, latent_parts
from geomem.paper.order import OrderSettings, order_parts
from geomem.paper.parameters import M7, M15, PLACES
from geomem.paper.plane import PlaneSettings, plane_parts
from geomem.paper.records import records_of
from geomem.paper.reverse import ReverseSettings, reverse_parts
from geomem.paper.scaling import ScalingSettings, _half_condensed, scaling_parts
from geomem.paper.sizes import SizeSettings, simulated_parts
from geomem.records import Run
from geomem.scores import EmpiricalScore, NetworkScore
from geomem.seeds import derived_generator
from geomem.spectra import spectrum
from geomem.training import load_training, members

NOTHING = SimpleNamespace()


def computed(work):
    return work(NOTHING, lambda share: None)


def test_distinct_fixed_points_are_the_stable_ones() -> None:
    """Starts at an ellipse's vertices end on its axes: two maxima, and two saddles that are not counted."""
    arrays = computed(latent_parts(LatentSettings(t=0.05, starts=4, dense=400, grid=9))["ellipse"])
    assert arrays["converged"].all()
    assert arrays["stable"].values.tolist() in ([True, False, True, False], [False, True, False, True])
    assert _distinct(torch.from_numpy(arrays["point"].values)) == 4
    assert arrays.attrs["distinct"] == 2


def test_survival_of_an_axis_is_in_units_of_the_noise() -> None:
    """At t = 2 with 20,000 samples, 2/3 and 0.04/2.04 of the axes are left, within 5 standard errors."""
    arrays = computed(plane_parts(PlaneSettings(n_samples=20_000, betas=(0.5,), datasets=3, points=20))["survival"])
    kept = arrays["survival"].values.reshape(-1, 2)
    error = kept.std(0, ddof=1) / math.sqrt(len(kept))
    assert np.all(error < 0.02 * kept.mean(0))
    assert np.all(np.abs(kept.mean(0) - [2 / 3, 0.04 / 2.04]) < 5 * error)


def test_places_are_the_origin_a_sample_and_a_new_point() -> None:
    settings = SizeSettings(M7, sizes=(20,), times=(0.1, 0.5), realizations=2)
    arrays = computed(simulated_parts(settings)["samples-20"])
    manifold, t = LinearManifold.subspaces(30, M7), torch.tensor(settings.times, dtype=torch.float64)
    for i in range(2):
        data = manifold.sample(21, generator=derived_generator(0, "data", (20, i)))
        for place, x in zip(PLACES, (torch.zeros(30).double(), data[0], data[20]), strict=True):
            probes = derived_generator(0, "probe", (20, i))
            found = spectrum(EmpiricalScore(data[:20]), x.expand(2, 30), t, probe="antithetic", generator=probes)
            np.testing.assert_allclose(arrays["singular_value"][i].sel(place=place), found.values, rtol=1e-5)


def test_pinned_values_are_those_above_one_half() -> None:
    """At t = 0.2 the values of tJ are 1, 0.4, 0.17 and 0.17: one of four is pinned."""
    score = LinearManifold(torch.tensor([1.0, 1.0, 0.3, 0.0])).score
    settings = networks.NetworkSettings({"m": ((2, 1.0), (1, 0.3))}, dim=4, points=1)
    groups = [torch.tensor(g) for g in ([0, 1], [2], [3])]
    found = networks._spectra(score, torch.zeros(3, 4).double(), torch.tensor([0.2]).double(), groups, settings)
    assert found["pinned"][-1].values.tolist() == [[1, 1, 1]]


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
    manifold = LinearManifold.subspaces(30, M15)
    data = manifold.sample(5000, generator=derived_generator(0, "data"))
    state, saved = load_training(folder.path / "m15.safetensors", settings.training(data)), folder.load("m15")
    assert state.step == settings.steps == saved.attrs["steps"]
    trained = members(state)
    new = manifold.sample(settings.points, generator=derived_generator(0, "held-out"))
    points = torch.cat([torch.zeros(1, 30), data[: settings.points], new])
    t = torch.tensor(settings.times, dtype=torch.float64)
    groups = [torch.arange(5), torch.arange(5, 15), torch.arange(15, 30)]
    for i, n in enumerate(settings.sizes):
        scores = {"network": NetworkScore(trained[i], (30,))}
        scores["empirical"] = EmpiricalScore(data[:n])
        for name, score in scores.items():
            found = networks._spectra(score, points, t, groups, settings)
            for key, values in found.data_vars.items():
                np.testing.assert_array_equal(values, saved[key].sel(size=n, score=name), err_msg=f"{name} {n} {key}")
    assert saved["variance"].values.tolist() == pytest.approx([1.0, 0.3, 0.0])
    assert saved["count"].values.tolist() == [5, 10, 15]
    assert not torch.equal(trained[0].leave.weight, state.network.member(0).leave.weight)


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
