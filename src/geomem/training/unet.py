r"""Image networks with diffusers' interface: the U-Nets of the paper's Table 1 (Supp. A), and two that train on a CPU.

The U-Nets are those of Ho et al. 2020: two residual blocks per resolution, self-attention in the middle and (except for
MNIST) at 16x16, noise prediction. Their numbers of parameters are the paper's:

    name      pixels    channels         attention  dropout  parameters
    mnist     28x28x1   128 (1, 2, 2)    middle     0        24,515,585
    cifar10   32x32x3   128 (1, 2, 2, 2) + 16x16    0.1      35,746,307
    celeba    64x64x3   64 (1, 1, 2, 2, 4, 4)  + 16x16  0    27,460,355

`small-unet` is a U-Net of at most three resolutions for images of any size; `mlp` is a `PixelMLP`. With `noise_process`
"ve" a network is conditioned on sigma by random Fourier features of its logarithm, and predicts the score itself (Song
et al. 2021). The features add a few parameters.
"""

from collections.abc import Callable
from typing import cast

from torch import nn

from geomem.errors import InputError

__all__ = ["NETWORKS", "SHAPES", "build", "check_shape"]

# (channels, height, width) of the networks with a fixed image size.
SHAPES = {"mnist": (1, 28, 28), "cifar10": (3, 32, 32), "celeba": (3, 64, 64)}

_Shape = tuple[int, ...]
# How networks are conditioned, by noise process.
_EMBEDDINGS = {"vp": "positional", "ve": "fourier"}


def build(name: str, shape: _Shape | None = None, *, noise_process: str = "vp") -> nn.Module:
    """Build a network, initialised from PyTorch's global generator. It is called as network(x, condition).sample.

    Args:
        name: One of `NETWORKS`.
        shape: (channels, height, width) of the images; None for the network's fixed size.
        noise_process: "vp" to condition on the DDPM step and predict the noise, "ve" to condition on sigma and predict the
            score.

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
        raise InputError(f"shape: {name} takes images of any size; give the shape.")
    images = SHAPES[name] if shape is None else tuple(shape)
    check_shape(name, images)
    return NETWORKS[name](images, _EMBEDDINGS[noise_process])


def check_shape(name: str, images: _Shape) -> None:
    """Check that a network accepts images of this shape.

    Raises:
        InputError: If the size is not the network's fixed size, or if samples are not images (channels, height, width).
    """
    own = SHAPES.get(name)
    if own is not None and images != own:
        raise InputError(
            f"{name}: is for images of {own[1]}x{own[2]} pixels and {_channels(own[0])}; these have {images[1]}x{images[2]} and "
            f"{_channels(images[0])}. Choose another preset, or resize the images."
            if len(images) == 3
            else f"{name}: is for images; these samples have shape {images}."
        )
    if len(images) != 3:
        raise InputError(f"{name}: is for images (channels, height, width); these samples have shape {images}.")


def _channels(count: int) -> str:
    return "one channel" if count == 1 else f"{count} channels"


def _sides(shape: _Shape) -> int | list[int]:
    """Image size in the form that diffusers' pipelines expect: one number for squares."""
    return shape[1] if shape[1] == shape[2] else list(shape[1:])


def _table1(
    base: int, multipliers: tuple[int, ...], attention: int, dropout: float = 0.0
) -> Callable[[_Shape, str], nn.Module]:
    """A U-Net of Table 1; `attention` is the resolution with self-attention, 0 for the middle block only."""

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
        # As in Ho et al. 2020: one attention head, and their padding and time features.
        attention_head_dim=None,
        downsample_padding=0,
        flip_sin_to_cos=False,
        freq_shift=1,
        norm_eps=1e-6,
    )
    return cast(nn.Module, unet)


def _small_unet(shape: _Shape, embedding: str) -> nn.Module:
    # Halved as often as the sides allow, because skip connections join images of the same size.
    halvings = next(k for k in (2, 1, 0) if all(side % 2**k == 0 and side >> k >= 2 for side in shape[1:]) or k == 0)
    channels = (32, 64, 64)[: halvings + 1]
    return _unet(shape, embedding, channels=channels, attention=[False] * len(channels), layers=1, groups=8)


def _mlp(shape: _Shape, embedding: str) -> nn.Module:
    from geomem.models.pixels import PixelMLP

    # Narrower than large images: the gain passes noise in all directions, and a step takes only milliseconds.
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
