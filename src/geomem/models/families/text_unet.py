"""UNet2DConditionModel: Stable Diffusion 1 and 2 (one CLIP encoder), SDXL (two, with sizes)."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from geomem.errors import InputError
from geomem.models.families.base import Values, Word, score_channels, side_of

if TYPE_CHECKING:
    from geomem.models.texts import Texts

__all__ = ["TextUNet"]


class TextUNet:
    """A U-Net with attention to the encoded text."""

    library, part = "diffusers", "unet"

    def shape(self, network: Any, where: str, side: int | None) -> tuple[int, int, int]:
        """See `Family.shape`."""
        config = network.config
        odd = [name for name in ("class_embed_type", "encoder_hid_dim_type", "time_cond_proj_dim") if config.get(name)]
        if odd or config.get("addition_embed_type") not in (None, "text_time"):
            what = odd[0] if odd else f"addition_embed_type {config['addition_embed_type']}"
            raise InputError(
                f"{where}: is conditioned on more than a text ({what}), which is not supported; bind its conditions in a module and wrap "
                "it in geomem.scores.NetworkScore."
            )
        sides = side_of(config.sample_size, where)
        return (score_channels(config.in_channels, config.out_channels, where), *sides)

    def takes(self, network: Any) -> str:
        """See `Family.takes`."""
        return "text"

    def values(self, network: Any, words: Sequence[Word], texts: "Texts | None", shape: tuple[int, ...]) -> Values:
        """See `Family.values`."""
        if texts is None:  # the network alone: its shapes are tried
            width = network.config.cross_attention_dim
            width = width if isinstance(width, int) else max(width)
            out = {"encoder_hidden_states": torch.zeros(len(words), 2, width)}
            if network.config.get("addition_embed_type") == "text_time":
                pooled = (
                    network.config.projection_class_embeddings_input_dim - 6 * network.config.addition_time_embed_dim
                )
                return {**out, "text_embeds": torch.zeros(len(words), pooled), "time_ids": torch.zeros(len(words), 6)}
            return out
        if network.config.get("addition_embed_type") != "text_time":
            return {"encoder_hidden_states": texts.clip("text_encoder", words).last}
        # SDXL; a pipeline may have the second encoder alone, as its refiner does.
        names = [name for name in ("text_encoder", "text_encoder_2") if name in texts.names]
        encoded = [texts.clip(name, words) for name in names]
        side = float(texts.pixels(shape))
        sizes = torch.tensor([[side, side, 0.0, 0.0, side, side]]).expand(len(words), -1)
        hidden, pooled = torch.cat([one.penultimate for one in encoded], -1), encoded[-1].pooled
        if texts.zeros_for_none:
            nothing = torch.tensor([word is None for word in words])
            hidden, pooled = hidden.clone(), pooled.clone()
            hidden[nothing], pooled[nothing] = 0.0, 0.0
        return {"encoder_hidden_states": hidden, "text_embeds": pooled, "time_ids": sizes}

    def evaluated(self, network: Any, x: Tensor, step: Tensor, values: Values) -> Tensor:
        """See `Family.evaluated`."""
        added = {name: values[name] for name in ("text_embeds", "time_ids") if name in values}
        out: Tensor = network(x, step, values["encoder_hidden_states"], added_cond_kwargs=added or None).sample
        return out
