"""How image networks are trained: the paper's Table 1 (Supp. A), and reduced settings for a processor."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from torch import nn

from geomem.errors import InputError
from geomem.training.loop import Settings

__all__ = ["PRESETS", "TrainSettings", "TrainingPreset", "unlisted"]


@dataclass(frozen=True)
class TrainingPreset:
    """A network and how it is trained.

    Attributes:
        steps: Optimizer steps.
        batch_size: Images a step, over all processes.
        learning_rate: Adam's, after `warmup` steps of linear growth.
        warmup: Those steps.
        ema_decay: EMA decay of the weights; their average is the model that is kept.
        words: A line of description.
    """

    steps: int
    batch_size: int
    learning_rate: float
    warmup: int
    ema_decay: float
    words: str


# Batch sizes, steps and EMA are the paper's; rate, warm-up and clipping of gradients at norm 1, which it does not state, are
# those of Ho et al. 2020, whom it follows. Names are those of the networks.
PRESETS = {
    "mnist": TrainingPreset(400_000, 128, 2e-4, 5000, 0.9999, "Table 1's U-Net for 28x28x1, 24.5 M parameters"),
    "cifar10": TrainingPreset(500_000, 128, 2e-4, 5000, 0.9999, "Table 1's U-Net for 32x32x3, 35.7 M parameters"),
    "celeba": TrainingPreset(800_000, 64, 2e-4, 5000, 0.9999, "Table 1's U-Net for 64x64x3, 27.5 M parameters"),
    "small-unet": TrainingPreset(
        3000, 64, 1e-3, 100, 0.995, "a small U-Net for any size, minutes to half an hour on a processor"
    ),
    "mlp": TrainingPreset(6000, 128, 5e-4, 200, 0.999, "a perceptron for any size up to 32x32, minutes on a processor"),
}


@dataclass(frozen=True, kw_only=True)
class TrainSettings(Settings):
    """All that the result of training an image network depends on, beside the version of geomem and the machine's arithmetic.

    Attributes:
        data: Name and digest of the data.
        rows: Number of rows of the data.
        size: Number of training images: the first of the data in an order drawn by `split_seed`.
        held_out: Number of held-out images.
        shape: (channels, height, width).
        network: One of `training.unet.NETWORKS`.
        noise_process: "vp" (DDPM's 1,000 steps) or "ve" (sigma, continuous).
        steps: Optimizer steps.
        batch_size: Images a step, over all processes.
        learning_rate: Adam's, after `warmup` steps.
        warmup: Those steps.
        ema_decay: EMA decay of the weights.
        precision: "float32" or "bf16" (matmuls only; weights stay float32).
        seed: Random seed of weights, batches and noise.
        split_seed: Seed of which images are trained on.
    """

    data: tuple[str, str]
    rows: int
    size: int
    held_out: int
    shape: tuple[int, ...]
    network: str
    noise_process: str
    warmup: int
    precision: str
    split_seed: int

    def build(self) -> nn.Module:
        """See `Settings`."""
        from geomem.training.unet import build

        if self.size < 1 or self.warmup < 0:
            raise InputError("size: must be at least 1; no negative warm-up.")
        return build(self.network, self.shape, noise_process=self.noise_process)

    def rate(self, step: int) -> float:
        """See `Settings`."""
        return self.learning_rate * min(1.0, (step + 1) / max(1, self.warmup))

    @classmethod
    def read(cls, held: Mapping[str, Any]) -> "TrainSettings":
        """The settings that JSON holds.

        Raises:
            KeyError: If one is missing.
        """
        return cls(**unlisted(cls, held))


def unlisted(kind: type, held: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a dataclass as JSON has them, with tuples for its lists."""
    return {f.name: tuple(v) if isinstance(v := held[f.name], list) else v for f in fields(kind)}
