"""Half-weight times of training rows, against their definition."""

import math

import numpy as np
import pytest
import torch

from geomem.measure import isolated
from geomem.measure.isolated import half_weight_times
from geomem.measure.principal import prepare
from geomem.scores import Posterior
from measure.gaussian_rows import rows


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
    """Rows are taken so many at a time that 2^24 distances are held; here two at a time."""
    train = torch.randn(3000, 2, generator=generator, dtype=torch.float64)
    data = prepare(train, train[:2])
    few = half_weight_times(data, np.arange(5))
    sizes, whole = [], Posterior.of
    monkeypatch.setattr(isolated, "_DISTANCES", 6000)
    monkeypatch.setattr(Posterior, "of", lambda s, x, **o: sizes.append(len(x)) or whole(s, x, **o))
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
