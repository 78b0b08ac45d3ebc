"""A model to be measured: a score, the noise levels at which it may be evaluated, and how data become its points.

Measurements use only the interface of `Model`. A kind of score with more information, such as a device or trained noise
levels, registers with `wrapped`.
"""

import hashlib
import math
from dataclasses import dataclass
from functools import singledispatch
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from geomem.data import DataSet
from geomem.data.layout import channels_first
from geomem.data.scale import scale_of
from geomem.errors import InputError, reason_of
from geomem.models.pipelines import PipelineScore, load
from geomem.precision import full_precision
from geomem.scores import NetworkScore, Score
from geomem.scores.network import dtype_of
from geomem.seeds import derived_generator

__all__ = ["Model", "fingerprint", "opened", "wrapped"]


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


def opened(
    source: str | Path | Score,
    data: DataSet,
    *,
    scheduler: str | None = None,
    label: int | None = None,
    device: str | None = None,
) -> Model:
    """Open a model from a folder, from the hub or from a score, and check that its images match the data.

    Args:
        source: What `load` reads, or a score.
        data: The training data, or other data of the same form.
        scheduler: Folder or file of a scheduler to use instead of the model's own.
        label: Class of a class-conditional model.
        device: Device on which it is evaluated; None for a GPU if there is one.

    Raises:
        InputError: If it cannot be opened, takes images of another size, channels or scale, or its score is not finite.
    """
    if isinstance(source, str | Path):
        score: Score = load(source, scheduler=scheduler, label=label)
    elif scheduler is not None or label is not None:
        raise InputError("scheduler, label: are only for models opened from a folder; bind them in the score.")
    else:
        score = source
    model = wrapped(score, device)
    _check_form(model, data)
    t = model.nearest(1.0)
    with torch.no_grad(), full_precision():
        first = model(model.encode(data, slice(0, 1)).to(model.device).to(model.dtype), t)
    if not bool(torch.isfinite(first).all()):
        raise InputError(
            f"{model.name}: its score is not finite (NaN or infinity) at t = {t:.3g}; its weights may be damaged, or may have "
            "been outside the range of half precision when they were saved."
        )
    return model


def _check_form(model: Model, data: DataSet) -> None:
    """Raise an error if the data have another shape or scale than the model's images."""
    wanted = model.shape
    try:
        model.encode(data, slice(0, 1))
    except InputError:
        hint = "give data of that shape"
        if model.latent:
            hint = "save the latents of your images with numpy.save and give those"
        elif len(wanted) == 3 and wanted[0] in (1, 3):
            size = f"--size {wanted[1]} and " if wanted[1] == wanted[2] else ""
            hint = f"convert image files with {size}--mode {'gray' if wanted[0] == 1 else 'rgb'}"
        raise InputError(
            f"{model.name}: takes {'latents' if model.latent else 'images'} of {'x'.join(map(str, wanted))} (channels, height, "
            f"width), but {data.name} has samples of shape {data.shape}; {hint}."
        ) from None
    found = scale_of(data)
    if model.pixels and found not in (None, "-1 to 1"):
        raise InputError(
            f"{model.name}: works on pixels from -1 to 1, but the values of {data.name} look like pixels from {found}; save "
            "them as bytes (uint8), which are read as v/127.5 - 1."
        )
