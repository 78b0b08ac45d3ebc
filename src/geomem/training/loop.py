r"""The training loop: a generator of typed steps over a network, an optimizer and an EMA of the weights.

    loss, gradients   by an `Objective`, a function of (seed, step)
    weights           Adam, with the learning rate of this step
    average           diffusers' EMAModel, decay min(ema_decay, (1 + n)/(10 + n))

No random state is carried from step to step, so a run can resume at any step without a generator's state.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn

from geomem.errors import InputError, TrainingError
from geomem.seeds import derived_seed

__all__ = ["Objective", "Settings", "Training", "TrainingStep", "steps"]


@dataclass(frozen=True, kw_only=True)
class Settings(ABC):
    """Settings common to all training. A subclass adds the network and the data.

    Attributes:
        steps: Total number of optimizer steps.
        batch_size: Batch size.
        learning_rate: Adam's largest learning rate.
        ema_decay: EMA decay.
        seed: Random seed of weights, batches and noise.
    """

    # Offset of the update count in the EMA's warm-up; with 0, the average forgets the initial weights at once.
    average_lead = 0

    steps: int
    batch_size: int
    learning_rate: float
    ema_decay: float
    seed: int

    @abstractmethod
    def build(self) -> nn.Module:
        """The network, initialized from PyTorch's global generator.

        Raises:
            InputError: For settings that cannot be trained.
        """

    @abstractmethod
    def rate(self, step: int) -> float:
        """Learning rate of the next step after `step` steps."""


@dataclass(frozen=True)
class TrainingStep:
    """The result of one optimizer step.

    Attributes:
        step: Number of steps done, including this one.
        losses: Loss of each network, mean over the batch, per entry.
        gradient: Norm of the gradient before clipping; None if it is not clipped.
        learning_rate: Learning rate of this step.
    """

    step: int
    losses: tuple[float, ...]
    gradient: float | None
    learning_rate: float

    @property
    def loss(self) -> float:
        """Mean over the networks."""
        return sum(self.losses) / len(self.losses)


class Objective(ABC):
    """Computes the loss of a step and its gradients."""

    @property
    def remedy(self) -> str:
        """Advice for losses or gradients that are not finite."""
        return "lower the learning rate"

    @abstractmethod
    def __call__(self, step: int) -> tuple[tuple[float, ...], float | None]:
        """Losses and gradient norm (see `TrainingStep`) of the next step after `step` steps.

        The gradients are stored in `grad` of the parameters. The result depends only on the weights, the seed and `step`.
        """


class Training:
    """The training state: the network, the average of its weights, Adam's moments, and the number of steps done.

    Args:
        settings: The settings.

    Attributes:
        settings: The settings.
        network: The network.
        optimizer: Adam over its parameters.
        average: diffusers' `EMAModel` of its parameters.
        step: Number of steps done.

    Raises:
        InputError: For settings that cannot be trained.
    """

    def __init__(self, settings: Settings) -> None:
        from diffusers.training_utils import EMAModel  # takes seconds to import

        if min(settings.steps, settings.batch_size) < 1:
            raise InputError("steps, batch size: must both be at least 1.")
        if not 0 < settings.learning_rate < math.inf or not 0 <= settings.ema_decay < 1:
            raise InputError("learning rate: must be finite and above 0; EMA decay: must be at least 0 and below 1.")
        self.settings = settings
        self.network = self._built()
        trained = [p for p in self.network.parameters() if p.requires_grad]
        self.optimizer = torch.optim.Adam(trained, lr=settings.learning_rate, fused=True)
        self.average = EMAModel(
            self.network.parameters(),
            decay=settings.ema_decay,
            update_after_step=-settings.average_lead,
            foreach=True,
        )
        self.step = 0

    def averaged(self) -> nn.Module:
        """A copy of the network with the averaged weights, in evaluation mode, on the CPU."""
        network = self._built()
        self.average.copy_to(network.parameters())
        return network.eval()

    def _built(self) -> nn.Module:
        with torch.random.fork_rng(devices=[]):  # PyTorch's initializers use only the global generator
            torch.manual_seed(derived_seed(self.settings.seed, "init"))
            return self.settings.build()


def steps(state: Training, objective: Objective) -> Iterator[TrainingStep]:
    """Train `state` in place up to the last step of its settings; yields after every step.

    Args:
        state: The training state.
        objective: Loss and gradients of this state's network.

    Raises:
        TrainingError: If a loss or a gradient is not finite; `state` is then unchanged by the step.
    """
    settings = state.settings
    while state.step < settings.steps:
        rate = settings.rate(state.step)
        state.optimizer.param_groups[0]["lr"] = rate
        losses, gradient = objective(state.step)
        if not all(math.isfinite(loss) for loss in losses) or not math.isfinite(gradient or 0.0):
            what = "gradient" if all(math.isfinite(loss) for loss in losses) else "loss"
            raise TrainingError(f"the {what} is not finite at step {state.step + 1:,}; {objective.remedy}.")
        state.optimizer.step()
        state.step += 1
        state.average.step(state.network.parameters())
        yield TrainingStep(state.step, losses, gradient, rate)
