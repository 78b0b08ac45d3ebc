r"""Training of an ensemble of small denoisers on nested data sets.

Member i of the ensemble is trained on the first `sizes[i]` rows of the data. Every step draws once for all members:
positions u in [0, 1) that select the rows floor(u size_i), the noise, and times t, log-uniform in [t_min, t_max]. The
generator is seeded by (seed, step). So a member does not depend on the other members, and all sizes are trained with the
same noise. The loss is the weighted squared noise error per entry, see `ResidualMLP.loss_weight`.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from geomem.errors import InputError
from geomem.seeds import derived_generator
from geomem.training.ensemble import Ensemble
from geomem.training.gradients import Gradients
from geomem.training.loop import Objective, Settings, Training
from geomem.training.mlp import ResidualMLP

__all__ = ["EnsembleObjective", "EnsembleSettings", "members"]


@dataclass(frozen=True, kw_only=True)
class EnsembleSettings(Settings):
    """Settings of an ensemble. The learning rate decays to 0 as a cosine.

    Attributes:
        sizes: Number of training samples of each member.
        dim: d, the number of entries of a sample.
        sigma_data: Standard deviation of the data per entry.
        steps: Total number of optimizer steps.
        batch_size: Batch size of each member.
        learning_rate: Adam's initial learning rate.
        t_min: Smallest time, data units squared.
        t_max: Largest time.
        ema_decay: EMA decay.
        seed: Random seed.
        prediction: See `ResidualMLP`.
        hidden: Width of the network.
    """

    average_lead = 1

    sizes: tuple[int, ...]
    dim: int
    sigma_data: float = 1.0
    steps: int = 8000
    batch_size: int = 128
    learning_rate: float = 1e-3
    t_min: float = 1e-4
    t_max: float = 20.0
    ema_decay: float = 0.999
    seed: int = 0
    prediction: str = "preconditioned"
    hidden: int = 256

    def build(self) -> Ensemble:
        """See `Settings`."""
        if not self.sizes or min(self.sizes) < 1:
            raise InputError("sizes: must all be at least 1.")
        if not 0 < self.t_min < self.t_max < math.inf:
            raise InputError("t_min, t_max: need 0 < t_min < t_max, both finite.")
        network = ResidualMLP(self.dim, hidden=self.hidden, prediction=self.prediction, sigma_data=self.sigma_data)
        return Ensemble(network, len(self.sizes))

    def rate(self, step: int) -> float:
        """See `Settings`."""
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * step / self.steps))


class EnsembleObjective(Objective):
    """Losses of all members, each at a batch of its own rows, with gradients written by hand.

    Args:
        state: The training state, of `EnsembleSettings`.
        data: Samples (n, d), n at least the largest size; converted to the dtype of the weights.

    Raises:
        InputError: If there are fewer samples than the largest size, or if they have another dimension.
    """

    def __init__(self, state: Training, data: Float[Tensor, "n d"]) -> None:
        settings, network = state.settings, state.network
        assert isinstance(settings, EnsembleSettings)
        assert isinstance(network, Ensemble)
        assert isinstance(network.stacked, ResidualMLP)
        largest = max(settings.sizes)
        if data.ndim != 2 or data.shape[0] < largest or data.shape[1] != settings.dim:
            raise InputError(
                f"data: has shape {tuple(data.shape)}, but the largest size needs {largest} samples of {settings.dim} entries."
            )
        self._settings = settings
        self._parameters = dict(network.stacked.named_parameters())
        self._rows = data.to(next(iter(self._parameters.values())))
        self._sizes = torch.tensor(settings.sizes)
        self._gradients = Gradients(network.stacked, self._parameters, settings.batch_size)

    def __call__(self, step: int) -> tuple[tuple[float, ...], None]:
        """See `Objective`."""
        losses, gradients = self._gradients(*self.batch(step))
        for p, gradient in zip(self._parameters.values(), gradients, strict=True):
            p.grad = gradient
        return tuple(losses.tolist()), None

    def batch(self, step: int) -> tuple[Float[Tensor, "e b d"], Float[Tensor, "b d"], Float[Tensor, " b"]]:
        """Clean points (E, B, d) of a step; and its noise (B, d) and times (B), which all members share."""
        settings, rows = self._settings, self._rows
        generator = derived_generator(settings.seed, "step", step)
        u = torch.rand(settings.batch_size, generator=generator, dtype=torch.float64)
        log_t = torch.rand(settings.batch_size, generator=generator)
        noise = torch.randn(settings.batch_size, rows.shape[1], generator=generator).to(rows)
        low, high = math.log(settings.t_min), math.log(settings.t_max)
        t = torch.exp(low + (high - low) * log_t).to(rows)
        index = (u * self._sizes[:, None]).long().to(rows.device)
        return rows[index], noise, t


def members(state: Training) -> list[nn.Module]:
    """The networks of a trained ensemble with their averaged weights, one for each size."""
    ensemble = state.averaged()
    assert isinstance(ensemble, Ensemble)
    return [ensemble.member(i) for i in range(ensemble.count)]
