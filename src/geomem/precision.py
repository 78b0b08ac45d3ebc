"""Precision of arithmetic: float32 at least where spectra are computed, where bfloat16 is fast, one thread for the same bits."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

__all__ = ["full_precision", "multiplies_bf16", "one_thread"]


@contextmanager
def full_precision() -> Iterator[None]:
    """No autocast and no tf32 inside: their eight to eleven bits of mantissa show up as spurious dimensions."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    matmul.allow_tf32 = cudnn.allow_tf32 = False
    try:
        with torch.autocast("cpu", enabled=False), torch.autocast("cuda", enabled=False):
            yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before


def multiplies_bf16(device: torch.device | str) -> bool:
    """Whether a device multiplies matrices in bfloat16 itself; elsewhere it is slower than float32."""
    if torch.device(device).type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    # PyTorch has no public name for it on processors.
    known = (getattr(torch.cpu, f"_is_{name}_supported", None) for name in ("avx512_bf16", "amx_tile"))
    return any(ask is not None and ask() for ask in known)


@contextmanager
def one_thread() -> Iterator[None]:
    """PyTorch on one thread inside the block, so that results do not depend on the number of cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
