"""What the spectra of a large network cost, known before they are computed: memory and time of one evaluation, measured."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter

import torch
from torch import Tensor, nn

from geomem.errors import InputError
from geomem.precision import full_precision
from geomem.scores.base import Score

__all__ = ["MEMORY", "Cost", "batch_within", "measured_cost"]

# Bytes that evaluations may hold at once where nothing else is asked for.
MEMORY = 2**31
# Most scores evaluated at once: beyond, nothing is gained by more.
_LARGEST = 4096
# Batch sizes that are tried, and seconds after which a larger one is not.
_TRIED, _LONG = (4, 16, 64, 256, 1024), 1.0


@dataclass(frozen=True)
class Cost:
    """Of evaluating a score.

    Attributes:
        batch: Scores evaluated at once, the fastest within the memory.
        seconds: Of one score in such a batch.
        memory: Bytes that one score in a batch needs at most.
    """

    batch: int
    seconds: float
    memory: int


def batch_within(score: Score, memory: int, *, dtype: torch.dtype = torch.float32, device: str = "cpu") -> int:
    """How many scores fit into `memory` bytes at once, 4,096 at most.

    A network is run once on one point, and the outputs of all its modules are added up as if none were freed before the
    end: more than what an evaluation without gradients holds.

    Raises:
        InputError: If not even one fits.
    """
    return _fitting(_memory(score, dtype, device), memory)


def _fitting(needed: int, memory: int) -> int:
    """How many evaluations that need so many bytes each fit into the memory."""
    if needed > memory:
        raise InputError(
            f"memory: one evaluation may need {needed / 2**20:,.3g} MiB, but {memory / 2**20:,.3g} MiB are allowed; allow more."
        )
    return min(_LARGEST, memory // needed)


def measured_cost(
    score: Score, t: float, *, memory: int = MEMORY, dtype: torch.dtype = torch.float32, device: str = "cpu"
) -> Cost:
    """The fastest batch within a memory budget, and the seconds that one score takes in it.

    Args:
        score: Any score.
        t: A noise level within its reach.
        memory: Bytes that evaluations may hold.
        dtype: Of the points.
        device: Of the points.

    Raises:
        InputError: If one evaluation alone needs more memory.
    """
    needed = _memory(score, dtype, device)
    largest, best = _fitting(needed, memory), Cost(1, float("inf"), needed)
    with full_precision():
        for batch in sorted({min(size, largest) for size in _TRIED}):
            x = torch.zeros(batch, *score.shape, dtype=dtype, device=device)
            took = min(_timed(score, x, t) for _ in range(2))  # the first also pays for what is set up once
            if took / batch < best.seconds:
                best = Cost(batch, took / batch, best.memory)
            if took > _LONG:
                break
    return best


@torch.no_grad()
def _timed(score: Score, x: Tensor, t: float) -> float:
    start = perf_counter()
    float(score(x, t).sum())  # a device is done when its number is here
    return perf_counter() - start


@torch.no_grad()
def _memory(score: Score, dtype: torch.dtype, device: str) -> int:
    x = torch.zeros(1, *score.shape, dtype=dtype, device=device)
    module = getattr(score, "module", None)
    held = 8 * x.numel() * 4
    if isinstance(module, nn.Module):
        nearest = getattr(score, "nearest", float)
        with _outputs(module) as sizes:
            score(x, nearest(1.0))
        held += sum(sizes)
    return held


@contextmanager
def _outputs(module: nn.Module) -> Iterator[list[int]]:
    """Bytes of every module's output, as they are made."""
    sizes: list[int] = []

    def note(_: nn.Module, __: object, out: object) -> None:
        if isinstance(out, Tensor):
            sizes.append(out.numel() * out.element_size())

    hooks = [part.register_forward_hook(note) for part in module.modules()]
    try:
        yield sizes
    finally:
        for hook in hooks:
            hook.remove()
