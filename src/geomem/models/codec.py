"""The autoencoder of a latent model: images as latents, and back."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from geomem.errors import InputError, reason_of
from geomem.files import exists, printable, read_json
from geomem.models.single import Checkpoint
from geomem.models.weights import built, find_weights

__all__ = ["CODECS", "Codec", "open_codec"]

# Classes of autoencoders; they are parts named so.
CODECS = {"AutoencoderKL": ("vae",), "VQModel": ("vqvae", "vae")}
# Images encoded at once.
_AT_ONCE = 16


@dataclass(frozen=True)
class Codec:
    """Encodes images of [-1, 1] as latents on the scale on which a network was trained, and decodes latents.

    Latents are (z - shift) scale, with z the posterior mean of an AutoencoderKL, or the latent of a VQModel before it is quantized.

    Attributes:
        network: The autoencoder.
        scale: Factor of latents.
        shift: What is taken off first.
    """

    network: Any
    scale: float
    shift: float = 0.0

    @property
    def channels(self) -> int:
        """Channels of images."""
        return int(self.network.config.in_channels)

    @property
    def factor(self) -> int:
        """Pixels for each latent, along a side."""
        return int(2 ** (len(self.network.config.block_out_channels) - 1))

    def shape(self, image: tuple[int, int, int]) -> tuple[int, int, int]:
        """Shape of the latents of images (channels, height, width)."""
        return int(self.network.config.latent_channels), image[1] // self.factor, image[2] // self.factor

    def image_shape(self, latent: tuple[int, ...]) -> tuple[int, int, int]:
        """Shape of images with latents of this shape."""
        return self.channels, latent[1] * self.factor, latent[2] * self.factor

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        """Latents (n, *shape) of images (n, channels, height, width)."""
        return torch.cat([self._encoded(some) for some in images.split(_AT_ONCE)])

    def _encoded(self, images: Tensor) -> Tensor:
        out = self.network.encode(images.to(self._weight))
        z = out.latent_dist.mode() if hasattr(out, "latent_dist") else out.latents
        latents: Tensor = (z - self.shift) * self.scale
        return latents

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """Images (n, channels, height, width) of latents (n, *shape), not clipped."""
        parts = latents.to(self._weight).split(_AT_ONCE)
        return torch.cat([self.network.decode(some / self.scale + self.shift).sample for some in parts])

    def to(self, device: str) -> None:
        """Move it to a device."""
        self.network.to(device)

    @property
    def _weight(self) -> nn.Parameter:
        weight: nn.Parameter = next(self.network.parameters())
        return weight


def open_codec(
    folder: Path, parts: Mapping[str, Any], dtype: torch.dtype, checkpoint: Checkpoint | None = None
) -> Codec | None:
    """The autoencoder of a pipeline; None where it has none, so that its images are pixels.

    Args:
        folder: The pipeline's folder.
        parts: Its parts: library and class by name.
        dtype: Dtype in which it is computed.
        checkpoint: A file that may hold its tensors; None for the folder's own.

    Raises:
        InputError: If it cannot be opened.
    """
    import diffusers

    name = next((name for name in parts if name in ("vae", "vqvae")), None)
    if name is None:
        return None
    where, kind = folder / name, str(parts[name][1])
    if kind not in CODECS:
        raise InputError(
            f"{printable(where)}: its autoencoder is {printable(kind)[:60]}; supported are {', '.join(CODECS)}."
        )
    if not exists(where / "config.json"):
        raise InputError(f"{printable(where)}: is missing, so images cannot be encoded; copy or download it as well.")
    config = read_json(where / "config.json")
    own = checkpoint is None or not checkpoint.has_codec
    weights = find_weights(where) if checkpoint is None or own else checkpoint.weights(kind, config)
    network = built(getattr(diffusers, kind), config, weights, dtype, lambda plan: _tried(plan, where))
    scale, shift = (network.config.get(key) for key in ("scaling_factor", "shift_factor"))
    numbers = [1.0 if scale is None else scale, 0.0 if shift is None else shift]
    if not all(isinstance(v, int | float) and abs(v) < 1e6 for v in numbers) or not numbers[0] > 0:
        raise InputError(f"{printable(where)}: needs a scaling_factor above 0 and a shift_factor, got {numbers}.")
    return Codec(network.eval().requires_grad_(False), float(numbers[0]), float(numbers[1]))


def _tried(plan: Any, where: Path) -> None:
    """Raise an error if an autoencoder without memory cannot encode and decode."""
    try:
        codec = Codec(plan, 1.0)
        shape = (codec.channels, 8 * codec.factor, 8 * codec.factor)
        images = torch.empty(1, *shape, device="meta")
        latents = codec.encode(images)
        if latents.shape[1:] != codec.shape(shape) or codec.decode(latents).shape != images.shape:
            raise ValueError("its images and latents are of other shapes")
    except Exception as error:  # a configuration can hold anything
        raise InputError(
            f"{printable(where)}: its autoencoder cannot be evaluated ({reason_of(error)}); it may be damaged."
        ) from error
