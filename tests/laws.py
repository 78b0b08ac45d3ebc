"""Laws of scores, probes and estimators, as plain functions that assert; test modules apply them to implementations.

Errors are relative: the norm of the difference over the norm of the expected tensor, the worst event of a batch.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from geomem.noise import coefficients
from geomem.scores import DensityScore, EmpiricalScore, GaussianScore, Score
from geomem.spectra import differentiated_jacobian, spectrum

# Step of central differences, in units of sqrt t, the scale on which every score varies: their own error is its square,
# the error by rounding eps divided by it.
STEP = 1e-4
DIFFERENCES = 2e-7


def deviation(actual: Tensor, expected: Tensor, events: int = 0) -> float:
    """Worst relative error over events, which the last `events` axes hold (0: the whole tensor is one)."""
    assert actual.shape == expected.shape, f"{tuple(actual.shape)} instead of {tuple(expected.shape)}"
    a, b = actual.detach().double(), expected.detach().double()
    dims = tuple(range(-events, 0)) if events else tuple(range(a.ndim))
    error, size = (a - b).square().sum(dims).sqrt(), b.square().sum(dims).sqrt()
    assert bool(torch.isfinite(size).all()), "the expected tensor is not finite"
    return float(torch.where(error == 0, 0.0, error / size).max())


def central_differences(f: Callable[[Tensor], Tensor], x: Tensor, t: Tensor, events: int) -> Tensor:
    """Derivatives (n, *out, d) of f (n, *shape) -> (n, *out) at every x, float64."""
    n, d = x.shape[0], math.prod(x.shape[x.ndim - events :])
    h = STEP * t.sqrt()
    columns = []
    for j in range(d):
        shift = torch.zeros(n, d, dtype=x.dtype)
        shift[:, j] = h
        ahead, behind = x + shift.reshape(x.shape), x - shift.reshape(x.shape)
        rise = f(ahead) - f(behind)
        columns.append(rise / (2 * h).reshape(n, *[1] * (rise.ndim - 1)))
    return torch.stack(columns, -1)


def readings(score: Score) -> dict[str, tuple[Callable[[Tensor, Tensor | float], Tensor], int]]:
    """Everything that an implementation computes from (x, t), with the number of axes of an event in its result."""
    out = {"score": (score.__call__, len(score.shape))}
    for name, axes in (("log_density", 0), ("effective_samples", 0), ("jacobian", 2), ("survival", 1), ("weights", 1)):
        if hasattr(score, name):
            out[name] = (getattr(score, name), axes)
    if hasattr(score, "denoised"):
        out["denoised"] = (score.denoised, len(score.shape))
    return out


def independent_of_batching(score: Score, x: Tensor, t: Tensor, *, tol: float) -> None:
    """What comes out for a point does not depend on which others are asked for with it, nor in which order."""
    n = x.shape[0]
    assert n % 2 == 0
    assert len(set(t.tolist())) > 1
    for name, (f, axes) in readings(score).items():
        whole = f(x, t)
        rest = whole.shape[1:]
        assert deviation(torch.stack([f(x[i], float(t[i])) for i in range(n)]), whole, axes) <= tol, f"{name}: alone"
        assert deviation(f(x.flip(0), t.flip(0)).flip(0), whole, axes) <= tol, f"{name}: reversed"
        folded = f(x.reshape(2, n // 2, *score.shape), t.reshape(2, n // 2))
        assert folded.shape == (2, n // 2, *rest), name
        assert deviation(folded.reshape(n, *rest), whole, axes) <= tol, f"{name}: folded"
        assert deviation(f(x, t[0]), f(x, t[:1].expand(n)), axes) <= tol, f"{name}: one time for all"


def dtype_and_device_kept(score: Score, x: Tensor, t: Tensor, *, tol: float) -> None:
    """Results have the dtype and device of x, and those in float32 are right to float32's precision."""
    assert x.dtype == torch.float64
    for name, (f, axes) in readings(score).items():
        low = f(x.float(), t)
        assert low.dtype == torch.float32, name
        assert low.device == x.device, name
        high = f(x.float().double(), t)
        assert high.dtype == torch.float64, name
        assert deviation(low, high, axes) <= tol, name


def gradient_of_log_density(score: DensityScore, x: Tensor, t: Tensor) -> None:
    found = central_differences(lambda y: score.log_density(y, t), x, t, len(score.shape)).reshape(x.shape)
    assert deviation(score(x, t), found, len(score.shape)) <= DIFFERENCES


def jacobian_derives_score(score: Score, x: Tensor, t: Tensor) -> None:
    n, events = x.shape[0], len(score.shape)
    with torch.no_grad():
        found = central_differences(lambda y: score(y, t).reshape(n, -1), x, t, events)
    given = score.jacobian(x, t) if isinstance(score, DensityScore) else differentiated_jacobian(score, x, t)
    assert deviation(given, found, 2) <= DIFFERENCES


def survival_of_jacobian(score: DensityScore, x: Tensor, t: Tensor) -> None:
    """Survivals are the eigenvalues of I + t J, descending; survivals are of order 1, so the error is absolute."""
    j = score.jacobian(x, t)
    expected = torch.linalg.eigvalsh(torch.eye(j.shape[-1], dtype=j.dtype) + t[:, None, None] * (j + j.mT) / 2).flip(-1)
    assert torch.allclose(score.survival(x, t), expected, rtol=1e-11, atol=1e-11)


def rotates(score: Score, rotated: Score, u: Tensor, x: Tensor, t: Tensor, *, tol: float) -> None:
    """The score of rotated data at a rotated point is the rotated score; its spectrum is the same."""
    n = x.shape[0]
    turned = (x.reshape(n, -1) @ u.T).reshape(x.shape)
    expected = (score(x, t).reshape(n, -1) @ u.T).reshape(x.shape)
    assert deviation(rotated(turned, t), expected, len(score.shape)) <= tol
    if isinstance(score, DensityScore) and isinstance(rotated, DensityScore):
        assert deviation(rotated.log_density(turned, t), score.log_density(x, t)) <= tol
        assert deviation(rotated.jacobian(turned, t), u @ score.jacobian(x, t) @ u.T, 2) <= tol
        assert deviation(rotated.survival(turned, t), score.survival(x, t), 1) <= tol


def probe_is_exact_on_linear_score(probe: str, score: Score, truth: GaussianScore, x: Tensor, t: Tensor) -> None:
    """Singular values and survivals of a constant Jacobian, for probes that do not smear."""
    found = spectrum(score, x, t, probe=probe)
    j = truth.jacobian(x, t)
    assert deviation(found.values, torch.linalg.svdvals(j), 1) <= 1e-8
    survival_of_linear_score(probe, score, truth, x, t)


def survival_of_linear_score(probe: str, score: Score, truth: GaussianScore, x: Tensor, t: Tensor) -> None:
    found = spectrum(score, x, t, probe=probe)
    assert found.survival is not None
    assert torch.allclose(found.survival, truth.survival(x, t), rtol=0, atol=1e-8)


def gaussian_probes_smear(probe: str, score: GaussianScore, x: Tensor, t: float, *, outlier: float) -> None:
    """Normal values of K = 4d Gaussian scores fill 1 +- sqrt((d-m)/K), in units of 1/t, and nothing wider.

    The edges of such a matrix fluctuate by Tracy and Widom's law, of standard deviation 1.27 in units of
    (sqrt K + sqrt p)(1/sqrt K + 1/sqrt p)^{1/3} for its squared largest singular value, p = d - m; four of these are
    allowed. The tangent directions must be narrow (s >> t) and few. `outlier` is the expected largest value above
    the edge, 0 for none.
    """
    d, m = score.variances.numel(), int((score.variances > 0).sum())
    k, p = 4 * d, d - m
    high, low = 1 + math.sqrt(p / k), 1 - math.sqrt(p / k)
    root_k, root_p = math.sqrt(k), math.sqrt(p)
    margin = 4 * 1.27 * (1 / root_k + 1 / root_p) ** (1 / 3) / (2 * root_k)
    values = spectrum(score, x, t, probe=probe).values * t
    if outlier:
        assert abs(float(values[0]) / outlier - 1) < 0.02
        values = values[1:]
        p -= 1
    assert abs(float(values[0]) - high) < margin
    assert abs(float(values[p - 1]) - low) < margin
    assert float(values[p]) < low / 10


def midpoint_survival(first: Tensor, second: Tensor, t: float) -> None:
    """Half-way between two samples the posterior has two modes: one survival of |y1 - y2|^2/4t > 1, the others 0."""
    score = EmpiricalScore(torch.stack([first, second]))
    x = (first + second) / 2
    expected = float((first - second).square().sum()) / (4 * t)
    assert expected > 1
    d = first.numel()
    axis = (first - second).reshape(-1)
    projector = torch.outer(axis, axis) / axis.square().sum()
    whole = torch.eye(d, dtype=first.dtype) + t * score.jacobian(x, t)
    # The midpoint itself is rounded, which shifts the two weights by about eps |x| |y1 - y2| / t.
    tol = 1e-10
    assert deviation(whole, expected * projector) <= tol * max(1, float(x.norm() * axis.norm()) / t * 1e-5)
    for found in (score.survival(x, t), spectrum(score, x, t).survival):
        assert abs(float(found[0]) / expected - 1) <= tol
        assert float(found[1:].abs().max()) <= tol * expected
    narrow = spectrum(score, x, t, probe="orthonormal", radius=1e-4 * t / float(axis.norm()))
    assert abs(float(narrow.survival[0]) / expected - 1) <= 1e-5


def same_in_every_parametrisation(scores: dict[str, Score], truth: GaussianScore, x: Tensor, t: Tensor, tol: float):
    """Networks that know the same truth in different words give the same score and Jacobian at matched t."""
    expected, slope = truth(x, t), truth.jacobian(x, t)
    for name, score in scores.items():
        assert deviation(score(x, t), expected, 1) <= tol, name
        assert deviation(differentiated_jacobian(score, x, t), slope, 2) <= tol, name


class ExactDenoiser(nn.Module):
    """A module that predicts without error for Gaussian data, in any parametrisation and words.

    Its one parameter, a factor of 1, gives it a dtype and makes it trainable like any network.
    """

    def __init__(self, truth: GaussianScore, prediction: str, noise: str, dtype: torch.dtype) -> None:
        super().__init__()
        self.one = nn.Parameter(torch.ones((), dtype=dtype))
        self.prediction, self.noise = prediction, noise
        self.s, self.mean = truth.variances.to(dtype), truth.mean.to(dtype)
        self.basis = torch.eye(self.s.numel(), dtype=dtype) if truth.basis is None else truth.basis.to(dtype)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        assert x.dtype == t.dtype == self.one.dtype
        a, b = (c[:, None] for c in coefficients(t, self.noise))
        z = (x.flatten(1) / a - self.mean) @ self.basis
        eps = (t.sqrt()[:, None] * z / (self.s + t[:, None])) @ self.basis.T
        clean = self.mean + (self.s * z / (self.s + t[:, None])) @ self.basis.T
        words = {"noise": eps, "denoised": clean, "v": a * eps - b * clean, "velocity": eps - clean, "score": -eps / b}
        return self.one * words[self.prediction].reshape(x.shape)
