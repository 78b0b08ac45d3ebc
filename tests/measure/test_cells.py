"""The posterior over given rows, against brute force on small data sets; every reading of its spectra."""

import math

import numpy as np
import pytest
import torch

from geomem.measure import posterior as measure
from geomem.measure import principal
from geomem.measure.observe import SETS
from geomem.measure.posterior import posterior_cell
from geomem.measure.principal import prepare
from geomem.spectra import dimension
from measure.gaussian_rows import rows


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
    monkeypatch.setattr(principal, "_FITTED", 10)
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
    monkeypatch.setattr(principal, "SMALL", 0.0)
    data = prepare(rows(generator, 90, offset=2.0, dtype=dtype), rows(generator, 25, offset=2.0, dtype=dtype))
    index = np.random.default_rng(0).permutation(90)[:40]
    cell = posterior_cell(data, index, TIMES, 12, 7)
    expected = brute(data, index, TIMES, 12, 7)
    rtol, atol = (1e-6, 1e-8) if dtype == torch.float64 else (1e-4, 2e-5)
    assert {k: v for k, v in cell.sizes.items() if k != "reading"} == {
        "set": 2,
        "t": 4,
        "point": 12,
        "seen": 7,
        "direction": 6,
    }
    assert list(cell["set"].values) == list(SETS)
    for name in SETS:
        at, truth = cell.sel(set=name), expected[name]
        for key in ("effective_samples", "own_weight", "information"):
            np.testing.assert_allclose(at[key].transpose("point", "t"), truth[key], rtol=rtol, atol=atol, err_msg=key)
        seen = truth["spectrum"]
        margin = np.abs(seen - 0.5).min()
        assert margin > 1e-4
        np.testing.assert_array_equal(
            at["dimension"].sel(reading="resolved").transpose("seen", "t"), (seen > 0.5).sum(-1)
        )
        trace = at["dimension"].sel(reading="degrees_of_freedom").transpose("seen", "t")
        np.testing.assert_allclose(trace, seen.sum(-1), rtol=rtol, atol=atol)
        np.testing.assert_allclose(at["outside"], 0, atol=10 * atol)
        assert np.all(at["outside"].values >= -1e-12)
        along = at["along"].transpose("seen", "t", "direction")
        np.testing.assert_allclose(along, truth["along"], rtol=1e-4, atol=2e-6 + atol)
        middle = at["survival"].transpose("t", "direction")
        np.testing.assert_allclose(middle, np.median(seen, 0), rtol=rtol, atol=10 * atol)  # 7 points: one is the median
    assert np.all(np.isnan(cell["own_weight"].sel(set="held-out")))


def test_the_median_survival_of_an_even_number_of_points(data, monkeypatch):
    monkeypatch.setattr(principal, "SMALL", 0.0)
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
            free = cell["dimension"].sel(set=name, reading="degrees_of_freedom").transpose("seen", "t").values[:, j]
            outside = cell["outside"].sel(set=name).transpose("seen", "t").values[:, j]
            np.testing.assert_allclose(free + outside, truth["spectrum"][:, j].sum(-1), rtol=1e-6)
            # Of the leading coordinates' block the trace is what the recorded axes say.
            inside = truth["along"][:, j, :kept].sum(-1)
            np.testing.assert_allclose(outside, truth["spectrum"][:, j].sum(-1) - inside, atol=1e-7)
            recorded = cell["survival"].sel(set=name).transpose("t", "direction").values[j]
            np.testing.assert_array_equal(recorded[kept:], 0)


def test_no_more_coordinates_than_allowed_are_used(data, monkeypatch):
    monkeypatch.setattr(principal, "COORDINATES", 3)
    monkeypatch.setattr(measure, "_RECORDED", 2)
    cell = posterior_cell(data, np.arange(90), np.array([0.3]), 4, 4)
    truth = brute(data, np.arange(90), np.array([0.3]), 4, 4)["held-out"]
    assert cell.sizes["direction"] == 2
    trace = truth["spectrum"][:, 0].sum(-1)
    held = cell.sel(set="held-out")
    free = held["dimension"].sel(reading="degrees_of_freedom").values.ravel()
    np.testing.assert_allclose(free + held["outside"].values.ravel(), trace, rtol=1e-6)
    np.testing.assert_allclose(held["outside"].values.ravel(), trace - truth["along"][:, 0, :3].sum(-1), rtol=1e-5)
    np.testing.assert_allclose(
        held["along"].isel(t=0).transpose("seen", "direction"), truth["along"][:, 0, :2], rtol=1e-5, atol=1e-7
    )


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
    np.testing.assert_array_equal(np.isnan(cell["pull"].sel(set="training").isel(t=0)), np.arange(20) >= 16)


def test_readings_are_those_of_the_spectrum_and_a_new_one_is_among_them(data, monkeypatch):
    """FLIPD of the empirical score is sum w |x - y|^2 / t; a reading that is added to the table is recorded."""
    monkeypatch.setattr(principal, "SMALL", 0.0)
    monkeypatch.setitem(dimension.READINGS, "twice_resolved", lambda s: dimension.resolved(s, threshold=0.25))
    cell = posterior_cell(data, np.arange(90), TIMES, 6, 6)
    assert list(cell["reading"].values) == [*dimension.READINGS, "flipd"]
    expected = brute(data, np.arange(90), TIMES, 6, 6)
    y = data.train.numpy()
    for name, x in ((SETS[0], y[:6]), (SETS[1], data.held_out[:6].numpy())):
        at = cell["dimension"].sel(set=name).transpose("reading", "seen", "t")
        spectrum = expected[name]["spectrum"]
        np.testing.assert_array_equal(at.sel(reading="twice_resolved"), np.sum(spectrum > 0.25, -1))
        squares = np.square(x[:, None] - y).sum(-1)
        w = np.exp(-(squares - squares.min(1, keepdims=True))[..., None] / (2 * TIMES))
        flipd = np.sum(w / w.sum(1, keepdims=True) * squares[..., None], 1) / TIMES
        np.testing.assert_allclose(at.sel(reading="flipd"), flipd, rtol=1e-6, atol=1e-9)
        values = np.sort(np.abs(1 - spectrum) / TIMES[:, None], -1)[..., ::-1]
        gap = np.argmax(values[..., :-1] - values[..., 1:], -1) + 1
        bundle = at.sel(reading="normal_bundle").values
        answered = np.isfinite(bundle)  # a spectrum that is flat to rounding has no gap
        assert answered.mean() > 0.5
        np.testing.assert_array_equal(bundle[answered], (6 - gap)[answered])
