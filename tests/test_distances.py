"""Distances and nearest neighbours: those of direct differences, whatever the products lose."""

import numpy as np
import pytest
import torch

from geomem.scores import distances
from geomem.scores.distances import Samples, nearest


def brute(x, y, own=None):
    """All distances (p, n) in extended precision, an own sample at infinity."""
    x, y = (np.asarray(a.double().numpy(), dtype=np.longdouble) for a in (x, y))
    out = np.sqrt(np.square(y - x[:, None]).sum(-1)).astype(np.float64)
    if own is not None:
        out[np.arange(len(x)), own] = np.inf
    return out


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_nearest_samples_of_points_and_of_samples(offset, dtype, generator, monkeypatch):
    """Also a few points and a few samples at a time, with last parts that are not full."""
    y = (torch.randn(100, 7, generator=generator, dtype=torch.float64) + offset).to(dtype)
    x = y[:20] + 0.3
    own = torch.randperm(100, generator=generator)[:20]
    for block, points in ((2**25, 1024), (8 * 7 * 9, 6)):
        monkeypatch.setattr(distances, "_POINTS", points)
        monkeypatch.setattr(Samples.of.__func__, "__kwdefaults__", {"block": block})
        for k in (1, 2, 50, 99):
            for at, left in ((x, None), (y[own], own)):
                found, numbers = nearest(at, y, k, own=left)
                every = brute(at, y, left)
                np.testing.assert_allclose(found, np.sort(every, 1)[:, :k], rtol=1e-14)
                np.testing.assert_array_equal(numbers, np.argsort(every, 1)[:, :k])
    assert nearest(x, y, 100)[0].shape == (20, 100)


@pytest.mark.parametrize("own", [False, True], ids=["points", "samples"])
def test_neighbours_that_products_cannot_tell_apart(own, generator):
    """A hundred samples within 1e-9 of each other, and another part of the data 1e3 away: products are off by more than that."""
    y = torch.cat(
        [
            torch.ones(100, 5, dtype=torch.float64) + 1e-9 * torch.randn(100, 5, generator=generator).double(),
            1e3 + torch.randn(100, 5, generator=generator, dtype=torch.float64),
        ]
    )
    chosen = torch.arange(0, 200, 7)
    x = y[chosen] if own else y[chosen] + 1e-10
    found, numbers = nearest(x, y, 3, own=chosen if own else None)
    every = brute(x, y, chosen if own else None)
    np.testing.assert_allclose(found, np.sort(every, 1)[:, :3], rtol=1e-12)
    np.testing.assert_array_equal(numbers, np.argsort(every, 1)[:, :3])


def test_equal_samples_are_at_distance_zero_and_need_no_second_look(generator, monkeypatch):
    y = torch.randn(1, 5, generator=generator, dtype=torch.float64).repeat(50, 1)
    calls, original = [], distances.direct
    monkeypatch.setattr(distances, "direct", lambda rows, point: calls.append(1) or original(rows, point))
    found, numbers = nearest(y, y, 3, own=torch.arange(50))
    assert not found.any()
    assert not (numbers == torch.arange(50)[:, None]).any()
    assert len(calls) == 1  # for the norms


def test_products_are_off_by_less_than_the_bound_and_by_what_is_typical(generator):
    for d in (1, 10, 300):
        y = torch.rand(400, d, generator=generator, dtype=torch.float64) + 3
        x = torch.rand(50, d, generator=generator, dtype=torch.float64) + 5
        samples = Samples.of(y)
        z = x - samples.centre
        ((part, centred),) = samples.tiles()
        error = np.abs(samples.products(z, part, centred).numpy() - brute(x, y) ** 2)
        assert np.all(error.max(1) <= samples.slack(z).numpy())
        assert np.median(error) <= float(samples.typical(z).max())
