"""Data included in the installation: scikit-learn's handwritten digits."""

from functools import cache

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["digits"]


@cache
def _digits() -> Tensor:
    from sklearn.datasets import load_digits

    images = torch.as_tensor(load_digits().images, dtype=torch.float64)
    return images / 8 - 1


def digits() -> Float[Tensor, "n 8 8"]:
    """1,797 handwritten digits of 8x8 pixels (UCI, bundled with scikit-learn), values in [-1, 1], float64."""
    return _digits().clone()
