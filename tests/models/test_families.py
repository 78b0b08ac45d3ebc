"""Every family of networks: its score is that of diffusers' own pipeline, under conditions, guidance and products."""

import itertools
import shutil
from types import SimpleNamespace

import pytest
import torch
from diffusers import DDIMScheduler, FlowMatchEulerDiscreteScheduler
from torch import nn

from geomem.errors import InputError
from geomem.models import load
from geomem.scores.conditioned import Conditioned
from geomem.spectra.products import products
from laws import deviation, independent_of_batching
from models import edited
from pipelines import KINDS, SIDE, TEXTS, predicted

CONDITIONED = (*TEXTS, "dit")
TOL = 2e-5  # of float32, where a point alone and in a batch are summed in another order


def words_of(kind):
    return ["a cat", "the moon and a dog"] if kind in TEXTS else [3, None] if kind == "dit" else [None]


def points(score, n=2):
    g = torch.Generator().manual_seed(1)
    t = torch.tensor([score.nearest(a) for a in itertools.islice(itertools.cycle((0.5, 2.0)), n)])
    return torch.randn(n, *score.shape, generator=g), t


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


@pytest.fixture(params=CONDITIONED)
def conditioned(request):
    return request.param


@pytest.fixture
def score(kind, made):
    return load(made(kind), size=2 * SIDE, label=3 if kind == "dit" else None)


def by_hand(pipe, kind, score, x, t, words):
    """-eps/sqrt t of the network's prediction, by formulas that are not geomem's."""
    a = ((1 + t) ** -0.5 if score.noise == "vp" else 1 / (1 + t.sqrt()))[:, None, None, None]
    u, root = a * x, t.sqrt()[:, None, None, None]
    step = score.condition(t.double()).float()
    out = predicted(pipe, kind, u, step, words)
    # A flow's network predicts eps - x_0, and u = a x_0 + (1 - a) eps.
    eps = out if score.noise == "vp" else u + a * out
    return -eps / root


def test_prediction_is_that_of_diffusers(kind, score, diffusers_own):
    words = words_of(kind)
    x, t = points(score)
    expected = by_hand(diffusers_own(kind), kind, score, x, t, words)
    assert score.shape == (3 if kind == "ldm" else 4, SIDE, SIDE)
    assert score.takes == ("text" if kind in TEXTS else "class" if kind == "dit" else "nothing")
    with torch.no_grad():
        assert deviation(score.conditioned(words)(x, t), expected, 3) < TOL


def test_steps_are_those_of_the_scheduler(kind, score):
    """At its own noise levels a network is conditioned on whole steps, or on the flow's time."""
    if score.times is None:
        time = torch.tensor([0.25, 0.5], dtype=torch.float64)
        assert torch.allclose(score.condition((time / (1 - time)) ** 2), 1000 * time)
    else:
        levels = torch.tensor(score.times[[0, 17, 999]])
        assert score.condition(levels).tolist() == [0, 17, 999]


@torch.no_grad()
def test_guidance(conditioned, made):
    words = words_of(conditioned)
    score = load(made(conditioned), size=2 * SIDE, label=3 if conditioned == "dit" else None).conditioned(words)
    x, t = points(score)
    alone, without = score(x, t), score.unconditional()(x, t)
    for g in (0.0, 3.0, 7.5):
        assert deviation(score.conditioned(words, g)(x, t), without + g * (alone - without), 3) < 1e-4
    assert score.conditioned(words, 3.0).conditioned(words).guidance == 3.0  # stays
    none = load(made(conditioned), size=2 * SIDE) if conditioned != "dit" else score.conditioned([None])
    assert torch.equal(none.conditioned([None])(x, t), without)


@torch.no_grad()
def test_a_score_may_be_opened_with_its_condition(conditioned, made):
    """load's own words for it."""
    text = conditioned in TEXTS
    word = "a cat" if text else 3
    options = {"prompt": word} if text else {"label": word}
    found = load(made(conditioned), size=2 * SIDE, guidance=2.0, **options)
    x, t = points(found)
    assert torch.equal(found(x, t), found.conditioned([word], 2.0)(x, t))
    assert found.words == (word,)


@torch.no_grad()
def test_conditions_of_points(conditioned, made):
    words = words_of(conditioned)
    score = load(made(conditioned), size=2 * SIDE, label=3 if conditioned == "dit" else None).conditioned(words)
    assert isinstance(score, Conditioned)
    x, t = points(score, 6)
    each = [score.conditioned([words[i // 3]])(x[i], float(t[i])) for i in range(6)]
    expected = torch.stack(each)
    assert deviation(score(x, t), expected, 3) < TOL
    folded = score(x.reshape(2, 3, *score.shape), t.reshape(2, 3))
    assert deviation(folded.reshape(x.shape), expected, 3) < TOL
    second = score.select([1])
    assert deviation(second(x[3:], t[3:]), expected[3:], 3) < TOL
    turned = score.select([1, 0])
    assert deviation(turned(x[[3, 0]], t[[3, 0]]), expected[[3, 0]], 3) < TOL
    one = score.conditioned(words[:1])
    assert one.select([5, 7]) is one
    with pytest.raises(InputError, match=r"^x: has 3 points, but there are conditions for 2\.$"):
        score(x[:3], t[:3])


@torch.no_grad()
def test_batching(score):
    x, t = points(score, 4)
    independent_of_batching(score, x, t, tol=1e-4)


def test_products_are_transposed_to_each_other(kind, made):
    """<J v, w> = <v, J^T w>, in float64, where central differences are right to six digits."""
    label = 3 if kind == "dit" else None
    score = load(made(kind), size=2 * SIDE, label=label, dtype=torch.float64).conditioned(words_of(kind))
    x, t = points(score)
    found = products(score, x.double(), t)
    g = torch.Generator().manual_seed(2)
    v, w = torch.randn(2, 2, x[0].numel(), generator=g, dtype=torch.float64)
    left, right = (found.plain(v) * w).sum(1), (v * found.transposed(w)).sum(1)
    scale = found.plain(v).norm(dim=1) * w.norm(dim=1)
    assert found.transposes
    assert float(((left - right).abs() / scale).max()) < 1e-4


class Gaussian(nn.Module):
    """Predicts without error for data N(0, s^2), in place of a network and in its words.

    The best prediction of eps from u = a x_0 + b eps is b u / (a^2 s^2 + b^2), that of x_0 is a s^2 u / (a^2 s^2 + b^2).
    """

    def __init__(self, network, scheduler, prediction, flux):
        super().__init__()
        self.config, self.s2, self.flux = network.config, 4.0, flux
        self.scheduler, self.prediction, self.time_proj = scheduler, prediction, None
        self.one = nn.Parameter(torch.ones(()))

    def forward(self, x, step=None, *_, timestep=None, **__):
        step = step if timestep is None else timestep
        step = 1000 * step if self.flux else step  # it counts from 0 to 1
        if self.prediction == "velocity":
            a, b = 1 - step / 1000, step / 1000
        else:
            kept = self.scheduler.alphas_cumprod[step.round().long()]
            a, b = kept.sqrt(), (1 - kept).sqrt()
        a, b = (c.reshape(-1, *[1] * (x.ndim - 1)) for c in (a, b))
        total = a**2 * self.s2 + b**2
        eps, clean = b * x / total, a * self.s2 * x / total
        out = {"epsilon": eps, "sample": clean, "v_prediction": a * eps - b * clean, "velocity": eps - clean}
        return SimpleNamespace(sample=out[self.prediction])


@pytest.mark.parametrize("prediction", ["epsilon", "sample", "v_prediction", "velocity"])
def test_exact_prediction_of_a_gaussian(kind, prediction, made, tmp_path):
    """Whatever a network predicts, the score of N(0, s^2) is -x/(s^2 + t)."""
    flow = prediction == "velocity"
    scheduler = FlowMatchEulerDiscreteScheduler() if flow else DDIMScheduler(prediction_type=prediction)
    scheduler.save_pretrained(tmp_path)
    score = load(made(kind), scheduler=tmp_path, size=2 * SIDE, label=3 if kind == "dit" else None)
    core = score.module
    core.network = Gaussian(core.network, scheduler, prediction, kind == "flux")
    score = score.conditioned(words_of(kind))
    x, _ = points(score)
    for level in (0.01, 1.0, 50.0):
        t = torch.full((2,), score.nearest(level))
        with torch.no_grad():
            assert deviation(score(x, t), -x / (4 + t[:, None, None, None]), 3) < 1e-4


def test_prompt_of_a_network_without_texts(made):
    with pytest.raises(InputError, match=r"dit: label, prompt: a model is conditioned on one of them; leave the other"):
        load(made("dit"), label=3, prompt="a cat")
    with pytest.raises(InputError, match=r"dit: is class-conditional; choose the class .*, got a cat, and give data"):
        load(made("dit"), prompt="a cat")
    with pytest.raises(InputError, match=r"dit: prompt: this model is not conditioned on texts; leave the prompt out"):
        load(made("dit"), prompt="3")
    with pytest.raises(InputError, match="ldm: prompt: this model is not conditioned on texts; leave the prompt out"):
        load(made("ldm"), prompt="a cat")


def test_guidance_without_conditions(made):
    with pytest.raises(InputError, match=r"ldm: guidance: this model has no conditions to be guided by"):
        load(made("ldm"), guidance=2.0)


@pytest.mark.parametrize("label", [-1, 10, "cat"])
def test_class_that_is_none(label, made):
    with pytest.raises(InputError, match=rf"class-conditional; .* 0 to 9\), got {label}, and give data"):
        load(made("dit"), label=3).conditioned([label])


def test_pixart_sigma_reads_longer_texts(made, tmp_path):
    """Its pipeline's class says so."""
    shutil.copytree(made("pixart"), tmp_path / "sigma")
    edited(tmp_path / "sigma" / "model_index.json", _class_name="PixArtSigmaPipeline")
    found = load(tmp_path / "sigma", prompt="a cat").values(["a cat"])
    assert found["encoder_hidden_states"].shape[1] == 300
    assert load(made("pixart"), prompt="a cat").values(["a cat"])["encoder_hidden_states"].shape[1] == 120
