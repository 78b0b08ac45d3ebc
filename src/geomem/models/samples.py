"""Sample from a model by its probability-flow ODE."""

import torch
from torch import Tensor

from geomem.errors import InputError
from geomem.models.model import Model
from geomem.scores.base import Score
from geomem.scores.sampling import heun, noise_levels
from geomem.seeds import derived_generator

__all__ = ["drawn"]

# Standard deviations of the noise at which sampling starts, where it hides the data, and ends (Karras et al. 2022).
_SIGMA_MAX, _SIGMA_MIN = 80.0, 0.002


def drawn(model: Model, mean: Tensor, steps: int, numbers: range, *, seed: int, score: Score | None = None) -> Tensor:
    """Samples with these indices, by Heun's method on `steps` noise levels, each from its own noise around the mean (d,).

    Args:
        model: The model.
        mean: Where noise is centred.
        steps: Noise levels.
        numbers: Indices of samples.
        seed: Seed of the noise.
        score: The model's score with a condition for each of these samples; None for the model's own.

    Returns:
        Samples (n, *shape), float32, not clipped.

    Raises:
        InputError: If samples are not finite.
    """
    low, high = model.reach
    levels = noise_levels(steps, t_min=max(low, _SIGMA_MIN**2), t_max=min(high, _SIGMA_MAX**2))
    known = sorted({model.nearest(t) for t in levels.tolist()}, reverse=True)
    noise = [
        torch.randn(model.shape, generator=derived_generator(seed, "drawn", i), dtype=torch.float64) for i in numbers
    ]
    x = mean.reshape(model.shape) + known[0] ** 0.5 * torch.stack(noise)
    start = x.to(model.dtype).to(model.device)
    out = heun(model.score if score is None else score, start, torch.tensor(known, dtype=torch.float64))
    if not bool(torch.isfinite(out).all()):
        raise InputError(f"{model.name}: its samples are not finite (NaN or infinity); its weights may be damaged.")
    return out.float().cpu()
