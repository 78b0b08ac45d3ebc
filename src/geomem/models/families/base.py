"""What a family of networks is: how its networks are evaluated, the shape of their images, and what they are conditioned on."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from torch import Tensor

from geomem.errors import InputError
from geomem.limits import LARGEST_SIDE

if TYPE_CHECKING:
    from geomem.models.texts import Texts

__all__ = ["Family", "Values", "Word", "score_channels", "side_of"]

# What one image is conditioned on: a text, a class, or nothing.
Word = str | int | None
# Tensors that a network is conditioned on, one row an image.
Values = Mapping[str, Tensor]


class Family(Protocol):
    """One class of networks of diffusers.

    Attributes:
        library: Module that defines the class.
        part: Name of its part in a pipeline.
    """

    library: str
    part: str

    def shape(self, network: Any, where: str, side: int | None) -> tuple[int, int, int]:
        """(channels, height, width) of its images.

        Args:
            network: The network, perhaps without memory.
            where: Its configuration's path, for messages.
            side: Side of the images that it is to be evaluated at, for networks that do not state one.

        Raises:
            InputError: If the configuration does not say so, or the outputs are none of a score.
        """
        ...

    def takes(self, network: Any) -> str:
        """What it is conditioned on: "nothing", "class" or "text"."""
        ...

    def values(self, network: Any, words: Sequence[Word], texts: "Texts | None", shape: tuple[int, ...]) -> Values:
        """What the network is given for each word.

        Raises:
            InputError: For a word that it cannot be conditioned on.
        """
        ...

    def evaluated(self, network: Any, x: Tensor, step: Tensor, values: Values) -> Tensor:
        """The prediction (n, *shape) at x (n, *shape), its noise condition (n), and values of n rows."""
        ...


def side_of(size: Any, where: str) -> tuple[int, int]:
    """Height and width from a configuration's sample_size.

    Raises:
        InputError: If it states none.
    """
    if size is None:
        raise InputError(f"{where}: does not state the image size; set sample_size there.")
    sides = [size, size] if isinstance(size, int) else size
    if (
        not isinstance(sides, list | tuple)
        or len(sides) != 2
        or not all(isinstance(k, int) and 0 < k <= LARGEST_SIDE for k in sides)
    ):
        raise InputError(
            f"{where}: sample_size must be one or two numbers of pixels, at most {LARGEST_SIDE:,}, got {str(size)[:100]}."
        )
    return sides[0], sides[1]


def score_channels(channels: int, outputs: int, where: str) -> int:
    """Channels of a network whose outputs are a score's.

    A network with learned variance outputs it in the second half of its channels.

    Raises:
        InputError: For other outputs.
    """
    if outputs not in (channels, 2 * channels):
        raise InputError(
            f"{where}: the network takes {channels} channels and gives {outputs}; a score has as many as its image."
        )
    return channels
