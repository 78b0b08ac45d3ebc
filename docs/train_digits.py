"""Train a small diffusion model on scikit-learn's digits, in plain diffusers code, as an example to audit.

python docs/train_digits.py IMAGES FOLDER [STEPS] [SEED]

writes FOLDER/training.npy (the training images), FOLDER/held-out.npy (held-out images) and FOLDER/model (the pipeline).
"""

import sys
from pathlib import Path

import numpy as np
import torch
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel
from sklearn.datasets import load_digits

# Number of digits that no model is trained on.
HELD_OUT = 397


def digits() -> np.ndarray:
    """All digits as bytes (1797, 8, 8), in an order that mixes writers."""
    images = (load_digits().images * 255 / 16).round().astype(np.uint8)
    return images[np.random.default_rng(0).permutation(len(images))]


def train(images: np.ndarray, folder: Path, *, steps: int, seed: int) -> Path:
    """A DDPM pipeline of a small U-Net trained on images, saved as diffusers saves it."""
    data = torch.from_numpy(images).float()[:, None] / 127.5 - 1
    torch.manual_seed(seed)
    network = UNet2DModel(
        sample_size=8,
        in_channels=1,
        out_channels=1,
        layers_per_block=1,
        block_out_channels=(16, 32),
        down_block_types=("DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D"),
        norm_num_groups=8,
        add_attention=False,
    )
    scheduler = DDPMScheduler()
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-3)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    for i in range(steps):
        clean = data[torch.randint(0, len(data), (64,))]
        noise, step = torch.randn_like(clean), torch.randint(0, 1000, (64,))
        loss = (network(scheduler.add_noise(clean, noise, step), step).sample - noise).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        rate.step()
        if (i + 1) % 500 == 0:
            print(f"step {i + 1} of {steps}, loss {loss.item():.3f}")
    DDPMPipeline(network.eval(), scheduler).save_pretrained(folder)
    return folder


if __name__ == "__main__":
    count, out = int(sys.argv[1]), Path(sys.argv[2])
    images = digits()
    out.mkdir(parents=True, exist_ok=True)
    np.save(out / "training.npy", images[HELD_OUT:][:count])
    np.save(out / "held-out.npy", images[:HELD_OUT])
    more = [int(word) for word in sys.argv[3:]]
    train(
        images[HELD_OUT:][:count], out / "model", steps=more[0] if more else 1500, seed=more[1] if len(more) > 1 else 0
    )
    print(
        f"saved {out / 'model'}\naudit it with\ngeomem audit {out / 'model'} --trained-on {out / 'training.npy'} --held-out "
        f"{out / 'held-out.npy'} --quick"
    )
