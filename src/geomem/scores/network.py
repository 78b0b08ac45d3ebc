"""The score of a trained network, whatever it predicts and in whichever noise parametrisation."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from geomem.errors import InputError
from geomem.noise import NOISE_KINDS, coefficients
from geomem.scores.base import events

__all__ = ["PREDICTIONS", "NetworkScore"]

# The noise eps behind x' = a x_0 + b eps, from what a network predicts.
_Reading = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
PREDICTIONS: dict[str, _Reading] = {
    "noise": lambda out, x, a, b: out,
    "denoised": lambda out, x, a, b: (x - a * out) / b,
    "v": lambda out, x, a, b: (a * out + b * x) / (a**2 + b**2),  # v = a eps - b x_0 (Salimans and Ho 2022)
    "velocity": lambda out, x, a, b: (x + a * out) / (a + b),  # eps - x_0, flow matching
}


class NetworkScore:
    """Score s(x, t) = -eps^(x, t)/sqrt(t) of a module that predicts the noise, the denoised point, v or a velocity.

    The module sees x' = a x, a(t) the signal coefficient of its noise parametrisation, and the variance-exploding t of
    each row; a module that is conditioned on something else (a DDPM step, EDM's ln sigma) is wrapped by its user, with
    the conversions of `geomem.noise`. It is evaluated in its own dtype and device, results have those of x. Gradients
    flow; wrap calls in `torch.no_grad()` where they are not needed.

    Args:
        module: Called as module(x', t) with x' (n, *shape) and t (n,), returns (n, *shape).
        shape: Event shape.
        prediction: "noise", "denoised", "v" (a eps - b x_0) or "velocity" (eps - x_0).
        noise: Parametrisation x' = a x_0 + b eps: "ve", "vp" or "flow".

    Raises:
        InputError: For an unknown option, or, when called, a module whose output has another shape.
    """

    def __init__(
        self, module: nn.Module, shape: tuple[int, ...], *, prediction: str = "noise", noise: str = "ve"
    ) -> None:
        if prediction not in PREDICTIONS:
            raise InputError(f"prediction: {prediction!r} is not known; choose one of {', '.join(PREDICTIONS)}.")
        if noise not in NOISE_KINDS:
            raise InputError(f"noise: {noise!r} is not known; choose one of {', '.join(NOISE_KINDS)}.")
        self.module = module
        self.shape = tuple(shape)
        self.prediction = prediction
        self.noise = noise

    def __call__(self, x: Tensor, t: Tensor | float) -> Tensor:
        """Score (*b, *shape) at x (*b, *shape) and t, () or (*b)."""
        rows, times, _ = events(x, t, self.shape)
        weight = next(self.module.parameters(), rows)
        rows, times = rows.to(weight), times.to(weight)
        a, b = (c[:, None] for c in coefficients(times, self.noise))
        scaled = a * rows
        out = self.module(scaled.reshape(rows.shape[0], *self.shape), times)
        if not isinstance(out, Tensor) or out.shape != (rows.shape[0], *self.shape):
            found = tuple(out.shape) if isinstance(out, Tensor) else type(out).__name__
            raise InputError(f"module: returned {found} for events of shape {self.shape}; it must return their shape.")
        eps = PREDICTIONS[self.prediction](out.reshape(rows.shape), scaled, a, b)
        return (-eps / times.sqrt()[:, None]).reshape(x.shape).to(x)

    def denoised(self, x: Tensor, t: Tensor | float) -> Tensor:
        """The denoised point E[y|x] = x + t s(x, t) (Tweedie), of x's shape."""
        times = torch.as_tensor(t, dtype=x.dtype, device=x.device)
        return x + times.reshape(*times.shape, *[1] * (x.ndim - times.ndim)) * self(x, t)
