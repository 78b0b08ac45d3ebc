"""Splits of data: nested training subsets, and rows held out of all of them."""

from dataclasses import dataclass

import numpy as np

from geomem.errors import InputError

__all__ = ["Split", "nested_split"]


@dataclass(frozen=True)
class Split:
    """Nested training subsets and held-out rows.

    Attributes:
        order: Rows of the data in random order; a training subset of size N consists of the first N.
        held_out: Rows that belong to no subset.
    """

    order: np.ndarray
    held_out: np.ndarray


def nested_split(
    n: int, sizes: tuple[int, ...], *, held_out: int, seed: int, eligible: np.ndarray | None = None
) -> Split:
    """Split n rows, from one seed: nested subsets of all `sizes`, and `held_out` rows in none of them.

    The held-out rows and the order do not depend on `sizes`.

    Args:
        n: Number of rows.
        sizes: Numbers of training rows.
        held_out: Number of rows to hold out.
        seed: Seed of the order.
        eligible: For each row, whether it may be held out; None for all.

    Raises:
        InputError: If there are too few rows.
    """
    if not sizes or min(sizes) < 1 or held_out < 0:
        raise InputError(
            f"sizes, held_out: need sizes of at least 1 and no negative held_out, got {sizes}, {held_out}."
        )
    if max(sizes) + held_out > n:
        raise InputError(f"sizes: {max(sizes)} samples and {held_out} held-out points need more than {n} rows.")
    order = np.random.default_rng([seed, n]).permutation(n)
    apart = order[:held_out] if eligible is None else order[eligible[order]][:held_out]
    if apart.size < held_out:
        raise InputError(f"held_out: {held_out} rows were requested, but only {apart.size} may be held out.")
    return Split(order[~np.isin(order, apart)][: max(sizes)], apart)
