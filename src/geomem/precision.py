"""Precision and threads: float32 at least for spectra, a test for fast bfloat16, and one thread for reproducible bits."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

__all__ = ["full_precision", "multiplies_bf16", "one_thread"]


@contextmanager
def full_precision() -> Iterator[None]:
    """Disable autocast and tf32 inside the block: their 8 to 11 bits of mantissa would cause spurious dimensions."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    matmul.allow_tf32 = cudnn.allow_tf32 = False
    try:
        with torch.autocast("cpu", enabled=False), torch.autocast("cuda", enabled=False):
            yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before


def multiplies_bf16(device: torch.device | str) -> bool:
    """Whether a device has hardware support for bfloat16 matrix products; elsewhere they are slower than float32."""
    if torch.device(device).type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    # PyTorch has no public function for CPUs.
    known = (getattr(torch.cpu, f"_is_{name}_supported", None) for name in ("avx512_bf16", "amx_tile"))
    return any(ask is not None and ask() for ask in known)


@contextmanager
def one_thread() -> Iterator[None]:
    """Run PyTorch on one thread inside the block, so that results do not depend on the number of cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
