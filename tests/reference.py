"""Two reference models of scikit-learn's digits, made by plain diffusers code: one that memorizes, one that generalizes."""

from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits

__all__ = ["digits", "trained"]

# Images of the memorizing model and of the generalizing one; the rest is never seen.
FEW, MANY = 40, 1400


def digits() -> np.ndarray:
    """All digits as bytes (1797, 8, 8), in an order that mixes writers."""
    images = (load_digits().images * 255 / 16).round().astype(np.uint8)
    return images[np.random.default_rng(0).permutation(len(images))]


def trained(images: np.ndarray, folder: Path, *, steps: int, seed: int) -> Path:
    """A DDPM pipeline of a small U-Net trained on images, saved as diffusers saves it."""
    from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel

    data = torch.from_numpy(images).float()[:, None] / 127.5 - 1
    blocks = {"down_block_types": ("DownBlock2D",) * 2, "up_block_types": ("UpBlock2D",) * 2}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = UNet2DModel(
            sample_size=8,
            in_channels=1,
            out_channels=1,
            layers_per_block=1,
            block_out_channels=(16, 32),
            norm_num_groups=8,
            add_attention=False,
            **blocks,
        )
        scheduler = DDPMScheduler()
        optimizer = torch.optim.Adam(network.parameters(), lr=2e-3)
        rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
        for _ in range(steps):
            clean = data[torch.randint(0, len(data), (64,))]
            noise, step = torch.randn_like(clean), torch.randint(0, 1000, (64,))
            predicted = network(scheduler.add_noise(clean, noise, step), step).sample
            loss = (predicted - noise).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            rate.step()
    DDPMPipeline(network.eval(), scheduler).save_pretrained(folder)
    return folder
