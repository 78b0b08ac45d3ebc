"""What an audit costs, measured before its spectra begin: evaluations of the model, and seconds of everything."""

import math
from time import perf_counter

import xarray as xr
from torch import Tensor

from geomem.measure.observe import Source, observe
from geomem.models import Model
from geomem.spectra import decomposition_seconds, measured_cost

__all__ = ["DRAWS", "STEPS", "cost_of", "empirical_seconds", "evaluations_at"]

# Draws of noise behind a denoising error, and noise levels on the way of a sample.
DRAWS, STEPS = 16, 18
# Evaluations for each dimension by probe; differentiating costs about two.
_EACH = {"orthonormal": 2, "smoothed": 1, "score-matrix": 4, "antithetic": 8, "regression": 8, "exact": 2}
# Probes whose spectrum has no right singular vectors, so that directions need a Jacobian of their own.
_WITHOUT_VECTORS = ("score-matrix", "antithetic")
_LONG = 1.0


def evaluations_at(probe: str, dim: int, levels: int, *, directions: int | None, axes: int, shown: bool = True) -> int:
    """Evaluations of a score at one point and all its noise levels.

    Args:
        probe: One of `spectra.PROBES`.
        dim: d.
        levels: Noise levels.
        directions: Number of random directions; None for all.
        axes: Principal axes along which directions are kept or lost.
        shown: Whether directions are recorded.
    """
    each = _EACH[probe] * dim if directions is None else 2 * directions
    again = directions is not None or probe in _WITHOUT_VECTORS
    beside = (2 * axes if again else 0) + 1 if shown else 0
    return levels * (each + 1 + DRAWS) + beside


def empirical_seconds(source: Source, x: Tensor, t: float, *, directions: int | None) -> float:
    """Seconds of everything that is measured of the empirical score at one point x (*shape) and noise level."""

    def timed() -> float:
        start = perf_counter()
        observe({"": source}, {"": x[None]}, [t], directions=directions, draws=DRAWS)
        return perf_counter() - start

    took = timed()
    return min(took, timed()) if took < _LONG else took


def cost_of(
    model: Model,
    *,
    probe: str,
    points: int,
    levels: int,
    directions: int | None,
    axes: int,
    shown: bool,
    draws: int,
    memory: int,
    empirical: float,
    empirical_points: int,
) -> xr.Dataset:
    """The record `cost`: evaluations of the model, and estimated seconds on one core or GPU.

    Args:
        model: The model.
        probe: How it is measured.
        points: Points of the model.
        levels: Noise levels at each.
        directions: Number of random directions; None for all.
        axes: Principal axes along which directions are kept or lost.
        shown: Whether directions are recorded.
        draws: Samples to draw.
        memory: Bytes that evaluations may hold.
        empirical: Seconds of the empirical score at one point and level.
        empirical_points: Points of the empirical score, those of the one without the image too.
    """
    dim = math.prod(model.shape)
    one = measured_cost(model.score, model.nearest(1.0), memory=memory, dtype=model.dtype, device=model.device)
    here = evaluations_at(probe, dim, levels, directions=directions, axes=axes, shown=shown)
    algebra = 0.0
    if directions is None:
        algebra = levels * decomposition_seconds(dim) + (decomposition_seconds(dim, vectors=True) if shown else 0)
    sampling = draws * (2 * STEPS - 1)
    seconds = {
        "model": points * (here * one.seconds + algebra),
        "empirical": empirical_points * levels * empirical,
        "drawn": sampling * one.seconds,
    }
    return xr.Dataset(
        {
            "evaluations": ("stage", [points * here, 0, sampling], {"units": "evaluations of the model"}),
            "seconds": ("stage", list(seconds.values()), {"units": "s", "long_name": "estimated, on one core or GPU"}),
        },
        coords={"stage": list(seconds)},
        attrs={"batch": one.batch, "seconds_each": one.seconds, "memory_each": one.memory},
    )
