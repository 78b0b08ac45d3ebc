"""Every scheduler's process: an exact network in diffusers' own words gives the exact score at matched t.

The networks here see what diffusers would show them and find the noise level with diffusers' own scheduler; nothing of
geomem's conversions is used.
"""

import copy
import functools
import importlib
import json
import math
import sys
from types import ModuleType, SimpleNamespace

import diffusers
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from geomem.errors import InputError
from geomem.manifolds import random_rotation
from geomem.models import SCHEDULERS, load, pipelines
from geomem.models.schedules import schedule
from geomem.noise import CONDITIONS, t_from_flow
from geomem.scores import GaussianScore, NetworkScore
from geomem.spectra import differentiated_jacobian, spectrum
from laws import deviation

SHAPE = (1, 2, 3)
VARIANCES = torch.tensor([1.0, 0.5, 0.3, 0.02, 0.0, 0.0], dtype=torch.float64)
# What diffusers' schedulers ask of numpy 2.
pytestmark = pytest.mark.filterwarnings("ignore:__array_:DeprecationWarning")
FLOWS = ("DEISMultistep", "DPMSolverMultistep", "DPMSolverSinglestep", "SASolver", "UniPCMultistep")


def truth(mean=1.0):
    g = torch.Generator().manual_seed(1)
    centre = mean * torch.randn(SHAPE, generator=g, dtype=torch.float64)
    return GaussianScore(VARIANCES, basis=random_rotation(6, generator=g), mean=centre)


def points(t, mean=1.0, seed=2):
    g = torch.Generator().manual_seed(seed)
    noise = torch.randn(len(t), *SHAPE, generator=g, dtype=torch.float64)
    return truth(mean).mean.reshape(SHAPE) + (1 + t).sqrt()[:, None, None, None] * noise


def scheduler_class(name):
    """The class, also of those that diffusers shows only with torchsde or no longer at its top."""
    if name == "KarrasVeScheduler":
        return importlib.import_module("diffusers.schedulers.deprecated.scheduling_karras_ve").KarrasVeScheduler
    module = {
        "DPMSolverSDEScheduler": "dpmsolver_sde",
        "CosineDPMSolverMultistepScheduler": "cosine_dpmsolver_multistep",
    }
    if name not in module:
        return getattr(diffusers, name)
    with pytest.MonkeyPatch.context() as patch:
        if importlib.util.find_spec("torchsde") is None:
            patch.setitem(sys.modules, "torchsde", ModuleType("torchsde"))
        return getattr(importlib.import_module(f"diffusers.schedulers.scheduling_{module[name]}"), name)


@functools.cache
def made(name, options):
    return scheduler_class(name)(**json.loads(options))


def scheduler_of(name, options):
    """A scheduler of its own for each test, set up once: some of them take long."""
    return copy.deepcopy(made(name, json.dumps(options)))


def variance_preserving(scheduler, denoised, x, step):
    bar = torch.cumprod(1 - scheduler.betas.double(), 0)
    log_t = torch.log((1 - bar) / bar)
    before = step.floor().long().clamp(max=len(log_t) - 1)
    share = step - before
    after = torch.where(share > 0, before + 1, before)
    t = torch.exp(torch.where(share > 0, (1 - share) * log_t[before] + share * log_t[after], log_t[before]))
    a, b = (1 / (1 + t)).sqrt()[:, None, None, None], (t / (1 + t)).sqrt()[:, None, None, None]
    clean = denoised(x / a, b / a)
    eps = (x - a * clean) / b
    return {"epsilon": eps, "sample": clean, "v_prediction": a * eps - b * clean}[scheduler.config.prediction_type]


def continuous(scheduler, denoised, x, told):
    """Euler's continuous v-prediction, told ln(sigma)/4."""
    sigma = torch.exp(4 * told)[:, None, None, None]
    a = (sigma**2 + 1) ** -0.5
    clean = denoised(x / a, sigma)
    return a * (x / a - clean) / sigma - a * sigma * clean


def preconditioned(scheduler, denoised, x, told):
    """F of D = c_skip x + c_out F, the coefficients read off diffusers' own functions."""
    if "Cosine" in type(scheduler).__name__:
        sigma = torch.tan(told * torch.pi / 2)[:, None, None, None]
    else:
        sigma = torch.exp(4 * told)[:, None, None, None]
    x = x / scheduler.precondition_inputs(torch.ones_like(x), sigma)
    one, none = torch.ones_like(x), torch.zeros_like(x)
    skipped = scheduler.precondition_outputs(x, none, sigma)
    return (denoised(x, sigma) - skipped) / scheduler.precondition_outputs(none, one, sigma)


def variance_exploding(scheduler, denoised, x, sigma):
    """The gradient of the log density of images in [0, 1]."""
    sigma = sigma[:, None, None, None]
    clean = (denoised(2 * x - 1, 2 * sigma) + 1) / 2
    return (clean - x) / sigma**2


def flow(scheduler, denoised, x, timestep):
    tau = (timestep / scheduler.config.num_train_timesteps)[:, None, None, None]
    clean = denoised(x / (1 - tau), tau / (1 - tau))
    eps = (x - (1 - tau) * clean) / tau
    kind = scheduler.config.get("prediction_type", "flow_prediction")
    return {"flow_prediction": eps - clean, "epsilon": eps, "sample": clean}[kind]


class Exact(nn.Module):
    """In place of a UNet2DModel: answers without error, computing in float64 whatever its dtype."""

    def __init__(self, words, scheduler, gaussian, dtype):
        super().__init__()
        self.one = nn.Parameter(torch.ones((), dtype=dtype))
        self.config = SimpleNamespace(
            sample_size=SHAPE[1:], in_channels=1, out_channels=1, class_embed_type=None, num_class_embeds=None
        )
        self.time_proj, self.class_embedding = nn.Identity(), None
        self.words, self.scheduler = words, scheduler
        self.mean = gaussian.mean.reshape(-1)
        self.covariance = gaussian.basis @ torch.diag(gaussian.variances) @ gaussian.basis.T

    def denoised(self, x, sigma):
        total = self.covariance + (sigma**2).reshape(-1, 1, 1) * torch.eye(6, dtype=torch.float64)
        whitened = torch.linalg.solve(total, x.flatten(1) - self.mean)
        return (self.mean + whitened @ self.covariance).reshape(x.shape)

    def forward(self, x, timestep, class_labels=None):
        assert x.dtype == timestep.dtype == self.one.dtype
        self.seen = x.detach(), timestep
        out = self.words(self.scheduler, self.denoised, x.double(), timestep.double())
        return SimpleNamespace(sample=self.one * out.to(x.dtype))


@pytest.fixture
def opened(tmp_path, monkeypatch):
    """Opens the exact network of a scheduler by `load`."""

    def open_(scheduler, words, *, dtype=torch.float64, gaussian=None):
        module = Exact(words, scheduler, gaussian or truth(), dtype)
        (tmp_path / "config.json").write_text(json.dumps({"_class_name": "UNet2DModel"}))
        save_file({"one": torch.ones(1)}, tmp_path / "diffusion_pytorch_model.safetensors")
        scheduler.save_pretrained(tmp_path)
        monkeypatch.setattr(diffusers, type(scheduler).__name__, type(scheduler))
        monkeypatch.setattr(pipelines, "_read", lambda *asked: module)
        return load(tmp_path, dtype=dtype), module

    return open_


def cases():
    """(scheduler, options, words) of every scheduler and every prediction that it has."""
    for full in SCHEDULERS:
        name = full.removesuffix("Scheduler")
        if name.startswith("FlowMatch"):
            yield full, {}, flow
            yield full, {"shift": 3.0, "num_train_timesteps": 400}, flow
        elif name in ("ScoreSdeVe", "KarrasVe"):
            yield full, {}, variance_exploding
        elif "EDM" in name or "Cosine" in name:
            yield full, {"prediction_type": "epsilon"}, preconditioned
            yield full, {"prediction_type": "v_prediction"}, preconditioned
        else:
            kinds = ("epsilon", "v_prediction") if name == "PNDM" else ("epsilon", "sample", "v_prediction")
            for kind in kinds:
                yield full, {"prediction_type": kind}, variance_preserving
            if name in FLOWS:
                yield full, {"prediction_type": "flow_prediction", "use_flow_sigmas": True}, flow
    for beta_schedule in ("scaled_linear", "squaredcos_cap_v2", "sigmoid"):
        yield "DDPMScheduler", {"beta_schedule": beta_schedule}, variance_preserving
    yield "DDPMScheduler", {"trained_betas": [0.001, 0.01, 0.05, 0.3], "num_train_timesteps": 4}, variance_preserving
    yield "EDMEulerScheduler", {"sigma_data": 1.3, "sigma_min": 0.01, "sigma_max": 10.0}, preconditioned
    yield "ScoreSdeVeScheduler", {"sigma_min": 0.05, "sigma_max": 50.0}, variance_exploding
    for name in ("DDPMScheduler", "DDIMScheduler", "EulerDiscreteScheduler"):
        options = {"rescale_betas_zero_snr": True, "prediction_type": "v_prediction"}
        yield name, options, variance_preserving
    yield "EulerDiscreteScheduler", {"timestep_type": "continuous", "prediction_type": "v_prediction"}, continuous
    yield "EulerDiscreteScheduler", {"timestep_type": "continuous", "prediction_type": "epsilon"}, variance_preserving
    # A flow's points, whatever the network says of them.
    yield "DPMSolverMultistepScheduler", {"prediction_type": "epsilon", "use_flow_sigmas": True}, flow


CASES = [pytest.param(*c, id="-".join([c[0].removesuffix("Scheduler"), *map(str, c[1].values())])) for c in cases()]
every = pytest.mark.parametrize(("name", "options", "words"), CASES)


def levels(score):
    """Ends of the reach, t between steps and, where there are steps, some of them."""
    t = np.geomspace(*score.reach, 9)
    if score.times is not None:
        n = len(score.times)
        t = np.concatenate([t, score.times[[0, 1, n // 2, n - 1]]])
    return torch.as_tensor(t)


@every
@torch.no_grad()
def test_exact_network_gives_the_exact_score(name, options, words, opened):
    score, _ = opened(scheduler_of(name, options), words)
    assert score.shape == SHAPE
    t = levels(score)
    x = points(t)
    assert deviation(score(x, t), truth()(x, t), 3) <= 1e-5


@every
@torch.no_grad()
def test_exact_network_in_float32(name, options, words, opened):
    score, _ = opened(scheduler_of(name, options), words, dtype=torch.float32)
    t = torch.tensor([0.5, 2.0, 8.0], dtype=torch.float64).clamp(*score.reach)
    x = points(t)
    assert deviation(score(x, t), truth()(x, t), 3) <= 1e-5


def mixed(scheduler, clean, noise):
    """(what the network is told, what it is shown) as the scheduler mixes a clean point and noise, at two steps."""
    if isinstance(scheduler, diffusers.ScoreSdeVeScheduler):
        for k in (5, 900):
            yield scheduler.discrete_sigmas[k], scheduler.add_noise(clean, noise, torch.tensor([k]))
        return
    scheduler.set_timesteps(20 if scheduler.config.num_train_timesteps > 20 else 4)
    # Schedulers of second order also list the steps half-way, which add_noise does not know: every other one is whole.
    for step in scheduler.timesteps[[2, len(scheduler.timesteps) // 4 * 2]]:
        scheduler._step_index = None
        if hasattr(scheduler, "scale_noise"):
            yield step, scheduler.scale_noise(clean, step[None], noise)
            continue
        made = scheduler.add_noise(clean, noise, step[None])
        flows = scheduler.config.get("use_flow_sigmas")
        yield step, made if flows else scheduler.scale_model_input(made, step)


@every
@torch.no_grad()
def test_network_sees_the_points_that_diffusers_makes(name, options, words, opened):
    """A clean point and noise, mixed by the scheduler and by geomem at the same t: the network sees and hears the same."""
    scheduler = scheduler_of(name, options)
    if name in ("KarrasVeScheduler", "DDIMInverseScheduler"):
        pytest.skip("this scheduler adds no noise")
    if name == "SASolverScheduler" and words is flow:
        pytest.skip("its add_noise leaves flows out")
    score, module = opened(scheduler, words)
    g = torch.Generator().manual_seed(3)
    clean, noise = torch.randn(2, 1, *SHAPE, generator=g, dtype=torch.float64)
    slope, offset = (0.5, 0.5) if words is variance_exploding else (1.0, 0.0)
    base = slope * clean + offset
    for told, shown in mixed(scheduler, base, noise):
        terms = torch.stack([base.flatten(), noise.flatten()], 1)
        a, b = torch.linalg.lstsq(terms, shown.double().flatten()).solution.tolist()
        t = (b / a / slope) ** 2
        score(clean + t**0.5 * noise, t)
        seen, heard = module.seen
        assert deviation(seen, shown) <= 1e-6
        # Solvers of flows round steps down for the network.
        rounding = 1 if words is flow and not told.is_floating_point() else 1e-3
        assert float(heard) == pytest.approx(float(told), rel=1e-5, abs=rounding)


@torch.no_grad()
def test_same_jacobian_in_every_process(opened):
    """Singular values and survival of one Gaussian, however its network was trained."""
    t = torch.tensor([0.1, 1.0, 30.0], dtype=torch.float64)
    x = points(t)
    j = truth().jacobian(x, t)
    for name, options, words in (
        ("DDPMScheduler", {"prediction_type": "v_prediction"}, variance_preserving),
        ("DDIMScheduler", {"prediction_type": "epsilon"}, variance_preserving),
        ("ScoreSdeVeScheduler", {}, variance_exploding),
        ("EDMEulerScheduler", {}, preconditioned),
        ("FlowMatchEulerDiscreteScheduler", {}, flow),
    ):
        score, _ = opened(scheduler_of(name, options), words)
        for probe in (None, "exact"):
            found = spectrum(score, x, t, probe=probe)
            assert deviation(found.values, torch.linalg.svdvals(j), 1) <= 1e-5, name
            assert torch.allclose(found.survival, truth().survival(x, t), rtol=0, atol=1e-5), name
        assert deviation(differentiated_jacobian(score, x, t), j, 2) <= 1e-5, name


@pytest.mark.parametrize("name", ["DDPMScheduler", "DDIMScheduler"])
@torch.no_grad()
def test_never_clipped(name, opened):
    """Far outside [-1, 1] the scheduler clips what it denoises; the score does not."""
    far = truth(mean=50.0)
    t = torch.tensor([0.2, 1.0, 4.0], dtype=torch.float64)
    x = points(t, mean=50.0)
    for options in ({"clip_sample": True}, {"clip_sample": False, "thresholding": True}):
        scheduler = scheduler_class(name)(**options)
        score, module = opened(scheduler, variance_preserving, gaussian=far)
        assert deviation(score(x, t), far(x, t), 3) <= 1e-5
        assert float(score.denoised(x, t).abs().max()) > 20
        score(x[:1], float(t[0]))
        scheduler.set_timesteps(1000)
        step, shown = int(module.seen[1].round()), module.seen[0]
        clipped = scheduler.step(module(shown, module.seen[1]).sample, step, shown).pred_original_sample
        assert float(clipped.abs().max()) <= 1


@torch.no_grad()
def test_interpolated_between_steps(opened):
    score, module = opened(scheduler_class("DDPMScheduler")(), variance_preserving)
    x = points(torch.ones(1, dtype=torch.float64))
    k = 500
    below, at, above = score.times[k - 1 : k + 2]
    t = torch.as_tensor([at * (1 - 1e-9), at, at * (1 + 1e-9)])
    left, here, right = score(x.expand(3, *SHAPE), t)
    assert deviation(left, here) < 1e-7
    assert deviation(right, here) < 1e-7
    for ends, step in (((below, at), k - 0.5), ((at, above), k + 0.5)):
        middle = float(np.sqrt(np.prod(ends)))
        assert deviation(score(x, middle), truth()(x, middle)) <= 1e-9
        assert float(module.seen[1]) == pytest.approx(step, abs=1e-9)


@pytest.mark.parametrize("t", [1e-5, 3e4, [1.0, 3e4]])
def test_outside_the_schedule_is_refused(t, opened):
    score, _ = opened(scheduler_class("DDPMScheduler")(), variance_preserving)
    x = points(torch.ones(2, dtype=torch.float64))
    with pytest.raises(InputError, match=r"^t: lies between .* but this network was trained from 0\.00010001 to 24777"):
        score(x, torch.as_tensor(t))


def test_ends_may_carry_the_rounding_of_float32(opened):
    score, module = opened(scheduler_class("DDPMScheduler")(), variance_preserving)
    for k in (0, 999):
        score(points(torch.ones(1, dtype=torch.float64)), float(np.float32(score.times[k])))
        assert float(module.seen[1]) == pytest.approx(k, abs=1e-3)


def test_nearest(opened):
    score, _ = opened(scheduler_class("DDPMScheduler")(), variance_preserving)
    times = score.times
    assert score.nearest(times[7]) == times[7]
    assert score.nearest(float(np.sqrt(times[7] * times[8]) * 0.999)) == times[7]
    assert score.nearest(float(np.sqrt(times[7] * times[8]) * 1.001)) == times[8]
    assert score.nearest(1e-9) == times[0]
    assert score.nearest(1e9) == times[-1]
    every_level, _ = opened(scheduler_class("EDMEulerScheduler")(), preconditioned)
    assert [every_level.nearest(t) for t in (1e-9, 0.123, 1e9)] == pytest.approx([0.002**2, 0.123, 6400.0])


def told(name, embedding="positional", **options):
    config = {"_class_name": name, **options}
    return schedule(config, embedding, "place/scheduler_config.json")


def test_learned_steps_are_whole():
    found = told("DDPMScheduler", "learned")
    at = found.condition(torch.as_tensor(found.times[[0, 7, 999]]))
    assert at.tolist() == [0, 7, 999]
    with pytest.raises(InputError, match=r"t: lies between two steps.*learned time embedding.*nearest"):
        found.condition(torch.tensor([float(np.sqrt(found.times[7] * found.times[8]))], dtype=torch.float64))


def test_no_signal_is_no_level():
    """With zero terminal signal the last step's t is infinite; the others stay, and keep their numbers."""
    found = told("DDPMScheduler", rescale_betas_zero_snr=True)
    assert len(found.times) == 999
    assert np.isfinite(found.times).all()
    assert found.condition(torch.as_tensor(found.times[[0, 500, 998]])).tolist() == [0, 500, 998]


PLACE = r"^place/scheduler_config\.json: "


@pytest.mark.parametrize(
    ("name", "embedding", "options", "message"),
    [
        (
            "NoSuchScheduler",
            "positional",
            {},
            "NoSuchScheduler cannot be read .*supported are DDPMScheduler.*Give the one",
        ),
        ("LCMScheduler", "positional", {}, "no score: its network maps noise to samples in one step"),
        ("CMStochasticIterativeScheduler", "positional", {}, "no score: its network maps noise"),
        (
            "DDPMScheduler",
            "positional",
            {"prediction_type": "x0"},
            "prediction_type 'x0' is not known; choose one of epsilon",
        ),
        ("EDMEulerScheduler", "positional", {"prediction_type": "sample"}, "'sample' does not fit EDM"),
        ("DDPMScheduler", "fourier", {}, "does not fit the network.*fourier.*Give the scheduler"),
        ("EDMEulerScheduler", "fourier", {}, "does not fit the network.*fourier.*Give the scheduler"),
        (
            "FlowMatchEulerDiscreteScheduler",
            "learned",
            {},
            "does not fit the network, which is defined only at whole steps",
        ),
        ("FlowMatchEulerDiscreteScheduler", "positional", {"invert_sigmas": True}, "invert_sigmas"),
        ("FlowMatchEulerDiscreteScheduler", "positional", {"num_train_timesteps": 1}, "num_train_timesteps must be at"),
        ("EDMEulerScheduler", "positional", {"sigma_min": 90.0}, "needs 0 < sigma_min < sigma_max"),
        ("ScoreSdeVeScheduler", "fourier", {"sigma_min": 0.0}, "needs 0 < sigma_min < sigma_max"),
        ("DDPMScheduler", "positional", {"beta_schedule": "exotic"}, "DDPMScheduler cannot be set up.*exotic"),
        ("DDPMScheduler", "positional", {"trained_betas": [0.1, -0.2, 0.3]}, "betas must be at least two numbers"),
        ("DDPMScheduler", "positional", {"trained_betas": [0.1, 1.5, 0.3]}, "betas must be at least two numbers"),
        ("DDPMScheduler", "positional", {"trained_betas": [0.1]}, "betas must be at least two numbers"),
        ("DDPMScheduler", "positional", {"trained_betas": []}, "betas"),
        ("DDPMScheduler", "positional", {"trained_betas": [[0.1, 0.2], [0.1, 0.2]]}, "betas"),
        ("DDPMScheduler", "positional", {"num_train_timesteps": "many"}, "DDPMScheduler cannot be set up"),
        ("DDPMScheduler", "positional", {"num_train_timesteps": 0}, "betas|cannot be set up"),
        (
            "DDPMScheduler",
            "positional",
            {"num_train_timesteps": 10**9},
            "num_train_timesteps must be at most 1,000,000",
        ),
        ("DDPMScheduler", "positional", {"num_train_timesteps": 10**400}, "num_train_timesteps must be at most 1,000"),
        ("DDPMScheduler", "positional", {"num_train_timesteps": math.inf}, "num_train_timesteps must be at most 1,000"),
        ("DDPMScheduler", "positional", {"num_train_timesteps": [9]}, "DDPMScheduler cannot be set up"),
        ("DDPMScheduler", "positional", {"beta_start": {}}, "DDPMScheduler cannot be set up"),
        ("FlowMatchHeunDiscreteScheduler", "positional", {"num_train_timesteps": 10**9}, "must be at most 1,000,000"),
        ("FlowMatchEulerDiscreteScheduler", "positional", {"num_train_timesteps": []}, "must be a number below"),
        ("EDMEulerScheduler", "positional", {"sigma_max": 10**400}, "sigma_max must be a number below 1e.15, got 1000"),
        (
            "EDMEulerScheduler",
            "positional",
            {"sigma_data": math.nan},
            "sigma_data must be a number below 1e.15, got nan",
        ),
        ("EDMEulerScheduler", "positional", {"predict_epsilon": False}, "'sample' does not fit EDM"),
        (["DDPMScheduler"], "positional", {}, "scheduler .*DDPMScheduler.* cannot be read as a noise process"),
        ("x" * 10_000, "positional", {}, r"the scheduler x{60} \.\.\. cannot be read as a noise process"),
        ("EDMEulerScheduler", "positional", {"sigma_min": None}, "sigma_min"),
        ("EDMEulerScheduler", "positional", {"sigma_data": "half"}, "sigma_data"),
        ("ScoreSdeVeScheduler", "fourier", {"sigma_max": "large"}, "sigma_max"),
        ("FlowMatchEulerDiscreteScheduler", "positional", {"num_train_timesteps": None}, "num_train_timesteps"),
    ],
)
def test_wrong_schedulers_are_refused(name, embedding, options, message):
    with pytest.raises(InputError, match=PLACE + ".*" + message):
        told(name, embedding, **options)


def test_what_belongs_to_sampling_is_not_set_up():
    """A solver's order would make it take memory."""
    assert told("DPMSolverMultistepScheduler", solver_order=10**12, algorithm_type=[1]).times.size == 1000


def test_fourier_networks_take_sigma():
    found = told("ScoreSdeVeScheduler", "fourier")
    assert found.condition(torch.tensor([9.0])).tolist() == [3.0]
    assert found.reach == pytest.approx((0.02**2, 2696.0**2))


def test_conditions():
    """What networks are told, in their authors' words."""
    sigma = torch.tensor([0.01, 0.7, 30.0], dtype=torch.float64)
    t = sigma**2
    assert torch.equal(CONDITIONS["t"](t), t)
    assert torch.allclose(CONDITIONS["sigma"](t), sigma, rtol=1e-12)
    assert torch.allclose(CONDITIONS["log-sigma"](t), sigma.log() / 4, rtol=1e-12)
    assert torch.allclose(t_from_flow(CONDITIONS["flow"](t)), t, rtol=1e-12)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"condition": "step"}, "condition: 'step' is not known; choose one of t, sigma, log-sigma, flow"),
        ({"scale": (0.0, 0.5)}, "scale: its slope must be above 0, got 0"),
        ({"prediction": "x0"}, "prediction: 'x0' is not known"),
        ({"noise": "edm"}, "noise: 'edm' is not known"),
    ],
)
def test_wrong_networks_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        NetworkScore(nn.Identity(), (2,), **options)
