"""Opening a model for an audit: its score, once its images are known to be those of the data."""

import hashlib
from dataclasses import dataclass
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
from geomem.scores import NetworkScore, Score
from geomem.seeds import derived_generator
from geomem.spectra import full_precision

__all__ = ["Model", "fingerprint", "opened", "type_of"]


@dataclass(frozen=True)
class Model:
    """A model to be audited: its score, and where it runs.

    Attributes:
        score: Its score at images (channels, height, width) as `shape` says.
        name: What the user called it.
        words: Its noise process, for people.
        parameters: Number of parameters; 0 where that is not known.
        device: Where it is evaluated.
    """

    score: Score
    name: str
    words: str
    parameters: int
    device: str

    @property
    def reach(self) -> tuple[float, float]:
        """Least and greatest t at which it can be asked."""
        return getattr(self.score, "reach", (0.0, float("inf")))

    @property
    def dtype(self) -> torch.dtype:
        """The type it is computed in."""
        return type_of(self.score)

    def nearest(self, t: float) -> float:
        """The noise level nearest to t at which it was trained."""
        return self.score.nearest(t) if isinstance(self.score, NetworkScore) else t

    def images(self, data: DataSet, index: NDArray[np.int64] | slice) -> Tensor:
        """Rows of the data (n, *shape), as the model takes them."""
        return channels_first(data.rows(index), data.shape, self.score.shape)


def opened(
    source: str | Path | Score, data: DataSet, *, scheduler: str | None, label: int | None, device: str | None
) -> Model:
    """The model, once its images are known to be those of the data.

    Raises:
        InputError: If it cannot be opened, takes images of another size, channels or scale, or gives no finite score.
    """
    if isinstance(source, str | Path):
        score: Score = load(source, scheduler=scheduler, label=label)
    elif scheduler is not None or label is not None:
        raise InputError("scheduler, label: are for models that are opened from a folder; bind them in the score.")
    else:
        score = source
    module = getattr(score, "module", None)
    is_network = isinstance(module, nn.Module)
    model = Model(
        score,
        score.name if isinstance(score, PipelineScore) else type(score).__name__,
        score.words if isinstance(score, PipelineScore) else "as it was given",
        sum(p.numel() for p in module.parameters()) if isinstance(module, nn.Module) else 0,
        device or ("cuda" if is_network and torch.cuda.is_available() else "cpu"),
    )
    _fits(model, data)
    if isinstance(module, nn.Module):
        try:
            module.to(model.device)
        except (RuntimeError, AssertionError) as error:
            raise InputError(f"--device: {model.device!r} cannot be used ({reason_of(error)}).") from error
    t = model.nearest(1.0)
    with torch.no_grad(), full_precision():
        first = score(model.images(data, slice(0, 1)).to(model.device).to(model.dtype), t)
    if not bool(torch.isfinite(first).all()):
        raise InputError(
            f"--model: the score of {model.name} is not finite (NaN or infinity) at t = {t:.3g}; its weights may be damaged, or "
            "out of the range of half precision when they were saved."
        )
    return model


def _fits(model: Model, data: DataSet) -> None:
    """Refuse data of another shape or scale than the model's images."""
    score, name = model.score, model.name
    wanted = score.shape
    latent = isinstance(score, PipelineScore) and score.latent
    try:
        model.images(data, slice(0, 1))
    except InputError:
        hint = "give data of that shape"
        if latent:
            hint = "save the latents of your images with numpy.save and give those"
        elif len(wanted) == 3 and wanted[0] in (1, 3):
            size = f"--size {wanted[1]} and " if wanted[1] == wanted[2] else ""
            hint = f"bring image files to its form with {size}--mode {'gray' if wanted[0] == 1 else 'rgb'}"
        raise InputError(
            f"--model: {name} takes {'latents' if latent else 'images'} of {'x'.join(map(str, wanted))} (channels, height, width), but "
            f"{data.name} has samples of shape {data.shape}; {hint}."
        ) from None
    found = scale_of(data)
    if isinstance(score, PipelineScore) and not latent and found not in (None, "-1 to 1"):
        raise InputError(
            f"--model: {name} works on pixels from -1 to 1, but the values of {data.name} look like pixels from {found}; save "
            "them as bytes (uint8), which are read as v/127.5 - 1."
        )


def fingerprint(score: Score) -> str:
    """A digest of what a score is: of its weights, or of its values at fixed points where it has none."""
    digest = hashlib.blake2b(repr((type(score).__name__, score.shape)).encode(), digest_size=8)
    module = getattr(score, "module", None)
    if isinstance(module, nn.Module):
        for key in ("prediction", "noise", "scale", "reach"):
            digest.update(repr(getattr(score, key, None)).encode())
        for name, tensor in module.state_dict().items():
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
        if isinstance(score, PipelineScore):
            digest.update(score.identity.encode())
        elif isinstance(score, NetworkScore):
            low, high = np.clip(score.reach, 1e-4, 1e4).tolist()
            levels = np.geomspace(low, high, 5) if score.times is None else score.times
            told = score.condition(torch.as_tensor(levels, dtype=torch.float64))
            digest.update(np.ascontiguousarray(levels).data)
            digest.update(told.detach().cpu().to(torch.float64).numpy().data)
    else:
        x = torch.randn(4, *score.shape, generator=derived_generator(0, "fingerprint"), dtype=torch.float64)
        digest.update(score(x, 1.0).detach().cpu().to(torch.float64).numpy().data)
    return digest.hexdigest()


def type_of(score: Score) -> torch.dtype:
    """The type that a score is computed in: a network's own, float64 for others."""
    weight = next(iter(score.module.parameters()), None) if isinstance(score, NetworkScore) else None
    return torch.float64 if weight is None else weight.dtype
