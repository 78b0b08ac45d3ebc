"""Gaussian rows of known variances, for tests."""

import torch

VARIANCES = torch.tensor([2.0, 1.0, 0.5, 0.3, 0.1, 0.05], dtype=torch.float64)


def rows(generator, n, *, offset=0.0, dtype=torch.float64):
    """In rotated coordinates, so that principal axes have to be found."""
    turn = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(99), dtype=torch.float64)).Q
    return (torch.randn(n, 6, generator=generator, dtype=torch.float64) * VARIANCES.sqrt() @ turn.T + offset).to(dtype)
