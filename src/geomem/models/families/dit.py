"""DiTTransformer2DModel: a transformer on latents, conditioned on a class, or on none."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from geomem.models.families.base import Values, Word, score_channels, side_of
from geomem.models.families.classes import numbers

if TYPE_CHECKING:
    from geomem.models.texts import Texts

__all__ = ["DiT"]


class DiT:
    """A transformer with learned classes, of which the last stands for none."""

    library, part = "diffusers", "transformer"

    def shape(self, network: Any, where: str, side: int | None) -> tuple[int, int, int]:
        """See `Family.shape`."""
        config = network.config
        return (score_channels(config.in_channels, network.out_channels, where), *side_of(config.sample_size, where))

    def takes(self, network: Any) -> str:
        """See `Family.takes`."""
        return "class"

    def values(self, network: Any, words: Sequence[Word], texts: "Texts | None", shape: tuple[int, ...]) -> Values:
        """See `Family.values`."""
        count = network.config.num_embeds_ada_norm
        return {"class_labels": numbers(words, count, null=count)}

    def evaluated(self, network: Any, x: Tensor, step: Tensor, values: Values) -> Tensor:
        """See `Family.evaluated`."""
        out: Tensor = network(x, timestep=step, class_labels=values["class_labels"]).sample
        return out
