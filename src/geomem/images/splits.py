"""How data are divided: nested training subsets, and rows that are kept apart from all of them."""

from dataclasses import dataclass

import numpy as np

from geomem.errors import InputError

__all__ = ["Split", "nested_split"]


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
