"""What is measured of a cell, against closed forms."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

from geomem.data import load
from geomem.jobs.sweep.measure import NOISY, measured
from geomem.jobs.sweep.request import SweepRequest
from geomem.jobs.sweep.settings import SweepSettings, settings_for
from geomem.manifolds import random_rotation
from geomem.models import Model
from geomem.scores import EmpiricalScore
from geomem.scores.gaussian import GaussianScore
from geomem.spectra.dimension import READINGS

SHAPE, DIM = (1, 4, 4), 16
VARIANCES = torch.tensor([1.0] * 3 + [0.1] * 5 + [0.0] * 8, dtype=torch.float64)


def settings(**changed: Any) -> SweepSettings:
    request = SweepRequest("digits", (2,), preset="mlp", points=3, times=(0.01, 0.3, 2.0), samples=12)
    return replace(settings_for(load("digits"), request), **{"discard": 1, **changed})


def model(score: Any, **known: Any) -> Model:
    return Model(score, "exact", **known)


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
        finite = at.sel(reading="resolved").notnull()
        assert int(finite.sum()) == 2 + 3
        for name, truth in (("resolved", np.sum(s > t)), ("degrees_of_freedom", np.sum(s / (s + t)))):
            values = at.sel(reading=name).values
            np.testing.assert_allclose(values[finite.values], truth, rtol=1e-9, err_msg=f"{name} at {t}")
        scaled = exact["scaled_value"].sel(score="network", t=t)
        np.testing.assert_allclose(scaled, np.broadcast_to(np.sort(t / (t + s))[::-1], (2, DIM)), rtol=1e-6)
        np.testing.assert_allclose(exact["example"].sel(t=t), np.sort(t / (t + s))[::-1], rtol=1e-6)
    # At t = 0.01 both gap rules see the eight directions that the manifold does not have.
    for name in ("largest_gap", "second_difference"):
        assert dimension.sel(t=0.01, reading=name).sel(set="held-out").values.tolist() == [8, 8, 8]


def test_leading_survivals_at_noisy_points_are_counted_for_both_scores(exact: xr.Dataset) -> None:
    counts = exact["dimension"].sel(reading=NOISY)
    for t in (0.01, 0.3, 2.0):
        at = counts.sel(score="network", t=t)
        assert int(at.notnull().sum()) == 2 + 3
        assert np.unique(at.values[at.notnull().values]).tolist() == [np.sum(VARIANCES.numpy() > t)]
    # Two images: at little noise one holds all weight, at much noise one direction is left between them at most.
    empirical = counts.sel(score="empirical")
    assert np.nanmax(empirical.sel(t=0.01, set="training")) == 0
    assert set(np.unique(empirical.values[empirical.notnull().values])) <= {0.0, 1.0}


def test_screened_images_of_the_ideal_denoiser_have_its_degrees_of_freedom(gaussian: GaussianScore) -> None:
    generator = torch.Generator().manual_seed(5)
    drawn = torch.randn(900, DIM, generator=generator, dtype=torch.float64) * VARIANCES.sqrt() @ gaussian.basis.T
    law = drawn.reshape(-1, *SHAPE).float()
    seen = measured(model(gaussian), law[:300], law[300:], settings(), seed=0)
    assert dict(seen["squares"].sizes) == {"set": 2, "image": 500, "t": 3}
    assert int(seen["squares"].sel(set="training", t=0.3).notnull().sum()) == 300
    for t in (0.01, 0.3, 2.0):
        survival = VARIANCES.numpy() / (VARIANCES.numpy() + t)
        truth = {"error": survival.sum(), "freedom": survival.sum(), "squares": np.square(survival).sum()}
        for name, value in truth.items():
            values = seen[name].sel(t=t).values
            values = values[np.isfinite(values)]
            assert abs(values.mean() - value) < 4 * values.std() / math.sqrt(values.size), (name, t)


def test_the_constants_of_alg_3_are_the_sweep_s(gaussian: GaussianScore) -> None:
    # Without the first eight values and those next to them the first kink is between variances 0.1 and 1.
    seen = measured(model(gaussian), images(2, 2), images(6, 3), settings(discard=8, times=(0.01,)), seed=0)
    found = seen["dimension"].sel(score="network", set="held-out", reading="second_difference")
    assert np.unique(found).tolist() == [3]
    none = settings(threshold=1e9, times=(0.01,), discard=0)
    smooth = GaussianScore(torch.linspace(0.1, 2, DIM, dtype=torch.float64), shape=SHAPE)
    seen = measured(model(smooth), images(2, 2), images(6, 3), none, seed=0)
    assert np.isnan(seen["dimension"].sel(score="network", reading="second_difference")).all()


def test_the_empirical_score_of_two_images_has_one_direction_whose_survival_is_known(exact: xr.Dataset) -> None:
    pair = images(2, 2).to(torch.float64).flatten(1)
    gap = float((pair[0] - pair[1]).square().sum())
    for where, points in (("training", pair), ("held-out", images(6, 3).to(torch.float64).flatten(1)[:3])):
        for t in (0.3, 2.0):
            weight = torch.softmax(-torch.cdist(points, pair).square() / (2 * t), 1)
            kappa = (weight.prod(1) * gap / t).numpy()  # w_1 w_2 |y_1 - y_2|^2 / t
            at = exact["dimension"].sel(score="empirical", set=where, t=t)[:, : len(points)]
            np.testing.assert_allclose(at.sel(reading="degrees_of_freedom"), kappa, rtol=1e-6, atol=1e-12)
            np.testing.assert_array_equal(at.sel(reading="resolved"), (kappa > 0.5).astype(float))


def test_sizes_below_the_points_have_none_where_there_are_no_images(exact: xr.Dataset) -> None:
    assert exact.sizes["point"] == 3
    for name in ("resolved", "degrees_of_freedom"):
        values = exact["dimension"].sel(reading=name)
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
    assert (seen["dimension"].sel(reading="resolved", set="training", t=0.01) == 0).all()


def test_times_are_brought_into_the_model_s_reach(gaussian: GaussianScore) -> None:
    class Short:
        shape = SHAPE

        def __call__(self, x: torch.Tensor, t: torch.Tensor | float) -> torch.Tensor:
            assert 0.049 < float(torch.as_tensor(t).min()) <= float(torch.as_tensor(t).max()) < 1.51
            return gaussian(x, t)

    seen = measured(model(Short(), reach=(0.05, 1.5)), images(2, 2), images(6, 3), settings(), seed=0)
    assert seen["t"].values.tolist() == [0.05, 0.3, 1.5]
    resolved = seen["dimension"].sel(score="network", set="held-out", reading="resolved")
    assert resolved.transpose("t", "point").values.tolist() == [[8] * 3, [3] * 3, [0] * 3]


def test_every_reading_of_the_registry_is_recorded(exact: xr.Dataset) -> None:
    assert exact["reading"].values.tolist() == [*READINGS, "flipd", NOISY]
    assert set(exact["pull"].dims) == {"score", "set", "point", "t"}
    # A training point at small t holds all weight of the empirical score.
    active = exact["effective_samples"].sel(score="empirical", set="training", t=0.01, point=[0, 1])
    np.testing.assert_allclose(active, 1, rtol=1e-9)
