"""Jacobian singular values: exact ones, gaps, the closed forms' values, and the random matrix of Eq. 18."""

import numpy as np
import pytest

from geomem.theory import (
    condensation_time,
    exact_singular_values,
    jacobian_samples,
    jacobian_singular_values,
    random_projection_gap,
    spectral_gaps,
)

FORMS = ("row", "column", "eq19", "eq43")


def phi(s, n, t, j, floor, condensation):
    """max(floor, 1/t - 1/t_c) at e_j sqrt(t), or at the origin for j = None: one number, from scalars."""
    x = np.zeros(len(s))
    if j is not None:
        x[j] = np.sqrt(t)
    return max(floor, 1 / t - 1 / float(condensation_time(s, n, x, method=condensation)))


# --- the exact Jacobian ---


def test_exact_singular_values_are_those_of_the_matrix():
    rng = np.random.default_rng(1)
    s, t = np.array([0.3, 0.0, 2.0, 1.0, 0.0]), np.array([[1e-3, 0.1], [1.0, 30.0]])
    q, _ = np.linalg.qr(rng.standard_normal((5, 5)))
    values = exact_singular_values(s, t)
    assert values.shape == (2, 2, 5)
    for index in np.ndindex(2, 2):
        jacobian = -np.linalg.inv(q @ np.diag(s) @ q.T + t[index] * np.eye(5))
        np.testing.assert_allclose(np.sort(values[index])[::-1], np.linalg.svd(jacobian, compute_uv=False), rtol=1e-10)
    np.testing.assert_allclose(exact_singular_values(s, 0.5), 1 / (0.5 + s), rtol=1e-15)  # in the order of variances


def test_spectral_gaps_are_the_jumps_of_the_sorted_spectrum(set_b):
    t = np.array([1e-4, 0.01, 1.0])
    order = np.random.default_rng(2).permutation(30)
    k, size = spectral_gaps(set_b[order], t)
    jumps = -np.diff(np.sort(exact_singular_values(set_b, t), -1)[:, ::-1])
    np.testing.assert_array_equal(k, np.flatnonzero(jumps[0] > 1e-9) + 1)
    np.testing.assert_array_equal(k, [15, 25])  # the total gap lies after the d - m normal directions
    np.testing.assert_allclose(size, jumps[:, k - 1], rtol=1e-12)
    np.testing.assert_allclose(size[0], [1 / t[0] - 1 / (t[0] + 0.3), 1 / 0.3 - 1], rtol=1e-3)  # limits at small t
    none_k, none = spectral_gaps([0.7, 0.7], t)
    assert none_k.shape == (0,)
    assert none.shape == (3, 0)


# --- the gap of a random projection (Eq. 9) ---


@pytest.mark.parametrize("ratio", [0.1, 0.25, 0.5])
def test_random_projection_gap_against_a_large_random_matrix(ratio):
    dim, sigma2, rng = 2400, 0.7, np.random.default_rng(3)
    rank = int(ratio * dim)
    f = rng.standard_normal((dim, rank)) * np.sqrt(sigma2 / rank)
    levels = np.linalg.eigvalsh(f.T @ f)  # the non-zero eigenvalues of F F^T
    # An edge of the bulk fluctuates by the Tracy-Widom scale, rank^(-2/3) (1 -+ sqrt(ratio))^(-1/3) ratio^(1/6) or so
    # relative to itself; its mean is 1.2 of them off. Four of them, as a change of the gap.
    for t in (0.1, 1.0):
        for form, edge, sign in (("corrected", levels[0], -1), ("eq9", levels[-1], 1)):
            measured = edge / (t + edge)  # 1 - t/(t + lambda): the jump of t J's singular values
            predicted = random_projection_gap(sigma2, ratio, t, form=form)
            scale = rank ** (-2 / 3) * (1 + sign * np.sqrt(ratio)) ** (-2 / 3) * (1 - predicted)
            assert abs(measured / predicted - 1) < 4 * scale, (form, t)


def test_random_projection_gap_values():
    # m = d/4: lower edge sigma^2 (2 - 1)^2, upper sigma^2 (2 + 1)^2.
    assert random_projection_gap(0.5, 0.25, 0.5) == pytest.approx(0.5, rel=1e-14)
    assert random_projection_gap(0.5, 0.25, 0.5, form="eq9") == pytest.approx(0.9, rel=1e-14)
    assert random_projection_gap(2.0, 1.0, 0.1) == 0  # a full-rank square projection has no lower edge
    assert random_projection_gap([1, 2], [[0.1], [0.5], [1]], np.ones((4, 1, 1))).shape == (4, 3, 2)
    np.testing.assert_allclose(random_projection_gap(2.0, 1e-12, 1e-3), 1, rtol=1e-8)


# --- closed forms of the empirical Jacobian's singular values ---


def test_sheet_values_of_set_a(set_a):
    axes = [0, 2, 7]
    column = jacobian_singular_values(set_a, 1000, 0.1, form="column")[axes]
    np.testing.assert_allclose(column, [1.39286849509, 2.7136021012, 10.0555276522], rtol=1e-11)
    row = jacobian_singular_values(set_a, 1000, 0.1)[axes]
    np.testing.assert_allclose(row, [2.5061906822, 3.27871926215, 10], rtol=1e-11)
    printed = jacobian_singular_values(set_a, 1000, 0.01, form="eq19")[0]
    np.testing.assert_allclose(printed, 49610.282685, rtol=1e-10)


@pytest.mark.parametrize("condensation", ["exact", "expansion"])
@pytest.mark.parametrize("form", FORMS)
def test_forms_are_their_equations(form, condensation):
    s, n = np.array([0.3, 0.0, 1.0, 0.3]), 400
    for t in (0.01, 0.1, 3.0):  # below and above t_c, where the floors act
        floor = {"row": 1 / (n * t), "column": 1 / (n * t), "eq19": 1 / n, "eq43": 0}[form]
        origin = phi(s, n, t, None, floor, condensation)
        share = np.array([origin + phi(s, n, t, j, floor, condensation) for j in range(4)])
        power = {
            "row": s / (t * (t + s)) * share.sum(),
            "column": np.sum(s / (t * (t + s))) * share,
            "eq19": np.sum(s / (t * (t + s)) ** 2) * share**2,
            "eq43": np.sum(s**2 / (t * (t + s)) ** 2) * share**2,
        }[form]
        values = jacobian_singular_values(s, n, t, form=form, condensation=condensation)
        np.testing.assert_allclose(values, np.sqrt(1 / (t + s) ** 2 + power), rtol=1e-12)


@pytest.mark.parametrize("form", FORMS)
def test_forms_broadcast_over_time_and_follow_the_order_of_variances(form, set_a):
    t = np.geomspace(1e-3, 10, 6).reshape(2, 3)
    values = jacobian_singular_values(set_a, 1000, t, form=form)
    assert values.shape == (2, 3, 30)
    alone = [jacobian_singular_values(set_a, 1000, u, form=form) for u in t.ravel()]
    np.testing.assert_allclose(values.reshape(6, 30), alone, rtol=1e-12)
    order = np.random.default_rng(4).permutation(30)
    shuffled = jacobian_singular_values(set_a[order], 1000, t, form=form)
    np.testing.assert_allclose(shuffled, values[..., order], rtol=1e-12)


def test_row_form_leaves_directions_without_variance_at_one_over_t(set_a):
    t = np.geomspace(1e-6, 10, 15)
    values = jacobian_singular_values(set_a, 1000, t)[:, 7:]
    np.testing.assert_allclose(values, np.broadcast_to(1 / t[:, None], values.shape), rtol=5e-16)  # an ulp of the root
    none = jacobian_singular_values([0.0, 0.0], 10, t, form="column")
    np.testing.assert_allclose(none, np.broadcast_to(1 / t[:, None], (15, 2)), rtol=1e-15)


@pytest.mark.parametrize("form", FORMS)
def test_forms_tend_to_the_exact_values_at_large_t(form, set_a):
    values = jacobian_singular_values(set_a, 10**9, 50.0, form=form)
    np.testing.assert_allclose(values, exact_singular_values(set_a, 50.0), rtol=1e-3 if form == "eq19" else 1e-6)


def test_exact_condensation_is_the_default_everywhere(set_a):
    for form in FORMS:
        t = 0.1
        default = jacobian_singular_values(set_a, 1000, t, form=form)
        np.testing.assert_array_equal(
            default, jacobian_singular_values(set_a, 1000, t, form=form, condensation="exact")
        )
        expansion = jacobian_singular_values(set_a, 1000, t, form=form, condensation="expansion")
        assert not np.allclose(default, expansion)  # Eq. 15 is an order of magnitude larger at A


# --- Eq. 18 ---


@pytest.mark.parametrize("form", ["corrected", "eq18"])
@pytest.mark.parametrize("t", [0.01, 0.5])
def test_samples_have_the_mean_and_the_variance_of_eq_18(form, t):
    s, n, draws = np.array([1.0, 0.0, 0.3, 0.3]), 300, 20_000
    values = jacobian_samples(s, n, t, draws, rng=np.random.default_rng(5), form=form)
    assert values.shape == (draws, 4, 4)
    floor = 1 / (n * t) if form == "corrected" else 1 / n
    share = [phi(s, n, t, None, floor, "exact") + phi(s, n, t, j, floor, "exact") for j in range(4)]
    variance = np.outer(s / (t * (t + s)), share)
    live = variance > 0
    np.testing.assert_array_equal(live, (s > 0)[:, None] & np.ones(4, bool))
    mean = np.diag(-1 / (t + s))
    np.testing.assert_array_equal(values[:, ~live], np.broadcast_to(mean[~live], (draws, 4)))
    z_mean = (values.mean(0) - mean)[live] / np.sqrt(variance[live] / draws)
    z_variance = (values.var(0, ddof=1)[live] / variance[live] - 1) / np.sqrt(2 / draws)
    # 24 comparisons in each of four cases: 4.7 standard errors are 3e-4 in all.
    assert np.abs(z_mean).max() < 4.7
    assert np.abs(z_variance).max() < 4.7
    off = (values - mean)[:, live]
    correlation = np.corrcoef(off.T) - np.eye(off.shape[1])
    assert np.abs(correlation).max() < 4.7 / np.sqrt(draws)  # entries are independent


def test_the_printed_floor_of_eq_18_has_the_units_of_a_number():
    """Above t_c the printed phi is 1/N whatever t; the right one is 1/(N t), so they agree at t = 1 alone."""
    s, n = np.array([1.0, 0.3]), 1000
    for t in (0.5, 1.0, 4.0):
        right, printed = (
            jacobian_samples(s, n, t, 1, rng=np.random.default_rng(6), form=form) + np.diag(1 / (t + s))
            for form in ("corrected", "eq18")
        )
        np.testing.assert_allclose(printed / right, np.sqrt(t), rtol=1e-9)


def test_samples_follow_their_generator(set_a):
    one, two, other = (jacobian_samples(set_a, 1000, 0.1, 3, rng=np.random.default_rng(seed)) for seed in (7, 7, 8))
    np.testing.assert_array_equal(one, two)
    assert not np.any(one[:, :7] == other[:, :7])
    wide = jacobian_samples(set_a, 1000, 0.1, 500, rng=np.random.default_rng(9), condensation="expansion")
    narrow = jacobian_samples(set_a, 1000, 0.1, 500, rng=np.random.default_rng(9))
    assert wide[:, :7].std() > narrow[:, :7].std()  # a later t_c, so more noise at this t


def test_column_form_is_the_mean_power_of_columns_and_row_form_of_rows(set_a):
    """Which sums the two forms stand for: E|column j|^2 and E|row i|^2 of Eq. 18's matrices."""
    draws = jacobian_samples(set_a, 1000, 0.05, 3000, rng=np.random.default_rng(10))
    for form, axis in (("column", 1), ("row", 2)):
        power = np.sum(draws**2, axis)
        se = power.std(0) / np.sqrt(3000)
        difference = power.mean(0) - jacobian_singular_values(set_a, 1000, 0.05, form=form) ** 2
        assert np.all(np.abs(difference) < 4.5 * se + 1e-9)
