"""The closer look: dimensions and directions of scores that are known in closed form, and pairs without a bias."""

import numpy as np
import pytest
import torch

from geomem.manifolds import random_rotation
from geomem.measure.closer import expected_evaluations, look
from geomem.measure.directions import Axes, lost_axes
from geomem.scores import EmpiricalScore, GaussianScore, NetworkScore
from geomem.training import ResidualMLP

D, T = 12, 0.5
S = torch.tensor([3.0, 1.0, 0.6, 0.3, 0.2] + [0.01] * 7, dtype=torch.float64)


@pytest.fixture(scope="module")
def gaussian():
    g = torch.Generator().manual_seed(0)
    return GaussianScore(S, basis=random_rotation(D, generator=g))


@pytest.fixture(scope="module")
def images(gaussian):
    g = torch.Generator().manual_seed(1)
    return torch.randn(4000, D, generator=g, dtype=torch.float64) * S.sqrt() @ gaussian.basis.T


@pytest.fixture(scope="module")
def found(gaussian, images):
    return look(gaussian, images[:5], T, Axes.of(images), draws=[0, 1, 2, 2, 4])


def test_dimension_and_survivals_are_those_of_the_law(found):
    survival = (S / (S + T)).numpy()
    assert np.all(found["dimension"] == 3)
    np.testing.assert_allclose(found["survival"].values[:, :3], np.broadcast_to(survival[:3], (5, 3)), atol=1e-9)
    assert np.isnan(found["survival"].values[:, 3:]).all()


def test_kept_directions_are_the_widest_and_lost_ones_the_widest_of_the_others(found, gaussian):
    basis = gaussian.basis.numpy().T
    for kind, wide in (("kept", basis[:3]), ("lost", basis[3:5])):
        rows = found[kind].values[:, : len(wide)]
        overlap = np.abs(np.einsum("prv,kv->prk", rows, wide))
        np.testing.assert_allclose(overlap, np.broadcast_to(np.eye(len(wide)), overlap.shape), atol=0.2)
    inner = np.einsum("prv,psv->prs", found["kept"].values, found["lost"].values)
    assert np.abs(inner).max() < 1e-6
    np.testing.assert_allclose(found["lost_survival"].values[:, 0], 0.3 / 0.8, atol=0.02)


def test_noise_belongs_to_the_draw_and_the_guess_to_the_noisy_image(found, gaussian):
    noise = found["noisy"].values - found["picture"].values
    np.testing.assert_allclose(noise[2], noise[3], atol=1e-12)
    assert np.abs(noise[0] - noise[1]).max() > 0.1
    noisy = torch.from_numpy(found["noisy"].values)
    np.testing.assert_allclose(found["guess"], noisy + T * gaussian(noisy, T), atol=1e-12)


def test_where_nothing_survives_nothing_is_kept_and_the_widest_axes_are_lost(images):
    score = EmpiricalScore(images[:5])
    found = look(score, images[:3], 1e-6, Axes.of(images), draws=[0, 1, 2])
    assert np.all(found["dimension"] == 0)
    assert np.isnan(found["kept"]).all()
    assert np.isfinite(found["lost"]).all()
    np.testing.assert_allclose(found["lost_survival"], 0, atol=1e-9)


def test_a_network_is_seen_alike_in_any_grouping_and_its_cost_is_that_of_its_parts(images):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        network = NetworkScore(ResidualMLP(D, hidden=16).double(), (D,))
    axes = Axes.of(images)
    whole, single = (look(network, images[:4], T, axes, draws=range(4), together=k) for k in (16, 1))
    for name in ("dimension", "survival", "lost_survival", "guess"):
        np.testing.assert_allclose(whole[name], single[name], rtol=1e-8, atol=1e-8)
    assert np.all(whole["evaluations"] > 0)


def test_lost_axes_of_few_dimensions_are_as_many_as_there_are():
    axes = Axes(torch.zeros(4), np.array([2.0, 1.0]), np.eye(4)[:, :2])
    assert lost_axes(np.eye(4)[:1], axes, 3).shape == (1, 4)
    assert lost_axes(np.eye(4)[:2], axes, 3).shape == (0, 4)
    np.testing.assert_allclose(np.abs(lost_axes(np.empty((0, 4)), axes, 3)), np.eye(4)[:2])


def test_expected_evaluations_grow_with_the_survivals_up_to_a_complete_basis():
    few, many, all_ = (expected_evaluations(m, 784) for m in (3, 33, 700))
    assert few < many < all_ < 1.3 * 784
