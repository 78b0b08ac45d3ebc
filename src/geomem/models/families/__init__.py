"""Families of networks: one file each, and one line in this table."""

from geomem.models.families.base import Family, Values, Word
from geomem.models.families.dit import DiT
from geomem.models.families.flux import Flux
from geomem.models.families.pixart import PixArt
from geomem.models.families.sd3 import StableDiffusion3
from geomem.models.families.text_unet import TextUNet
from geomem.models.families.unet import UNet

__all__ = ["FAMILIES", "Family", "Values", "Word"]

# By the network's class, as its config.json names it.
FAMILIES: dict[str, Family] = {
    "UNet2DModel": UNet(),
    "PixelMLP": UNet("geomem.models.pixels"),
    "UNet2DConditionModel": TextUNet(),
    "DiTTransformer2DModel": DiT(),
    "PixArtTransformer2DModel": PixArt(),
    "SD3Transformer2DModel": StableDiffusion3(),
    "FluxTransformer2DModel": Flux(),
}
