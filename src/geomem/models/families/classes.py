"""Conditions on a class of a learned table."""

from collections.abc import Sequence

import torch
from torch import Tensor

from geomem.errors import InputError
from geomem.files import printable
from geomem.limits import LARGEST_LABEL
from geomem.models.families.base import Word

__all__ = ["numbers"]


def numbers(words: Sequence[Word], count: int | None, *, null: int | None, dtype: torch.dtype = torch.long) -> Tensor:
    """Class numbers (n).

    Args:
        words: Classes as numbers or as their text; None for `null`.
        count: Number of classes; None for any number, as where a class is embedded like a time.
        null: What stands for no class; None where there is none.
        dtype: Type of the result.

    Raises:
        InputError: For what is no class.
    """
    known = f"a number up to {LARGEST_LABEL:,}" if count is None else f"0 to {count - 1}"
    out = []
    for word in words:
        if word is None and null is not None:
            out.append(null)
            continue
        number = _number(word)
        if number is None or not 0 <= number < (LARGEST_LABEL + 1 if count is None else count):
            got = "" if word is None else f", got {printable(str(word))[:40]}"
            if number is not None and abs(number) > LARGEST_LABEL:
                got = ", got one out of range"
            raise InputError(
                f"is class-conditional; choose the class (label, --label: {known}){got}, and give data of that class."
            )
        out.append(number)
    return torch.tensor(out, dtype=dtype)


def _number(word: Word) -> int | None:
    """The whole number that a word is; None for none."""
    if isinstance(word, int):
        return word
    text = "" if word is None else word.strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None
