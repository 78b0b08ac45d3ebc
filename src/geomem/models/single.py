"""A whole model in one .safetensors file, as the original code of latent diffusion or ComfyUI saves it.

Its tensors have names of their own, and it says nothing of its noise process, so it is opened with a diffusers folder of configurations.
The tensors are renamed by diffusers' converters, and compared with the configurations like those of any folder.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from geomem.errors import InputError, reason_of
from geomem.files import is_file, path_of, printable
from geomem.models.weights import SUFFIX, Renamed, Weights, read_tensors, silent

__all__ = ["Checkpoint", "open_checkpoint"]

# diffusers' converters, in diffusers.loaders.single_file_utils, by the network's class.
_CONVERTERS = {
    "UNet2DConditionModel": "convert_ldm_unet_checkpoint",
    "SD3Transformer2DModel": "convert_sd3_transformer_checkpoint_to_diffusers",
    "FluxTransformer2DModel": "convert_flux_transformer_checkpoint_to_diffusers",
    "AutoencoderKL": "convert_ldm_vae_checkpoint",
}
# How names of an autoencoder's tensors begin.
_CODEC = ("first_stage_model.", "vae.")
# Most tensors of a file; the largest models have some thousands.
_MOST = 50_000


@dataclass(frozen=True)
class Checkpoint:
    """The tensors of a file.

    Attributes:
        path: The file.
        tensors: Its tensors, by their own names.
    """

    path: Path
    tensors: Mapping[str, Tensor]

    @property
    def has_codec(self) -> bool:
        """Whether it holds an autoencoder."""
        return any(name.startswith(_CODEC) for name in self.tensors)

    @property
    def all_weights(self) -> Weights:
        """All its tensors, under their own names."""
        return Renamed(self.path, {name: (self.path, tuple(v.shape)) for name, v in self.tensors.items()}, self.tensors)

    def weights(self, kind: str, config: Mapping[str, Any]) -> Weights:
        """The weights of a network of this class, under diffusers' names.

        Raises:
            InputError: If the file does not hold them.
        """
        from diffusers.loaders import single_file_utils

        where = printable(self.path)
        if kind not in _CONVERTERS:
            raise InputError(
                f"{where}: files of one {kind} cannot be converted; supported are {', '.join(_CONVERTERS)}. Save the model as a diffusers "
                "folder where it was made: save_pretrained(FOLDER)."
            )
        try:
            with silent():
                found = getattr(single_file_utils, _CONVERTERS[kind])(
                    checkpoint=dict(self.tensors), config=dict(config)
                )
        except Exception as error:  # the file and the configuration can hold anything
            raise InputError(
                f"{where}: its tensors cannot be read as those of a {kind} ({reason_of(error)}); give the configuration that it was made "
                "with (config=, --config)."
            ) from error
        if not found:
            raise InputError(f"{where}: holds no {kind}; give the configuration that it was made with.")
        return Renamed(self.path, {name: (self.path, tuple(v.shape)) for name, v in found.items()}, found)

    def encoder(self, kind: Any, folder: Path, name: str) -> nn.Module:
        """A text encoder of a transformers class, with its configuration in folder/name.

        Raises:
            InputError: If the file does not hold it.
        """
        from diffusers.loaders import single_file_utils

        make: Any = (
            single_file_utils.create_diffusers_t5_model_from_checkpoint
            if kind.__name__.startswith("T5")
            else single_file_utils.create_diffusers_clip_model_from_ldm
        )
        where = printable(self.path)
        try:
            with silent():
                encoder: nn.Module = make(
                    kind,
                    dict(self.tensors),
                    subfolder=name,
                    config=str(folder),
                    torch_dtype=torch.float32,
                    local_files_only=True,
                )
        except Exception as error:  # the file and the configuration can hold anything
            raise InputError(
                f"{where}: its text encoder cannot be read as the {name} of {printable(folder)} ({reason_of(error)}); put the encoder's "
                "own weights into that folder."
            ) from error
        absent = [name for name, p in encoder.named_parameters() if p.is_meta]
        if absent:
            raise InputError(
                f"{where}: lacks {len(absent)} tensors of the {name} ({printable(absent[0])}, ...); put the encoder's own weights into "
                f"{printable(folder / name)}."
            )
        return encoder


def open_checkpoint(source: str | Path) -> Checkpoint:
    """Read a file.

    Raises:
        InputError: If it is damaged, or is no .safetensors file.
    """
    path = path_of(source)
    if path.suffix != SUFFIX or not is_file(path):
        raise InputError(f"{printable(source)}: config, --config: is for a single {SUFFIX} file; leave it out.")
    tensors, _ = read_tensors(path, most=_MOST)
    return Checkpoint(path, tensors)
