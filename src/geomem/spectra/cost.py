"""What spectra cost, known before they are computed: memory and time of one evaluation, and of the linear algebra."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter

import torch
from torch import Tensor, nn

from geomem.errors import InputError
from geomem.precision import full_precision
from geomem.scores.base import Score
from geomem.spectra.exact import dense_spectrum

__all__ = ["MEMORY", "Cost", "batch_within", "decomposition_seconds", "measured_cost", "usual_batch"]

# Bytes that evaluations may hold at once where nothing else is asked for.
MEMORY = 2**31
# Most scores evaluated at once: beyond, nothing is gained by more.
_LARGEST = 4096
# Values of the points in a batch that a processor's caches hold, and points in a batch of a GPU.
_CACHED, _ON_GPU = 2**15, 1024
_FEWEST = 4
# Seconds after which a measurement is not repeated.
_LONG = 1.0
# Largest matrix whose decomposition is timed; larger ones take longer by the cube of their side.
_SIDE = 384


@dataclass(frozen=True)
class Cost:
    """Of evaluating a score.

    Attributes:
        batch: Scores evaluated at once.
        seconds: Of one score in such a batch.
        memory: Bytes that one score in a batch needs at most.
    """

    batch: int
    seconds: float
    memory: int


def usual_batch(score: Score, memory: int, *, dtype: torch.dtype = torch.float32, device: str = "cpu") -> int:
    """How many scores to evaluate at once: about what is fastest, within `memory` bytes.

    It depends on the score's shape and the device alone, not on how busy the machine is: last bits of a network's results
    depend on the batch.

    Raises:
        InputError: If not even one fits.
    """
    d = math.prod(score.shape)
    fast = _ON_GPU if torch.device(device).type == "cuda" else min(_ON_GPU, max(_FEWEST, _CACHED // d))
    return min(fast, batch_within(score, memory, dtype=dtype, device=device))


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
    """The usual batch within a memory budget, and the seconds that one score takes in it.

    Args:
        score: Any score.
        t: A noise level within its reach.
        memory: Bytes that evaluations may hold.
        dtype: Of the points.
        device: Of the points.

    Raises:
        InputError: If one evaluation alone needs more memory.
    """
    batch = usual_batch(score, memory, dtype=dtype, device=device)
    x = torch.zeros(batch, *score.shape, dtype=dtype, device=device)
    with full_precision():
        took = _timed(score, x, t)
        if took < _LONG:  # the first also pays for what is set up once
            took = min(took, _timed(score, x, t))
    return Cost(batch, took / batch, _memory(score, dtype, device))


def decomposition_seconds(dim: int, *, vectors: bool = False) -> float:
    """Seconds that the spectrum of one Jacobian in `dim` dimensions takes once it is known, on this machine's processor."""
    side = min(dim, _SIDE)
    j = torch.randn(1, side, side, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    start = perf_counter()
    dense_spectrum(j, torch.ones(1, dtype=torch.float64), "exact", None, vectors=vectors)
    return (perf_counter() - start) * (dim / side) ** 3


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
