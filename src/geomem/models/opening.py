"""Open a model, and check that its images match the data."""

from pathlib import Path

import torch

from geomem.data import DataSet
from geomem.data.scale import scale_of
from geomem.errors import InputError
from geomem.models.model import Model, wrapped
from geomem.models.pipelines import load
from geomem.precision import full_precision
from geomem.scores import Score

__all__ = ["opened"]


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
