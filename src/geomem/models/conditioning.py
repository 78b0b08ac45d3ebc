"""What a network is conditioned on beside the noise: for each image a text, a class, or nothing."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from geomem.errors import InputError
from geomem.models.families import Family, Values, Word
from geomem.models.texts import Texts

__all__ = ["Conditioning"]

# Words whose values are kept, at most, and encoded at once: a large text encoder gives megabytes for each.
_KEPT, _AT_ONCE = 256, 8


class Conditioning:
    """Encodes words for a network.

    Attributes:
        kind: "nothing", "class" or "text".
    """

    def __init__(self, family: Family, network: Any, texts: Texts | None, shape: tuple[int, ...], name: str) -> None:
        self._family, self._network, self._texts, self._shape, self._name = family, network, texts, shape, name
        self.kind = family.takes(network)
        self._kept: dict[Word, dict[str, Tensor]] = {}

    def values(self, words: Sequence[Word]) -> Values:
        """Tensors (n, ...) for words (n), on the CPU.

        Raises:
            InputError: For a word that the network cannot be conditioned on.
        """
        if self.kind == "nothing":
            given = next((word for word in words if word is not None), None)
            if isinstance(given, str):
                raise InputError(f"{self._name}: prompt: this model is not conditioned on texts; leave the prompt out.")
            if given is not None:
                raise InputError(f"{self._name}: label: this model has no classes; leave the label out.")
            return {}
        missing = [word for word in dict.fromkeys(words) if word not in self._kept]
        if len(self._kept) + len(missing) > _KEPT:
            self._kept.clear()
            missing = list(dict.fromkeys(words))
        for start in range(0, len(missing), _AT_ONCE):
            some = missing[start : start + _AT_ONCE]
            try:
                found = self._family.values(self._network, some, self._texts, self._shape)
            except InputError as error:
                raise InputError(f"{self._name}: {error}" if str(error).startswith("is ") else str(error)) from error
            self._kept.update({word: {k: v[i] for k, v in found.items()} for i, word in enumerate(some)})
        rows = [self._kept[word] for word in words]
        return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}
