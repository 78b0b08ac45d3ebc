"""What several tests of the theory share: problems that Hypothesis draws, points, and the information in 60 digits."""

import mpmath as mp
import numpy as np
from hypothesis import strategies as st

METHODS = ("rem", "annealed", "finite")
positive = st.floats(-3, 3).map(lambda e: 10.0**e)


def corner(s):
    """A point of typical size: x_i = +-sqrt(s_i)."""
    return np.sqrt(s) * np.where(np.arange(s.size) % 2, 1, -1)


@st.composite
def problems(draw, with_x=True):
    """Variances with zeros anywhere, and a position that may leave the support (or None)."""
    s = draw(st.lists(positive, min_size=1, max_size=6)) + [0.0] * draw(st.integers(0, 20))
    s = draw(st.permutations(s))
    position = st.lists(st.floats(-20, 20), min_size=len(s), max_size=len(s))
    return np.array(s), draw(st.none() | position) if with_x else None


def exact_information(s, t, x=None):
    """d h(t) in 60 digits, from the sheet's formula as it stands."""
    t = mp.mpf(t)
    total = mp.mpf(0)
    for s_i, x_i in zip(s, np.zeros(len(s)) if x is None else x, strict=True):
        if s_i > 0:
            s_i, x_i = mp.mpf(float(s_i)), mp.mpf(float(x_i))
            total += mp.log(1 + s_i / t) - s_i / (t + s_i) + x_i**2 * s_i / (t + s_i) ** 2
    return total / 2
