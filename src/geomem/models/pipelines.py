"""Scores of the diffusion models that people have: diffusers folders of a UNet2DModel, and models of the hub."""

import json
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from geomem.errors import InputError, reason_of
from geomem.models.folders import NETWORKS, Parts, find
from geomem.models.schedules import Schedule, schedule
from geomem.noise import CONDITIONS
from geomem.scores.network import NetworkScore

__all__ = ["PipelineScore", "load"]


class PipelineScore(NetworkScore):
    """The score of a diffusers model, see `load`.

    Attributes:
        name: What the user called it.
        words: Its noise process, for people.
        latent: Whether x are latents, which another network turns into images.
        parameters: Number of its parameters.
        identity: All that its configurations and its label say.
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

    A pipeline of a UNet2DModel with any of `SCHEDULERS`, or the network's folder alone with a scheduler. What a network
    predicts and is told is read from the configurations (see `scores.schedules`); clipping and thresholding, which
    schedulers do while they sample, are never applied. No code that comes with a model is run, and weights are
    safetensors or refused. Half-precision weights are computed with in `dtype`.

    Args:
        source: Folder, or id on the hub, "owner/name" or "hf:owner/name" (downloaded on first use).
        scheduler: Folder or scheduler_config.json to read instead of the model's own.
        label: The class, for a class-conditional model: the score of that class.
        dtype: Type in which the network is computed, float32 or float64.

    Returns:
        A `NetworkScore` with `shape` (channels, height, width), in evaluation mode on the CPU; move `score.module` to
        another device, and give x there.

    Raises:
        InputError: For what cannot be read, a scheduler that is not known or does not fit, or a label that is missing.
    """
    if dtype not in (torch.float32, torch.float64):
        raise InputError(f"dtype: {dtype} is too coarse for a spectrum; choose torch.float32 or torch.float64.")
    if find_spec("diffusers") is None:
        raise InputError(f"{source}: a model needs the extra diffusers: pip install 'geomem[diffusers]'.")
    parts = find(source, scheduler)
    process = schedule(
        parts.scheduler, parts.config.get("time_embedding_type", "positional"), str(parts.scheduler_path)
    )
    unet = _read(parts, dtype)
    size = unet.config.sample_size
    if size is None:
        raise InputError(
            f"{parts.network / 'config.json'}: does not say the size of its images; set sample_size there."
        )
    sides = [size, size] if isinstance(size, int) else size
    if not isinstance(sides, list | tuple) or len(sides) != 2 or not all(isinstance(k, int) and k > 0 for k in sides):
        raise InputError(
            f"{parts.network / 'config.json'}: sample_size must be one or two numbers of pixels, got {size!r}."
        )
    height, width = sides
    _fits(parts, process, unet)
    channels, outputs = unet.config.in_channels, unet.config.out_channels
    # A network that learned its variance gives that in a second half of its channels.
    if outputs not in (channels, 2 * channels):
        raise InputError(
            f"{parts.network / 'config.json'}: the network takes {channels} channels and gives {outputs}; a score has as many as "
            "its image."
        )
    module: nn.Module = _Network(unet, channels, _class(parts, unet, label, dtype))
    if process.preconditioning is not None:
        module = _Preconditioned(module, process, *process.preconditioning)
        process = replace(process, condition=CONDITIONS["t"])
    return PipelineScore(module.eval().requires_grad_(False), (channels, height, width), process, parts, label)


class _Network(nn.Module):
    """A UNet2DModel as a function of the point and what it is told of the noise."""

    label: Tensor | None

    def __init__(self, unet: Any, channels: int, label: Tensor | None) -> None:
        super().__init__()
        self.unet, self.channels = unet, channels
        self.register_buffer("label", label, persistent=False)

    def forward(self, x: Tensor, told: Tensor) -> Tensor:
        labels = None if self.label is None else self.label.expand(x.shape[0])
        # Learned embeddings are looked up by whole numbers.
        told = told.round().long() if isinstance(self.unet.time_proj, nn.Embedding) else told
        out: Tensor = self.unet(x, told, class_labels=labels).sample
        return out[:, : self.channels]


class _Preconditioned(nn.Module):
    """The denoiser D = c_skip x + c_out F(c_in x, c_noise) of Karras et al. 2022, at x = y + sigma eps and t = sigma^2."""

    def __init__(self, network: nn.Module, process: Schedule, sigma_data: float, sign: float) -> None:
        super().__init__()
        self.network, self.told = network, process.condition
        self.sigma_data, self.sign = sigma_data, sign

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        square = self.sigma_data**2
        total = (t + square).reshape(-1, *[1] * (x.ndim - 1))
        out: Tensor = self.network(x * total.rsqrt(), self.told(t))
        sigma = t.sqrt().reshape(total.shape)
        return square / total * x + self.sign * sigma * self.sigma_data * total.rsqrt() * out


def _read(parts: Parts, dtype: torch.dtype) -> Any:
    """The network with its weights, all of them."""
    from diffusers.utils import logging

    kind = str(parts.config["_class_name"])
    network = getattr(import_module(NETWORKS[kind]), kind)

    said = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        unet, told = network.from_pretrained(
            parts.network,
            use_safetensors=True,
            local_files_only=True,
            low_cpu_mem_usage=False,
            output_loading_info=True,
            variant=parts.variant,
            torch_dtype=dtype,
        )
    except Exception as error:  # diffusers and safetensors raise whatever befalls them
        raise InputError(
            f"{parts.network}: cannot be opened as a {kind} ({reason_of(error, lines=2)}); weights and config.json may not belong "
            "together."
        ) from error
    finally:
        logging.set_verbosity(said)
    for key, what in (
        ("missing_keys", "lack {} of the network's tensors"),
        ("unexpected_keys", "hold {} tensors more than the network"),
    ):
        if told[key]:
            count = what.format(len(told[key]))
            raise InputError(
                f"{parts.network}: its weights {count} ({told[key][0]}, ...); weights and config.json do not belong together."
            )
    return unet


def _fits(parts: Parts, process: Schedule, unet: Any) -> None:
    """Refuse a scheduler with other steps than the network has learned vectors for."""
    if isinstance(unet.time_proj, nn.Embedding):
        known = unet.time_proj.num_embeddings
        if process.times is not None and known != parts.scheduler.get("num_train_timesteps", 1000):
            raise InputError(
                f"{parts.scheduler_path}: has {process.times.size:,} steps, but the network knows {known:,}; give the scheduler "
                "that it was trained with."
            )


def _class(parts: Parts, unet: Any, label: int | None, dtype: torch.dtype) -> Tensor | None:
    """The class as the network takes it; None for a network without classes."""
    if getattr(unet, "class_embedding", None) is None:
        if label is not None:
            raise InputError(f"{parts.name}: label: this model has no classes; leave the label out.")
        return None
    kind, count = unet.config.class_embed_type, unet.config.num_class_embeds
    if kind == "identity":
        raise InputError(
            f"{parts.name}: is conditioned on vectors (class_embed_type identity); bind one in a module and wrap it in "
            "geomem.scores.NetworkScore."
        )
    known = f"0 to {count - 1}" if kind is None else "a number"
    if label is None or label < 0 or (kind is None and label >= count):
        got = "" if label is None else f", got {label}"
        raise InputError(
            f"{parts.name}: is class-conditional; say which class's score is wanted (label, --label: {known}){got}, and give "
            "data of that class."
        )
    return torch.tensor([label], dtype=torch.long if kind is None else dtype)
