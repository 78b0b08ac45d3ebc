"""Readings of spectra: constructed ones with known answers, linear manifolds, and no number where there is none."""

import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import laws
from geomem.errors import InputError
from geomem.manifolds import LinearManifold
from geomem.scores import EmpiricalScore, GaussianScore, NetworkScore
from geomem.spectra import Spectrum, spectrum
from geomem.spectra.dimension import (
    READINGS,
    degrees_of_freedom,
    flipd,
    largest_gap,
    normal_bundle,
    resolved,
    second_difference,
)

A = LinearManifold.subspaces(30, [(2, 1.0), (5, 0.3)])
few = settings(derandomize=True, deadline=None, max_examples=100)


def made(values, survival=None, t=1.0):
    """A spectrum of these values (*b, d)."""
    values = torch.as_tensor(values, dtype=torch.float64)
    kappa = None if survival is None else torch.as_tensor(survival, dtype=torch.float64)
    return Spectrum(values, torch.full(values.shape[:-1], t).double(), "exact", None, kappa, values.shape[-1])


def none(estimate, status):
    """No number, and the reason."""
    assert np.all(np.isnan(estimate.value))
    assert np.all(estimate.index == -1)
    assert np.all(estimate.status == status)


@few
@given(d=st.integers(2, 60), data=st.data())
def test_a_single_gap_is_found_wherever_it_lies(d, data):
    p = data.draw(st.integers(1, d - 1), label="p")
    low = data.draw(st.floats(0, 0.4), label="low")
    slopes = data.draw(st.floats(0, 0.05), label="slopes")
    values = np.concatenate([1 + slopes * np.linspace(1, 0, p), low * (1 + slopes * np.linspace(1, 0, d - p))])
    for rule in (largest_gap, normal_bundle):
        found = rule(torch.as_tensor(values))
        assert (found.value, found.index, found.status) == (d - p, p, "ok")


@few
@given(d=st.integers(8, 80), data=st.data())
def test_second_difference_finds_a_single_sharp_drop(d, data):
    """Dimension d - p for a drop after p values, for every discard <= p - 2, at least seven values being left."""
    p = data.draw(st.integers(2, d - 1), label="p")
    discard = data.draw(st.integers(0, min(p - 2, d - 7)), label="discard")
    low, slope = data.draw(st.floats(0.0, 0.8), label="low"), data.draw(st.floats(0, 1e-3), label="slope")
    ramp = slope * np.arange(d, 0, -1)
    values = np.where(np.arange(d) < p, 1.0, low) + ramp
    found = second_difference(torch.as_tensor(values), discard=discard, threshold=10.0)
    assert (found.value, found.index, found.status) == (d - p, p, "ok")


def test_second_difference_finds_the_first_gap_not_the_largest():
    values = torch.tensor([10.0] * 8 + [9.0] * 8 + [0.1] * 8)
    assert (float(second_difference(values).value), float(largest_gap(values).value)) == (16, 8)


def test_second_difference_by_hand():
    """v = s[1:], D = |second difference|, n the first index with D > c median D; dimension d - (n + 1) - 2."""
    values = torch.tensor([50.0, 10.0, 9.9, 9.7, 9.6, 4.0, 3.9, 3.7, 3.6, 3.5])
    v = values.numpy()[1:]
    kink = np.abs(np.diff(v, 2))
    n = int(np.argmax(kink > 10 * np.median(kink)))
    assert n == 2
    assert float(second_difference(values).value) == 10 - (n + 1) - 2 == 5
    none(second_difference(values, threshold=1000.0), "no_gap")


@pytest.mark.parametrize("rule", [largest_gap, second_difference, normal_bundle])
@pytest.mark.parametrize(
    "values",
    [torch.full((20,), 3.0), torch.zeros(20), 7 * (1 + 1e-15 * torch.linspace(1, 0, 20).double())],
    ids=["flat", "zero", "flat-to-rounding"],
)
def test_flat_spectra_have_no_gap(rule, values):
    none(rule(values), "no_gap")


@few
@given(d=st.integers(15, 100), low=st.floats(0.01, 0.9), power=st.sampled_from([0.5, 1.0]))
def test_smooth_spectra_have_no_largest_gap(d, low, power):
    """A ramp from 1 to `low`, straight or bent: no step is a tenth of the largest value."""
    ramp = low + (1 - low) * (1 - np.linspace(0, 1, d) ** (1 / power))
    assume(np.max(-np.diff(ramp)) < 0.1)
    none(largest_gap(torch.as_tensor(ramp)), "no_gap")
    none(largest_gap(torch.as_tensor(1e6 * ramp)), "no_gap")


@pytest.mark.parametrize("ratio", [0.91, 0.95, 0.99])
def test_exponential_spectra_have_no_largest_gap(ratio):
    none(largest_gap(torch.as_tensor(ratio ** np.arange(50.0))), "no_gap")


def test_linear_spectra_have_no_kink():
    none(second_difference(torch.linspace(9, 1, 40, dtype=torch.float64)), "no_gap")


def test_gap_width_is_relative():
    values = torch.tensor([10.0, 10.0, 8.5, 8.5])
    assert float(largest_gap(values).value) == 2
    none(largest_gap(values, relative=0.2), "no_gap")
    assert float(normal_bundle(torch.tensor([10.0, 10.0, 9.99, 9.99])).value) == 2


@pytest.mark.parametrize(("t", "total"), [(1e-4, 7), (0.01, 7), (0.29, 7), (0.31, 2), (0.99, 2), (1.01, 0)], ids=str)
def test_resolved_dimension_of_a_linear_manifold(t, total):
    """Survival s/(s+t) exceeds a half where s > t."""
    found = resolved(spectrum(A.score, torch.zeros(30).double(), t))
    assert (found.value, found.index, found.status) == (total, total, "ok")


def test_gap_rules_on_a_linear_manifold():
    found = spectrum(A.score, torch.zeros(30).double(), 1e-3)
    for rule in (largest_gap, second_difference, normal_bundle):
        assert float(rule(found).value) == 7
    matrix = spectrum(A.score, torch.zeros(30).double(), 1e-3, probe="score-matrix")
    assert float(normal_bundle(matrix).value) == 7
    # Where every direction is pushed alike there is no gap to be found.
    none(largest_gap(spectrum(A.score, torch.zeros(30).double(), 1e4)), "no_gap")


def test_degrees_of_freedom_is_the_trace(generator):
    """d + t tr J: sum s/(s+t) for a linear manifold; the trace of the Jacobian for the empirical score."""
    for t in (1e-3, 0.3, 10.0):
        found = degrees_of_freedom(spectrum(A.score, torch.zeros(30).double(), t))
        assert float(found.value) == pytest.approx(float((A.variances / (A.variances + t)).sum()), rel=1e-12)
        assert int(found.index) == int((A.variances > t).sum())
        score = EmpiricalScore(A.sample(50, generator=generator))
        x = A.sample(4, generator=generator) + math.sqrt(t) * torch.randn(4, 30, generator=generator).double()
        trace = score.jacobian(x, t).diagonal(dim1=1, dim2=2).sum(1)
        for probe in ("exact", "score-matrix", "regression", "orthonormal"):
            # Mirrored and regression Jacobians are averages over a step, so only exact has this point's trace.
            found = degrees_of_freedom(spectrum(score, x, t, probe=probe))
            assert np.all(found.status == "ok")
            if probe == "exact":
                np.testing.assert_allclose(found.value, 30 + t * trace, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("t", [1e-5, 1e-2, 1.0, 1e4])
def test_flipd_of_the_empirical_score(t, generator):
    """Exactly sum w |x - y|^2 / t, at samples, between them, and far away."""
    y = A.sample(40, generator=generator)
    x = torch.cat([y[:3], (y[:3] + y[3:6]) / 2, 3 * torch.randn(3, 30, generator=generator).double()])
    score = EmpiricalScore(y)
    squares = (x[:, None] - y).square().sum(2)
    expected = (torch.softmax(-squares / (2 * t), 1) * squares).sum(1) / t
    found = flipd(spectrum(score, x, t), score(x, t))
    # d + t tr J and t |s|^2 cancel to this number from terms of up to |x - y|^2 / t.
    np.testing.assert_allclose(found.value, expected, rtol=1e-11, atol=1e-11 * 30)
    assert np.all(found.status == "ok")


def test_flipd_of_a_gaussian(generator):
    score = GaussianScore(A.variances, mean=torch.ones(30))
    x, t = torch.randn(5, 30, generator=generator, dtype=torch.float64), 0.2
    total = A.variances + t
    expected = 30 - (t / total).sum() + t * ((x - 1) / total).square().sum(1)
    np.testing.assert_allclose(flipd(spectrum(score, x, t), score(x, t)).value, expected, rtol=1e-12)
    clean = A.sample(5, generator=generator)
    near = flipd(spectrum(A.score, clean, 1e-8), A.score(clean, 1e-8))
    np.testing.assert_allclose(near.value, 7, rtol=1e-5)


def test_thresholds_read_one_spectrum_many_times():
    found = spectrum(A.score, torch.zeros(30).double(), 0.3)
    kappa = A.score.survival(torch.zeros(30).double(), 0.3)
    for threshold in (0.05, 0.3, 0.49, 0.6, 0.9):
        estimate = resolved(found, threshold=threshold)
        assert float(estimate.value) == int((kappa > threshold).sum())
        assert float(estimate.index) == float(estimate.value)


def everything(found):
    return {name: rule(found) for name, rule in READINGS.items()}


@pytest.mark.parametrize("rule", READINGS)
def test_batches_are_read_one_by_one(rule, generator):
    """A batch of spectra with and without gaps, some not finite, in any shape."""
    values = torch.stack(
        [
            torch.cat([torch.full((5,), 9.0), torch.full((7,), 1.0)]),
            torch.full((12,), 2.0),
            torch.cat([torch.full((11,), 9.0), torch.zeros(1)]),
            torch.full((12,), math.nan),
            torch.linspace(2, 1, 12),
            torch.cat([torch.tensor([math.inf]), torch.ones(11)]),
        ]
    )
    kappa = 1 - values / 10
    whole = READINGS[rule](made(values.reshape(2, 3, 12), kappa.reshape(2, 3, 12)))
    assert whole.value.shape == whole.index.shape == whole.status.shape == (2, 3)
    for i in range(6):
        alone = READINGS[rule](made(values[i], kappa[i]))
        assert alone.value.shape == ()
        np.testing.assert_equal(whole.value.flat[i], alone.value)
        assert whole.index.flat[i] == alone.index
        assert whole.status.flat[i] == alone.status
    assert whole.status.flat[3] == whole.status.flat[5] == "not_finite"


def test_every_reason_for_no_number():
    flat = made(torch.ones(12), torch.ones(12))
    for name in ("largest_gap", "second_difference", "normal_bundle"):
        none(everything(flat)[name], "no_gap")
    for bad in (math.nan, math.inf, -math.inf):
        values = torch.ones(12)
        values[3] = bad
        for estimate in everything(made(values, values)).values():
            none(estimate, "not_finite")
    score = GaussianScore(torch.ones(6))
    partial = spectrum(score, torch.zeros(4, 6), 0.1, probe="orthonormal", probes=3)
    for name, estimate in everything(partial).items():
        assert estimate.value.shape == (4,)
        none(estimate, "no_survival" if name in ("resolved", "degrees_of_freedom") else "too_few")
    none(flipd(partial, torch.zeros(4, 6)), "no_survival")
    none(largest_gap(torch.ones(3, 1)), "too_few")
    none(second_difference(torch.tensor([3.0, 2.0, 1.0])), "too_few")
    none(second_difference(torch.ones(12), discard=10), "too_few")
    none(second_difference(torch.ones(12), discard=50), "too_few")


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_score_that_is_not_finite_gives_no_flipd(value):
    found = flipd(made(torch.ones(2, 3), torch.ones(2, 3)), torch.tensor([[0.0, value, 0.0], [0.0, 0.0, 1.0]]))
    assert found.status.tolist() == ["not_finite", "ok"]
    assert np.isnan(found.value[0])
    assert found.value[1] == 4


def test_network_and_truth_read_alike():
    """A network that is the exact denoiser, probed by default, gives the manifold's dimensions."""
    truth = GaussianScore(A.variances[::3])
    module = laws.ExactDenoiser(truth, "denoised", "vp", torch.float64)
    score = NetworkScore(module, (10,), prediction="denoised", noise="vp")
    found = spectrum(score, torch.zeros(10).double(), 0.01)
    assert float(largest_gap(found).value) == float(resolved(found).value) == int((truth.variances > 0).sum())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda v: largest_gap(v, relative=0.0), "relative: must lie between 0 and 1, got 0"),
        (lambda v: largest_gap(v, relative=1.0), "relative: must lie between 0 and 1, got 1"),
        (lambda v: second_difference(v, discard=-1), "discard, threshold: discard must not be negative"),
        (lambda v: second_difference(v, threshold=0.0), "discard, threshold: discard must not be negative"),
        (lambda v: flipd(made(v, v), torch.zeros(7)), "score: has 7 entries a point, the spectrum 12 dimensions"),
    ],
)
def test_wrong_options_are_refused(call, message):
    with pytest.raises(InputError, match=message):
        call(torch.ones(12))
