"""Scores of existing diffusion models: diffusers folders, with an adapter or without, and models on the hub."""

import copy
import json
from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from geomem.errors import InputError, reason_of
from geomem.files import printable
from geomem.models.adapters import adapt, switch
from geomem.models.codec import Codec, open_codec
from geomem.models.conditioning import Conditioning
from geomem.models.families import FAMILIES, Family, Values, Word
from geomem.models.folders import Parts, find
from geomem.models.schedules import Schedule, schedule
from geomem.models.texts import Texts
from geomem.models.weights import built
from geomem.noise import CONDITIONS
from geomem.scores.network import NetworkScore

__all__ = ["PipelineScore", "load"]


class PipelineScore(NetworkScore):
    """The score of a diffusers model, see `load`. It is `scores.conditioned.Conditioned`.

    Attributes:
        name: Name given by the user.
        description: Description of its noise process.
        codec: The autoencoder of a model whose x are latents; None for pixels.
        parameters: Number of parameters of its network.
        identity: Its configurations, as text.
        words: What each point is conditioned on; a single one is for all points.
        guidance: Scale g of classifier-free guidance: u + g (c - u), with u the prediction without and c with the condition.
        adapted: Whether its adapter is on; None for a model without one.
    """

    def __init__(
        self,
        module: nn.Module,
        shape: tuple[int, ...],
        process: Schedule,
        parts: Parts,
        conditioning: Conditioning,
        *,
        codec: Codec | None,
        words: Sequence[Word],
        base: Conditioning | None,
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
        self.name, self.description, self.codec = parts.name, process.words, codec
        self.parameters = sum(p.numel() for p in module.parameters())
        self.identity = json.dumps([parts.config, parts.scheduler], sort_keys=True)
        self.words, self.guidance, self.adapted = tuple(words), 1.0, None if base is None else True
        self._conditioning, self._base = conditioning, base

    @property
    def takes(self) -> str:
        """What it is conditioned on: "nothing", "class" or "text"."""
        return self._conditioning.kind

    def conditioned(self, words: Sequence[Word], guidance: float | None = None) -> "PipelineScore":
        """The same score with a condition for each point, or one for all, and perhaps another guidance scale.

        Raises:
            InputError: For a condition that the model does not know.
        """
        found = copy.copy(self)
        found.words = tuple(words)
        if guidance is not None:
            found.guidance = guidance
        self._conditioning.values(found.words[:1])
        return found

    def values(self, words: Sequence[Word]) -> Values:
        """The tensors (n, ...) that its network takes for words (n)."""
        return self._conditioning.values(words)

    def unconditional(self) -> "PipelineScore":
        """The same score without a condition."""
        return self.conditioned((None,), 1.0)

    def without_adapter(self) -> "PipelineScore":
        """The score of the base model, by the same network; its texts are encoded as the base's own encoders do.

        Raises:
            InputError: For a model without an adapter.
        """
        if self._base is None:
            raise InputError(f"{self.name}: has no adapter to leave out.")
        found = copy.copy(self)
        found.adapted, found._conditioning = False, self._base
        return found

    def select(self, places: Sequence[int]) -> "PipelineScore":
        """The score of some of its points, by their places."""
        if len(self.words) == 1:
            return self
        found = copy.copy(self)
        found.words = tuple(self.words[i] for i in places)
        return found

    def _evaluated(self, x: Tensor, condition: Tensor) -> Tensor:
        """The network's output, under guidance where it has some."""
        network = self.module
        if self.adapted is not None:
            _core(network).switch(self.adapted)
        n, known = len(x), len(self.words)
        if n % known:
            raise InputError(f"x: has {n} points, but there are conditions for {known}.")
        guided = self.guidance != 1
        values = self._conditioning.values([*self.words, None] if guided else self.words)
        place = torch.arange(known).repeat_interleave(n // known)
        weight = next(network.parameters())

        def at(index: Tensor) -> dict[str, Tensor]:
            some = {name: v[index].to(weight.device) for name, v in values.items()}
            return {name: v.to(weight.dtype) if v.is_floating_point() else v for name, v in some.items()}

        if not guided:
            out: Tensor = network(x, condition, at(place))
            return out
        both = network(x.repeat(2, *[1] * (x.ndim - 1)), condition.repeat(2), at(torch.cat([place, 0 * place + known])))
        with_condition, without = both.chunk(2)
        guided_out: Tensor = without + self.guidance * (with_condition - without)
        return guided_out


def load(
    source: str | Path,
    *,
    scheduler: str | Path | None = None,
    label: int | None = None,
    prompt: str | None = None,
    guidance: float = 1.0,
    adapter: str | Path | None = None,
    config: str | Path | None = None,
    size: int | None = None,
    dtype: torch.dtype = torch.float32,
) -> PipelineScore:
    """The score of a diffusers model in variance-exploding coordinates: x is an image of [-1, 1] plus noise of variance t.

    Supported are pipelines of the networks in `FAMILIES` with any of `SCHEDULERS`, and the network's folder alone with a scheduler. Where
    the pipeline has an autoencoder, x is a latent on the network's own scale, see `Codec`. The prediction type and the noise
    conditioning are read from the configurations (see `models.schedules`). Clipping and thresholding, which some schedulers apply
    while sampling, are never applied. No code in a model folder is run, and weights must be safetensors. Half-precision weights are
    computed in `dtype`.

    Args:
        source: Folder, or "hf:owner/name" for a model of the hub (downloaded on first use).
        scheduler: Folder or scheduler_config.json to use instead of the model's own.
        label: Class of a class-conditional model; the score is that of this class.
        prompt: Text of a text-conditional model; None for no text. `conditioned` gives each point its own.
        guidance: Scale of classifier-free guidance; 1 for none.
        adapter: A LoRA or a textual inversion, as a safetensors file or its folder.
        config: Folder of configurations, or "hf:owner/name", for a source that is a single .safetensors file of the original form.
        size: Side of images in pixels, for networks that do not state one (Flux).
        dtype: Dtype in which the network is computed, float32 or float64.

    Returns:
        A `NetworkScore` with `shape` (channels, height, width), in evaluation mode on the CPU; move `score.module` to
        another device, and give x there.

    Raises:
        InputError: If the model cannot be read, its scheduler is unknown or does not fit, or a label is missing.
    """
    if dtype not in (torch.float32, torch.float64):
        raise InputError(f"dtype: {dtype} is too coarse for a spectrum; choose torch.float32 or torch.float64.")
    parts = find(source, scheduler, config)
    family = FAMILIES[str(parts.config["_class_name"])]
    process = schedule(
        parts.scheduler, parts.config.get("time_embedding_type", "positional"), printable(parts.scheduler_path)
    )
    if label is not None and prompt is not None:
        raise InputError(f"{parts.name}: label, prompt: a model is conditioned on one of them; leave the other out.")
    codec = open_codec(parts.folder, parts.pipeline, dtype, parts.checkpoint)
    side = None if size is None else size // (1 if codec is None else codec.factor)
    word: Word = prompt if label is None else label
    network = _read(parts, family, process, side, word, dtype)
    shape = family.shape(network, printable(parts.network / "config.json"), side)
    texts = _texts(parts, codec) if family.takes(network) == "text" else None
    changes = adapt(network, family.part, adapter, texts) if adapter is not None else False
    conditioning = base = Conditioning(family, network, texts, shape, parts.name)
    if texts is not None and texts.changed:  # the base's texts are encoded as before
        base = Conditioning(family, network, _texts(parts, codec), shape, parts.name)
    if family.takes(network) != "text" and prompt is not None:
        raise InputError(f"{parts.name}: prompt: this model is not conditioned on texts; leave the prompt out.")
    if guidance != 1 and family.takes(network) == "nothing":
        raise InputError(f"{parts.name}: guidance: this model has no conditions to be guided by; leave the scale out.")
    values = conditioning.values([word] if guidance == 1 else [word, None])
    _agree(parts, values, Conditioning(family, network, None, shape, parts.name).values([word]))
    core = _Network(network, family, shape[0], adapter=changes)
    module: nn.Module = core
    if process.preconditioning is not None:
        module = _Preconditioned(core, process, *process.preconditioning)
        process = replace(process, condition=CONDITIONS["t"])
    score = PipelineScore(
        module.eval().requires_grad_(False),
        shape,
        process,
        parts,
        conditioning,
        codec=codec,
        words=[word],
        base=None if adapter is None else base,
    )
    score.guidance = guidance
    return score


class _Network(nn.Module):
    """A network of a family as a function of the point, its noise condition and the values that it is conditioned on."""

    def __init__(self, network: Any, family: Family, channels: int, *, adapter: bool = False) -> None:
        super().__init__()
        self.network, self._family, self.channels = network, family, channels
        # Whether its adapter is on; None where it has none, as where an adapter changes its texts alone.
        self._adapter_is_on = True if adapter else None

    def forward(self, x: Tensor, condition: Tensor, values: dict[str, Tensor]) -> Tensor:
        return self._family.evaluated(self.network, x, condition, values)[:, : self.channels]

    def switch(self, on: bool) -> None:
        """Switch its adapter on or off, if it has one."""
        if self._adapter_is_on is not None and on != self._adapter_is_on:
            switch(self.network, on)
            self._adapter_is_on = on


class _Preconditioned(nn.Module):
    """The denoiser D = c_skip x + c_out F(c_in x, c_noise) of Karras et al. 2022, at x = y + sigma eps and t = sigma^2."""

    def __init__(self, network: _Network, process: Schedule, sigma_data: float, sign: float) -> None:
        super().__init__()
        self.network, self.condition = network, process.condition
        self.sigma_data, self.sign = sigma_data, sign

    def forward(self, x: Tensor, t: Tensor, values: dict[str, Tensor]) -> Tensor:
        square = self.sigma_data**2
        total = (t + square).reshape(-1, *[1] * (x.ndim - 1))
        out: Tensor = self.network(x * total.rsqrt(), self.condition(t), values)
        sigma = t.sqrt().reshape(total.shape)
        return square / total * x + self.sign * sigma * self.sigma_data * total.rsqrt() * out


def _core(module: nn.Module) -> _Network:
    """The network within its preconditioning."""
    found = module.network if isinstance(module, _Preconditioned) else module
    assert isinstance(found, _Network)
    return found


def _read(parts: Parts, family: Family, process: Schedule, side: int | None, word: Word, dtype: torch.dtype) -> Any:
    """The network, which was checked before its weights were read."""
    kind, where = str(parts.config["_class_name"]), printable(parts.network / "config.json")

    def check(plan: Any) -> None:
        _fits(parts, process, plan)
        shape = family.shape(plan, where, side)
        values = Conditioning(family, plan, None, shape, parts.name).values([word])
        _tried(parts, _Network(plan, family, shape[0]), shape, values)

    return built(getattr(import_module(family.library), kind), parts.config, parts.weights, dtype, check)


def _texts(parts: Parts, codec: Codec | None) -> Texts:
    """The text encoders of a pipeline."""
    names = {name: str(cls) for name, (_, cls) in parts.pipeline.items() if name.startswith("text_encoder")}
    if not names:
        raise InputError(
            f"{parts.name}: is conditioned on texts, but has no text encoder; give the folder of the whole pipeline (model_index.json)."
        )
    zeros = parts.settings.get("force_zeros_for_empty_prompt", False) is True
    kind = str(parts.settings.get("_class_name"))
    factor = 8 if codec is None else codec.factor
    return Texts(parts.folder, kind, names, zeros, factor, checkpoint=parts.checkpoint)


def _agree(parts: Parts, values: Values, wanted: Values) -> None:
    """Raise an error if encoded texts are not as wide as the network takes them."""
    for name, tensor in values.items():
        # Beside them are masks, of as many values as there are tokens.
        if tensor.ndim > 1 and name != "mask" and tensor.shape[-1] != wanted[name].shape[-1]:
            raise InputError(
                f"{parts.name}: its text encoders give {tensor.shape[-1]} values a text or token, but its network takes "
                f"{wanted[name].shape[-1]}; they do not belong together."
            )


def _tried(parts: Parts, network: _Network, shape: tuple[int, ...], values: Any) -> None:
    """Raise an error if a network without memory cannot be evaluated at an image of its own size."""
    given = {name: v.to("meta") for name, v in values.items()}
    try:
        with torch.no_grad():
            out = network(torch.empty(1, *shape, device="meta"), torch.empty(1, device="meta"), given)
        if out.shape != (1, *shape):
            raise ValueError(f"it gives images of shape {tuple(out.shape[1:])} for {shape}")
    except Exception as error:  # a configuration can hold anything
        raise InputError(
            f"{printable(parts.network / 'config.json')}: its network cannot be evaluated ({reason_of(error)}); it may be damaged."
        ) from error


def _fits(parts: Parts, process: Schedule, network: Any) -> None:
    """Raise an error if the scheduler's steps are not those of the network's learned embedding."""
    embedding = getattr(network, "time_proj", None)
    if isinstance(embedding, nn.Embedding):
        known = embedding.num_embeddings
        if process.times is not None and known != parts.scheduler.get("num_train_timesteps", 1000):
            raise InputError(
                f"{printable(parts.scheduler_path)}: has {process.times.size:,} steps, but the network has embeddings for {known:,}; give the scheduler "
                "that it was trained with."
            )
