"""PixArtTransformer2DModel: a transformer on latents, conditioned on a text by T5."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from geomem.models.families.base import Values, Word, score_channels, side_of

if TYPE_CHECKING:
    from geomem.models.texts import Texts

__all__ = ["PixArt"]

# Tokens of a text: of PixArt-alpha and of PixArt-sigma, whose latents are larger than these.
_TOKENS, _MORE, _ALPHA = 120, 300, 128


class PixArt:
    """A transformer with attention to the encoded text and its mask."""

    library, part = "diffusers", "transformer"

    def shape(self, network: Any, where: str, side: int | None) -> tuple[int, int, int]:
        """See `Family.shape`."""
        config = network.config
        return (score_channels(config.in_channels, network.out_channels, where), *side_of(config.sample_size, where))

    def takes(self, network: Any) -> str:
        """See `Family.takes`."""
        return "text"

    def values(self, network: Any, words: Sequence[Word], texts: "Texts | None", shape: tuple[int, ...]) -> Values:
        """See `Family.values`."""
        n = len(words)
        if texts is None:
            width = network.config.caption_channels or network.config.cross_attention_dim
            out = {"encoder_hidden_states": torch.zeros(n, 2, width), "mask": torch.ones(n, 2)}
        else:
            tokens = _MORE if texts.pipeline.startswith("PixArtSigma") else _TOKENS
            found = texts.t5("text_encoder", words, tokens, masked=True)
            out = {"encoder_hidden_states": found.last, "mask": found.mask}
        if network.use_additional_conditions:
            pixels = float(8 * shape[-1] if texts is None else texts.pixels(shape))
            out |= {"resolution": torch.full((n, 2), pixels), "aspect_ratio": torch.ones(n, 1)}
        return out

    def evaluated(self, network: Any, x: Tensor, step: Tensor, values: Values) -> Tensor:
        """See `Family.evaluated`."""
        added = {name: values.get(name) for name in ("resolution", "aspect_ratio")}
        out: Tensor = network(
            x,
            encoder_hidden_states=values["encoder_hidden_states"],
            timestep=step,
            encoder_attention_mask=values["mask"],
            added_cond_kwargs=added,
        ).sample
        return out
