"""FluxTransformer2DModel: flow matching on latents whose 2x2 blocks are tokens, conditioned on a text by CLIP and T5."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from geomem.errors import InputError
from geomem.models.families.base import Values, Word, score_channels

if TYPE_CHECKING:
    from geomem.models.texts import Texts

__all__ = ["Flux"]

# Tokens of a text by T5, the guidance scale that a distilled network is given, and the side of latents that it is trained at.
_TOKENS, _GUIDANCE, _SIDE = 512, 3.5, 128
# diffusers passes the flow's time, 0 to 1; schedules count a thousandth of it as a step.
_STEPS = 1000.0


class Flux:
    """A transformer on image and text tokens with rotary positions."""

    library, part = "diffusers", "transformer"

    def shape(self, network: Any, where: str, side: int | None) -> tuple[int, int, int]:
        """See `Family.shape`."""
        config, side = network.config, _SIDE if side is None else side
        channels = score_channels(config.in_channels, network.out_channels, where)
        if channels % 4 or side % 2:
            raise InputError(
                f"{where}: takes latents in blocks of 2x2, but has {channels} channels and a side of {side}; give images "
                "with an even number of latents a side."
            )
        return (channels // 4, side, side)

    def takes(self, network: Any) -> str:
        """See `Family.takes`."""
        return "text"

    def values(self, network: Any, words: Sequence[Word], texts: "Texts | None", shape: tuple[int, ...]) -> Values:
        """See `Family.values`."""
        n, config = len(words), network.config
        if texts is None:
            hidden, pooled = torch.zeros(n, 2, config.joint_attention_dim), torch.zeros(n, config.pooled_projection_dim)
        else:
            hidden = texts.t5("text_encoder_2", words, _TOKENS).last
            pooled = texts.clip("text_encoder", words).pooled
        return {"encoder_hidden_states": hidden, "pooled_projections": pooled}

    def evaluated(self, network: Any, x: Tensor, step: Tensor, values: Values) -> Tensor:
        """See `Family.evaluated`."""
        n, c, h, w = x.shape
        blocks = x.reshape(n, c, h // 2, 2, w // 2, 2).permute(0, 2, 4, 1, 3, 5).reshape(n, h * w // 4, 4 * c)
        places = torch.zeros(h // 2, w // 2, 3, dtype=x.dtype, device=x.device)
        places[..., 1] += torch.arange(h // 2, device=x.device)[:, None]
        places[..., 2] += torch.arange(w // 2, device=x.device)
        hidden = values["encoder_hidden_states"]
        guidance = (
            torch.full((n,), _GUIDANCE, dtype=x.dtype, device=x.device) if network.config.guidance_embeds else None
        )
        out: Tensor = network(
            blocks,
            encoder_hidden_states=hidden,
            pooled_projections=values["pooled_projections"],
            timestep=step / _STEPS,
            img_ids=places.reshape(-1, 3),
            txt_ids=torch.zeros(hidden.shape[1], 3, dtype=x.dtype, device=x.device),
            guidance=guidance,
        ).sample
        return out.reshape(n, h // 2, w // 2, c, 2, 2).permute(0, 3, 1, 4, 2, 5).reshape(n, c, h, w)
