"""How image networks are trained: the paper's Table 1 (Supp. A), and reduced settings for a processor."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

__all__ = ["PRESETS", "TrainSettings", "TrainingPreset", "unlisted"]


@dataclass(frozen=True)
class TrainingPreset:
    """A network and how it is trained.

    Attributes:
        steps: Optimizer steps.
        batch_size: Images a step, over all processes.
        learning_rate: Adam's, after `warmup` steps of linear growth.
        warmup: Those steps.
        ema_decay: Of the average of the weights, which is the model that is kept.
        words: What it is, in a line.
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


@dataclass(frozen=True)
class TrainSettings:
    """All that the result of a training run depends on, beside the version of geomem and the machine's arithmetic.

    Attributes:
        data: Name and digest of the data.
        rows: Number of rows of the data.
        size: Images that are trained on: the first of the data in an order drawn by `split_seed`.
        held_out: Images kept apart from all training.
        shape: (channels, height, width).
        network: One of `networks.unet.NETWORKS`.
        flow: "vp" (DDPM's 1,000 steps) or "ve" (sigma, continuous).
        steps: Optimizer steps.
        batch_size: Images a step, over all processes.
        learning_rate: Adam's, after `warmup` steps.
        warmup: Those steps.
        ema_decay: Of the average of the weights.
        precision: "float32" or "bf16" (products of matrices in bfloat16; weights stay float32).
        seed: Seed of weights, batches and noise.
        split_seed: Seed of which images are trained on.
    """

    data: tuple[str, str]
    rows: int
    size: int
    held_out: int
    shape: tuple[int, ...]
    network: str
    flow: str
    steps: int
    batch_size: int
    learning_rate: float
    warmup: int
    ema_decay: float
    precision: str
    seed: int
    split_seed: int

    @classmethod
    def read(cls, held: Mapping[str, Any]) -> "TrainSettings":
        """From what JSON made of them.

        Raises:
            KeyError: If one is missing.
        """
        return cls(**unlisted(cls, held))


def unlisted(kind: type, held: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a dataclass as JSON has them, with tuples for its lists."""
    return {f.name: tuple(v) if isinstance(v := held[f.name], list) else v for f in fields(kind)}
