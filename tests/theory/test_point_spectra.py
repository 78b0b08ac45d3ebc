"""Counting resolved directions without eigenvalues, and drawing spectra without all points."""

import numpy as np
import pytest
from scipy.stats import ks_2samp

from geomem.theory import (
    condensation_time,
    held_out_survival,
    points,
    rank_correction,
    required_samples,
    training_point,
)
from geomem.theory.points import PointPosterior, _atoms_survival, _equal_survival, _poisson_dirichlet

# --- resolved directions by Sylvester's law ---


def at(diagonal, spike, t=1.0):
    """A posterior with given parts of its covariance."""
    d, u = np.asarray(diagonal, dtype=float), np.asarray(spike, dtype=float)
    return PointPosterior(np.zeros(d.shape[:-1]), np.broadcast_to(float(t), d.shape[:-1]), d, u)


def counted(posterior, threshold):
    return np.sum(np.linalg.eigvalsh(posterior.covariance) / posterior.t[..., None] > threshold, -1)


@pytest.mark.parametrize("threshold", [0.05, 0.5, 1.3])
def test_resolved_is_the_count_of_eigenvalues(threshold):
    rng = np.random.default_rng(0)
    for d in (1, 2, 9):
        diagonal = rng.exponential(size=(400, d)) * 10.0 ** rng.integers(-2, 1, (400, 1))
        spike = rng.normal(size=(400, d)) * 10.0 ** rng.integers(-2, 1, (400, 1))
        spike[rng.uniform(size=spike.shape) < 0.2] = 0
        for t in (0.1, 1.0, 7.0):
            posterior = at(diagonal, spike, t)
            np.testing.assert_array_equal(posterior.resolved(threshold), counted(posterior, threshold))
            np.testing.assert_array_equal(posterior.resolved(threshold), np.sum(posterior.survival > threshold, -1))
            assert t == 7 or np.ptp(posterior.resolved(threshold)) > 0


def test_resolved_with_entries_at_the_threshold_itself():
    """Exact in binary: 1/2 is met, not passed, unless the spike has a part there, which lifts one of the equal ones."""
    cases = [
        ([0.5, 0.5, 0.25], [0.0, 0.0, 0.0], 0),
        ([0.5, 0.5, 0.25], [0.0, 0.0, 2.0], 1),
        ([0.5, 0.5, 0.25], [1.0, 0.0, 0.0], 1),
        ([0.5, 0.5, 0.25], [1.0, 1.0, 1.0], 1),
        ([0.5, 0.5, 0.5], [1.0, 1.0, 1.0], 1),
        ([0.5, 0.75, 0.25], [1e-3, 0.0, 0.0], 2),
        ([0.5, 0.75, 0.25], [1e-3, 5.0, 0.0], 2),
        ([0.5, 0.75, 0.25], [0.0, 5.0, 0.0], 1),
        ([0.25, 0.25], [0.5, 0.0], 0),  # .25 + .25 is exactly one half
        ([0.25, 0.25], [0.5, 2.0**-20], 1),
        ([0.0, 0.0], [0.0, 0.0], 0),
        ([0.75, 0.75], [0.0, 0.0], 2),
        ([0.75, 0.75], [3.0, 1.0], 2),
    ]
    for diagonal, spike, count in cases:
        assert at(diagonal, spike).resolved() == count, (diagonal, spike)
        assert at(np.array(diagonal) * 4, np.array(spike) * 2, 4.0).resolved() == count, (diagonal, spike)
    whole = at([c[0] for c in cases if len(c[0]) == 3], [c[1] for c in cases if len(c[0]) == 3])
    np.testing.assert_array_equal(whole.resolved(), [c[2] for c in cases if len(c[0]) == 3])


def test_resolved_at_training_points_over_broadcast_shapes():
    rng = np.random.default_rng(1)
    s = np.array([2.0, 1.0, 1.0, 0.3, 0.3, 0.0])
    x = rng.standard_normal((7, 6)) * np.sqrt(s)
    t = np.geomspace(1e-3, 1e3, 40)[:, None]
    for n in (1, 2, 100, 10**6):
        posterior = training_point(s, n, t, x)
        assert posterior.resolved().shape == (40, 7)
        for threshold in (0.1, 0.5, 0.9):
            np.testing.assert_array_equal(posterior.resolved(threshold), counted(posterior, threshold))


# --- random spectra ---


def weighted(weight, spread, rng):
    """Spectra (n, m) by drawing every point, for weights (n, count): their scatter, what is left as a continuum."""
    y = rng.standard_normal((*weight.shape, spread.size)) * spread
    centre = (weight[:, None] @ y)[:, 0]
    second = (y * weight[..., None]).transpose(0, 2, 1) @ y - centre[:, :, None] * centre[:, None]
    second += (1 - weight.sum(1))[:, None, None] * np.diag(spread**2)
    return np.linalg.eigvalsh(second)[:, ::-1]


def like(drawn, expected, level=1e-4):
    """Two samples (n, k) of spectra have one law: Kolmogorov and Smirnov's test of each ordered value and of the trace."""
    columns = [*zip(drawn.T, expected.T, strict=True), (drawn.sum(1), expected.sum(1))]
    for a, b in columns:
        if a.max() > 1e-12 or b.max() > 1e-12:
            assert ks_2samp(a, b).pvalue > level / len(columns)
    se = np.sqrt((drawn.var(0) + expected.var(0)) / len(drawn))
    assert np.all(np.abs(drawn.mean(0) - expected.mean(0)) < 4.5 * se + 1e-12)


SPREAD = np.sqrt([2.0, 1.0, 1.0, 0.3, 0.05])


@pytest.mark.parametrize("count", [1, 2, 5, 6, 7, 40, 900])
def test_equally_heavy_points_have_the_spectrum_of_drawn_ones(count):
    """Fewer than, as many as, and more than the m = 5 directions: Gram matrix and Bartlett's decomposition."""
    rng = np.random.default_rng([2, count])
    drawn = np.array([_equal_survival(count, SPREAD, rng) for _ in range(2000)])
    expected = weighted(np.full((2000, count), 1 / count), SPREAD, rng)
    assert drawn.shape == (2000, 5)
    assert np.all(np.diff(drawn, axis=1) <= 1e-13)
    assert np.all(drawn >= -1e-13)
    assert np.linalg.matrix_rank(np.diag(drawn[0]), tol=1e-10) == min(5, count - 1)
    like(drawn, expected)
    se = drawn.sum(1).std() / np.sqrt(2000)
    assert abs(drawn.sum(1).mean() - (1 - 1 / count) * np.sum(SPREAD**2)) < 4.5 * se + 1e-12


def test_scatter_of_one_direction_is_chi_squared():
    """m = 1: variance of `count` points, s chi^2_{count-1}/count, by its two moments."""
    rng = np.random.default_rng(3)
    for count in (2, 3, 20, 150):
        drawn = np.array([_equal_survival(count, np.array([2.0]), rng)[0] for _ in range(3000)])
        mean, variance = 4 * (count - 1) / count, 32 * (count - 1) / count**2
        assert abs(drawn.mean() - mean) < 4 * np.sqrt(variance / 3000)
        assert drawn.var() == pytest.approx(variance, rel=0.25)


def test_very_many_equal_points_have_the_spectrum_of_their_law():
    rng = np.random.default_rng(4)
    before = rng.bit_generator.state
    np.testing.assert_array_equal(_equal_survival(1000, SPREAD[::-1], rng), np.sort(SPREAD**2)[::-1])
    assert rng.bit_generator.state == before
    drawn = np.array([_equal_survival(999, SPREAD, rng) for _ in range(400)])
    assert np.all(drawn.std(0) > 0)
    np.testing.assert_allclose(drawn.mean(0), SPREAD**2, rtol=0.06)  # equal ones repel each other by 1/sqrt(n)


def test_no_direction_has_no_spectrum():
    rng = np.random.default_rng(5)
    for count in (1, 2, 50):
        assert _equal_survival(count, np.zeros(0), rng).shape == (0,)
    assert _atoms_survival(np.array([0.5, 0.5]), np.zeros(0), rng).shape == (0,)


WEIGHTS = {
    "one": np.array([1.0]),
    "two": np.array([0.6, 0.4]),
    "four, nothing left": np.array([0.7, 0.2, 0.07, 0.03]),
    "three, a trace left": np.array([0.7, 0.2, 0.0999]),
    "four, a tenth left": np.array([0.5, 0.3, 0.08, 0.02]),
    "many": np.full(30, 1 / 40),
}


@pytest.mark.parametrize("name", WEIGHTS)
def test_weighted_points_have_the_spectrum_of_drawn_ones(name):
    """The small Gram matrix where points are fewer than directions and little weight is left, the full one otherwise."""
    rng = np.random.default_rng([6, len(name)])
    drawn = np.array([_atoms_survival(WEIGHTS[name], SPREAD, rng) for _ in range(2000)])
    expected = weighted(np.tile(WEIGHTS[name], (2000, 1)), SPREAD, rng)
    assert drawn.shape == (2000, 5)
    if name == "three, a trace left":
        # What is left out is below a thousandth of each draw's trace.
        se = np.hypot(drawn.sum(1).std(), expected.sum(1).std()) / np.sqrt(2000)
        assert abs(drawn.sum(1).mean() - expected.sum(1).mean()) < 4.5 * se + 1e-3 * expected.sum(1).mean()
    else:
        like(drawn, expected)


@pytest.mark.parametrize("left", [0.0, 1e-6, 3e-4])
def test_a_gram_matrix_has_the_eigenvalues_of_the_same_points(left, monkeypatch):
    """Draw by draw, with one generator's points: the two ways differ by no more than the weight that is left out."""
    weight = np.array([0.5, 0.3, 0.2]) * (1 - left)
    for seed in range(30):
        few = _atoms_survival(weight, SPREAD, np.random.default_rng(seed))
        full = weighted(weight[None], SPREAD, np.random.default_rng(seed))[0]
        np.testing.assert_allclose(few, full, rtol=0, atol=1e-12 + 3 * left * (np.max(SPREAD**2) + full[0]))
        monkeypatch.setattr(points, "_LIGHT", 0.0)
        if left:
            np.testing.assert_allclose(_atoms_survival(weight, SPREAD, np.random.default_rng(seed)), full, atol=1e-12)
        monkeypatch.undo()


@pytest.mark.parametrize("alpha", [0.05, 0.3, 0.7, 0.95])
def test_weights_follow_poisson_and_dirichlet(alpha):
    """E sum w^2 = 1 - alpha, E sum w^3 = (1-alpha)(2-alpha)/2; the first, size-biased, is Beta(1-alpha, alpha)."""
    rng = np.random.default_rng(7)
    w = np.array([_poisson_dirichlet(alpha, 200, rng) for _ in range(4000)])
    assert w.shape == (4000, 200)
    assert np.all(w >= 0)
    assert np.all(w.sum(1) <= 1 + 1e-12)
    for power, expected in ((2, 1 - alpha), (3, (1 - alpha) * (2 - alpha) / 2)):
        total = np.sum(w**power, 1)
        assert abs(total.mean() - expected) < 4.5 * total.std(ddof=1) / np.sqrt(4000)
    first = rng.beta(1 - alpha, alpha, 4000)
    assert ks_2samp(w[:, 0], first).pvalue > 1e-4
    second = (1 - first) * rng.beta(1 - alpha, 2 * alpha, 4000)
    assert ks_2samp(w[:, 1], second).pvalue > 1e-4


def all_points(s, n, t, x, n_draws, rng):
    """`held_out_survival` as it was first written: all points of a draw, and the full matrix of second moments."""
    t_c = float(condensation_time(s, n, x))
    frozen, keep = max(t, t_c), s > 0
    spread = np.sqrt(s[keep] * frozen / (s[keep] + frozen))
    if t < t_c:
        alpha = t / (float(rank_correction(np.sum((s / (s + t_c)) ** 2))) * t_c)
        part = rng.beta(1 - alpha, alpha * np.arange(1, 201), size=(n_draws, 200))
        weight = part * np.concatenate([np.ones((n_draws, 1)), np.cumprod(1 - part, 1)[:, :-1]], 1)
    else:
        count = round(min(n, 1 + n / float(required_samples(s, t, x))))
        weight = np.full((n_draws, count), 1 / count)
    return weighted(weight, spread, rng) / t


@pytest.mark.parametrize("grid", [0.1, 0.5, 1.05, 1.5, 2.0, 3.0])
@pytest.mark.parametrize("name", ["A", "B"])
def test_held_out_survival_has_the_law_of_drawing_all_points(name, grid, sets):
    """Above t_c counts of samples from 2 to hundreds, fewer and more than the rank; below, 200 of the weights' atoms."""
    s, n_draws = sets[name], 700
    x = np.sqrt(s)
    t = grid * float(condensation_time(s, 1000, x))
    m = np.count_nonzero(s)
    found = held_out_survival(s, 1000, t, x, n_draws=n_draws, rng=np.random.default_rng(8))
    assert found.shape == (n_draws, 30)
    np.testing.assert_array_equal(found[:, m:], 0)
    expected = np.maximum(all_points(s, 1000, t, x, n_draws, np.random.default_rng(9)), 0)
    like(found[:, :m], expected)
    resolved, truth = (np.sum(v > 0.5, 1) for v in (found, expected))
    se = np.sqrt((resolved.var() + truth.var()) / n_draws)
    assert abs(resolved.mean() - truth.mean()) < 4.5 * se + 1e-9


def test_few_samples_hold_all_the_weight_themselves():
    """N = 2: no more than two points are drawn, so one direction at most, and two atoms share what there is."""
    s, x = np.array([1.0, 0.5, 0.3, 0.2]), np.zeros(4)
    t_c = float(condensation_time(s, 2, x))
    above = held_out_survival(s, 2, 3 * t_c, x, n_draws=50, rng=np.random.default_rng(10))
    assert np.all(above[:, 1:] < 1e-12)
    assert np.all(above[:, 0] > 0)
