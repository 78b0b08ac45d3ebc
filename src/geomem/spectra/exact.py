"""The exact Jacobian's spectrum: in closed form where the score has one, by automatic differentiation otherwise."""

import torch
from jaxtyping import Float
from torch import Tensor

from geomem.errors import InputError
from geomem.scores.base import DensityScore, Score, events
from geomem.spectra.singular import singular_values
from geomem.spectra.spectrum import Spectrum

__all__ = ["differentiated_jacobian", "exact"]


def exact(score: Score, x: Tensor, t: Tensor, *, vectors: bool, batch_size: int) -> Spectrum:
    """Spectrum of J(x, t) itself, for points x (n, *shape) and t (n).

    For a `DensityScore` J is symmetric. So its singular values are |1 - kappa|/t for the survivals kappa, and its singular
    vectors are eigenvectors. No d x d matrix is formed unless vectors are requested.
    """
    if isinstance(score, DensityScore) and not vectors:
        survival = score.survival(x.to(torch.float64), t)
        values = ((1 - survival).abs() / t[..., None]).sort(-1, descending=True).values
        return Spectrum(values, t, "exact", None, survival, survival.shape[-1])
    if isinstance(score, DensityScore):
        j = score.jacobian(x.to(torch.float64), t)
    else:
        parts = zip(x.split(batch_size), t.split(batch_size), strict=True)
        j = torch.cat([differentiated_jacobian(score, *part).to(torch.float64) for part in parts])
        finite(j, t)
    return dense_spectrum(j, t, "exact", None, vectors=vectors)


def differentiated_jacobian(score: Score, x: Tensor, t: Tensor) -> Float[Tensor, "*b d d"]:
    """J (*b, d, d) by reverse-mode differentiation, one output entry of all points at a time.

    Reverse mode is used because forward-mode products fail for fused attention kernels. Points must not influence each
    other, which the `Score` contract guarantees.
    """
    rows, times, batch = events(x, t, score.shape)
    leaf = rows.detach().reshape(rows.shape[0], *score.shape).requires_grad_(True)
    with torch.enable_grad():
        out = score(leaf, times).reshape(rows.shape).sum(0)
        columns = [torch.autograd.grad(entry, leaf, retain_graph=True)[0].reshape(rows.shape) for entry in out]
    return torch.stack(columns, 1).detach().reshape(*batch, rows.shape[1], rows.shape[1])


def finite(values: Tensor, t: Tensor) -> None:
    """Raise an error if a score's values (n, ...) at times t (n) are not finite."""
    fine = torch.isfinite(values).flatten(1).all(1)
    if not bool(fine.all()):
        bad = int(torch.argmin(fine.to(torch.int8)))
        raise InputError(
            f"score: is not finite (NaN or infinity) near t = {float(t[bad]):.3g}; its weights may be damaged, or may have been "
            "outside the range of half precision when they were saved."
        )


def dense_spectrum(j: Tensor, t: Tensor, kind: str, radius: Tensor | None, *, vectors: bool) -> Spectrum:
    """The spectrum of square Jacobians j (*b, d, d) in J units."""
    d = j.shape[-1]
    scaled = t[..., None, None] * (j + j.mT) / 2 + torch.eye(d, dtype=j.dtype, device=j.device)
    survival = torch.linalg.eigvalsh(scaled).flip(-1)
    if not vectors:
        return Spectrum(singular_values(j), t, kind, radius, survival, d)
    v, values, w = torch.linalg.svd(j)
    return Spectrum(values, t, kind, radius, survival, d, left=v.mT, right=w)
