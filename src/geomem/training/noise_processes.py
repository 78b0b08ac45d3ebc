r"""The two noise processes of training, as defined by diffusers' schedulers.

    "vp"  DDPM (Ho et al. 2020): x' = sqrt(abar_k) y + sqrt(1 - abar_k) eps at a step k drawn uniformly from T = 1000,
          beta from 1e-4 to 2e-2; the network F(x', k) predicts eps, loss |F - eps|^2.
    "ve"  Song et al. 2021: x' = y + sigma eps on [0, 1], ln sigma uniform from 0.01 to 50 (90 above 32x32, above the
          greatest distance of two images); the network F(x', sigma) predicts the score, loss |sigma F + eps|^2.

Losses are means over entries.
"""

import math
from abc import ABC, abstractmethod
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

__all__ = ["NOISE_PROCESSES", "NoiseProcess", "VarianceExploding", "VariancePreserving"]


class NoiseProcess(ABC):
    """A noise process: the input of a network, its condition and its target.

    Args:
        shape: (channels, height, width) of the images.
    """

    @abstractmethod
    def __init__(self, shape: tuple[int, ...]) -> None: ...

    @abstractmethod
    def noised(self, clean: Tensor, noise: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        """The noisy images, and the conditions (n,), for uniform u (n,) in [0, 1)."""

    @abstractmethod
    def loss(self, out: Tensor, noise: Tensor, condition: Tensor) -> Float[Tensor, " n"]:
        """Squared error of each image, mean over entries."""

    @abstractmethod
    def pipeline(self, network: nn.Module) -> Any:
        """The network in diffusers' pipeline."""


class VariancePreserving(NoiseProcess):
    """DDPM's process, see above."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        from diffusers import DDPMScheduler

        self._scheduler: Any = DDPMScheduler(beta_start=1e-4, beta_end=2e-2, num_train_timesteps=1000)

    def noised(self, clean: Tensor, noise: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        """See `NoiseProcess`."""
        step = (u * self._scheduler.config.num_train_timesteps).long()
        return self._scheduler.add_noise(clean, noise, step), step

    def loss(self, out: Tensor, noise: Tensor, condition: Tensor) -> Tensor:
        """See `NoiseProcess`."""
        return (out - noise).square().flatten(1).mean(1)

    def pipeline(self, network: nn.Module) -> Any:
        """See `NoiseProcess`."""
        from diffusers import DDPMPipeline

        return DDPMPipeline(network, self._scheduler)


class VarianceExploding(NoiseProcess):
    """The variance-exploding process, see above; `ends` are the least and the greatest sigma."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.ends = (0.01, 50.0 if max(shape[1:]) <= 32 else 90.0)

    def noised(self, clean: Tensor, noise: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        """See `NoiseProcess`."""
        low, high = math.log(self.ends[0]), math.log(self.ends[1])
        sigma = torch.exp(low + (high - low) * u).to(clean)
        return (clean + 1) / 2 + _across(sigma, clean) * noise, sigma

    def loss(self, out: Tensor, noise: Tensor, condition: Tensor) -> Tensor:
        """See `NoiseProcess`."""
        return (_across(condition, out) * out + noise).square().flatten(1).mean(1)

    def pipeline(self, network: nn.Module) -> Any:
        """See `NoiseProcess`."""
        from diffusers import ScoreSdeVePipeline, ScoreSdeVeScheduler

        low, high = self.ends
        return ScoreSdeVePipeline(network, ScoreSdeVeScheduler(sigma_min=low, sigma_max=high))


NOISE_PROCESSES: dict[str, type[NoiseProcess]] = {"vp": VariancePreserving, "ve": VarianceExploding}


def _across(values: Tensor, images: Tensor) -> Tensor:
    return values.reshape(-1, *[1] * (images.ndim - 1))
