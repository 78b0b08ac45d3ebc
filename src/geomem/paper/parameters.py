"""The paper's parameters on linear manifolds, and units that records share.

d = 30 dimensions; a subspace is (dimension, variance). m = 7 is 2 of variance 1 and 5 of variance 0.3; m = 15 is 5 and
10 of them.
"""

__all__ = ["M7", "M15", "PLACES", "SIZES", "SUBSPACES", "TIMES", "UNITS_J", "UNITS_T", "Subspaces"]

Subspaces = tuple[tuple[int, float], ...]

M7: Subspaces = ((2, 1.0), (5, 0.3))
M15: Subspaces = ((5, 1.0), (10, 0.3))
SUBSPACES = {7: M7, 15: M15}
# N of each line and t of each panel of Figs. 5, 9, 10, 13, 14 and 16.
SIZES = (50, 100, 250, 500, 1000, 10_000, 100_000)
TIMES = (1.0, 0.3, 0.1, 0.03, 0.01, 1e-3, 1e-5)
# Points at which spectra are taken.
PLACES = ("origin", "training", "held_out")
UNITS_T = {"units": "data units squared"}
UNITS_J = {"units": "1 / data units squared"}
