r"""Singular values without singular vectors, several times faster than a singular value decomposition.

They are the roots of the eigenvalues of the smaller of A A^T and A^T A. In float64 each such eigenvalue is off by about
eps |A|^2, so a singular value s by eps |A|^2/2s: relative to s that is 1e-6 at s = 1e-5 |A|. Where the smallest would be below
1e-6 |A| the matrix is not squared: a triangular factor, of the same singular values, is decomposed instead. In float32 the
square would lose everything below 3e-4 |A|, so it is never formed there.
"""

from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["singular_values"]

# Smallest singular value, relative to the largest, for which the matrix is squared.
_RANGE = 1e-6
# Ratio of sides from which a triangular factor pays.
_TALL = 1.2
# Matrices smaller than this gain nothing.
_SMALL = 32
# Columns of blocks in which A^T A is made: what is above them is never asked for.
_BLOCKS = 4


def singular_values(a: Float[Tensor, "*b n k"]) -> Float[Tensor, "*b m"]:
    """Singular values (*b, min(n, k)) of matrices, descending, float64.

    Relative errors are a few 1e-16 (s_1/s)^2 for s > 1e-6 s_1, and those of an SVD where any s is smaller.

    >>> singular_values(torch.tensor([[3.0, 0.0, 0.0], [0.0, 4.0, 0.0]]))
    tensor([4., 3.], dtype=torch.float64)
    """
    a = a.to(torch.float64)
    values: Tensor
    # Squares of very large or small numbers would not be numbers any more.
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
    # Matrices are taken one by one, so that a result does not depend on the others of its batch.
    flat, out = tall.reshape(-1, *tall.shape[-2:]), values.reshape(-1, values.shape[-1])
    for i in torch.nonzero(narrow).flatten().tolist():
        whole = torch.linalg.qr(flat[i], mode="r").R if flat.shape[-2] > _TALL * flat.shape[-1] else flat[i]
        out[i] = torch.linalg.svdvals(whole)
    values = out.reshape(values.shape) * scale[..., 0]
    return values


def _lower(a: Float[Tensor, "*b n k"]) -> Float[Tensor, "*b k k"]:
    """A^T A on and below the diagonal, which is what eigenvalues are computed from, and 0 in the blocks above."""
    k = a.shape[-1]
    out = torch.zeros(*a.shape[:-2], k, k, dtype=a.dtype, device=a.device)
    ends = [i * k // _BLOCKS for i in range(_BLOCKS + 1)]
    for start, end in pairwise(ends):
        out[..., start:, start:end] = a[..., :, start:].mT @ a[..., :, start:end]
    return out
