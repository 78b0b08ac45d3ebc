r"""Training of small denoisers on nested data sets, as a generator of typed steps.

Member i of the ensemble sees the first `sizes[i]` rows of the data. Every step draws once for all members: positions u
in [0, 1) that pick the rows floor(u size_i), noise, and times, t log-uniform in [t_min, t_max]. Their generator is
seeded by (seed, step), so a run that resumes at a step continues as if it had never stopped, members do not depend on
which others are trained with them, and sizes are compared under the same noise.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from geomem.errors import InputError, TrainingError
from geomem.seeds import derived_generator, derived_seed
from geomem.training.ensemble import Ensemble
from geomem.training.gradients import Gradients
from geomem.training.mlp import ResidualMLP

__all__ = ["TrainConfig", "TrainState", "TrainStep", "train"]


@dataclass(frozen=True)
class TrainConfig:
    """How to train; the learning rate falls to 0 along a cosine, the average of the weights warms up.

    Attributes:
        sizes: Number of training samples of each member.
        steps: Optimizer steps in all.
        batch_size: Samples per step and member.
        learning_rate: Adam's, at the start.
        t_min: Smallest time, data units squared.
        t_max: Largest time.
        ema_decay: Decay of the exponential moving average of the weights.
        seed: Seed of everything random.
        prediction: See `ResidualMLP`.
        hidden: Width of the network.
    """

    sizes: tuple[int, ...]
    steps: int = 8000
    batch_size: int = 128
    learning_rate: float = 1e-3
    t_min: float = 1e-4
    t_max: float = 20.0
    ema_decay: float = 0.999
    seed: int = 0
    prediction: str = "preconditioned"
    hidden: int = 256


@dataclass(frozen=True)
class TrainStep:
    """What one optimizer step did.

    Attributes:
        step: Number of steps done, this one included.
        loss: Weighted squared noise error per entry, of each member (E,).
        learning_rate: Rate of this step.
    """

    step: int
    loss: Float[Tensor, " e"]
    learning_rate: float


class TrainState:
    """All that training changes: weights, their average, Adam's moments, and the number of steps done.

    Args:
        config: How to train.
        dim: d, entries of a sample.
        sigma_data: Standard deviation of the data per entry.

    Attributes:
        config: How to train.
        dim: d.
        sigma_data: Standard deviation of the data.
        network: The ensemble's template.
        ensemble: The networks being trained.
        average: Exponential moving average of their weights, name to (E, ...).
        optimizer: Adam over the stacked weights.
        step: Steps done.

    Raises:
        InputError: For a configuration that cannot be trained.
    """

    def __init__(self, config: TrainConfig, dim: int, sigma_data: float) -> None:
        if not config.sizes or min(config.sizes) < 1 or config.steps < 1 or config.batch_size < 1:
            raise InputError("sizes, steps, batch_size: must all be at least 1.")
        if not 0 < config.t_min < config.t_max < math.inf or not 0 < config.learning_rate < math.inf:
            raise InputError("t_min, t_max, learning_rate: need 0 < t_min < t_max and a learning rate above 0.")
        self.config = config
        self.dim = dim
        self.sigma_data = sigma_data
        with torch.random.fork_rng(devices=[]):  # torch's initialisers know only the global generator
            torch.manual_seed(derived_seed(config.seed, "init"))
            network = ResidualMLP(dim, hidden=config.hidden, prediction=config.prediction, sigma_data=sigma_data)
        self.network = network
        self.ensemble = Ensemble(network, len(config.sizes))
        self.average = {name: p.clone() for name, p in self.ensemble.parameters.items()}
        for p in self.ensemble.parameters.values():
            p.requires_grad_(True)
        self.optimizer = torch.optim.Adam(self.ensemble.parameters.values(), lr=config.learning_rate, fused=True)
        self.step = 0


def train(state: TrainState, data: Float[Tensor, "n d"], *, compiled: bool = False) -> Iterator[TrainStep]:
    """Train from where `state` stands to the configuration's last step, changing `state`; yields after every step.

    Args:
        state: Networks and optimizer.
        data: Samples (n, d), n at least the largest size; converted to the weights' dtype.
        compiled: Differentiate automatically what `torch.compile` makes of the network, to compare: slower than the
            gradients that are written out, after half a minute. Needs a C++ compiler; results differ by rounding.

    Raises:
        InputError: If the data are fewer than the largest size.
        TrainingError: If a loss is no longer finite; `state` holds the weights before the step.
    """
    config, sizes = state.config, torch.tensor(state.config.sizes)
    if data.ndim != 2 or data.shape[0] < int(sizes.max()):
        raise InputError(f"data: {tuple(data.shape)} does not hold the {int(sizes.max())} samples of the largest size.")
    parameters = list(state.ensemble.parameters.values())
    rows = data.to(parameters[0])
    losses = _compiled(state) if compiled else Gradients(state.network, state.ensemble.parameters, config.batch_size)
    while state.step < config.steps:
        rate = config.learning_rate * 0.5 * (1 + math.cos(math.pi * state.step / config.steps))
        state.optimizer.param_groups[0]["lr"] = rate
        y, noise, t = _batch(rows, sizes, config, state.step)
        loss, gradients = losses(y, noise, t)
        if not bool(torch.isfinite(loss).all()):
            raise TrainingError(f"the loss is not finite at step {state.step + 1}; lower the learning rate.")
        for p, gradient in zip(parameters, gradients, strict=True):
            p.grad = gradient
        state.optimizer.step()
        state.step += 1
        with torch.no_grad():
            decay = min(config.ema_decay, (1 + state.step) / (10 + state.step))
            get_ema_multi_avg_fn(decay)(list(state.average.values()), parameters, state.step)
        yield TrainStep(state.step, loss, rate)


def _compiled(state: TrainState) -> Callable[[Tensor, Tensor, Tensor], tuple[Tensor, tuple[Tensor, ...]]]:
    """What `Gradients` computes, of the ensemble as it stands elsewhere."""
    forward = torch.compile(state.ensemble.__call__, dynamic=False)

    def losses(y: Tensor, noise: Tensor, t: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        predicted = forward(y + t.sqrt()[:, None] * noise, t.expand(y.shape[:2]))
        loss = torch.mean(state.network.loss_weight(t) * (predicted - noise).square().mean(-1), -1)
        return loss.detach(), torch.autograd.grad(loss.sum(), list(state.ensemble.parameters.values()))

    return losses


def _batch(rows: Tensor, sizes: Tensor, config: TrainConfig, step: int) -> tuple[Tensor, Tensor, Tensor]:
    """Clean points (E, B, d) of a step, and noise (B, d) and times (B), which are the same for all members."""
    generator = derived_generator(config.seed, "step", step)
    u = torch.rand(config.batch_size, generator=generator, dtype=torch.float64)
    log_t = torch.rand(config.batch_size, generator=generator)
    noise = torch.randn(config.batch_size, rows.shape[1], generator=generator).to(rows)
    low, high = math.log(config.t_min), math.log(config.t_max)
    t = torch.exp(low + (high - low) * log_t).to(rows)
    index = (u * sizes[:, None]).long().to(rows.device)
    return rows[index], noise, t
