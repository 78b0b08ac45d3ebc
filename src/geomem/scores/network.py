"""The score of a trained network, for any prediction type, noise parametrisation and data scale."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from geomem.errors import InputError
from geomem.noise import CONDITIONS, NOISE_KINDS, coefficients
from geomem.scores.base import Score, events

__all__ = ["DIFFUSERS_PREDICTIONS", "PREDICTIONS", "NetworkScore", "dtype_of"]

# Converts a network's prediction to the noise eps in x' = a x_0 + b eps.
_Reading = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
PREDICTIONS: dict[str, _Reading] = {
    "noise": lambda out, x, a, b: out,
    "denoised": lambda out, x, a, b: (x - a * out) / b,
    "v": lambda out, x, a, b: (a * out + b * x) / (a**2 + b**2),  # v = a eps - b x_0 (Salimans and Ho 2022)
    "velocity": lambda out, x, a, b: (x + a * out) / (a + b),  # eps - x_0, flow matching
    "score": lambda out, x, a, b: -b * out,  # gradient of the log density of x' itself
}

# What diffusers calls them.
DIFFUSERS_PREDICTIONS = {"epsilon": "noise", "sample": "denoised", "v_prediction": "v", "flow_prediction": "velocity"}


class NetworkScore:
    """Score s(x, t) = -eps^(x, t)/sqrt(t) of a module that predicts the noise, the denoised point, v, a velocity or a score.

    The module is evaluated at u' = a u and conditioned on the noise level. Here u = slope x + offset is the point on the
    module's scale, and a is the signal coefficient of its noise parametrisation at slope^2 t. The module is evaluated in its
    own dtype and on its own device; results have those of x. Gradients are propagated; use `torch.no_grad()` if you do not
    need them.

    Args:
        module: Called as module(u', condition) with u' (n, *shape) and condition (n,), returns (n, *shape).
        shape: Event shape.
        prediction: "noise", "denoised", "v" (a eps - b x_0), "velocity" (eps - x_0) or "score"; also diffusers' words for them,
            "epsilon", "sample", "v_prediction" and "flow_prediction".
        noise: Parametrisation u' = a u_0 + b eps: "ve", "vp" or "flow".
        condition: What the module is conditioned on: a name in `noise.CONDITIONS` ("t", "sigma", "log-sigma", "flow") or a
            function of t (n,), float64, with t on the module's scale.
        scale: (slope, offset) of the module's scale: (0.5, 0.5) if it works on [0, 1] and data are in [-1, 1].
        times: Noise levels (k,) that the network was trained at, ascending, as t of the data; None for all.
        reach: Least and greatest t at which the network can be evaluated; None for the ends of `times`, or for no bounds.

    Raises:
        InputError: For an unknown option; when called, for a t out of reach or an output of another shape.
    """

    def __init__(
        self,
        module: nn.Module,
        shape: tuple[int, ...],
        *,
        prediction: str = "noise",
        noise: str = "ve",
        condition: str | Callable[[Tensor], Tensor] = "t",
        scale: tuple[float, float] = (1.0, 0.0),
        times: NDArray[np.float64] | None = None,
        reach: tuple[float, float] | None = None,
    ) -> None:
        prediction = DIFFUSERS_PREDICTIONS.get(prediction, prediction)
        for name, value, known in (("prediction", prediction, PREDICTIONS), ("noise", noise, NOISE_KINDS)):
            if value not in known:
                raise InputError(f"{name}: {value!r} is not known; choose one of {', '.join(known)}.")
        if isinstance(condition, str) and condition not in CONDITIONS:
            raise InputError(f"condition: {condition!r} is not known; choose one of {', '.join(CONDITIONS)}.")
        if scale[0] <= 0:
            raise InputError(f"scale: its slope must be above 0, got {scale[0]:g}.")
        self.module = module
        self.shape = tuple(shape)
        self.prediction = prediction
        self.noise = noise
        self.condition = CONDITIONS[condition] if isinstance(condition, str) else condition
        self.scale = scale
        self.times = times
        ends = (0.0, np.inf) if times is None else (float(times[0]), float(times[-1]))
        self.reach = ends if reach is None else reach

    def __call__(self, x: Tensor, t: Tensor | float) -> Tensor:
        """Score (*b, *shape) at x (*b, *shape) and t, () or (*b)."""
        rows, exact, _ = events(x, t, self.shape)
        low, high = self.reach
        # A t at the ends of the trained levels may have been rounded to float32.
        if not bool(torch.all((exact >= low * (1 - 1e-6)) & (exact <= high * (1 + 1e-6)))):
            raise InputError(
                f"t: lies between {float(exact.min()):.6g} and {float(exact.max()):.6g}, but this network was trained from "
                f"{low:.6g} to {high:.6g}; choose t within that range."
            )
        exact = exact.clamp(low, high)
        slope, offset = self.scale
        weight = next(self.module.parameters(), rows)
        condition = self.condition(slope**2 * exact).to(weight)
        a, b = (c.to(weight)[:, None] for c in coefficients(slope**2 * exact, self.noise))
        scaled = a * (slope * rows.to(weight) + offset)
        out = self._evaluated(scaled.reshape(rows.shape[0], *self.shape), condition)
        if not isinstance(out, Tensor) or out.shape != (rows.shape[0], *self.shape):
            found = tuple(out.shape) if isinstance(out, Tensor) else type(out).__name__
            raise InputError(
                f"module: returned {found} for events of shape {self.shape}; its output must have that shape."
            )
        eps = PREDICTIONS[self.prediction](out.reshape(rows.shape), scaled, a, b)
        return (-eps / exact.sqrt().to(weight)[:, None]).reshape(x.shape).to(x)

    def _evaluated(self, x: Tensor, condition: Tensor) -> Tensor:
        """The module's output (n, *shape) at points on its own scale."""
        out: Tensor = self.module(x, condition)
        return out

    def denoised(self, x: Tensor, t: Tensor | float) -> Tensor:
        """The denoised point E[y|x] = x + t s(x, t) (Tweedie), of x's shape."""
        times = torch.as_tensor(t, dtype=x.dtype, device=x.device)
        return x + times.reshape(*times.shape, *[1] * (x.ndim - times.ndim)) * self(x, t)

    def nearest(self, t: float) -> float:
        """The trained noise level nearest to t, in ln t. If the network was trained at all levels: t, clipped to the reach."""
        if self.times is None:
            return float(np.clip(t, *self.reach))
        return float(self.times[np.argmin(np.abs(np.log(self.times / t)))])


def dtype_of(score: Score) -> torch.dtype:
    """The dtype in which a score is computed: a network's own dtype, float64 for other scores."""
    weight = next(iter(score.module.parameters()), None) if isinstance(score, NetworkScore) else None
    return torch.float64 if weight is None else weight.dtype
