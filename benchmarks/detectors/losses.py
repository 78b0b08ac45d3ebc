"""The losses of train.py."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler
from torch import Tensor, nn

from geomem.seeds import derived_generator
from geomem.training.loop import Objective, Training

__all__ = ["Denoising", "Loss", "latents", "reconstruction"]

_DROPPED, _KL = 0.1, 1e-6


class Loss(Objective):
    """A loss of (network, generator), and its gradients, clipped to norm 1."""

    def __init__(self, loss: Callable[[Any, torch.Generator], Tensor], state: Training) -> None:
        self.loss, self.state = loss, state

    def __call__(self, step: int) -> tuple[tuple[float, ...], float]:
        network = self.state.network.train()
        self.state.optimizer.zero_grad()
        loss = self.loss(network, derived_generator(self.state.settings.seed, "step", step))
        loss.backward()
        trained = [p for p in network.parameters() if p.requires_grad]
        return (loss.item(),), nn.utils.clip_grad_norm_(trained, 1.0).item()


def reconstruction(images: Tensor, batch: int, vae: AutoencoderKL, rng: torch.Generator) -> Tensor:
    """Mean absolute error of images in [-1, 1], half of them mirrored, and a small multiple of the KL divergence."""
    x = images[torch.randint(len(images), (batch,), generator=rng)]
    x = torch.where(torch.rand(batch, 1, 1, 1, generator=rng) < 0.5, x.flip(-1), x)
    posterior = vae.encode(x).latent_dist
    return (vae.decode(posterior.sample(rng)).sample - x).abs().mean() + _KL * posterior.kl().mean()


@dataclass(frozen=True)
class Denoising:
    """The loss of predicting noise in latents, with captions dropped at random for classifier-free guidance.

    Attributes:
        mean: Means of the latents, in units in which their variance is 1.
        std: Standard deviations of the same.
        tokens: Captions; the last one is empty.
        weights: How often each image is shown, up to a factor.
        scheduler: The noise process.
        batch: Batch size.
    """

    mean: Tensor
    std: Tensor
    tokens: Tensor
    weights: Tensor
    scheduler: DDIMScheduler
    batch: int

    def __call__(self, network: Any, rng: torch.Generator) -> Tensor:
        rows = torch.multinomial(self.weights, self.batch, replacement=True, generator=rng)
        mean, std = self.mean[rows], self.std[rows]
        clean = mean + std * torch.randn(mean.shape, generator=rng)
        noise = torch.randn(mean.shape, generator=rng)
        t = torch.randint(self.scheduler.config["num_train_timesteps"], (self.batch,), generator=rng)
        rows[torch.rand(self.batch, generator=rng) < _DROPPED] = len(self.tokens) - 1
        text = network["text_encoder"](self.tokens[rows]).last_hidden_state
        predicted = network["unet"](self.scheduler.add_noise(clean, noise, t), t, text).sample
        return (predicted - noise).square().mean()


def latents(vae: AutoencoderKL, images: Tensor) -> tuple[Tensor, Tensor]:
    """Means and standard deviations of the latents of images in [-1, 1]."""
    with torch.no_grad():
        posteriors = [vae.encode(part).latent_dist for part in images.split(100)]
    return torch.cat([p.mean for p in posteriors]), torch.cat([p.std for p in posteriors])
