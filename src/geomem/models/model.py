"""A model to be measured: a score, the noise levels at which it may be evaluated, and how data become its points.

Measurements use only the interface of `Model`. A kind of score with more information, such as a device or trained noise
levels, registers with `wrapped`.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import singledispatch
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from geomem.data import DataSet
from geomem.data.layout import channels_first
from geomem.data.scale import scale_of
from geomem.errors import InputError, reason_of
from geomem.models.codec import Codec
from geomem.models.families import Word
from geomem.models.pipelines import PipelineScore, load
from geomem.precision import full_precision
from geomem.scores import NetworkScore, Score
from geomem.scores.network import dtype_of
from geomem.seeds import derived_generator

__all__ = ["Model", "fingerprint", "opened", "wrapped"]

# Images that are read and encoded at once, and most values of latents that are kept.
_ENCODED_AT_ONCE, _MOST_ENCODED = 256, 2**28


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
        codec: The autoencoder of a model whose points are latents; None for none.
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
    codec: Codec | None = None
    _encoded: dict[tuple[int, int], Tensor] = field(default_factory=dict, repr=False, compare=False)
    _sources: list[DataSet] = field(default_factory=list, repr=False, compare=False)

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

    @property
    def image_shape(self) -> tuple[int, ...]:
        """Shape of one image as it is seen: of the decoded one, for latents."""
        return self.shape if self.codec is None else self.codec.image_shape(self.shape)

    @property
    def takes(self) -> str:
        """What it is conditioned on: "nothing", "class" or "text"."""
        return self.score.takes if isinstance(self.score, PipelineScore) else "nothing"

    def conditioned(self, words: Sequence[Word]) -> Score:
        """Its score with a condition for each of so many points; as it is, for a model that is conditioned on nothing.

        Raises:
            InputError: For a condition that the model does not know.
        """
        return self.score.conditioned(words) if isinstance(self.score, PipelineScore) and words else self.score

    def encode(self, images: DataSet, rows: NDArray[np.int64] | slice = slice(None)) -> Tensor:
        """Rows of a data set as points (n, *shape): as they are, or encoded as latents.

        Raises:
            InputError: If they have another shape.
        """
        if self.codec is None or images.shape == self.shape:
            return channels_first(images.rows(rows), images.shape, self.shape)
        if not any(known is images for known in self._sources):
            self._sources.append(images)  # keeps its number from being another's
        places = np.arange(len(images))[rows]
        missing = np.array(
            [row for row in dict.fromkeys(places.tolist()) if (id(images), row) not in self._encoded], dtype=np.int64
        )
        fresh: dict[int, Tensor] = {}
        for start in range(0, missing.size, _ENCODED_AT_ONCE):
            some = missing[start : start + _ENCODED_AT_ONCE]
            pixels = channels_first(images.rows(some), images.shape, self.image_shape)
            with full_precision():
                latents = self.codec.encode(pixels.to(self.device)).cpu()
            fresh.update(zip(some.tolist(), latents, strict=True))
        out = [fresh.get(row, self._encoded.get((id(images), row))) for row in places.tolist()]
        if (len(self._encoded) + len(fresh)) * math.prod(self.shape) < _MOST_ENCODED:
            self._encoded.update({(id(images), row): latent for row, latent in fresh.items()})
        return torch.stack([latent for latent in out if latent is not None]) if out else torch.empty(0, *self.shape)

    def decode(self, points: Tensor) -> Tensor:
        """Points (n, *shape) as images (n, *image_shape), on the CPU."""
        if self.codec is None:
            return points.cpu()
        with full_precision():
            return self.codec.decode(points.to(self.device)).to(points.dtype).cpu()

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
    if score.codec is not None:
        score.codec.to(known.device)
    return Model(
        **{
            **vars(known),
            "name": score.name,
            "words": score.description,
            "pixels": True,
            "codec": score.codec,
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
        digest.update(repr((score.identity, score.words, score.guidance, score.adapted)).encode())
        for name, values in sorted(score.values(score.words[:1]).items()):  # by them, the text encoder
            digest.update(name.encode())
            digest.update(values.contiguous().numpy().data)
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
    device: str | None = None,
    **options: Any,
) -> Model:
    """Open a model from a folder, from the hub or from a score, and check that its images match the data.

    Args:
        source: What `load` reads, or a score.
        data: The training data, or other data of the same form.
        options: Those of `load`, each None for its default.
        device: Device on which it is evaluated; None for a GPU if there is one.

    Raises:
        InputError: If it cannot be opened, takes images of another size, channels or scale, or its score is not finite.
    """
    given = {name: value for name, value in options.items() if value is not None}
    if isinstance(source, str | Path):
        shape = data.image_shape
        score: Score = load(source, size=None if shape is None else shape[0], **given)
    elif given:
        raise InputError(f"{', '.join(given)}: only for models opened from a folder; bind them in the score.")
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
    wanted = model.image_shape
    try:
        model.encode(data, slice(0, 1))
    except InputError:
        hint = "give data of that shape"
        if len(wanted) == 3 and wanted[0] in (1, 3):
            size = f"--size {wanted[1]} and " if wanted[1] == wanted[2] else ""
            hint = f"convert image files with {size}--mode {'gray' if wanted[0] == 1 else 'rgb'}"
        latents = "" if model.codec is None else f" or latents of {'x'.join(map(str, model.shape))}"
        raise InputError(
            f"{model.name}: takes images of {'x'.join(map(str, wanted))} (channels, height, width){latents}, but {data.name} has "
            f"samples of shape {data.shape}; {hint}."
        ) from None
    if data.shape != wanted and data.shape == model.shape and model.codec is not None:
        return  # latents have no range
    found = scale_of(data)
    if model.pixels and found not in (None, "-1 to 1"):
        raise InputError(
            f"{model.name}: works on pixels from -1 to 1, but the values of {data.name} look like pixels from {found}; save "
            "them as bytes (uint8), which are read as v/127.5 - 1."
        )
