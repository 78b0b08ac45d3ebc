"""SD3Transformer2DModel: Stable Diffusion 3, flow matching on latents, conditioned on a text by two CLIP encoders and T5."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from geomem.models.families.base import Values, Word, score_channels, side_of

if TYPE_CHECKING:
    from geomem.models.texts import Texts

__all__ = ["StableDiffusion3"]

# Tokens of a text by T5.
_TOKENS = 256


class StableDiffusion3:
    """A transformer on image and text tokens."""

    library, part = "diffusers", "transformer"

    def shape(self, network: Any, where: str, side: int | None) -> tuple[int, int, int]:
        """See `Family.shape`."""
        config = network.config
        return (score_channels(config.in_channels, config.out_channels, where), *side_of(config.sample_size, where))

    def takes(self, network: Any) -> str:
        """See `Family.takes`."""
        return "text"

    def values(self, network: Any, words: Sequence[Word], texts: "Texts | None", shape: tuple[int, ...]) -> Values:
        """See `Family.values`."""
        n, width = len(words), network.config.joint_attention_dim
        if texts is None:
            pooled = torch.zeros(n, network.config.pooled_projection_dim)
            return {"encoder_hidden_states": torch.zeros(n, 2, width), "pooled_projections": pooled}
        clip = [texts.clip(name, words) for name in ("text_encoder", "text_encoder_2")]
        both = torch.cat([one.penultimate for one in clip], -1)
        both = nn.functional.pad(both, (0, width - both.shape[-1]))
        # The largest encoder is often left out; its tokens are 0 then.
        if "text_encoder_3" in texts.names:
            long = texts.t5("text_encoder_3", words, _TOKENS).last
        else:
            long = torch.zeros(n, _TOKENS, width)
        return {
            "encoder_hidden_states": torch.cat([both, long], -2),
            "pooled_projections": torch.cat([one.pooled for one in clip], -1),
        }

    def evaluated(self, network: Any, x: Tensor, step: Tensor, values: Values) -> Tensor:
        """See `Family.evaluated`."""
        out: Tensor = network(
            x,
            encoder_hidden_states=values["encoder_hidden_states"],
            pooled_projections=values["pooled_projections"],
            timestep=step,
        ).sample
        return out
