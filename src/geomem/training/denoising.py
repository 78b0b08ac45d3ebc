r"""Loss and gradients of an image network at each step, and the diffusers pipeline of a trained network.

A step draws its batch from (seed, step). accelerate averages the gradients over processes, and they are clipped at
norm 1. Several processes together train on the same batch as one process would.
"""

from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from geomem.errors import InputError
from geomem.seeds import derived_generator, derived_seed
from geomem.training.loop import Objective, Training
from geomem.training.noise_processes import NOISE_PROCESSES, NoiseProcess
from geomem.training.presets import TrainSettings

if TYPE_CHECKING:
    from accelerate import Accelerator

__all__ = ["ImageObjective", "batch_loss", "pipeline"]

_CLIPPED = 1.0


class ImageObjective(Objective):
    """Loss of an image network, with gradients by accelerate.

    Args:
        state: The training, of `TrainSettings`; moved to the accelerator's device.
        images: All training images (N, channels, height, width), bytes or float32 in [-1, 1].
        accelerator: accelerate's `Accelerator`, with the device and the other processes.

    Raises:
        InputError: If the batch cannot be shared evenly among the processes.
    """

    def __init__(self, state: Training, images: Tensor, accelerator: "Accelerator") -> None:
        assert isinstance(state.settings, TrainSettings)
        self._settings = settings = state.settings
        self._accelerator = accelerator
        self._rank, world = accelerator.process_index, accelerator.num_processes
        if settings.batch_size % world:
            raise InputError(
                f"--batch-size: {settings.batch_size} images cannot be split evenly among {world} processes."
            )
        share = settings.batch_size // world
        self._part = slice(self._rank * share, (self._rank + 1) * share)
        self._device = device = accelerator.device
        self._images = images.to(device)
        state.network.to(device).train()
        state.average.to(device)
        for moments in state.optimizer.state.values():  # those of a checkpoint are on the CPU
            moments.update({key: value.to(device) for key, value in moments.items()})
        self._network: nn.Module = accelerator.prepare(state.network)
        self._parameters = [p for p in state.network.parameters() if p.requires_grad]
        self._dropout = any(isinstance(m, nn.Dropout) and m.p > 0 for m in state.network.modules())
        self._process = NOISE_PROCESSES[settings.noise_process](settings.shape)

    @property
    def remedy(self) -> str:
        """See `Objective`."""
        coarse = self._settings.precision == "bf16"
        return super().remedy + (", or train in float32 (--precision float32)" if coarse else "")

    def __call__(self, step: int) -> tuple[tuple[float], float]:
        """See `Objective`."""
        settings, device = self._settings, self._device
        devices = [device] if device.type == "cuda" else []
        products = torch.autocast(device.type, torch.bfloat16, enabled=settings.precision == "bf16")
        with torch.random.fork_rng(devices=devices, enabled=self._dropout), products:
            if self._dropout:
                torch.manual_seed(derived_seed(settings.seed, "dropout", (step, self._rank)))
            loss = batch_loss(
                self._network,
                self._process,
                self._images,
                batch_size=settings.batch_size,
                seed=settings.seed,
                step=step,
                part=self._part,
            ).mean()
        for p in self._parameters:
            p.grad = None
        self._accelerator.backward(loss)
        norm = torch.nn.utils.clip_grad_norm_(self._parameters, _CLIPPED)
        # By now the gradients are averaged over processes. A loss that is not finite makes them non-finite, too.
        whole = self._accelerator.reduce(loss.detach(), reduction="mean")
        return (float(whole),), float(norm)


def batch_loss(
    network: nn.Module,
    process: NoiseProcess,
    images: Tensor,
    *,
    batch_size: int,
    seed: int,
    step: int,
    part: slice = slice(None),
) -> Float[Tensor, " n"]:
    """The losses of a step's batch, or of part of it.

    Args:
        network: Called as network(x, condition).sample.
        process: The noise process.
        images: All training images (N, *shape): float32 in [-1, 1], or bytes, which are read as v/127.5 - 1.
        batch_size: Number of images drawn, with replacement.
        seed: Seed of the run.
        step: Index of the step.
        part: Part of the batch; each of several processes computes its own.
    """
    generator = derived_generator(seed, "training batch", step)
    place = torch.rand(batch_size, generator=generator, dtype=torch.float64)
    u = torch.rand(batch_size, generator=generator, dtype=torch.float64)
    noise = torch.randn(batch_size, *images.shape[1:], generator=generator)
    index = (place * images.shape[0]).long()[part]
    device = images.device
    noise = noise[part].to(device)
    clean = images[index.to(device)]
    clean = clean.float().div_(127.5).sub_(1) if clean.dtype == torch.uint8 else clean
    noisy, condition = process.noised(clean, noise, u[part].to(device))
    # Losses are summed in float32, whatever the precision of the network's products.
    return process.loss(network(noisy, condition).sample.float(), noise, condition)


def pipeline(state: Training) -> Any:
    """A diffusers pipeline with the averaged weights of a state, on the CPU."""
    assert isinstance(state.settings, TrainSettings)
    process = NOISE_PROCESSES[state.settings.noise_process](state.settings.shape)
    return process.pipeline(state.averaged())
