r"""Singular values without singular vectors, several times faster than a singular value decomposition.

They are the square roots of the eigenvalues of the smaller of A A^T and A^T A. In float64 such an eigenvalue has an error of
about eps |A|^2, and a singular value s an error of eps |A|^2/2s. Relative to s this is 1e-6 at s = 1e-5 |A|. If the smallest
singular value would be below 1e-6 |A|, a triangular factor, which has the same singular values, is decomposed instead. In
float32 the square would lose all singular values below 3e-4 |A|, so it is never formed there.
"""

from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["singular_values"]

# Smallest singular value, relative to the largest, for which the matrix is squared.
_RANGE = 1e-6
# Ratio of sides above which computing a triangular factor pays.
_TALL = 1.2
# For matrices smaller than this, nothing is gained.
_SMALL = 32
# Number of block columns in which A^T A is computed; the blocks above the diagonal are not needed.
_BLOCKS = 4


def singular_values(a: Float[Tensor, "*b n k"]) -> Float[Tensor, "*b m"]:
    """Singular values (*b, min(n, k)) of matrices, descending, float64.

    Relative errors are a few 1e-16 (s_1/s)^2 if all s > 1e-6 s_1, and otherwise those of an SVD.

    >>> singular_values(torch.tensor([[3.0, 0.0, 0.0], [0.0, 4.0, 0.0]]))
    tensor([4., 3.], dtype=torch.float64)
    """
    a = a.to(torch.float64)
    values: Tensor
    # Rescale, since squares of very large or small numbers would overflow or underflow.
    largest = a.abs().amax((-2, -1), keepdim=True) if a.numel() else torch.ones(1, 1, dtype=a.dtype)
    scale = torch.where(largest > 0, largest, 1.0)
    a = a / scale
    n, k = a.shape[-2:]
    tall = a if n >= k else a.mT
    if min(n, k) < _SMALL:
        values = torch.linalg.svdvals(a) * scale[..., 0]
        return values
    squared = torch.linalg.eigvalsh(_lower(tall)).flip(-1)
    values = squared.clamp_min(0).sqrt()
    narrow = (squared[..., -1] < _RANGE**2 * squared[..., 0]).flatten()
    if not bool(narrow.any()):
        return values * scale[..., 0]
    # One matrix at a time, so that a result does not depend on the rest of the batch.
    flat, out = tall.reshape(-1, *tall.shape[-2:]), values.reshape(-1, values.shape[-1])
    for i in torch.nonzero(narrow).flatten().tolist():
        whole = torch.linalg.qr(flat[i], mode="r").R if flat.shape[-2] > _TALL * flat.shape[-1] else flat[i]
        out[i] = torch.linalg.svdvals(whole)
    values = out.reshape(values.shape) * scale[..., 0]
    return values


def _lower(a: Float[Tensor, "*b n k"]) -> Float[Tensor, "*b k k"]:
    """A^T A on and below the diagonal, the part that eigenvalues are computed from, and 0 in the blocks above."""
    k = a.shape[-1]
    out = torch.zeros(*a.shape[:-2], k, k, dtype=a.dtype, device=a.device)
    ends = [i * k // _BLOCKS for i in range(_BLOCKS + 1)]
    for start, end in pairwise(ends):
        out[..., start:, start:end] = a[..., :, start:].mT @ a[..., :, start:end]
    return out
