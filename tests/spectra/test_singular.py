"""Singular values by squaring: their errors over the range of values, and where squaring would lose them."""

import pytest
import torch

from geomem.spectra.singular import singular_values


def made(n, k, values, generator):
    """A matrix (n, k) with these singular values."""
    m = min(n, k)
    u = torch.linalg.qr(torch.randn(n, m, generator=generator, dtype=torch.float64))[0]
    v = torch.linalg.qr(torch.randn(k, m, generator=generator, dtype=torch.float64))[0]
    return (u * values) @ v.T


@pytest.mark.parametrize(("n", "k"), [(60, 200), (200, 60), (64, 64), (5, 3), (100, 1), (130, 100)])
@pytest.mark.parametrize(("power", "allowed"), [(0, 1e-13), (2, 1e-11), (5, 1e-4), (7, 1e-7), (12, 1e-3)])
def test_known_values(n, k, power, allowed, generator):
    truth = torch.logspace(0, -power, min(n, k), dtype=torch.float64)
    found = singular_values(made(n, k, truth, generator))
    assert found.dtype == torch.float64
    assert float((found / truth - 1).abs().max()) < allowed


def test_zeros_and_low_rank(generator):
    assert torch.equal(singular_values(torch.zeros(50, 40)), torch.zeros(40, dtype=torch.float64))
    low = torch.randn(100, 3, generator=generator, dtype=torch.float64) @ torch.randn(
        3, 80, generator=generator, dtype=torch.float64
    )
    found = singular_values(low)
    assert float(found[3:].max()) < 1e-13 * float(found[0])
    assert torch.allclose(found[:3], torch.linalg.svdvals(low)[:3], rtol=1e-12)


def test_float32_is_never_squared_as_it_is(generator):
    truth = torch.logspace(0, -5, 50, dtype=torch.float64)
    a = made(120, 50, truth, generator).float()
    expected = torch.linalg.svdvals(a.double())
    assert torch.allclose(singular_values(a), expected, rtol=1e-4)
    squared = torch.linalg.eigvalsh(a.T @ a).clamp_min(0).sqrt().flip(0)
    assert not torch.allclose(squared.double(), expected, rtol=0.1)


def test_batches(generator):
    """Of matrices with and without a wide range of values, each as if it were alone."""
    mild, wide = torch.logspace(0, -2, 40, dtype=torch.float64), torch.logspace(0, -9, 40, dtype=torch.float64)
    a = torch.stack([made(70, 40, v, generator) for v in (mild, wide, mild, wide)]).reshape(2, 2, 70, 40)
    found = singular_values(a)
    assert found.shape == (2, 2, 40)
    for i in range(2):
        for j in range(2):
            assert torch.allclose(found[i, j], singular_values(a[i, j]), rtol=1e-9)
            assert torch.allclose(found[i, j], (mild, wide)[j], rtol=1e-5)


@pytest.mark.parametrize("scale", [1e-170, 1e160])
def test_very_small_and_large_numbers(scale, generator):
    truth = torch.logspace(0, -3, 40, dtype=torch.float64)
    found = singular_values(made(70, 40, truth, generator) * scale)
    assert torch.allclose(found / scale, truth, rtol=1e-9)
