"""Scores of existing diffusion models: diffusers folders of a UNet2DModel, and models on the hub."""

import json
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from geomem.errors import InputError, reason_of
from geomem.files import printable
from geomem.limits import LARGEST_LABEL, LARGEST_SIDE
from geomem.models.folders import NETWORKS, Parts, find
from geomem.models.schedules import Schedule, schedule
from geomem.models.weights import built
from geomem.noise import CONDITIONS
from geomem.scores.network import NetworkScore

__all__ = ["PipelineScore", "load"]


class PipelineScore(NetworkScore):
    """The score of a diffusers model, see `load`.

    Attributes:
        name: Name given by the user.
        words: Description of its noise process.
        latent: Whether x are latents, which another network decodes to images.
        parameters: Number of its parameters.
        identity: Its configurations and its label, as text.
    """

    def __init__(
        self, module: nn.Module, shape: tuple[int, ...], process: Schedule, parts: Parts, label: int | None
    ) -> None:
        super().__init__(
            module,
            shape,
            prediction=process.prediction,
            noise=process.noise,
            condition=process.condition,
            scale=process.scale,
            times=process.times,
            reach=process.reach,
        )
        self.name, self.words, self.latent = parts.name, process.words, parts.latent
        self.parameters = sum(p.numel() for p in module.parameters())
        self.identity = json.dumps([parts.config, parts.scheduler, label], sort_keys=True)


def load(
    source: str | Path,
    *,
    scheduler: str | Path | None = None,
    label: int | None = None,
    dtype: torch.dtype = torch.float32,
) -> PipelineScore:
    """The score of a diffusers model in variance-exploding coordinates: x is an image of [-1, 1] plus noise of variance t.

    Supported are pipelines of a UNet2DModel with any of `SCHEDULERS`, and the network's folder alone with a scheduler. The
    prediction type and the noise conditioning are read from the configurations (see `models.schedules`). Clipping and
    thresholding, which some schedulers apply while sampling, are never applied. No code in a model folder is run, and weights
    must be safetensors. Half-precision weights are computed in `dtype`.

    Args:
        source: Folder, or "hf:owner/name" for a model of the hub (downloaded on first use).
        scheduler: Folder or scheduler_config.json to use instead of the model's own.
        label: Class of a class-conditional model; the score is that of this class.
        dtype: Dtype in which the network is computed, float32 or float64.

    Returns:
        A `NetworkScore` with `shape` (channels, height, width), in evaluation mode on the CPU; move `score.module` to
        another device, and give x there.

    Raises:
        InputError: If the model cannot be read, its scheduler is unknown or does not fit, or a label is missing.
    """
    if dtype not in (torch.float32, torch.float64):
        raise InputError(f"dtype: {dtype} is too coarse for a spectrum; choose torch.float32 or torch.float64.")
    parts = find(source, scheduler)
    process = schedule(
        parts.scheduler, parts.config.get("time_embedding_type", "positional"), printable(parts.scheduler_path)
    )
    unet = _read(parts, process, label, dtype)
    shape = _form(parts, unet)
    module: nn.Module = _Network(unet, shape[0], _class(parts, unet, label, dtype))
    if process.preconditioning is not None:
        module = _Preconditioned(module, process, *process.preconditioning)
        process = replace(process, condition=CONDITIONS["t"])
    return PipelineScore(module.eval().requires_grad_(False), shape, process, parts, label)


class _Network(nn.Module):
    """A UNet2DModel as a function of the point and its noise condition."""

    label: Tensor | None

    def __init__(self, unet: Any, channels: int, label: Tensor | None) -> None:
        super().__init__()
        self.unet, self.channels = unet, channels
        self.register_buffer("label", label, persistent=False)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        labels = None if self.label is None else self.label.expand(x.shape[0])
        # Learned embeddings are indexed by integers.
        condition = condition.round().long() if isinstance(self.unet.time_proj, nn.Embedding) else condition
        out: Tensor = self.unet(x, condition, class_labels=labels).sample
        return out[:, : self.channels]


class _Preconditioned(nn.Module):
    """The denoiser D = c_skip x + c_out F(c_in x, c_noise) of Karras et al. 2022, at x = y + sigma eps and t = sigma^2."""

    def __init__(self, network: nn.Module, process: Schedule, sigma_data: float, sign: float) -> None:
        super().__init__()
        self.network, self.condition = network, process.condition
        self.sigma_data, self.sign = sigma_data, sign

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        square = self.sigma_data**2
        total = (t + square).reshape(-1, *[1] * (x.ndim - 1))
        out: Tensor = self.network(x * total.rsqrt(), self.condition(t))
        sigma = t.sqrt().reshape(total.shape)
        return square / total * x + self.sign * sigma * self.sigma_data * total.rsqrt() * out


def _read(parts: Parts, process: Schedule, label: int | None, dtype: torch.dtype) -> Any:
    """The network, which was checked before its weights were read."""
    kind = str(parts.config["_class_name"])

    def check(plan: Any) -> None:
        _fits(parts, process, plan)
        _tried(parts, plan, _form(parts, plan), _class(parts, plan, label, torch.float32))

    return built(getattr(import_module(NETWORKS[kind]), kind), parts.config, parts.weights, dtype, check)


def _form(parts: Parts, unet: Any) -> tuple[int, int, int]:
    """(channels, height, width) of a network's images.

    Raises:
        InputError: If the configuration does not say so, or the outputs are none of a score.
    """
    where, size = printable(parts.network / "config.json"), unet.config.sample_size
    if size is None:
        raise InputError(f"{where}: does not state the image size; set sample_size there.")
    sides = [size, size] if isinstance(size, int) else size
    if (
        not isinstance(sides, list | tuple)
        or len(sides) != 2
        or not all(isinstance(k, int) and 0 < k <= LARGEST_SIDE for k in sides)
    ):
        raise InputError(
            f"{where}: sample_size must be one or two numbers of pixels, at most {LARGEST_SIDE:,}, got {str(size)[:100]}."
        )
    channels, outputs = unet.config.in_channels, unet.config.out_channels
    # A network with learned variance outputs it in the second half of its channels.
    if outputs not in (channels, 2 * channels):
        raise InputError(
            f"{where}: the network takes {channels} channels and gives {outputs}; a score has as many as its image."
        )
    return channels, sides[0], sides[1]


def _tried(parts: Parts, plan: Any, shape: tuple[int, ...], label: Tensor | None) -> None:
    """Raise an error if a network without memory cannot be evaluated at an image of its own size."""
    network = _Network(plan, shape[0], None if label is None else label.to("meta"))
    try:
        with torch.no_grad():
            out = network(torch.empty(1, *shape, device="meta"), torch.empty(1, device="meta"))
        if out.shape != (1, *shape):
            raise ValueError(f"it gives images of shape {tuple(out.shape[1:])} for {shape}")
    except Exception as error:  # a configuration can hold anything
        raise InputError(
            f"{printable(parts.network / 'config.json')}: its network cannot be evaluated ({reason_of(error)}); it may be damaged."
        ) from error


def _fits(parts: Parts, process: Schedule, unet: Any) -> None:
    """Raise an error if the scheduler's steps are not those of the network's learned embedding."""
    if isinstance(unet.time_proj, nn.Embedding):
        known = unet.time_proj.num_embeddings
        if process.times is not None and known != parts.scheduler.get("num_train_timesteps", 1000):
            raise InputError(
                f"{printable(parts.scheduler_path)}: has {process.times.size:,} steps, but the network has embeddings for {known:,}; give the scheduler "
                "that it was trained with."
            )


def _class(parts: Parts, unet: Any, label: int | None, dtype: torch.dtype) -> Tensor | None:
    """The class label as a tensor for the network; None for a network without classes."""
    if getattr(unet, "class_embedding", None) is None:
        if label is not None:
            raise InputError(f"{parts.name}: label: this model has no classes; leave the label out.")
        return None
    kind, count = unet.config.class_embed_type, unet.config.num_class_embeds
    if kind == "identity":
        raise InputError(
            f"{parts.name}: is conditioned on vectors (class_embed_type identity); bind a vector in a module and wrap it in "
            "geomem.scores.NetworkScore."
        )
    known = f"0 to {count - 1}" if kind is None else f"a number up to {LARGEST_LABEL:,}"
    if label is None or not 0 <= label <= LARGEST_LABEL or (kind is None and label >= count):
        got = "" if label is None else f", got {label}" if abs(label) <= LARGEST_LABEL else ", got one out of range"
        raise InputError(
            f"{parts.name}: is class-conditional; choose the class (label, --label: {known}){got}, and give "
            "data of that class."
        )
    return torch.tensor([label], dtype=torch.long if kind is None else dtype)
