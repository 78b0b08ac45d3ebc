r"""A residual multi-layer perceptron on the pixels of an image, as a diffusers model.

With h the hidden activations, e an embedding of the condition (the step or sigma) and c_in = 1 or 1/sqrt(sigma_data^2 +
sigma^2),

    h = W c_in x,   h <- h + B silu(A silu(h + e_k(t)))   (two blocks),   out = g(e) c_in x + V silu(h),

and out/sigma for a network that is conditioned on sigma. The learned gain g passes noise in all directions of the image,
which layers narrower than the image cannot. The network trains in minutes where a U-Net takes hours, but lacks the inductive
bias of a U-Net for natural images.
"""

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.embeddings import GaussianFourierProjection, TimestepEmbedding, Timesteps
from diffusers.models.modeling_utils import ModelMixin
from diffusers.models.unets.unet_2d import UNet2DOutput
from torch import Tensor, nn

__all__ = ["ModelMixin", "PixelMLP"]  # diffusers looks for ModelMixin in the module of a custom class

_FEATURES = 128
# Approximate standard deviation of images on [0, 1], which sets the input's scale where the condition is sigma.
_SIGMA_DATA = 0.3


class PixelMLP(ModelMixin, ConfigMixin):  # type: ignore[misc]  # two names of one file
    """A perceptron with the interface of diffusers' UNet2DModel, for its pipelines.

    Args:
        sample_size: Side, or height and width.
        in_channels: Channels of the input.
        out_channels: Channels of the output, equal to in_channels.
        hidden_size: Width.
        blocks: Residual blocks.
        time_embedding_type: "positional" to condition on the step and predict the noise, "fourier" to condition on
            sigma and predict the score.
    """

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        sample_size: int | list[int],
        in_channels: int = 1,
        out_channels: int = 1,
        hidden_size: int = 1024,
        blocks: int = 2,
        time_embedding_type: str = "positional",
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        if in_channels != out_channels:
            raise ValueError("in_channels and out_channels must agree")
        height, width = (sample_size, sample_size) if isinstance(sample_size, int) else sample_size
        values = in_channels * height * width
        self.fourier = fourier = time_embedding_type == "fourier"
        self.time_proj: nn.Module = (
            GaussianFourierProjection(_FEATURES // 2, scale=1.0) if fourier else Timesteps(_FEATURES, False, 1)
        )
        self.time_embedding = TimestepEmbedding(_FEATURES, hidden_size)
        self.gain = nn.Linear(hidden_size, 1)
        self.first = nn.Linear(values, hidden_size)
        # The name is part of saved models, so it cannot change.
        self.told = nn.ModuleList(nn.Linear(hidden_size, hidden_size) for _ in range(blocks))
        self.layers = nn.ModuleList(
            nn.Sequential(
                nn.SiLU(), nn.Linear(hidden_size, hidden_size), nn.SiLU(), nn.Linear(hidden_size, hidden_size)
            )
            for _ in range(blocks)
        )
        self.last = nn.Sequential(nn.SiLU(), nn.Linear(hidden_size, values))

    def forward(
        self, sample: Tensor, timestep: Tensor | float, class_labels: None = None, return_dict: bool = True
    ) -> UNet2DOutput | tuple[Tensor]:
        """The prediction at images (n, channels, height, width) and timestep () or (n)."""
        rows = sample.flatten(1)
        condition = torch.as_tensor(timestep, device=rows.device).expand(rows.shape[0])
        sigma = condition[:, None].to(rows.dtype)
        scaled = rows * torch.rsqrt(_SIGMA_DATA**2 + sigma.square()) if self.fourier else rows
        embedded = self.time_embedding(self.time_proj(condition).to(self.first.weight.dtype))
        hidden = self.first(scaled)
        for time, block in zip(self.told, self.layers, strict=True):
            hidden = hidden + block(hidden + time(embedded))
        out = self.gain(embedded) * scaled + self.last(hidden)
        out = (out / sigma if self.fourier else out).reshape(sample.shape)
        return UNet2DOutput(sample=out) if return_dict else (out,)
