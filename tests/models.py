"""Small diffusers models on disk, as plain diffusers writes them."""

import json
from pathlib import Path

import torch
from diffusers import DDPMPipeline, DDPMScheduler, SchedulerMixin, UNet2DModel

from geomem.training import TrainSettings


def unet(seed: int = 0, **options) -> UNet2DModel:
    """A network of random weights, of a few thousand parameters."""
    small = {
        "sample_size": 8,
        "in_channels": 1,
        "out_channels": 1,
        "layers_per_block": 1,
        "block_out_channels": (8, 16),
        "norm_num_groups": 4,
        "down_block_types": ("DownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "UpBlock2D"),
        "add_attention": False,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return UNet2DModel(**{**small, **options}).eval()


def saved(folder: Path, network: UNet2DModel | None = None, scheduler: SchedulerMixin | None = None) -> Path:
    """A pipeline's folder: model_index.json, unet/ and scheduler/."""
    DDPMPipeline(network or unet(), scheduler or DDPMScheduler()).save_pretrained(folder)
    return folder


def edited(path: Path, **changes) -> Path:
    """A JSON file with entries changed, or taken out where None."""
    content = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({k: v for k, v in content.items() if v is not None}))
    return path


# A training of seconds on twelve images of 4x4 pixels.
TRAINING = TrainSettings(
    data=("images", "0"),
    rows=12,
    size=12,
    held_out=0,
    shape=(1, 4, 4),
    network="mlp",
    noise_process="vp",
    steps=6,
    batch_size=8,
    learning_rate=1e-3,
    warmup=4,
    ema_decay=0.9,
    precision="float32",
    seed=3,
    split_seed=3,
)
