r"""Sampling from any score: the reverse diffusion of Eq. 2, and the probability-flow ODE, which has the same marginals.

Both pass through times t_0 > t_1 > ... > t_min > 0 and return the denoised point D = x + t s at t_min.

- Reverse diffusion, dx = -s dt + dZ with decreasing t: Euler-Maruyama, with a weak error of first order in the step size.
- Probability-flow ODE, dx/dt = -s/2. In sigma = sqrt(t) it reads dx/dsigma = -sigma s = (x - D)/sigma. It is solved by
  Heun's second-order method on the noise levels of Karras et al. 2022.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from geomem.errors import InputError
from geomem.scores.base import Score

__all__ = ["heun", "noise_levels", "reverse_diffusion"]


def noise_levels(steps: int, *, t_min: float, t_max: float, rho: float = 7.0) -> Float[Tensor, " n"]:
    """Times t_max = t_0 > ... > t_{steps-1} = t_min (float64), evenly spaced in sigma^{1/rho}.

    Raises:
        InputError: For fewer than 2 steps or times out of order.

    >>> noise_levels(3, t_min=0.01, t_max=4.0, rho=1.0)
    tensor([4.0000, 1.1025, 0.0100], dtype=torch.float64)
    """
    if steps < 2 or not 0 < t_min < t_max:
        raise InputError(f"steps, t_min, t_max: need at least 2 steps and 0 < t_min < t_max, got {steps}.")
    high, low = t_max ** (0.5 / rho), t_min ** (0.5 / rho)
    return torch.linspace(high, low, steps, dtype=torch.float64) ** (2 * rho)


@torch.no_grad()
def heun(score: Score, x: Float[Tensor, "n *shape"], levels: Float[Tensor, " k"]) -> Float[Tensor, "n *shape"]:
    """Solve the probability-flow ODE from x at levels[0] down to levels[-1], and return the denoised point there.

    Args:
        score: Any score.
        x: Points (n, *shape) at noise variance levels[0]. To sample from the model, draw noise of that variance.
        levels: Descending times, see `noise_levels`; 2 (steps - 1) + 1 score evaluations.

    Returns:
        Samples (n, *shape), of x's dtype.
    """
    sigmas = levels.sqrt().to(x)
    times = levels.to(device=x.device)
    for i in range(len(levels) - 1):
        step = sigmas[i + 1] - sigmas[i]
        slope = -sigmas[i] * score(x, times[i])
        ahead = -sigmas[i + 1] * score(x + step * slope, times[i + 1])
        x = x + step * (slope + ahead) / 2
    return x + times[-1].to(x.dtype) * score(x, times[-1])


@torch.no_grad()
def reverse_diffusion(
    score: Score, x: Float[Tensor, "n *shape"], levels: Float[Tensor, " k"], *, generator: torch.Generator
) -> Float[Tensor, "n *shape"]:
    """Simulate the reverse diffusion (Eq. 2) from x at levels[0] down to levels[-1], and return the denoised point there.

    x <- x + (t_k - t_{k+1}) s(x, t_k) + sqrt(t_k - t_{k+1}) eps. Unlike the probability-flow ODE, it forgets its initial
    point: the score corrects earlier errors as it does earlier noise.

    Args:
        score: Any score.
        x: Points (n, *shape) at noise variance levels[0].
        levels: Descending times, see `noise_levels`; one score evaluation each.
        generator: CPU generator of the noise.

    Returns:
        Samples (n, *shape), of x's dtype.
    """
    times = levels.to(device=x.device)
    for now, ahead in zip(levels[:-1].tolist(), levels[1:].tolist(), strict=True):
        noise = torch.randn(x.shape, generator=generator, dtype=x.dtype).to(x.device)
        x = x + (now - ahead) * score(x, now) + (now - ahead) ** 0.5 * noise
    return x + times[-1].to(x.dtype) * score(x, times[-1])
