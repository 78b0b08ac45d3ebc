"""Closed forms: condensation, effective samples, predicted posteriors and Jacobian spectra for Gaussian data.

NumPy float64 throughout; arrays in, arrays out, in the order of `variances`.
"""

from geomem.theory.correlated import CorrelatedJacobian, correlated_jacobian
from geomem.theory.effective import (
    ScoreDistribution,
    effective_samples,
    log_moment_ratio,
    rank_correction,
    score_distribution,
)
from geomem.theory.jacobian import (
    exact_singular_values,
    jacobian_samples,
    jacobian_singular_values,
    random_projection_gap,
    spectral_gaps,
)
from geomem.theory.points import PointPosterior, half_weight_time, held_out_point, held_out_survival, training_point
from geomem.theory.rem import (
    condensation_time,
    condensation_time_along,
    cumulant,
    cumulant_derivative,
    information,
    required_samples,
)

__all__ = [
    "CorrelatedJacobian",
    "PointPosterior",
    "ScoreDistribution",
    "condensation_time",
    "condensation_time_along",
    "correlated_jacobian",
    "cumulant",
    "cumulant_derivative",
    "effective_samples",
    "exact_singular_values",
    "half_weight_time",
    "held_out_point",
    "held_out_survival",
    "information",
    "jacobian_samples",
    "jacobian_singular_values",
    "log_moment_ratio",
    "random_projection_gap",
    "rank_correction",
    "required_samples",
    "score_distribution",
    "spectral_gaps",
    "training_point",
]
