"""What an audit measures, against brute force on small data sets and the theory's own functions."""

import math

import numpy as np
import pytest
import torch
import xarray as xr

from geomem import theory
from geomem.measure import posterior as measure
from geomem.measure.posterior import (
    SETS,
    half_weight_times,
    information_needed,
    local_directions,
    posterior_cell,
    predicted,
    prepare,
)
from geomem.scores import EmpiricalScore, GaussianScore

VARIANCES = torch.tensor([2.0, 1.0, 0.5, 0.3, 0.1, 0.05], dtype=torch.float64)


def rows(generator, n, *, offset=0.0, dtype=torch.float64):
    """Gaussian rows in rotated coordinates, so that principal axes have to be found."""
    turn = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(99), dtype=torch.float64)).Q
    return (torch.randn(n, 6, generator=generator, dtype=torch.float64) * VARIANCES.sqrt() @ turn.T + offset).to(dtype)


@pytest.fixture
def data(generator):
    return prepare(rows(generator, 90, offset=2.0), rows(generator, 25, offset=2.0))


# --- preparation ---


@pytest.mark.parametrize(("n", "d"), [(90, 6), (8, 30)], ids=["many rows", "few rows"])
def test_prepared_rows_are_centred_and_their_axes_principal(n, d, generator):
    train = torch.randn(n, d, generator=generator, dtype=torch.float64) + 5
    held = torch.randn(4, d, generator=generator, dtype=torch.float64) + 5
    found = prepare(train, held)
    k = min(n, d)
    covariance = np.cov(train.numpy().T, bias=True)
    values = np.linalg.eigvalsh(covariance)[::-1][:k]
    np.testing.assert_allclose(found.variances, values, rtol=1e-9, atol=1e-12)
    assert found.variances.shape == (k,)
    assert found.axes.shape == (d, k)
    assert torch.allclose(found.axes.T @ found.axes, torch.eye(k, dtype=torch.float64), atol=1e-12)
    assert torch.allclose(found.mean, train.mean(0), rtol=1e-13)
    assert torch.allclose(found.train, train - train.mean(0), atol=1e-12)
    assert torch.allclose(found.held_out, held - train.mean(0), atol=1e-12)
    z = found.coordinates(found.train)
    assert torch.allclose(z.T @ z / n, torch.diag(torch.as_tensor(found.variances)), atol=1e-10)
    assert (found.dim, found.fitted) == (d, n)
    if n < d:
        assert found.variances[-1] == 0  # n centred rows have n - 1 directions


def test_prepared_rows_keep_their_type(generator):
    found = prepare(rows(generator, 90, offset=50.0, dtype=torch.float32), rows(generator, 5, dtype=torch.float32))
    assert found.train.dtype == found.held_out.dtype == torch.float32
    assert found.coordinates(found.train).dtype == torch.float32
    assert found.mean.dtype == torch.float64
    assert found.variances.dtype == np.float64
    np.testing.assert_allclose(found.variances.sum(), float(found.train.double().square().sum(1).mean()), rtol=1e-5)


def test_axes_of_very_many_dimensions_come_from_the_first_rows(generator, monkeypatch):
    monkeypatch.setattr(measure, "_FITTED", 10)
    wide, held = (torch.randn(n, 12, generator=generator, dtype=torch.float64) for n in (40, 3))
    found, first = prepare(wide, held), prepare(wide[:10], held)
    assert (found.fitted, found.train.shape) == (10, (40, 12))
    np.testing.assert_array_equal(found.variances, first.variances)
    assert torch.equal(found.mean, wide[:10].mean(0))
    assert torch.allclose(found.train, wide - wide[:10].mean(0), atol=1e-14)
    assert torch.allclose(found.held_out, held - wide[:10].mean(0), atol=1e-14)
    assert prepare(wide[:, :8], held[:, :8]).fitted == 40  # few dimensions: all rows


# --- the posterior at training and held-out points ---

TIMES = np.array([0.02, 0.1, 0.5, 3.0])


def brute(data, index, times, points, spectra):
    """Everything that a cell holds, by definition, in full float64 matrices."""
    y = data.train[torch.as_tensor(index)].double().numpy()
    out = {}
    for name, x in (("training", y[:points]), ("held-out", data.held_out[:points].double().numpy())):
        squares = np.square(x[:, None] - y).sum(-1)
        p = len(x)
        found = {key: np.empty((p, len(times))) for key in ("effective_samples", "own_weight", "information")}
        spectrum = np.empty((min(spectra, p), len(times), y.shape[1]))
        along = np.empty((min(spectra, p), len(times), data.variances.size))
        for j, t in enumerate(times):
            for i in range(p):
                w = np.exp(-(squares[i] - squares[i].min()) / (2 * t))
                w /= w.sum()
                found["effective_samples"][i, j] = 1 / np.sum(w**2)
                found["own_weight"][i, j] = w[i] if name == "training" else np.nan
                others = np.delete(squares[i], i) if name == "training" else squares[i]
                v = np.exp(-(others - others.min()) / (2 * t))
                v /= v.sum()
                found["information"][i, j] = math.log(len(v)) + np.sum(v * np.log(np.maximum(v, 1e-300)))
                if i < spectra:
                    centred = y - w @ y
                    cov = (centred * w[:, None]).T @ centred / t
                    spectrum[i, j] = np.linalg.eigvalsh(cov)[::-1]
                    axes = data.axes.numpy()
                    along[i, j] = np.einsum("dk,de,ek->k", axes, cov, axes)
        out[name] = found | {"spectrum": spectrum, "along": along}
    return out


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_cell_holds_what_its_definition_says(dtype, generator, monkeypatch):
    """All variables at training and held-out points; all directions are kept, so nothing is outside."""
    monkeypatch.setattr(measure, "_SMALL", 0.0)
    data = prepare(rows(generator, 90, offset=2.0, dtype=dtype), rows(generator, 25, offset=2.0, dtype=dtype))
    index = np.random.default_rng(0).permutation(90)[:40]
    cell = posterior_cell(data, index, TIMES, 12, 7)
    expected = brute(data, index, TIMES, 12, 7)
    rtol, atol = (1e-6, 1e-8) if dtype == torch.float64 else (1e-4, 2e-5)
    assert dict(cell.sizes) == {"set": 2, "t": 4, "point": 12, "seen": 7, "direction": 6}
    assert list(cell["set"].values) == list(SETS)
    for name in SETS:
        at, truth = cell.sel(set=name), expected[name]
        for key in ("effective_samples", "own_weight", "information"):
            np.testing.assert_allclose(at[key].transpose("point", "t"), truth[key], rtol=rtol, atol=atol, err_msg=key)
        seen = truth["spectrum"]
        margin = np.abs(seen - 0.5).min()
        assert margin > 1e-4
        np.testing.assert_array_equal(at["resolved"].transpose("seen", "t"), (seen > 0.5).sum(-1))
        trace = at["degrees_of_freedom"].transpose("seen", "t")
        np.testing.assert_allclose(trace, seen.sum(-1), rtol=rtol, atol=atol)
        np.testing.assert_allclose(at["outside"], 0, atol=10 * atol)
        assert np.all(at["outside"].values >= -1e-12)
        along = at["along"].transpose("seen", "t", "direction")
        np.testing.assert_allclose(along, truth["along"], rtol=1e-4, atol=2e-6 + atol)
        middle = at["survival"].transpose("t", "direction")
        np.testing.assert_allclose(middle, np.median(seen, 0), rtol=rtol, atol=10 * atol)  # 7 points: one is the median
    assert np.all(np.isnan(cell["own_weight"].sel(set="held-out")))


def test_the_median_survival_of_an_even_number_of_points(data, monkeypatch):
    monkeypatch.setattr(measure, "_SMALL", 0.0)
    cell = posterior_cell(data, np.arange(40), TIMES, 8, 8)
    spectrum = brute(data, np.arange(40), TIMES, 8, 8)["held-out"]["spectrum"]
    found = cell["survival"].sel(set="held-out").transpose("t", "direction")
    np.testing.assert_allclose(found, np.median(spectrum, 0), rtol=1e-5, atol=1e-6)


def test_what_lies_outside_the_coordinates_is_in_the_trace(data):
    """Directions with less variance than a fiftieth of t are left out of the spectrum, and counted as outside."""
    times = np.array([0.5, 10.0])
    cell = posterior_cell(data, np.arange(90), times, 10, 5)
    expected = brute(data, np.arange(90), times, 10, 5)
    for j, t in enumerate(times):
        kept = int(np.sum(data.variances > t / 50))
        assert 0 < kept < 6 or t == 0.5
        for name in SETS:
            truth = expected[name]
            trace = cell["degrees_of_freedom"].sel(set=name).transpose("seen", "t").values[:, j]
            np.testing.assert_allclose(trace, truth["spectrum"][:, j].sum(-1), rtol=1e-6)
            outside = cell["outside"].sel(set=name).transpose("seen", "t").values[:, j]
            # Of the leading coordinates' block the trace is what the recorded axes say.
            inside = truth["along"][:, j, :kept].sum(-1)
            np.testing.assert_allclose(outside, truth["spectrum"][:, j].sum(-1) - inside, atol=1e-7)
            recorded = cell["survival"].sel(set=name).transpose("t", "direction").values[j]
            np.testing.assert_array_equal(recorded[kept:], 0)


def test_no_more_coordinates_than_allowed_are_used(data, monkeypatch):
    monkeypatch.setattr(measure, "_COORDINATES", 3)
    monkeypatch.setattr(measure, "_RECORDED", 2)
    cell = posterior_cell(data, np.arange(90), np.array([0.3]), 4, 4)
    truth = brute(data, np.arange(90), np.array([0.3]), 4, 4)["held-out"]
    assert cell.sizes["direction"] == 2
    trace = truth["spectrum"][:, 0].sum(-1)
    held = cell.sel(set="held-out")
    np.testing.assert_allclose(held["degrees_of_freedom"].values.ravel(), trace, rtol=1e-6)
    np.testing.assert_allclose(held["outside"].values.ravel(), trace - truth["along"][:, 0, :3].sum(-1), rtol=1e-5)
    np.testing.assert_allclose(held["along"].values[:, 0], truth["along"][:, 0, :2], rtol=1e-5, atol=1e-7)


def test_information_is_the_logarithm_of_the_samples_at_the_ends(data):
    """At t -> infinity all samples weigh the same and nothing is known; at t -> 0 one is: ln of the others' number."""
    cell = posterior_cell(data, np.arange(50), np.array([1e-6, 1e9]), 6, 2)
    held, training = (cell["information"].sel(set=name).transpose("point", "t") for name in ("held-out", "training"))
    np.testing.assert_allclose(held[:, 0], math.log(50), rtol=1e-9)
    np.testing.assert_allclose(training[:, 0], math.log(49), rtol=1e-9)
    np.testing.assert_allclose(cell["information"].isel(t=1), 0, atol=1e-6)
    np.testing.assert_allclose(cell["own_weight"].sel(set="training").isel(t=0), 1, rtol=1e-12)
    np.testing.assert_allclose(cell["own_weight"].sel(set="training").isel(t=1), 1 / 50, rtol=1e-6)


def test_fewer_rows_than_points_leave_no_number_for_the_others(data):
    cell = posterior_cell(data, np.arange(16), np.array([0.3]), 25, 20)
    assert (cell.sizes["point"], cell.sizes["seen"]) == (25, 20)
    own = cell["effective_samples"].sel(set="training").isel(t=0)
    np.testing.assert_array_equal(np.isnan(own), np.arange(25) >= 16)
    assert not np.isnan(cell["effective_samples"].sel(set="held-out")).any()
    np.testing.assert_array_equal(np.isnan(cell["resolved"].sel(set="training").isel(t=0)), np.arange(20) >= 16)


# --- half-weight times ---


def own_weight(train, row, t):
    squares = np.square(train - train[row]).sum(1)
    w = np.exp(-squares / (2 * t))
    return w[row] / w.sum()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_half_weight_times_are_where_a_row_holds_half(dtype, generator):
    """To the root's tolerance of 1e-5 in ln t: the weight moves by w (1-w) <D>/2t times that."""
    train = rows(generator, 200, offset=3.0, dtype=dtype)
    data = prepare(train, rows(generator, 5))
    chosen = np.array([0, 3, 199, 50, 51])
    times, neighbour = half_weight_times(data, chosen)
    centred = data.train.double().numpy()
    for row, t, other in zip(chosen, times, neighbour, strict=True):
        assert own_weight(centred, row, t) == pytest.approx(0.5, abs=1e-4)
        squares = np.square(centred - centred[row]).sum(1)
        squares[row] = np.inf
        assert other == np.argmin(squares)
        assert own_weight(centred, row, t / 2) > 0.5 > own_weight(centred, row, 2 * t)
    assert times.dtype == np.float64


def test_half_weight_time_of_equally_distant_rows_is_known():
    """A simplex: N - 1 others, all at |x - y|^2 = 2, make exp(-1/t) (N - 1) = 1; both bounds of the search are the root."""
    data = prepare(torch.eye(12, dtype=torch.float64), torch.zeros(2, 12, dtype=torch.float64))
    times, _ = half_weight_times(data, np.arange(12))
    np.testing.assert_allclose(times, 1 / math.log(11), rtol=2e-5)


def test_half_weight_times_in_parts_are_the_same(generator, monkeypatch):
    """Rows are taken so many at a time that 2^26 distances are held; here two at a time."""
    train = torch.randn(3000, 2, generator=generator, dtype=torch.float64)
    data = prepare(train, train[:2])
    few = half_weight_times(data, np.arange(5))
    sizes, whole = [], EmpiricalScore.posterior
    monkeypatch.setattr(measure, "_DISTANCES", 6000)
    monkeypatch.setattr(EmpiricalScore, "posterior", lambda s, x, **o: sizes.append(len(x)) or whole(s, x, **o))
    parts = half_weight_times(data, np.arange(5))
    assert sizes == [2, 2, 1]
    np.testing.assert_allclose(parts[0], few[0], rtol=1e-9)
    np.testing.assert_array_equal(parts[1], few[1])


def test_half_weight_time_falls_with_a_near_duplicate(generator):
    train = torch.randn(60, 8, generator=generator, dtype=torch.float64)
    train[1] = train[0] + 1e-3
    times, neighbour = half_weight_times(prepare(train, train[:2]), np.arange(60))
    assert (neighbour[0], neighbour[1]) == (1, 0)
    # Above t = D the pair shares the weight, and with any of the others a row holds less than half.
    assert own_weight(train.numpy(), 0, 1e-6) > 0.9
    assert np.all(times > 0)
    for row in (0, 1, 30):
        assert own_weight(train.numpy(), row, times[row]) == pytest.approx(0.5, abs=1e-4)


def last_digits(seed, copies):
    """Float32 rows of which the first few are an ulp apart, distinct by their bytes, such as embeddings made twice."""
    train = torch.randn(60, 784, generator=torch.Generator().manual_seed(seed))
    for k in range(1, copies):
        train[k] = train[0]
        train[k, k] = torch.nextafter(train[0, k], torch.tensor(10.0))
    return train


def test_half_weight_times_of_three_rows_that_differ_in_their_last_digit():
    for seed in range(5):
        train = last_digits(seed, 3)
        times, _ = half_weight_times(prepare(train, train[:2]), np.arange(3))
        assert np.all(np.isfinite(times))


def test_half_weight_times_of_two_rows_that_differ_in_their_last_digit():
    """The pair shares the weight at first; each holds half where the others hold 1 - exp(-D/2t), at t of order 30."""
    for seed in range(5):
        train = last_digits(seed, 2)
        times, _ = half_weight_times(prepare(train, train[:2]), np.arange(2))
        assert np.all(times > 1)


# --- theory beside the measurements ---


def test_predictions_are_those_of_theory(data):
    times = np.array([0.05, 0.4, 3.0])
    parts = list(predicted(data, (60, 16), times, 9, 3))
    joined = xr.concat(parts, "size")
    assert joined["size"].values.tolist() == [16, 60, 240, 960, 3840]
    z = data.coordinates(data.train[:9]).numpy()
    for n in joined["size"].values:
        at = joined.sel(size=n)
        planted = theory.training_point(data.variances, n, times[:, None], z)
        np.testing.assert_allclose(at["own_weight"].transpose("t", "point"), planted.own_weight, rtol=1e-10)
        np.testing.assert_array_equal(at["training"].transpose("t", "point"), np.sum(planted.survival > 0.5, -1))
    assert joined["held_out"].shape == (5, 3, 9)
    again = xr.concat(list(predicted(data, (60, 16), times, 9, 3)), "size")
    assert joined.equals(again)
    other = xr.concat(list(predicted(data, (60, 16), times, 9, 4)), "size")
    assert not joined["held_out"].equals(other["held_out"])
    assert joined["training"].equals(other["training"])


def test_predicted_draws_at_held_out_points_have_the_law_of_theory(data):
    """Mean resolved dimension over draws at the same points; small directions are left out of a draw, and cost nothing."""
    times = np.array([0.05, 0.3, 1.0])
    drawn = [next(iter(predicted(data, (60,), times, 25, seed)))["held_out"].values[0] for seed in range(40)]
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
