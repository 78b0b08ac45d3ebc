"""Random orthonormal directions."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["random_frame", "random_rotation"]


def random_rotation(dim: int, *, generator: torch.Generator) -> Float[Tensor, "d d"]:
    """A Haar-distributed orthogonal matrix (dim, dim), float64."""
    return random_frame(dim, dim, generator=generator)


def random_frame(dim: int, count: int, *, generator: torch.Generator) -> Float[Tensor, "d k"]:
    """`count` random orthonormal columns (dim, count) of a Haar-distributed orthogonal matrix, float64."""
    q, r = torch.linalg.qr(torch.randn(dim, count, generator=generator, dtype=torch.float64) / math.sqrt(dim))
    return torch.mul(q, torch.sign(torch.diagonal(r)))
