"""Real data: scikit-learn's bundled handwritten digits, and how data are divided into nested subsets.

Images are rows of numbers in [-1, 1], the range that diffusion models are trained on.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from geomem.errors import InputError

__all__ = ["Split", "digits", "nested_split"]


@cache
def _digits() -> Tensor:
    from sklearn.datasets import load_digits

    images = torch.as_tensor(load_digits().images, dtype=torch.float64)
    return images / 8 - 1


def digits() -> Float[Tensor, "n 8 8"]:
    """1,797 handwritten digits of 8x8 pixels (UCI, bundled with scikit-learn), values in [-1, 1], float64."""
    return _digits().clone()


@dataclass(frozen=True)
class Split:
    """Nested training subsets and points kept apart.

    Attributes:
        order: Rows of the data in random order; a training subset of size N is its first N.
        held_out: Rows that belong to no subset.
    """

    order: np.ndarray
    held_out: np.ndarray


def nested_split(n: int, sizes: tuple[int, ...], *, held_out: int, seed: int) -> Split:
    """Divide n rows: subsets of all `sizes`, each within the next, and `held_out` rows apart, from one seed.

    The held-out rows and the order do not depend on `sizes`.

    Raises:
        InputError: If the rows do not suffice.
    """
    if not sizes or min(sizes) < 1 or held_out < 0:
        raise InputError(
            f"sizes, held_out: need sizes of at least 1 and no negative held_out, got {sizes}, {held_out}."
        )
    if max(sizes) + held_out > n:
        raise InputError(f"sizes: {max(sizes)} samples and {held_out} held-out points need more than {n} rows.")
    order = np.random.default_rng([seed, n]).permutation(n)
    return Split(order[held_out:][: max(sizes)], order[:held_out])
