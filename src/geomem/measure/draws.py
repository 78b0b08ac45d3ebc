"""Random draws of images, which depend on the seed, the purpose and the place of an image in its list alone."""

from collections.abc import Callable

import torch
from torch import Tensor

from geomem.seeds import derived_generator

__all__ = ["normal", "signs"]

# Images whose draws one generator makes.
_BLOCK = 64


def normal(places: range, draws: int, shape: tuple[int, ...], *, seed: int, purpose: str) -> Tensor:
    """Standard normal noise (n, draws, *shape) of images by their places, float32 on the CPU.

    >>> whole = normal(range(60, 70), 2, (3,), seed=0, purpose="noise")
    >>> torch.equal(normal(range(66, 68), 2, (3,), seed=0, purpose="noise"), whole[6:8])
    True
    """
    return _blocks(places, seed, purpose, lambda g: torch.randn(_BLOCK, draws, *shape, generator=g))


def signs(places: range, draws: int, shape: tuple[int, ...], *, seed: int, purpose: str) -> Tensor:
    """Rademacher draws, -1 or 1 (n, draws, *shape) of images by their places, int8 on the CPU."""

    def drawn(generator: torch.Generator) -> Tensor:
        return 2 * torch.randint(2, (_BLOCK, draws, *shape), generator=generator, dtype=torch.int8) - 1

    return _blocks(places, seed, purpose, drawn)


def _blocks(places: range, seed: int, purpose: str, drawn: Callable[[torch.Generator], Tensor]) -> Tensor:
    """The rows of places from whole blocks of draws."""
    found = []
    for block in range(places.start // _BLOCK, (places.stop - 1) // _BLOCK + 1):
        whole = drawn(derived_generator(seed, purpose, block))
        low, high = max(places.start, block * _BLOCK), min(places.stop, (block + 1) * _BLOCK)
        found.append(whole[low - block * _BLOCK : high - block * _BLOCK])
    return torch.cat(found)
