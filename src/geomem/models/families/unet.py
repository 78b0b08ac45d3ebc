"""UNet2DModel, and geomem's own perceptron: unconditional, or conditioned on a class."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from geomem.errors import InputError
from geomem.models.families.base import Values, Word, score_channels, side_of
from geomem.models.families.classes import numbers

if TYPE_CHECKING:
    from geomem.models.texts import Texts

__all__ = ["UNet"]


class UNet:
    """A network called as unet(x, step, class_labels)."""

    part = "unet"

    def __init__(self, library: str = "diffusers") -> None:
        self.library = library

    def shape(self, network: Any, where: str, side: int | None) -> tuple[int, int, int]:
        """See `Family.shape`."""
        sides = side_of(network.config.sample_size, where)
        return (score_channels(network.config.in_channels, network.config.out_channels, where), *sides)

    def takes(self, network: Any) -> str:
        """See `Family.takes`."""
        return "nothing" if getattr(network, "class_embedding", None) is None else "class"

    def values(self, network: Any, words: Sequence[Word], texts: "Texts | None", shape: tuple[int, ...]) -> Values:
        """See `Family.values`."""
        kind = network.config.class_embed_type
        if kind == "identity":
            raise InputError(
                "is conditioned on vectors (class_embed_type identity); bind a vector in a module and wrap it in "
                "geomem.scores.NetworkScore."
            )
        count = network.config.num_class_embeds if kind is None else None
        dtype = torch.long if kind is None else next(network.parameters()).dtype
        return {"class_labels": numbers(words, count, null=None, dtype=dtype)}

    def evaluated(self, network: Any, x: Tensor, step: Tensor, values: Values) -> Tensor:
        """See `Family.evaluated`."""
        # Learned embeddings are indexed by integers.
        step = step.round().long() if isinstance(network.time_proj, nn.Embedding) else step
        out: Tensor = network(x, step, class_labels=values.get("class_labels")).sample
        return out
