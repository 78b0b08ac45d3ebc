r"""The training loop: a generator of typed steps over a network, an optimizer and an average of the weights.

    loss, gradients   by an `Objective`, from (seed, step) alone
    weights           Adam, at the settings' learning rate of this step
    average           diffusers' EMAModel, decay min(ema_decay, (1 + n)/(10 + n))

Nothing random outlives a step, so a run resumed at step k needs no generator's state.
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
    """What every training needs, whatever it trains; a subclass adds the network and what it is trained on.

    Attributes:
        steps: Optimizer steps in all.
        batch_size: Samples a step.
        learning_rate: Adam's, at its highest.
        ema_decay: EMA decay of the weights.
        seed: Random seed of weights, batches and noise.
    """

    # Number of updates that the average is ahead of the first step: with 0 it forgets the initial weights at once.
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
        """Learning rate of the step that follows `step` others."""


@dataclass(frozen=True)
class TrainingStep:
    """What one optimizer step did.

    Attributes:
        step: Number of steps done, this one included.
        losses: Loss of each network that is trained, mean over the batch, per entry.
        gradient: Norm of the gradient before it was clipped; None where it is not clipped.
        learning_rate: Rate of this step.
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
    """How the loss of a step and its gradients are computed."""

    @property
    def remedy(self) -> str:
        """What to do where they are no longer finite."""
        return "lower the learning rate"

    @abstractmethod
    def __call__(self, step: int) -> tuple[tuple[float, ...], float | None]:
        """Losses and norm of the gradient, see `TrainingStep`, of the step that follows `step` others.

        The gradients are left in the parameters' `grad`. The result depends on the weights, the seed and `step` alone.
        """


class Training:
    """All that training changes: the network, the average of its weights, Adam's moments, and the number of steps done.

    Args:
        settings: How to train.

    Attributes:
        settings: How to train.
        network: The network.
        optimizer: Adam over its parameters.
        average: diffusers' `EMAModel` of its parameters.
        step: Steps done.

    Raises:
        InputError: For settings that cannot be trained.
    """

    def __init__(self, settings: Settings) -> None:
        from diffusers.training_utils import EMAModel  # takes seconds to import

        if min(settings.steps, settings.batch_size) < 1:
            raise InputError("steps, batch size: must both be at least 1.")
        if not 0 < settings.learning_rate < math.inf or not 0 <= settings.ema_decay < 1:
            raise InputError("learning rate: must be finite and above 0; EMA decay from 0 to below 1.")
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
        """The network with the averaged weights, in evaluation mode, on the CPU; the state keeps its own."""
        network = self._built()
        self.average.copy_to(network.parameters())
        return network.eval()

    def _built(self) -> nn.Module:
        with torch.random.fork_rng(devices=[]):  # PyTorch's initializers know only the global generator
            torch.manual_seed(derived_seed(self.settings.seed, "init"))
            return self.settings.build()


def steps(state: Training, objective: Objective) -> Iterator[TrainingStep]:
    """Train from where `state` stands to the last step of its settings, changing it; yields after every step.

    Args:
        state: Network and optimizer.
        objective: Loss and gradients of the same state's network.

    Raises:
        TrainingError: If a loss or a gradient is not finite; `state` is what it was before the step.
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
