r"""Networks of images, in diffusers' classes: the U-Nets of the paper's Table 1 (Supp. A), and two that train on a
processor.

The U-Nets are those of Ho et al. 2020: two residual blocks a resolution, self-attention in the middle and, but for
MNIST, at 16x16, noise prediction. Their number of parameters is the paper's:

    name      pixels    channels         attention  dropout  parameters
    mnist     28x28x1   128 (1, 2, 2)    middle     0        24,515,585
    cifar10   32x32x3   128 (1, 2, 2, 2) + 16x16    0.1      35,746,307
    celeba    64x64x3   64 (1, 1, 2, 2, 4, 4)  + 16x16  0    27,460,355

`small-unet` is a U-Net of three resolutions at most for images of any size, `mlp` a `PixelMLP`. With `noise_process`
"ve" a network is conditioned on sigma by random Fourier features of its logarithm and predicts the score itself (Song
et al. 2021), which takes a few more parameters.
"""

from collections.abc import Callable
from typing import cast

from torch import nn

from geomem.errors import InputError

__all__ = ["NETWORKS", "SHAPES", "build", "check_shape"]

# (channels, height, width) of the networks that have a size of their own.
SHAPES = {"mnist": (1, 28, 28), "cifar10": (3, 32, 32), "celeba": (3, 64, 64)}

_Shape = tuple[int, ...]
# How networks are conditioned, by noise process.
_EMBEDDINGS = {"vp": "positional", "ve": "fourier"}


def build(name: str, shape: _Shape | None = None, *, noise_process: str = "vp") -> nn.Module:
    """A network, initialised from PyTorch's global generator: called as network(x, condition).sample.

    Args:
        name: One of `NETWORKS`.
        shape: (channels, height, width) of the images; None for the network's own.
        noise_process: "vp" for one that is conditioned on the DDPM step and predicts the noise, "ve" for one that is
            conditioned on sigma and predicts the score.

    Raises:
        InputError: For an unknown name or noise process, or images that do not fit.

    >>> sum(p.numel() for p in build("mnist").parameters())
    24515585
    """
    if name not in NETWORKS:
        raise InputError(f"network: {name!r} is not known; choose one of {', '.join(NETWORKS)}.")
    if noise_process not in _EMBEDDINGS:
        raise InputError(f"noise process: {noise_process!r} is not known; choose {' or '.join(_EMBEDDINGS)}.")
    if shape is None and name not in SHAPES:
        raise InputError(f"shape: {name} takes images of any size; say which.")
    images = SHAPES[name] if shape is None else tuple(shape)
    check_shape(name, images)
    return NETWORKS[name](images, _EMBEDDINGS[noise_process])


def check_shape(name: str, images: _Shape) -> None:
    """Refuse images that a network does not take.

    Raises:
        InputError: For another size than the network's own, or samples that are no images (channels, height, width).
    """
    own = SHAPES.get(name)
    if own is not None and images != own:
        raise InputError(
            f"{name}: is for images of {own[1]}x{own[2]} pixels and {_channels(own[0])}; these have {images[1]}x{images[2]} and "
            f"{_channels(images[0])}. Choose another preset, or bring the images to that size."
            if len(images) == 3
            else f"{name}: is for images; these samples have shape {images}."
        )
    if len(images) != 3:
        raise InputError(f"{name}: is for images (channels, height, width); these samples have shape {images}.")


def _channels(count: int) -> str:
    return "one channel" if count == 1 else f"{count} channels"


def _sides(shape: _Shape) -> int | list[int]:
    """Sides as diffusers' pipelines want them: one number for squares."""
    return shape[1] if shape[1] == shape[2] else list(shape[1:])


def _table1(
    base: int, multipliers: tuple[int, ...], attention: int, dropout: float = 0.0
) -> Callable[[_Shape, str], nn.Module]:
    """A U-Net of Table 1; `attention` is the side of the images that attend to themselves, 0 for the middle alone."""

    def made(shape: _Shape, embedding: str) -> nn.Module:
        sides = [shape[1] >> i for i in range(len(multipliers))]
        return _unet(
            shape,
            embedding,
            channels=tuple(base * m for m in multipliers),
            attention=[side == attention for side in sides],
            layers=2,
            dropout=dropout,
        )

    return made


def _unet(
    shape: _Shape,
    embedding: str,
    *,
    channels: tuple[int, ...],
    attention: list[bool],
    layers: int,
    groups: int = 32,
    dropout: float = 0.0,
) -> nn.Module:
    from diffusers import UNet2DModel

    unet = UNet2DModel(
        sample_size=_sides(shape),
        in_channels=shape[0],
        out_channels=shape[0],
        time_embedding_type=embedding,
        block_out_channels=channels,
        down_block_types=tuple("AttnDownBlock2D" if here else "DownBlock2D" for here in attention),
        up_block_types=tuple("AttnUpBlock2D" if here else "UpBlock2D" for here in reversed(attention)),
        layers_per_block=layers,
        norm_num_groups=groups,
        dropout=dropout,
        # As Ho et al. 2020 have them: one attention head, their padding, their time features.
        attention_head_dim=None,
        downsample_padding=0,
        flip_sin_to_cos=False,
        freq_shift=1,
        norm_eps=1e-6,
    )
    return cast(nn.Module, unet)


def _small_unet(shape: _Shape, embedding: str) -> nn.Module:
    # As often halved as the sides allow: skips join images of the same size.
    halvings = next(k for k in (2, 1, 0) if all(side % 2**k == 0 and side >> k >= 2 for side in shape[1:]) or k == 0)
    channels = (32, 64, 64)[: halvings + 1]
    return _unet(shape, embedding, channels=channels, attention=[False] * len(channels), layers=1, groups=8)


def _mlp(shape: _Shape, embedding: str) -> nn.Module:
    from geomem.models.pixels import PixelMLP

    # Narrower than large images: the gain lets noise through in all directions, and a step stays a matter of milliseconds.
    hidden = 256 if shape[0] * shape[1] * shape[2] <= 256 else 512
    mlp = PixelMLP(
        sample_size=_sides(shape),
        in_channels=shape[0],
        out_channels=shape[0],
        hidden_size=hidden,
        time_embedding_type=embedding,
    )
    return cast(nn.Module, mlp)


NETWORKS: dict[str, Callable[[_Shape, str], nn.Module]] = {
    "mnist": _table1(128, (1, 2, 2), 0),
    "cifar10": _table1(128, (1, 2, 2, 2), 16, 0.1),
    "celeba": _table1(64, (1, 1, 2, 2, 4, 4), 16),
    "mlp": _mlp,
    "small-unet": _small_unet,
}
