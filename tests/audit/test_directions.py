"""Kept and lost directions of random symmetric matrices, against their definition."""

import numpy as np
import pytest

from geomem.measure.directions import kept_and_lost

K, D = 7, 12


def random_case(seed, survivals):
    """A symmetric matrix with given eigenvalues, variances descending, and orthonormal axes (d, k)."""
    rng = np.random.default_rng(seed)
    turn = np.linalg.qr(rng.normal(size=(K, K)))[0]
    axes = np.linalg.qr(rng.normal(size=(D, K)))[0]
    return (turn * survivals) @ turn.T, turn, np.sort(rng.uniform(0.1, 5, K))[::-1], axes


def align(found, expected):
    """Unit vectors that agree up to their signs."""
    np.testing.assert_allclose(np.abs(np.sum(found * expected, -1)), 1, atol=1e-10)


SPECTRA = {
    "some kept": np.array([1.7, 0.9, 0.6, 0.4, 0.2, 0.1, 0.05]),
    "equal and zero": np.array([0.8, 0.8, 0.7, 0.0, 0.0, 0.0, 0.0]),
    "all kept": np.linspace(0.6, 0.9, K),
    "none kept": np.linspace(0.0, 0.45, K),
    "negative": np.array([0.9, -0.2, 0.3, -0.9, 0.1, 0.0, 0.55]),
}


@pytest.mark.parametrize("name", SPECTRA)
@pytest.mark.parametrize("seed", range(3))
def test_kept_and_lost_are_orthonormal_and_fill_the_space(name, seed):
    survival, _, variances, axes = random_case(seed, SPECTRA[name])
    found = kept_and_lost(survival, variances, axes, K)
    kept, lost = (v[~np.isnan(v).any(1)] for v in (found.kept, found.lost))
    assert len(kept) == np.sum(SPECTRA[name] > 0.5)
    both = np.concatenate([kept, lost])
    assert both.shape == (K, D)
    np.testing.assert_allclose(both @ both.T, np.eye(K), atol=1e-12)
    np.testing.assert_allclose(both.T @ both, axes @ axes.T, atol=1e-12)  # the projector onto the axes' space


@pytest.mark.parametrize("seed", range(3))
def test_kept_are_the_eigenvectors_above_the_threshold_most_surviving_first(seed):
    survivals = SPECTRA["some kept"][[3, 1, 0, 6, 2, 5, 4]]
    survival, turn, variances, axes = random_case(seed, survivals)
    for threshold in (0.5, 0.15):
        order = [i for i in np.argsort(-survivals) if survivals[i] > threshold]
        found = kept_and_lost(survival, variances, axes, len(order), threshold=threshold)
        np.testing.assert_allclose(found.kept_survival, survivals[order], rtol=1e-10)
        align(found.kept, (axes @ turn[:, order]).T)


@pytest.mark.parametrize("name", ["some kept", "equal and zero", "none kept", "negative"])
def test_lost_are_ordered_by_the_variance_along_them(name):
    """The principal axes of the data within what is lost: by brute force, from the projected covariance."""
    survival, turn, variances, axes = random_case(4, SPECTRA[name])
    gone = turn[:, SPECTRA[name] <= 0.5]
    found = kept_and_lost(survival, variances, axes, K)
    lost = found.lost[: gone.shape[1]]
    inside = lost @ axes
    along = np.einsum("ik,k,ik->i", inside, variances, inside)
    assert np.all(np.diff(along) <= 1e-12)
    projector = gone @ gone.T
    values, vectors = np.linalg.eigh(projector @ np.diag(variances) @ projector)
    count = gone.shape[1]
    np.testing.assert_allclose(along, values[::-1][:count], rtol=1e-10)
    align(inside, vectors[:, ::-1][:, :count].T)
    np.testing.assert_allclose(
        found.lost_survival[:count], np.einsum("ik,kl,il->i", inside, survival, inside), atol=1e-12
    )
    assert np.all(found.lost_survival[:count] <= 0.5)
    assert found.lost_survival[:count].sum() == pytest.approx(SPECTRA[name][SPECTRA[name] <= 0.5].sum(), abs=1e-12)


def test_too_few_directions_leave_rows_of_nan_and_too_many_are_cut():
    survival, _, variances, axes = random_case(5, SPECTRA["some kept"])
    found = kept_and_lost(survival, variances, axes, 5)
    assert found.kept.shape == found.lost.shape == (5, D)
    np.testing.assert_array_equal(np.isnan(found.kept).all(1), [False] * 3 + [True] * 2)
    np.testing.assert_array_equal(np.isnan(found.kept).any(1), np.isnan(found.kept).all(1))
    np.testing.assert_array_equal(np.isnan(found.kept_survival), [False] * 3 + [True] * 2)
    np.testing.assert_array_equal(np.isnan(found.lost_survival), [False] * 4 + [True])
    cut = kept_and_lost(survival, variances, axes, 2)
    np.testing.assert_allclose(cut.kept_survival, [1.7, 0.9], rtol=1e-10)
    align(cut.lost, found.lost[:2])


@pytest.mark.parametrize(("survivals", "empty"), [(np.full(K, 0.9), "lost"), (np.zeros(K), "kept")])
def test_nothing_lost_or_nothing_kept_is_all_nan(survivals, empty):
    survival, _, variances, axes = random_case(6, survivals)
    found = kept_and_lost(survival, variances, axes, 3)
    full = "kept" if empty == "lost" else "lost"
    assert np.all(np.isnan(getattr(found, empty)))
    assert np.all(np.isnan(getattr(found, f"{empty}_survival")))
    assert not np.any(np.isnan(getattr(found, full)))


def test_a_survival_at_the_threshold_is_lost():
    found = kept_and_lost(np.diag([0.5, 0.25]), np.array([2.0, 1.0]), np.eye(2), 2)
    assert np.all(np.isnan(found.kept))
    np.testing.assert_array_equal(found.lost_survival, [0.5, 0.25])


def test_a_matrix_that_is_not_symmetric_counts_by_its_symmetric_part():
    survival, _, variances, axes = random_case(7, SPECTRA["some kept"])
    skew = np.random.default_rng(8).normal(size=(K, K))
    found, tilted = (kept_and_lost(m, variances, axes, K) for m in (survival, survival + skew - skew.T))
    np.testing.assert_allclose(tilted.kept_survival, found.kept_survival, atol=1e-12)
    np.testing.assert_allclose(tilted.lost_survival, found.lost_survival, atol=1e-12)
    align(tilted.kept[:3], found.kept[:3])
    align(tilted.lost[:4], found.lost[:4])
