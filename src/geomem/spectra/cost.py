"""Estimated cost of spectra: memory and time of one evaluation, and time of the linear algebra."""

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

# Default memory budget of evaluations, in bytes.
MEMORY = 2**31
# Largest batch: beyond it, evaluation gets no faster.
_LARGEST = 4096
# Number of values in a batch that fit into a CPU's caches, and number of points in a GPU's batch.
_CACHED, _ON_GPU = 2**15, 1024
_FEWEST = 4
# A measurement that takes longer than this, in seconds, is not repeated.
_LONG = 1.0
# Largest matrix whose decomposition is timed; for larger ones the time is extrapolated by the cube of the side.
_SIDE = 384


@dataclass(frozen=True)
class Cost:
    """Cost of evaluating a score.

    Attributes:
        batch: Batch size.
        seconds: Time per score in such a batch.
        memory: Upper bound on the bytes per score in a batch.
    """

    batch: int
    seconds: float
    memory: int


def usual_batch(score: Score, memory: int, *, dtype: torch.dtype = torch.float32, device: str = "cpu") -> int:
    """Batch size that is about the fastest, within `memory` bytes.

    It depends only on the score's shape and the device, not on the load of the machine, because the last bits of a network's
    results depend on the batch size.

    Raises:
        InputError: If not even one evaluation fits.
    """
    d = math.prod(score.shape)
    fast = _ON_GPU if torch.device(device).type == "cuda" else min(_ON_GPU, max(_FEWEST, _CACHED // d))
    return min(fast, batch_within(score, memory, dtype=dtype, device=device))


def batch_within(score: Score, memory: int, *, dtype: torch.dtype = torch.float32, device: str = "cpu") -> int:
    """Number of scores that can be evaluated at once within `memory` bytes, at most 4,096.

    A network is evaluated once at one point, and the sizes of the outputs of all its modules are added. This is an upper
    bound, because an evaluation without gradients frees them earlier.

    Raises:
        InputError: If not even one evaluation fits.
    """
    return _fitting(_memory(score, dtype, device), memory)


def _fitting(needed: int, memory: int) -> int:
    """Number of evaluations that fit into the memory, for the bytes needed by each."""
    if needed > memory:
        raise InputError(
            f"memory: one evaluation may need {needed / 2**20:,.3g} MiB, but the budget is {memory / 2**20:,.3g} MiB; increase it."
        )
    return min(_LARGEST, memory // needed)


def measured_cost(
    score: Score, t: float, *, memory: int = MEMORY, dtype: torch.dtype = torch.float32, device: str = "cpu"
) -> Cost:
    """Batch size within a memory budget, and the measured time per score.

    Args:
        score: Any score.
        t: A noise level within its reach.
        memory: Memory budget of evaluations, in bytes.
        dtype: Dtype of the points.
        device: Device of the points.

    Raises:
        InputError: If one evaluation alone exceeds the budget.
    """
    batch = usual_batch(score, memory, dtype=dtype, device=device)
    x = torch.zeros(batch, *score.shape, dtype=dtype, device=device)
    with full_precision():
        took = _timed(score, x, t)
        if took < _LONG:  # the first call includes one-time setup
            took = min(took, _timed(score, x, t))
    return Cost(batch, took / batch, _memory(score, dtype, device))


def decomposition_seconds(dim: int, *, vectors: bool = False) -> float:
    """Seconds that the decomposition of one Jacobian in `dim` dimensions takes on this machine's CPU."""
    side = min(dim, _SIDE)
    j = torch.randn(1, side, side, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    start = perf_counter()
    dense_spectrum(j, torch.ones(1, dtype=torch.float64), "exact", None, vectors=vectors)
    return (perf_counter() - start) * (dim / side) ** 3


@torch.no_grad()
def _timed(score: Score, x: Tensor, t: float) -> float:
    start = perf_counter()
    float(score(x, t).sum())  # reading the value waits for the device
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
    """Collect the sizes in bytes of all module outputs."""
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
