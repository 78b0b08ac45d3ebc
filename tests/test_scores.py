"""Every score obeys the laws of scores; and what each alone must do."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import laws
from geomem.errors import InputError
from geomem.manifolds import random_rotation
from geomem.noise import NOISE_KINDS, coefficients, ddpm_step, ddpm_times
from geomem.scores import PREDICTIONS, DensityScore, EmpiricalScore, GaussianScore, NetworkScore, Score
from geomem.training import ResidualMLP

VARIANCES = torch.tensor([1.0, 0.5, 0.3, 0.02, 0.0, 0.0], dtype=torch.float64)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def rotation(seed: int) -> Tensor:
    return random_rotation(6, generator=seeded(seed))


def gaussian(*, rotated: bool = False, mean: bool = False, shape: tuple[int, ...] = (6,), turn: Tensor | None = None):
    """A Gaussian score; `turn` rotates its data, whatever else it has."""
    u = rotation(1) if rotated else torch.eye(6, dtype=torch.float64)
    centre = torch.randn(6, generator=seeded(2), dtype=torch.float64) * 2 if mean else torch.zeros(6)
    if turn is not None:
        u, centre = turn @ u, turn @ centre.double()
    if rotated or turn is not None:
        return GaussianScore(VARIANCES, basis=u, mean=centre.reshape(shape))
    return GaussianScore(VARIANCES, mean=centre.reshape(shape) if mean else None, shape=shape)


def empirical(*, shape: tuple[int, ...] = (6,), turn: Tensor | None = None) -> EmpiricalScore:
    y = torch.randn(40, 6, generator=seeded(3), dtype=torch.float64) * VARIANCES.sqrt()
    y = y if turn is None else y @ turn.T
    return EmpiricalScore(y.reshape(40, *shape))


def closed_form(dtype: torch.dtype, prediction: str, noise: str, turn: Tensor | None = None) -> NetworkScore:
    truth = gaussian(rotated=True, mean=True, turn=turn)
    return NetworkScore(laws.ExactDenoiser(truth, prediction, noise, dtype), (6,), prediction=prediction, noise=noise)


def mlp(dtype: torch.dtype, prediction: str) -> NetworkScore:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        return NetworkScore(ResidualMLP(6, hidden=16, prediction=prediction, sigma_data=0.5).to(dtype), (6,))


class Stepped(nn.Module):
    """A diffusers network, conditioned on DDPM's step."""

    def __init__(self, unet: nn.Module) -> None:
        super().__init__()
        self.unet, self.times = unet, ddpm_times()

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return self.unet(x, torch.as_tensor(ddpm_step(t.cpu(), self.times)).to(t)).sample


def unet(dtype: torch.dtype) -> NetworkScore:
    from diffusers import UNet2DModel

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        network = UNet2DModel(
            sample_size=8,
            in_channels=1,
            out_channels=1,
            layers_per_block=1,
            block_out_channels=(8, 8),
            down_block_types=("DownBlock2D", "AttnDownBlock2D"),
            up_block_types=("AttnUpBlock2D", "UpBlock2D"),
            norm_num_groups=4,
            attention_head_dim=4,
        )
    return NetworkScore(Stepped(network.to(dtype).eval()), (1, 8, 8), noise="vp")


@dataclass(frozen=True)
class Case:
    """An implementation: how to make one with weights of a dtype, and one whose data are rotated."""

    name: str
    make: Callable[[torch.dtype], Score]
    turned: Callable[[Tensor], Score] | None = None
    network: bool = False

    def points(self, score: Score) -> tuple[Tensor, Tensor]:
        """Four points and times, from where a posterior is narrow to where it is wide."""
        t = torch.tensor([0.003, 0.05, 0.4, 6.0], dtype=torch.float64)
        x = torch.randn(4, math.prod(score.shape), generator=seeded(6), dtype=torch.float64)
        return ((0.3 + t).sqrt()[:, None] * x).reshape(4, *score.shape), t


CASES = [
    Case("gaussian-axes", lambda _: gaussian(), lambda u: gaussian(turn=u)),
    Case("gaussian-rotated", lambda _: gaussian(rotated=True), lambda u: gaussian(rotated=True, turn=u)),
    Case("gaussian-mean", lambda _: gaussian(mean=True), lambda u: gaussian(mean=True, turn=u)),
    Case(
        "gaussian-images",
        lambda _: gaussian(rotated=True, mean=True, shape=(2, 3)),
        lambda u: gaussian(rotated=True, mean=True, shape=(2, 3), turn=u),
    ),
    Case("empirical", lambda _: empirical(), lambda u: empirical(turn=u)),
    Case("empirical-images", lambda _: empirical(shape=(2, 3)), lambda u: empirical(shape=(2, 3), turn=u)),
    *(
        Case(
            f"network-{prediction}-{noise}",
            lambda dtype, p=prediction, n=noise: closed_form(dtype, p, n),
            lambda u, p=prediction, n=noise: closed_form(torch.float64, p, n, u),
            network=True,
        )
        for prediction, noise in [("noise", "ve"), ("denoised", "vp"), ("v", "vp"), ("velocity", "flow")]
    ),
    Case("mlp-preconditioned", lambda dtype: mlp(dtype, "preconditioned"), network=True),
    Case("mlp-noise", lambda dtype: mlp(dtype, "noise"), network=True),
    Case("unet", unet, network=True),
]
every = pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
densities = pytest.mark.parametrize("case", [c for c in CASES if not c.network], ids=lambda c: c.name)
turnable = pytest.mark.parametrize("case", [c for c in CASES if c.turned], ids=lambda c: c.name)


@every
@torch.no_grad()
def test_independent_of_batching(case):
    score = case.make(torch.float64)
    laws.independent_of_batching(score, *case.points(score), tol=1e-12)


@pytest.mark.parametrize(
    ("case", "weights"),
    [(c, w) for c in CASES for w in ((torch.float32, torch.float64) if c.network else (torch.float64,))],
    ids=lambda v: v.name if isinstance(v, Case) else str(v).removeprefix("torch."),
)
@torch.no_grad()
def test_dtype_and_device_kept(case, weights):
    score = case.make(weights)
    laws.dtype_and_device_kept(score, *case.points(score), tol=1e-6)


@densities
def test_score_is_gradient_of_log_density(case):
    score = case.make(torch.float64)
    assert isinstance(score, DensityScore)
    laws.gradient_of_log_density(score, *case.points(score))


@every
def test_jacobian_is_derivative_of_score(case):
    score = case.make(torch.float64)
    laws.jacobian_derives_score(score, *case.points(score))


@densities
def test_survival_is_spectrum_of_jacobian(case):
    score = case.make(torch.float64)
    laws.survival_of_jacobian(score, *case.points(score))


@turnable
def test_rotation_equivariance(case):
    score, u = case.make(torch.float64), rotation(7)
    laws.rotates(score, case.turned(u), u, *case.points(score), tol=1e-11)


@pytest.mark.parametrize(("dtype", "tol"), [(torch.float64, 1e-10), (torch.float32, 1e-5)], ids=["float64", "float32"])
def test_parametrisations_agree_at_matched_time(dtype, tol):
    truth = gaussian(rotated=True, mean=True)
    # In float32 a clean point subtracted from a noisy one keeps |x|/sqrt t fewer digits: t is of order 1 there.
    t = torch.tensor([0.5, 2.0, 8.0] if dtype == torch.float32 else [0.003, 0.5, 50.0], dtype=torch.float64)
    x = truth.mean + (VARIANCES.max() + t).sqrt()[:, None] * torch.randn(3, 6, generator=seeded(8), dtype=torch.float64)
    scores = {f"{p} {n}": closed_form(dtype, p, n) for p in PREDICTIONS for n in NOISE_KINDS}
    assert len(scores) == 15
    laws.same_in_every_parametrisation(scores, truth, x, t, tol)


@pytest.mark.parametrize(
    ("first", "second", "t"),
    [
        (torch.tensor([0.0, 0.0]), torch.tensor([3.0, 4.0]), 0.5),
        (torch.linspace(-1, 1, 64).reshape(8, 8), torch.linspace(1, -1, 64).reshape(8, 8), 0.01),
        (torch.full((12,), 100.0), torch.arange(12.0) + 100, 1e-4),
    ],
    ids=["plane", "images", "far-from-origin"],
)
def test_midpoint_of_two_samples_has_a_survival_above_one(first, second, t):
    laws.midpoint_survival(first.double(), second.double(), t)


def test_empirical_score_converges_to_the_exact_one():
    """Root mean squared error falls as N^-1/2: the slope in logarithms, within 4 standard errors over data sets."""
    truth, t, repeats = gaussian(rotated=True, mean=True), 0.5, 24
    z = torch.randn(20, 6, generator=seeded(9), dtype=torch.float64)
    x = truth.mean + z * 0.7
    sizes, slopes = [500, 1000, 2000, 4000, 8000], []
    for r in range(repeats):
        g = seeded(100 + r)
        data = truth.mean + (torch.randn(8000, 6, generator=g, dtype=torch.float64) * VARIANCES.sqrt()) @ truth.basis.T
        errors = [(EmpiricalScore(data[:n])(x, t) - truth(x, t)).square().mean().sqrt().log() for n in sizes]
        slopes.append(np.polyfit(np.log(sizes), errors, 1)[0])
    error = np.std(slopes, ddof=1) / math.sqrt(repeats)
    assert error < 0.03
    assert abs(np.mean(slopes) + 0.5) < 4 * error


def test_gaussian_fit_is_the_plug_in(generator):
    data = torch.randn(50, 2, 2, generator=generator, dtype=torch.float64)
    data[:, 1, 1] = 3.0
    score = GaussianScore.fit(data)
    rows = data.reshape(50, 4)
    assert score.shape == (2, 2)
    assert torch.allclose(score.mean, rows.mean(0))
    u, s = score.basis, score.variances
    assert torch.allclose(u @ torch.diag(s) @ u.T, torch.cov(rows.T, correction=0), atol=1e-14)
    assert torch.all(s.diff() <= 0)
    assert float(s[-1]) == 0  # not 1e-17: a direction without variance stays exact
    few = GaussianScore.fit(torch.randn(3, 10, generator=generator))
    assert int((few.variances > 0).sum()) == 2
    with pytest.raises(InputError, match="data: a covariance needs at least 2 samples, got 1"):
        GaussianScore.fit(torch.zeros(1, 3))


def test_gaussian_keeps_directions_of_zero_and_tiny_variance():
    """The score is right to rounding across 30 orders of magnitude of variance and time."""
    s = torch.tensor([1e-20, 1.0, 1e10, 0.0], dtype=torch.float64)
    for t in (1e-30, 1e-10, 1e5):
        x = torch.ones(4, dtype=torch.float64)
        assert torch.allclose(GaussianScore(s)(x, t), -1 / (s + t), rtol=1e-15)
        expected = (s / (s + t)).sort(descending=True).values
        assert torch.allclose(GaussianScore(s).survival(x, t), expected, rtol=1e-15)


@pytest.mark.parametrize("noise", NOISE_KINDS)
@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_noise_is_read_from_every_prediction(prediction, noise):
    """x' = a y + b eps, from the definitions of v and velocity."""
    a, b = coefficients(0.7, noise)
    y, eps = torch.tensor([1.0, -2.0]).double(), torch.tensor([0.3, 0.4]).double()
    out = {"noise": eps, "denoised": y, "v": a * eps - b * y, "velocity": eps - y, "score": -eps / b}[prediction]
    assert torch.allclose(PREDICTIONS[prediction](out, a * y + b * eps, a, b), eps, rtol=1e-14)


def test_published_readings_of_v_and_velocity():
    """Variance-preserving: eps = a v + b x; flow matching at tau: eps = x + (1 - tau) v."""
    x, v = torch.tensor([1.0, -2.0]).double(), torch.tensor([0.3, 0.4]).double()
    a, b = coefficients(0.7, "vp")
    assert torch.allclose(PREDICTIONS["v"](v, x, a, b), a * v + b * x, rtol=1e-14)
    a, tau = coefficients(0.7, "flow")
    assert torch.allclose(PREDICTIONS["velocity"](v, x, a, tau), x + (1 - tau) * v, rtol=1e-14)


def test_network_sees_its_own_parametrisation():
    """The module gets x' = a x and the variance-exploding t of every row, in its own dtype; the point is Tweedie's."""
    seen = {}

    class Recorder(nn.Linear):
        def forward(self, x, t):
            seen.update(x=x, t=t)
            return torch.ones_like(x)

    score = NetworkScore(Recorder(3, 3), (3,), prediction="denoised", noise="vp")
    x, t = torch.arange(6.0, dtype=torch.float64).reshape(2, 3), torch.tensor([3.0, 8.0], dtype=torch.float64)
    with torch.no_grad():
        out, point = score(x, t), score.denoised(x, t)
    assert seen["x"].dtype == seen["t"].dtype == torch.float32
    assert torch.equal(seen["t"], t.float())
    assert torch.allclose(seen["x"].double(), x / torch.tensor([[2.0], [3.0]]), rtol=1e-6)
    assert torch.allclose(out, (1 - x) / t[:, None], rtol=1e-6)
    assert torch.allclose(point, torch.ones_like(x), rtol=1e-6)


def test_gradients_flow_to_weights():
    score = mlp(torch.float32, "preconditioned")
    score(torch.ones(2, 6), 0.1).square().sum().backward()
    assert all(p.grad is not None and bool(torch.isfinite(p.grad).all()) for p in score.module.parameters())


def test_which_scores_have_a_density():
    assert isinstance(gaussian(), DensityScore)
    assert isinstance(empirical(), DensityScore)
    assert isinstance(mlp(torch.float32, "noise"), Score)
    assert not isinstance(mlp(torch.float32, "noise"), DensityScore)


@pytest.mark.parametrize("t", [0.0, -1.0, math.nan, math.inf, torch.tensor([1.0, 0.0])], ids=str)
@every
def test_wrong_times_are_refused(case, t):
    score = case.make(torch.float32)
    with pytest.raises(InputError, match=r"t: must be finite and above 0"):
        score(torch.zeros(2, *score.shape), t)


@every
def test_points_and_times_that_do_not_fit_are_refused(case):
    score = case.make(torch.float32)
    with pytest.raises(InputError, match=r"x: has shape .*, but this score takes \(\.\.\., "):
        score(torch.zeros(2, *score.shape, 5), 1.0)
    with pytest.raises(InputError, match=r"x: has shape \(\)"):
        score(torch.tensor(1.0), 1.0)
    with pytest.raises(InputError, match=r"t: has shape \(3,\), which does not fit x's batch \(2,\)"):
        score(torch.zeros(2, *score.shape), torch.ones(3))
    with pytest.raises(InputError, match=r"x: has dtype torch\.int64"):
        score(torch.zeros(2, *score.shape, dtype=torch.int64), 1.0)


@pytest.mark.parametrize("case", [c for c in CASES if c.name != "unet"], ids=lambda c: c.name)
def test_an_empty_batch_gives_an_empty_result(case):
    score = case.make(torch.float32)
    assert score(torch.zeros(0, *score.shape), 1.0).shape == (0, *score.shape)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"variances": torch.tensor([1.0, -1.0])}, "variances: must be a vector of finite numbers"),
        ({"variances": torch.ones(2, 2)}, "variances: must be a vector"),
        ({"variances": torch.ones(4), "shape": (2, 3)}, r"shape: \(2, 3\) does not hold the 4 entries"),
        ({"variances": torch.ones(4), "mean": torch.ones(3)}, r"shape: \(3,\) does not hold the 4 entries"),
        ({"variances": torch.ones(4), "mean": torch.ones(3), "shape": (4,)}, "mean: has 3 entries, variances 4"),
        ({"variances": torch.ones(2), "basis": torch.ones(2, 2)}, "basis: must be an orthogonal matrix of 2 x 2"),
    ],
)
def test_gaussians_that_make_no_sense_are_refused(arguments, message, unchecked):
    with pytest.raises(InputError, match=message):
        GaussianScore(**arguments)


def test_network_options_and_outputs_are_checked():
    with pytest.raises(InputError, match="prediction: 'x0' is not known; choose one of noise, denoised, v, velocity"):
        NetworkScore(nn.Identity(), (3,), prediction="x0")
    with pytest.raises(InputError, match="noise: 'edm' is not known; choose one of ve, vp, flow"):
        NetworkScore(nn.Identity(), (3,), noise="edm")

    class Wrong(nn.Module):
        def __init__(self, out):
            super().__init__()
            self.out = out

        def forward(self, x, t):
            return self.out

    for out, found in ((torch.zeros(2, 4), r"\(2, 4\)"), ({"sample": 1}, "dict")):
        with pytest.raises(InputError, match=rf"module: returned {found} for events of shape \(3,\)"):
            NetworkScore(Wrong(out), (3,))(torch.zeros(2, 3), 1.0)
