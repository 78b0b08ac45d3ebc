"""Training presets of image networks: the paper's Table 1 (Supp. A), and reduced settings for a CPU."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from torch import nn

from geomem.errors import InputError
from geomem.training.loop import Settings

__all__ = ["PRESETS", "TrainSettings", "TrainingPreset", "unlisted"]


@dataclass(frozen=True)
class TrainingPreset:
    """Training settings of a network.

    Attributes:
        steps: Number of optimizer steps.
        batch_size: Batch size, over all processes.
        learning_rate: Adam's learning rate after a linear warm-up.
        warmup: Number of warm-up steps.
        ema_decay: EMA decay; the averaged weights are saved as the model.
        words: A one-line description.
    """

    steps: int
    batch_size: int
    learning_rate: float
    warmup: int
    ema_decay: float
    words: str


# Batch sizes, steps and EMA decay are the paper's. It does not state learning rate, warm-up and gradient clipping (norm 1);
# these are from Ho et al. 2020, whom it follows. Keys are the names of the networks.
PRESETS = {
    "mnist": TrainingPreset(400_000, 128, 2e-4, 5000, 0.9999, "Table 1's U-Net for 28x28x1, 24.5 M parameters"),
    "cifar10": TrainingPreset(500_000, 128, 2e-4, 5000, 0.9999, "Table 1's U-Net for 32x32x3, 35.7 M parameters"),
    "celeba": TrainingPreset(800_000, 64, 2e-4, 5000, 0.9999, "Table 1's U-Net for 64x64x3, 27.5 M parameters"),
    "small-unet": TrainingPreset(
        3000, 64, 1e-3, 100, 0.995, "a small U-Net for any size, minutes to half an hour on a CPU"
    ),
    "mlp": TrainingPreset(6000, 128, 5e-4, 200, 0.999, "a perceptron for any size up to 32x32, minutes on a CPU"),
}


@dataclass(frozen=True, kw_only=True)
class TrainSettings(Settings):
    """All settings that determine the trained image network, apart from the version of geomem and the machine's arithmetic.

    Attributes:
        data: Name and digest of the data.
        rows: Number of rows of the data.
        size: Number of training images: the first of the data in an order drawn by `split_seed`.
        held_out: Number of held-out images.
        shape: (channels, height, width).
        network: One of `training.unet.NETWORKS`.
        noise_process: "vp" (DDPM's 1,000 steps) or "ve" (sigma, continuous).
        steps: Number of optimizer steps.
        batch_size: Batch size, over all processes.
        learning_rate: Adam's learning rate after the warm-up.
        warmup: Number of warm-up steps.
        ema_decay: EMA decay.
        precision: "float32" or "bf16" (matmuls only; weights stay float32).
        seed: Random seed of weights, batches and noise.
        split_seed: Seed of the choice of training images.
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
            raise InputError("size, warm-up: size must be at least 1, and warm-up must not be negative.")
        return build(self.network, self.shape, noise_process=self.noise_process)

    def rate(self, step: int) -> float:
        """See `Settings`."""
        return self.learning_rate * min(1.0, (step + 1) / max(1, self.warmup))

    @classmethod
    def read(cls, held: Mapping[str, Any]) -> "TrainSettings":
        """The settings from their JSON form.

        Raises:
            KeyError: If one is missing.
        """
        return cls(**unlisted(cls, held))


def unlisted(kind: type, held: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a dataclass from their JSON form, with lists converted to tuples."""
    return {f.name: tuple(v) if isinstance(v := held[f.name], list) else v for f in fields(kind)}
