"""What an audit costs: evaluations of the model at a point, seconds of the empirical score, and how many samples to draw."""

from time import perf_counter

from torch import Tensor

from geomem.jobs.audit.request import AuditRequest
from geomem.measure.observe import Source, observe

__all__ = ["DRAWS", "EVALUATIONS_DRAWN", "STEPS", "empirical_seconds", "evaluations_at", "planned_draws"]

# Draws of noise behind a denoising error of a whole spectrum; noise levels on the way of a sample, and evaluations.
DRAWS, STEPS = 16, 18
EVALUATIONS_DRAWN = 2 * STEPS - 1
# Share of the budget in which samples are drawn, and the fewest.
_DRAWING, _FEWEST_DRAWN = 0.3, 16
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


def planned_draws(request: AuditRequest, seconds_each: float, budget: float) -> int:
    """Samples to draw: as many as were asked for, or as a share of the budget allows."""
    if request.draws is not None or request.samples is not None:
        return request.drawn
    allowed = _DRAWING * budget / max(EVALUATIONS_DRAWN * seconds_each, 1e-9)
    return int(min(request.drawn, max(_FEWEST_DRAWN, allowed)))
