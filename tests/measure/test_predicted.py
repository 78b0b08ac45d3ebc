"""Theory beside the measurements, and directions at single points, against the theory's own functions and brute force."""

import numpy as np
import pytest
import torch
import xarray as xr

from geomem import theory
from geomem.measure.posterior import local_directions
from geomem.measure.predicted import information_needed, predicted, predicted_sizes
from geomem.measure.principal import prepare
from geomem.scores import GaussianScore
from measure.gaussian_rows import rows


@pytest.fixture
def data(generator):
    return prepare(rows(generator, 90, offset=2.0), rows(generator, 25, offset=2.0))


# --- theory beside the measurements ---


def all_sizes(data, seed):
    times = np.array([0.05, 0.4, 3.0])
    return [predicted(data, size, times, 9, seed) for size in predicted_sizes((60, 16))]


def test_predictions_are_those_of_theory(data):
    times = np.array([0.05, 0.4, 3.0])
    parts = all_sizes(data, 3)
    joined = xr.concat(parts, "size")
    assert joined["size"].values.tolist() == [16, 60, 240, 960, 3840]
    z = data.coordinates(data.train[:9]).numpy()
    for n in joined["size"].values:
        at = joined.sel(size=n)
        planted = theory.training_point(data.variances, n, times[:, None], z)
        np.testing.assert_allclose(at["own_weight"].transpose("t", "point"), planted.own_weight, rtol=1e-10)
        np.testing.assert_array_equal(at["training"].transpose("t", "point"), np.sum(planted.survival > 0.5, -1))
    assert joined["held_out"].shape == (5, 3, 9)
    again = xr.concat(all_sizes(data, 3), "size")
    assert joined.equals(again)
    other = xr.concat(all_sizes(data, 4), "size")
    assert not joined["held_out"].equals(other["held_out"])
    assert joined["training"].equals(other["training"])


def test_predicted_draws_at_held_out_points_have_the_law_of_theory(data):
    """Mean resolved dimension over draws at the same points; small directions are left out of a draw, and cost nothing."""
    times = np.array([0.05, 0.3, 1.0])
    drawn = [predicted(data, 60, times, 25, seed)["held_out"].values[0] for seed in range(40)]
    z = data.coordinates(data.held_out).numpy()
    expected = theory.held_out_survival(data.variances, 60, times[:, None], z, n_draws=40, rng=np.random.default_rng(0))
    expected = np.sum(expected > 0.5, -1)
    drawn = np.array(drawn)
    assert drawn.shape == expected.shape == (40, 3, 25)
    se = np.sqrt((drawn.var((0, 2)) + expected.var((0, 2))) / 1000)
    assert np.all(np.abs(drawn.mean((0, 2)) - expected.mean((0, 2))) < 4.5 * se + 0.02)


def test_information_needed_is_the_logarithm_of_required_samples(data):
    times = np.array([0.05, 0.4, 3.0])
    found = information_needed(data, times, 9)
    assert found.dims == ("t", "point")
    z = data.coordinates(data.held_out[:9]).numpy()
    np.testing.assert_allclose(np.exp(found), theory.required_samples(data.variances, times[:, None], z), rtol=1e-9)
    n = float(np.exp(found[1, 4]))
    assert float(theory.condensation_time(data.variances, n, z[4])) == pytest.approx(0.4, rel=1e-9)


def test_information_of_fewer_rows_than_dimensions_is_a_total_over_directions(generator):
    """Information per dimension does not depend on which directions without variance are counted; the total must not."""
    train, held = (torch.randn(n, 30, generator=generator, dtype=torch.float64) for n in (8, 5))
    data = prepare(train, held)
    found = information_needed(data, np.array([0.5, 4.0]), 5)
    variances = np.concatenate([data.variances, np.zeros(22)])
    z = np.concatenate([data.coordinates(data.held_out).numpy(), np.zeros((5, 22))], 1)
    expected = 30 * theory.information(variances, np.array([[0.5], [4.0]]), z)
    np.testing.assert_allclose(found, expected, rtol=1e-10)


# --- directions at points ---


def test_local_directions_are_those_of_the_posterior_covariance(data):
    t = 0.2
    found = local_directions(data, t, 4)
    assert found["set"].values.tolist() == ["training"] + 4 * ["held-out"]
    assert found.attrs["t"] == t
    y = data.train.numpy()
    k = int(np.sum(data.variances > 0.02 * t))
    axes = data.axes.numpy()[:, :k]
    points = np.concatenate([y[:1], data.held_out.numpy()[:4]])
    for i, x in enumerate(points):
        at = found.isel(point=i)
        w = np.exp(-np.square(y - x).sum(1) / (2 * t))
        w /= w.sum()
        np.testing.assert_allclose(at["picture"], x + data.mean.numpy(), rtol=1e-12)
        np.testing.assert_allclose(at["guess"], w @ y + data.mean.numpy(), rtol=1e-7, atol=1e-9)
        centred = y - w @ y
        whole = (centred * w[:, None]).T @ centred / t
        values = np.linalg.eigvalsh(axes.T @ whole @ axes)[::-1]
        kept = values[values > 0.5]
        np.testing.assert_allclose(at["kept_survival"].values[: kept.size], kept, rtol=1e-5)
        assert np.all(np.isnan(at["kept_survival"].values[kept.size :]))
        assert np.sum(~np.isnan(at["lost_survival"])) == min(4, k - kept.size)
        for name in ("kept", "lost"):
            v = at[name].values[~np.isnan(at[f"{name}_survival"].values)]
            np.testing.assert_allclose(v @ v.T, np.eye(len(v)), atol=1e-9)
            np.testing.assert_allclose(v @ axes @ axes.T, v, atol=1e-9)
            along = np.einsum("id,de,ie->i", v, whole, v)
            np.testing.assert_allclose(along, at[f"{name}_survival"].values[: len(v)], rtol=1e-5, atol=1e-7)


def test_the_guess_of_many_samples_is_the_gaussian_s(generator):
    """8,000 samples at a large t: the posterior mean of the Gaussian that they come from, to its sampling error."""
    train, held = rows(generator, 8000), rows(generator, 4)
    t = 2.0
    found = local_directions(prepare(train, held), t, 2).isel(point=slice(1, None))
    plug_in = GaussianScore.fit(train)
    expected = held + t * plug_in(held, t)
    np.testing.assert_allclose(found["guess"], expected, atol=0.15)
