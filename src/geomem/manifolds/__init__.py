"""Manifolds: data whose dimension is known (Sec. 5), and the latent manifold of any score (Eq. 3)."""

from geomem.manifolds.fixed_points import FixedPoints, fixed_points
from geomem.manifolds.linear import LinearManifold
from geomem.spectra.rotations import random_frame, random_rotation

__all__ = ["FixedPoints", "LinearManifold", "fixed_points", "random_frame", "random_rotation"]
