"""Conditions on a class of a learned table."""

from collections.abc import Sequence

import torch
from torch import Tensor

from geomem.errors import InputError
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
        text = str(word).strip() if word is not None else ""
        if not text.isascii() or not text.isdigit() or len(text) > 18 or not int(text) < (count or LARGEST_LABEL + 1):
            got = "" if word is None else f", got {text[:40]!r}" if len(text) < 40 else ", got one out of range"
            raise InputError(
                f"is class-conditional; choose the class (label, --label: {known}){got}, and give data of that class."
            )
        out.append(int(text))
    return torch.tensor(out, dtype=dtype)
