"""A model to be measured: a score, the noise levels at which it may be evaluated, and how data become its points.

Measurements use only the interface of `Model`. A kind of score with more information, such as a device or trained noise
levels, registers with `wrapped`.
"""

import hashlib
import math
from dataclasses import dataclass
from functools import singledispatch

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from geomem.data import DataSet
from geomem.data.layout import channels_first
from geomem.errors import InputError, reason_of
from geomem.models.pipelines import PipelineScore
from geomem.scores import NetworkScore, Score
from geomem.scores.network import dtype_of
from geomem.seeds import derived_generator

__all__ = ["Model", "fingerprint", "wrapped"]


@dataclass(frozen=True)
class Model:
    """A score with its metadata. It is itself a score.

    Attributes:
        score: The score.
        name: Name given by the user.
        words: Description of its noise process.
        parameters: Number of parameters; 0 if unknown.
        device: Device on which it is evaluated.
        dtype: Dtype in which it is computed.
        reach: Least and greatest noise variance at which it may be evaluated.
        levels: Noise variances that it was trained at, ascending; None for all within reach.
        pixels: Whether its images are pixels from -1 to 1.
        latent: Whether its images are latents, which another network decodes.
    """

    score: Score
    name: str
    words: str = "a score given in Python"
    parameters: int = 0
    device: str = "cpu"
    dtype: torch.dtype = torch.float64
    reach: tuple[float, float] = (0.0, math.inf)
    levels: NDArray[np.float64] | None = None
    pixels: bool = False
    latent: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one image, channels first."""
        return self.score.shape

    def __call__(self, x: Tensor, t: Tensor | float) -> Tensor:
        """Score at x (*b, *shape) and t, see `Score`."""
        return self.score(x, t)

    def nearest(self, t: float) -> float:
        """The trained noise variance nearest to t, in ln t."""
        if self.levels is None:
            return float(np.clip(t, *self.reach))
        return float(self.levels[np.argmin(np.abs(np.log(self.levels / t)))])

    def encode(self, images: DataSet, rows: NDArray[np.int64] | slice = slice(None)) -> Tensor:
        """Rows of a data set as points (n, *shape).

        Raises:
            InputError: If they have another shape.
        """
        return channels_first(images.rows(rows), images.shape, self.shape)

    def fingerprint(self) -> str:
        """A digest of its weights and noise conditioning, or of its values if it has no weights."""
        return fingerprint(self.score)


@singledispatch
def wrapped(score: Score, device: str | None = None) -> Model:
    """Wrap a score as a `Model` on a device. None: a network runs on a GPU if there is one, other scores on the CPU.

    Raises:
        InputError: For a device that cannot be used.
    """
    return Model(score, type(score).__name__, device=device or "cpu")


@wrapped.register
def _network(score: NetworkScore, device: str | None = None) -> Model:
    place = device or ("cuda" if torch.cuda.is_available() else "cpu")
    parameters = 0
    if isinstance(score.module, nn.Module):  # it may be any callable
        parameters = sum(p.numel() for p in score.module.parameters())
        try:
            score.module.to(place)
        except (RuntimeError, AssertionError) as error:
            raise InputError(f"--device: {place!r} cannot be used ({reason_of(error)}).") from error
    return Model(
        score,
        type(score).__name__,
        parameters=parameters,
        device=place,
        dtype=dtype_of(score),
        reach=score.reach,
        levels=score.times,
    )


@wrapped.register
def _pipeline(score: PipelineScore, device: str | None = None) -> Model:
    known = _network(score, device)
    return Model(
        **{
            **vars(known),
            "name": score.name,
            "words": score.words,
            "pixels": not score.latent,
            "latent": score.latent,
        }
    )


def fingerprint(score: Score) -> str:
    """A digest that identifies a score: of its weights, or of its values at fixed points if it has none."""
    digest = hashlib.blake2b(repr((type(score).__name__, score.shape)).encode(), digest_size=8)
    if isinstance(score, NetworkScore) and isinstance(score.module, nn.Module):
        _add_network(digest, score)
    else:
        x = torch.randn(4, *score.shape, generator=derived_generator(0, "fingerprint"), dtype=torch.float64)
        digest.update(score(x, 1.0).detach().cpu().to(torch.float64).numpy().data)
    return digest.hexdigest()


def _add_network(digest: "hashlib.blake2b", score: NetworkScore) -> None:
    for value in (score.prediction, score.noise, score.scale, score.reach):
        digest.update(repr(value).encode())
    for name, tensor in score.module.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    if isinstance(score, PipelineScore):
        digest.update(score.identity.encode())
        return
    low, high = np.clip(score.reach, 1e-4, 1e4).tolist()
    levels = np.geomspace(low, high, 5) if score.times is None else score.times
    conditions = score.condition(torch.as_tensor(levels, dtype=torch.float64))
    digest.update(np.ascontiguousarray(levels).data)
    digest.update(conditions.detach().cpu().to(torch.float64).numpy().data)
