r"""Training of an image network, as a generator of typed steps.

One step draws its batch from (seed, step), lets accelerate average the gradients over processes, clips them at norm 1
and moves Adam and the average of the weights. Nothing random outlives a step: a run that goes on from step k needs no
generator's state, and processes that share a batch see together what one process would see alone.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from geomem.errors import InputError, TrainingError
from geomem.seeds import derived_seed
from geomem.training.flows import FLOWS, Flow, batch_loss
from geomem.training.presets import TrainSettings
from geomem.training.unet import build

if TYPE_CHECKING:
    from accelerate import Accelerator

__all__ = ["Training", "TrainingStep", "steps"]

_CLIPPED = 1.0


@dataclass(frozen=True)
class TrainingStep:
    """What one optimizer step did.

    Attributes:
        step: Number of steps done, this one included.
        loss: Mean over the batch, per entry.
        gradient: Norm of the gradient before it was clipped.
        learning_rate: Rate of this step.
    """

    step: int
    loss: float
    gradient: float
    learning_rate: float


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

    def __init__(self, settings: TrainSettings) -> None:
        from diffusers.training_utils import EMAModel

        if min(settings.steps, settings.batch_size, settings.size) < 1:
            raise InputError("steps, batch size, size: must all be at least 1.")
        if not 0 < settings.learning_rate < math.inf or not 0 <= settings.ema_decay < 1 or settings.warmup < 0:
            raise InputError(
                "learning rate: must be finite and above 0; EMA decay from 0 to below 1; no negative warm-up."
            )
        self.settings = settings
        with torch.random.fork_rng(devices=[]):  # torch's initialisers know only the global generator
            torch.manual_seed(derived_seed(settings.seed, "init"))
            self.network = build(settings.network, settings.shape, flow=settings.flow)
        trained = [p for p in self.network.parameters() if p.requires_grad]
        self.optimizer = torch.optim.Adam(trained, lr=settings.learning_rate, fused=True)
        self.average = EMAModel(self.network.parameters(), decay=settings.ema_decay, foreach=True)
        self.step = 0

    @property
    def flow(self) -> Flow:
        """Its noise process."""
        return FLOWS[self.settings.flow](self.settings.shape)

    def pipeline(self) -> Any:
        """diffusers' pipeline of the averaged weights, on the CPU; the state keeps its own."""
        settings = self.settings
        with torch.random.fork_rng(devices=[]):
            network = build(settings.network, settings.shape, flow=settings.flow)
        self.average.copy_to(network.parameters())
        return self.flow.pipeline(network.eval())


def steps(state: Training, images: Tensor, accelerator: "Accelerator") -> Iterator[TrainingStep]:
    """Train from where `state` stands to the last step of its settings, changing it; yields after every step.

    Args:
        state: Network and optimizer, on the accelerator's device.
        images: All that are trained on (N, channels, height, width), bytes or float32 in [-1, 1].
        accelerator: accelerate's, which knows the device, the precision and the other processes.

    Raises:
        InputError: If the batch cannot be shared evenly among the processes.
        TrainingError: If a loss or a gradient is not finite; `state` is what it was before the step.
    """
    settings, flow = state.settings, state.flow
    world, rank = accelerator.num_processes, accelerator.process_index
    if settings.batch_size % world:
        raise InputError(f"--batch-size: {settings.batch_size} images cannot be shared evenly by {world} processes.")
    share = settings.batch_size // world
    part = slice(rank * share, (rank + 1) * share)
    device = accelerator.device
    images = images.to(device)
    state.network.to(device).train()
    state.average.to(device)
    for moments in state.optimizer.state.values():  # of a checkpoint they are on the CPU
        moments.update({key: value.to(device) for key, value in moments.items()})
    network: nn.Module = accelerator.prepare(state.network)
    parameters = [p for p in state.network.parameters() if p.requires_grad]
    dropout = any(isinstance(m, nn.Dropout) and m.p > 0 for m in state.network.modules())
    devices = [device] if device.type == "cuda" else []
    while state.step < settings.steps:
        rate = settings.learning_rate * min(1.0, (state.step + 1) / max(1, settings.warmup))
        state.optimizer.param_groups[0]["lr"] = rate
        products = torch.autocast(device.type, torch.bfloat16, enabled=settings.precision == "bf16")
        with torch.random.fork_rng(devices=devices, enabled=dropout), products:
            if dropout:
                torch.manual_seed(derived_seed(settings.seed, "dropout", (state.step, rank)))
            losses = batch_loss(
                network,
                flow,
                images,
                batch_size=settings.batch_size,
                seed=settings.seed,
                step=state.step,
                part=part,
            )
        loss = losses.mean()
        state.optimizer.zero_grad()
        accelerator.backward(loss)
        norm = torch.nn.utils.clip_grad_norm_(parameters, _CLIPPED)
        # Gradients are those of all processes by now, and a loss that is not finite makes them so.
        whole = float(accelerator.reduce(loss.detach(), reduction="mean"))
        if not math.isfinite(whole) or not bool(torch.isfinite(norm)):
            what = "loss" if not math.isfinite(whole) else "gradient"
            raise TrainingError(
                f"the {what} is not finite at step {state.step + 1:,}; lower the learning rate"
                + (", or train in float32 (--precision float32)." if settings.precision == "bf16" else ".")
            )
        state.optimizer.step()
        state.step += 1
        state.average.step(state.network.parameters())
        yield TrainingStep(state.step, whole, float(norm), rate)
