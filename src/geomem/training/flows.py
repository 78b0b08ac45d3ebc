r"""The two noise processes of training, as diffusers' schedulers have them.

    "vp"  DDPM (Ho et al. 2020): x' = sqrt(abar_k) y + sqrt(1 - abar_k) eps at a step k drawn uniformly from T = 1000,
          beta from 1e-4 to 2e-2; the network F(x', k) predicts eps, loss |F - eps|^2.
    "ve"  Song et al. 2021: x' = y + sigma eps on [0, 1], ln sigma uniform from 0.01 to 50 (90 above 32x32, above the
          greatest distance of two images); the network F(x', sigma) predicts the score, loss |sigma F + eps|^2.

Losses are means over entries. Every draw comes from (seed, step) and the place in the batch alone.
"""

import math
from typing import Any, Protocol

import torch
from jaxtyping import Float
from torch import Tensor, nn

from geomem.seeds import derived_generator

__all__ = ["FLOWS", "DDPMFlow", "ExplodingFlow", "Flow", "batch_loss"]


class Flow(Protocol):
    """A noise process: what a network is shown and told, and what its output should be."""

    def noised(self, clean: Tensor, noise: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        """What the network sees, and what it is told (n,), for uniform u (n,) in [0, 1)."""
        ...

    def loss(self, out: Tensor, noise: Tensor, told: Tensor) -> Float[Tensor, " n"]:
        """Squared error of each image, mean over entries."""
        ...

    def pipeline(self, network: nn.Module) -> Any:
        """The network in diffusers' pipeline."""
        ...


class DDPMFlow:
    """DDPM's process for images of `shape`, see above."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        from diffusers import DDPMScheduler

        self._scheduler: Any = DDPMScheduler(beta_start=1e-4, beta_end=2e-2, num_train_timesteps=1000)

    def noised(self, clean: Tensor, noise: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        """See `Flow`."""
        step = (u * self._scheduler.config.num_train_timesteps).long()
        return self._scheduler.add_noise(clean, noise, step), step

    def loss(self, out: Tensor, noise: Tensor, told: Tensor) -> Tensor:
        """See `Flow`."""
        return (out - noise).square().flatten(1).mean(1)

    def pipeline(self, network: nn.Module) -> Any:
        """See `Flow`."""
        from diffusers import DDPMPipeline

        return DDPMPipeline(network, self._scheduler)


class ExplodingFlow:
    """The variance-exploding process for images of `shape`, see above; `ends` are the least and the greatest sigma."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.ends = (0.01, 50.0 if max(shape[1:]) <= 32 else 90.0)

    def noised(self, clean: Tensor, noise: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        """See `Flow`."""
        low, high = math.log(self.ends[0]), math.log(self.ends[1])
        sigma = torch.exp(low + (high - low) * u).to(clean)
        return (clean + 1) / 2 + _across(sigma, clean) * noise, sigma

    def loss(self, out: Tensor, noise: Tensor, told: Tensor) -> Tensor:
        """See `Flow`."""
        return (_across(told, out) * out + noise).square().flatten(1).mean(1)

    def pipeline(self, network: nn.Module) -> Any:
        """See `Flow`."""
        from diffusers import ScoreSdeVePipeline, ScoreSdeVeScheduler

        low, high = self.ends
        return ScoreSdeVePipeline(network, ScoreSdeVeScheduler(sigma_min=low, sigma_max=high))


FLOWS: dict[str, type[DDPMFlow] | type[ExplodingFlow]] = {"vp": DDPMFlow, "ve": ExplodingFlow}


def _across(values: Tensor, images: Tensor) -> Tensor:
    return values.reshape(-1, *[1] * (images.ndim - 1))


def batch_loss(
    network: nn.Module, flow: Flow, images: Tensor, *, batch_size: int, seed: int, step: int, part: slice = slice(None)
) -> Float[Tensor, " n"]:
    """The losses of a step's batch, or of a part of it.

    Args:
        network: Called as network(x, told).sample.
        flow: The noise process.
        images: All that are trained on (N, *shape): float32 in [-1, 1], or bytes, which are read as v/127.5 - 1.
        batch_size: Images drawn, with replacement.
        seed: Of the run.
        step: Number of the step.
        part: Which of the batch: each of several processes takes its own.
    """
    generator = derived_generator(seed, "training batch", step)
    place = torch.rand(batch_size, generator=generator, dtype=torch.float64)
    u = torch.rand(batch_size, generator=generator, dtype=torch.float64)
    noise = torch.randn(batch_size, *images.shape[1:], generator=generator)
    index = (place * images.shape[0]).long()[part]
    device = images.device
    noise = noise[part].to(device)
    clean = images[index.to(device)]
    clean = clean.float().div_(127.5).sub_(1) if clean.dtype == torch.uint8 else clean
    seen, told = flow.noised(clean, noise, u[part].to(device))
    # Losses are summed in float32, whatever the products of the network were.
    return flow.loss(network(seen, told).sample.float(), noise, told)
