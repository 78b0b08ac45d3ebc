"""The noise variances at which a model is measured, around the one where the empirical score of its training data condenses."""

import numpy as np
from numpy.typing import NDArray

from geomem.models.model import Model
from geomem.noise import ddpm_times
from geomem.spectra.dimension import PRESETS

__all__ = ["noise_levels", "preset_level"]

# Factors of the noise variance at which half of the weight at held-out points falls on one sample.
_AROUND, _QUICKLY = (10**-1.5, 0.1, 10**-0.5, 1.0, 10**0.5), (0.1, 10**-0.5, 1.0)


def noise_levels(
    model: Model, half: float, *, times: tuple[float, ...] = (), preset: str | None = None, quick: bool = False
) -> NDArray[np.float64]:
    """Noise levels, ascending: `times` or those around `half`, and the preset's, each moved to the nearest trained level."""
    levels = times or tuple(half * factor for factor in (_QUICKLY if quick else _AROUND))
    chosen = [float(np.clip(t, *model.reach)) for t in levels]
    of_preset = preset_level(model, preset)
    if of_preset is not None:
        chosen.append(of_preset)
    return np.unique([model.nearest(t) for t in chosen])


def preset_level(model: Model, preset: str | None) -> float | None:
    """Noise variance of the preset's step, in the model's own schedule or in DDPM's; None without a preset."""
    if preset is None:
        return None
    levels = ddpm_times() if model.levels is None else model.levels
    return model.nearest(float(np.clip(levels[min(PRESETS[preset].step, len(levels) - 1)], *model.reach)))
