"""Randomness that depends only on (seed, purpose, index), so that results depend on neither batching nor workers."""

import hashlib
from collections.abc import Sequence

import torch

__all__ = ["derived_generator", "derived_seed"]


def derived_seed(seed: int, purpose: str, index: int | Sequence[int] = 0) -> int:
    """A 63-bit seed for one purpose and index of a seeded run.

    >>> derived_seed(0, "noise", 1) == derived_seed(0, "noise", 1) != derived_seed(0, "noise", 2)
    True
    """
    key = repr((seed, purpose, index if isinstance(index, int) else tuple(index)))
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "big") >> 1


def derived_generator(seed: int, purpose: str, index: int | Sequence[int] = 0) -> torch.Generator:
    """A CPU generator for one purpose and index of a seeded run, independent of all others."""
    return torch.Generator().manual_seed(derived_seed(seed, purpose, index))
