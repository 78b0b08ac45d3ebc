r"""The small network of the paper's toy experiments (Supp. A), for continuous t.

A residual multi-layer perceptron of two blocks of two linear layers with SiLU predicts the noise eps behind
x = y + sigma eps, sigma^2 = t. With "noise" its output F is the prediction (the paper's toy, hidden size 128); with
"preconditioned" (Karras et al. 2022) F corrects the optimal linear prediction for data of standard deviation sigma_data,

    eps^ = sigma x / (t + sigma_data^2) - sigma_data F(c_in x, ln t) / sqrt(t + sigma_data^2).

This is the noise form of their denoiser D = x - sigma eps^, and loses no digits at small t. In both cases, the input is
scaled by c_in = 1/sqrt(t + sigma_data^2).
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from geomem.errors import InputError

__all__ = ["PARAMETRISATIONS", "ResidualMLP"]

PARAMETRISATIONS = ("preconditioned", "noise")
# Periods of the time features in ln t, from less than a decade to more than the whole range of t.
_PERIODS = (1.5, 100.0)


class Affine(nn.Module):
    """x W + b with W (in, out), initialised as in `torch.nn.Linear`.

    `torch.nn.Linear` stores W as (out, in), so that backward computes its gradient transposed. In a stack of networks with
    narrow layers, transposing it by a copy takes a third of a training step.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        like = nn.Linear(inputs, outputs)
        self.weight = nn.Parameter(like.weight.detach().T.contiguous())
        self.bias = nn.Parameter(like.bias.detach().clone())

    def forward(self, x: Float[Tensor, "n i"]) -> Float[Tensor, "n o"]:
        """The layer's output."""
        return x @ self.weight + self.bias


class ResidualMLP(nn.Module):
    """Noise prediction eps^(x, t) for vectors x (n, d) at times t (n,); wrap it in a `NetworkScore`.

    Args:
        dim: d, the number of entries of x.
        hidden: Width of the layers.
        blocks: Number of residual blocks.
        prediction: "preconditioned" or "noise".
        sigma_data: Standard deviation of the data per entry, in data units.
        features: Number of sine and of cosine features of ln t.

    Raises:
        InputError: For an unknown prediction, or for sizes or scales that are not positive.
    """

    def __init__(
        self,
        dim: int,
        *,
        hidden: int = 128,
        blocks: int = 2,
        prediction: str = "preconditioned",
        sigma_data: float = 1.0,
        features: int = 16,
    ) -> None:
        super().__init__()
        if prediction not in PARAMETRISATIONS:
            raise InputError(f"prediction: {prediction!r} is not known; choose one of {', '.join(PARAMETRISATIONS)}.")
        if min(dim, hidden, blocks, features) < 1 or not 0 < sigma_data < math.inf:
            raise InputError("dim, hidden, blocks, features, sigma_data: must all be above 0.")
        self.prediction = prediction
        self.sigma_data = sigma_data
        self.frequencies: Tensor
        periods = torch.logspace(math.log10(_PERIODS[0]), math.log10(_PERIODS[1]), features)
        self.register_buffer("frequencies", 2 * math.pi / periods, persistent=False)
        self.enter = Affine(dim, hidden)
        self.time = Affine(2 * features, hidden)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.SiLU(), Affine(hidden, hidden), nn.SiLU(), Affine(hidden, hidden)) for _ in range(blocks)
        )
        self.leave = Affine(hidden, dim)

    def forward(self, x: Float[Tensor, "n d"], t: Float[Tensor, " n"]) -> Float[Tensor, "n d"]:
        """Predicted noise at x (n, d) and t (n,)."""
        scale, skip, gain = self.scales(t)
        h = self.enter(x * scale) + self.time(self.features(t))
        for block in self.blocks:
            h = h + block(h)
        out: Tensor = self.leave(nn.functional.silu(h))
        return skip * x + gain * out

    def scales(self, t: Float[Tensor, " n"]) -> tuple[Tensor, Tensor, Tensor]:
        """c_in, and the coefficients of x and of the output F in the prediction, each (n, 1)."""
        total = (t + self.sigma_data**2)[:, None]
        scale = total.rsqrt()
        if self.prediction == "noise":
            return scale, torch.zeros_like(scale), torch.ones_like(scale)
        return scale, t.sqrt()[:, None] / total, -self.sigma_data * scale

    def features(self, t: Float[Tensor, " n"]) -> Float[Tensor, "n f"]:
        """Sines and cosines of ln t, on which the network is conditioned, for t (n,)."""
        phase = t.log()[:, None] * self.frequencies
        return torch.cat([phase.sin(), phase.cos()], -1)

    def loss_weight(self, t: Tensor) -> Tensor:
        """Weight of the squared noise error at t: 1 for "noise", EDM's (t + sigma_data^2)/sigma_data^2 otherwise."""
        if self.prediction == "noise":
            return torch.ones_like(t)
        return (t + self.sigma_data**2) / self.sigma_data**2
