"""The two noise processes in closed form, the loss's minimiser, what one step does, and steps shared by processes."""

import copy
import math
import os
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from scipy.stats import chisquare, kstest
from torch import nn

from geomem.data import load as load_images
from geomem.errors import InputError, TrainingError
from geomem.models import load
from geomem.training.denoising import ImageObjective, batch_loss, pipeline
from geomem.training.images import shape_of, stored, tensor_of
from geomem.training.loop import Training, steps
from geomem.training.noise_processes import NOISE_PROCESSES, VarianceExploding, VariancePreserving
from geomem.training.presets import PRESETS, TrainSettings
from geomem.training.unet import NETWORKS
from models import TRAINING

# One fixed seed a test: a right sampler fails one of these in a million.
LEVEL = 1e-6
SHAPE = (1, 4, 4)
ABAR = np.cumprod(1 - np.linspace(1e-4, 2e-2, 1000))
SETTINGS = replace(TRAINING, steps=6)
IMAGES = torch.rand(12, *SHAPE, generator=torch.Generator().manual_seed(0)) * 2 - 1


def asked(**changes):
    return replace(SETTINGS, **changes)


def stepped(state, images=IMAGES, count=None):
    """The steps that a state takes, all or some."""
    stepper = steps(state, ImageObjective(state, images, Accelerator()))
    return list(stepper) if count is None else [next(stepper) for _ in range(count)]


def content(state):
    """All that a step changes, by name, copied."""
    out = {}
    for (name, p), mean in zip(state.network.named_parameters(), state.average.shadow_params, strict=True):
        out |= {f"weights/{name}": p.detach().clone(), f"average/{name}": mean.clone()}
        out |= {f"{k}/{name}": v.clone() for k, v in state.optimizer.state.get(p, {}).items()}
    return out


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


class Output(nn.Module):
    """A network made of a function."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x, told):
        return SimpleNamespace(sample=self.function(x, told))


def across(values):
    return values.reshape(-1, 1, 1, 1)


# --- the processes ---


def test_ddpm_noises_as_ho_et_al_do(generator):
    """x' = sqrt(abar_k) y + sqrt(1 - abar_k) eps, at the step floor(1000 u)."""
    y, eps = torch.randn(2, 1000, *SHAPE, generator=generator)
    u = (torch.arange(1000, dtype=torch.float64) + 0.5) / 1000
    seen, told = VariancePreserving(SHAPE).noised(y, eps, u)
    assert told.tolist() == list(range(1000))
    abar = across(torch.from_numpy(ABAR))
    expected = abar.sqrt() * y.double() + (1 - abar).sqrt() * eps.double()
    assert torch.allclose(seen.double(), expected, rtol=1e-5, atol=1e-5)


def test_ddpm_s_steps_are_all_alike():
    u = (torch.arange(50_000, dtype=torch.float64) + 0.5) / 50_000
    y = torch.zeros(50_000, 1, 1, 1)
    _, told = VariancePreserving((1, 1, 1)).noised(y, y, u)
    assert torch.bincount(told).tolist() == [50] * 1000
    ends = torch.tensor([0.0, 1 - 2**-53], dtype=torch.float64)
    assert VariancePreserving((1, 1, 1)).noised(y[:2], y[:2], ends)[1].tolist() == [0, 999]


@pytest.mark.parametrize(("side", "top"), [(8, 50.0), (32, 50.0), (64, 90.0)])
def test_the_exploding_process_adds_noise_on_0_to_1(generator, side, top):
    """x' = (y + 1)/2 + sigma eps, ln sigma even between its ends."""
    shape = (1, side, side)
    y, eps = torch.randn(2, 3, *shape, generator=generator)
    seen, told = VarianceExploding(shape).noised(y, eps, torch.tensor([0.0, 0.5, 1 - 2**-53], dtype=torch.float64))
    assert told.tolist() == pytest.approx([0.01, math.sqrt(0.01 * top), top], rel=1e-6)
    assert told.dtype == seen.dtype == torch.float32
    expected = (y.double() + 1) / 2 + across(told).double() * eps.double()
    assert torch.allclose(seen.double(), expected, rtol=1e-6, atol=1e-6)


def test_a_step_s_noise_levels_and_images_are_even():
    """Levels uniform in k or ln sigma, noise standard normal, images each as often, by the draws of one large batch."""
    images = torch.arange(10.0).reshape(10, 1, 1, 1)
    seen = []

    class Watched(VariancePreserving):
        def noised(self, clean, noise, u):
            seen.append((clean, noise, u))
            return super().noised(clean, noise, u)

    network = Output(lambda x, told: torch.zeros_like(x))
    for step in (0, 1):
        batch_loss(network, Watched((1, 1, 1)), images, batch_size=20_000, seed=0, step=step)
    clean, noise, u = seen[0]
    assert chisquare(torch.bincount(clean.flatten().long(), minlength=10).numpy()).pvalue > LEVEL
    assert kstest(u.numpy(), "uniform").pvalue > LEVEL
    assert kstest(noise.flatten().numpy(), "norm").pvalue > LEVEL
    # Neither does one decide another, nor this step the next.
    table = torch.stack(
        [clean.flatten().double(), noise.flatten().double(), u, *(s.flatten().double() for s in seen[1])]
    )
    correlation = torch.corrcoef(table) - torch.eye(6, dtype=torch.float64)
    assert float(correlation.abs().max()) < 5 / math.sqrt(20_000)


def truth(kind, image):
    """The network that knows the one image there is, and so the noise behind what it sees."""

    def ddpm(x, step):
        abar = across(torch.from_numpy(ABAR)[step])
        return ((x.double() - abar.sqrt() * image) / (1 - abar).sqrt()).float()

    def exploding(x, sigma):
        return -(x - (image + 1) / 2) / across(sigma) ** 2

    return {"vp": ddpm, "ve": exploding}[kind]


@pytest.mark.parametrize("kind", NOISE_PROCESSES)
def test_the_loss_of_the_truth_is_nothing_and_of_an_offset_its_square(kind):
    """One image: |F - eps|^2 = 0 and |sigma F + eps|^2 = 0, to float32's rounding; F + c costs c^2 and (sigma c)^2."""
    image, process, told = IMAGES[:1], NOISE_PROCESSES[kind](SHAPE), []
    exact = truth(kind, image)

    def lost(function):
        def watched(x, level):
            told.append(level)
            return function(x, level)

        return batch_loss(Output(watched), process, image, batch_size=256, seed=0, step=0)

    assert float(lost(exact).max()) < 1e-8
    weight = told[-1].square() if kind == "ve" else torch.ones(256)
    off = lost(lambda x, level: exact(x, level) + 0.1)
    assert torch.allclose(off, 0.01 * weight, rtol=0.02, atol=1e-6)
    # A network that says nothing is off by the noise itself, mean square 1 with variance 2 over 256 x 16 entries.
    nothing = lost(lambda x, level: torch.zeros_like(x))
    assert nothing.shape == (256,)
    assert abs(float(nothing.mean()) - 1) < 5 * math.sqrt(2 / (256 * 16))


@pytest.mark.parametrize("kind", NOISE_PROCESSES)
def test_parts_of_a_batch_are_the_batch(kind):
    """Each of several processes takes a slice; together they have the losses of one that takes all."""
    process = NOISE_PROCESSES[kind](SHAPE)
    network = Output(lambda x, told: x.square() * across(told.float()).rsqrt().clamp(max=1))
    options = {"batch_size": 12, "seed": 5, "step": 7}
    whole = batch_loss(network, process, IMAGES, **options)
    assert whole.unique().numel() == 12
    for world in (2, 3, 12):
        share = 12 // world
        parts = [
            batch_loss(network, process, IMAGES, **options, part=slice(r * share, (r + 1) * share))
            for r in range(world)
        ]
        assert torch.equal(torch.cat(parts), whole)
    assert not torch.isin(batch_loss(network, process, IMAGES, **options | {"step": 8}), whole).any()
    assert not torch.isin(batch_loss(network, process, IMAGES, **options | {"seed": 6}), whole).any()


def test_bytes_are_kept_and_read_as_the_data_set_reads_them(tmp_path):
    """Channels first, a quarter of the memory, and the losses of the same images in float32."""
    values = np.random.default_rng(0).integers(0, 256, (20, 6, 4, 3), dtype=np.uint8)
    np.save(tmp_path / "images.npy", values)
    data, rows = load_images(tmp_path / "images.npy"), np.array([3, 0, 19])
    shape = shape_of(data)
    held, floats = stored(data, rows, shape), tensor_of(data, rows, shape)
    assert shape == (3, 6, 4)
    assert (held.dtype, floats.dtype) == (torch.uint8, torch.float32)
    assert np.array_equal(held.numpy(), values[rows].transpose(0, 3, 1, 2))
    assert np.allclose(floats.numpy(), held.numpy() / 127.5 - 1, rtol=0, atol=1e-6)
    network = Output(lambda x, told: x)
    for process in (VariancePreserving(shape), VarianceExploding(shape)):
        exact, found = (batch_loss(network, process, x, batch_size=50, seed=0, step=0) for x in (floats, held))
        assert torch.allclose(found, exact, rtol=1e-5)
    assert stored(load_images("digits"), rows, (1, 8, 8)).dtype == torch.float32


# --- one step ---


def test_a_step_is_adam_on_the_mean_loss_with_the_gradient_clipped():
    """Adam's first step moves every weight by the rate, against the sign of its gradient: -r g/(|g| + 1e-8)."""
    state = Training(asked(warmup=0))
    with torch.no_grad():  # far from the truth, so that the gradient is long
        state.network.last[1].bias.fill_(30.0)
    reference = copy.deepcopy(state.network)
    loss = batch_loss(reference, VariancePreserving(SHAPE), IMAGES, batch_size=8, seed=3, step=0).mean()
    loss.backward()
    length = math.sqrt(sum(float(p.grad.double().square().sum()) for p in reference.parameters()))
    (step,) = stepped(state, count=1)
    assert (step.step, state.step, step.learning_rate) == (1, 1, 1e-3)
    assert step.loss == pytest.approx(loss.item(), rel=1e-6)
    assert step.gradient == pytest.approx(length, rel=1e-5)
    assert length > 10
    for (name, p), before in zip(state.network.named_parameters(), reference.parameters(), strict=True):
        clipped = before.grad / length
        assert torch.allclose(p.grad, clipped, rtol=1e-3, atol=1e-7), name
        expected = before - 1e-3 * clipped / (clipped.abs() + 1e-8)
        assert torch.allclose(p, expected, rtol=1e-5, atol=1e-6), name


def test_short_gradients_are_not_made_longer():
    state = Training(asked(warmup=0))
    with torch.no_grad():
        for p in state.network.last.parameters():
            p.mul_(1e-3)
    seen = stepped(state, IMAGES * 0, count=5)
    found = math.sqrt(sum(float(p.grad.double().square().sum()) for p in state.network.parameters()))
    assert found == pytest.approx(min(1.0, seen[-1].gradient), rel=1e-4)
    assert seen[-1].gradient < 1


def test_the_rate_grows_over_the_warm_up_and_stays():
    seen = stepped(Training(asked(steps=6, warmup=4)))
    assert [s.step for s in seen] == list(range(1, 7))
    assert [s.learning_rate for s in seen] == pytest.approx([2.5e-4, 5e-4, 7.5e-4, 1e-3, 1e-3, 1e-3])


def test_the_average_follows_the_weights():
    """Decay (1 + n)/(10 + n) after n steps, at most the one asked for; from the first weights that were trained."""
    state = Training(asked(ema_decay=0.3, steps=12, learning_rate=1e-2))
    mean = None
    for n, _ in enumerate(steps(state, ImageObjective(state, IMAGES, Accelerator()))):
        weights = [p.detach().clone() for p in state.network.parameters()]
        decay = min(0.3, (1 + n) / (10 + n))
        mean = weights if mean is None else [decay * m + (1 - decay) * w for m, w in zip(mean, weights, strict=True)]
        for found, m in zip(state.average.shadow_params, mean, strict=True):
            assert torch.allclose(found, m, rtol=1e-5, atol=1e-6)
    assert not torch.allclose(mean[-1], weights[-1], atol=1e-6)


def test_the_pipeline_holds_the_average():
    state = Training(asked(noise_process="ve"))
    stepped(state)
    before = content(state)
    held = list(pipeline(state).unet.parameters())
    assert all(torch.equal(a, b) for a, b in zip(held, state.average.shadow_params, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(held, state.network.parameters(), strict=True))
    with torch.no_grad():
        held[-1].add_(1)
    assert same(before, content(state))


@torch.random.fork_rng(devices=[])
def test_global_generators_are_left_alone():
    """And decide nothing; seeds do."""
    found = []
    for world, seed in ((1, 3), (2, 3), (1, 4)):
        torch.manual_seed(world)
        before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002 - the one to check
        state = Training(asked(seed=seed, noise_process="ve"))
        stepped(state)
        pipeline(state)
        assert torch.equal(before, torch.get_rng_state())
        assert np.array_equal(numpy_before, np.random.get_state()[1])  # noqa: NPY002
        found.append(content(state))
    assert same(found[0], found[1])
    assert not same(found[0], found[2])


def narrow(shape, embedding, dropout):
    """diffusers' U-Net, as narrow as it comes."""
    from diffusers import UNet2DModel

    return UNet2DModel(
        sample_size=shape[1],
        in_channels=shape[0],
        out_channels=shape[0],
        time_embedding_type=embedding,
        block_out_channels=(8,),
        down_block_types=("DownBlock2D",),
        up_block_types=("UpBlock2D",),
        layers_per_block=1,
        norm_num_groups=4,
        dropout=dropout,
    )


@torch.random.fork_rng(devices=[])
def test_dropout_drops_by_seed_and_step(monkeypatch):
    """In training alone, by neither the global generator nor what was drawn before."""
    found = {}
    for name, dropout, world in (("without", 0.0, 1), ("with", 0.4, 1), ("again", 0.4, 2)):
        monkeypatch.setitem(NETWORKS, "narrow", lambda shape, embedding, d=dropout: narrow(shape, embedding, d))
        torch.manual_seed(world)
        before = torch.get_rng_state()
        found[name] = [s.loss for s in stepped(Training(asked(network="narrow", learning_rate=1e-12)))]
        assert torch.equal(before, torch.get_rng_state())
    assert found["with"] == found["again"]
    assert all(a != b for a, b in zip(found["with"], found["without"], strict=True))
    state = Training(asked(network="narrow"))
    stepped(state)
    network = pipeline(state).unet
    assert not network.training
    first, second = (network(IMAGES, 5).sample for _ in range(2))
    assert torch.equal(first, second)


def test_dropout_differs_from_step_to_step(monkeypatch):
    """The same batch under the masks of two steps."""
    monkeypatch.setitem(NETWORKS, "narrow", lambda shape, embedding: narrow(shape, embedding, 0.4))
    monkeypatch.setattr(
        "geomem.training.denoising.batch_loss", lambda *args, **named: batch_loss(*args, **named | {"step": 0})
    )
    first, second = stepped(Training(asked(network="narrow", learning_rate=1e-12)), count=2)
    assert first.loss != second.loss


def test_products_in_bfloat16_leave_weights_in_float32():
    whole, coarse = Training(asked()), Training(asked(precision="bf16"))
    exact, rough = stepped(whole), stepped(coarse)
    assert {p.dtype for p in coarse.network.parameters()} == {torch.float32}
    assert {m.dtype for m in coarse.average.shadow_params} == {torch.float32}
    # Eight bits of mantissa: losses of order 1 agree to a percent, and not exactly.
    assert [s.loss for s in rough] == pytest.approx([s.loss for s in exact], rel=0.02)
    assert [s.loss for s in rough] != [s.loss for s in exact]


# --- what is learned ---


@pytest.mark.parametrize("kind", NOISE_PROCESSES)
def test_a_network_trained_on_one_image_knows_it(tmp_path, kind):
    """Saved, opened by geomem and asked for the denoised point at noise as strong as the image, it gives the image."""
    image = IMAGES[:1]
    state = Training(
        asked(
            noise_process=kind, size=1, rows=1, steps=400, batch_size=32, learning_rate=2e-3, warmup=20, ema_decay=0.95
        )
    )
    seen = [s.loss for s in stepped(state, image)]
    assert np.mean(seen[-50:]) < 0.1 * np.mean(seen[:5])
    pipeline(state).save_pretrained(tmp_path)
    score = load(tmp_path)
    noise = torch.randn(64, *SHAPE, generator=torch.Generator().manual_seed(1))
    for t in (0.3, 1.0):
        with torch.no_grad():
            found = score.denoised(image + math.sqrt(t) * noise, t)
        error = float((found - image).square().mean().sqrt())
        # Noise of standard deviation 0.55 and 1; the image's own is 0.58.
        assert error < 0.15, t


# --- what cannot be trained ---


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_numbers_that_are_no_longer_finite_stop_training_before_harm(what):
    state = Training(asked(learning_rate=1e-2))
    stepped(state, count=2)
    before, at = content(state), state.step
    p = next(state.network.parameters())
    if what == "loss":
        handle = state.network.register_forward_hook(lambda _, args, out: type(out)(sample=out.sample * math.nan))
    else:
        handle = p.register_hook(lambda gradient: gradient * math.inf)
    with pytest.raises(TrainingError, match=f"the {what} is not finite at step 3; lower the learning rate"):
        stepped(state)
    handle.remove()
    assert state.step == at == 2
    assert same(before, content(state))
    # It goes on as if nothing had happened.
    whole = Training(asked(learning_rate=1e-2))
    stepped(whole)
    stepped(state)
    assert same(content(whole), content(state))


def test_bfloat16_is_named_where_it_may_be_the_reason():
    state = Training(asked(precision="bf16"))
    with pytest.raises(TrainingError, match="--precision float32"):
        stepped(state, IMAGES * math.inf)


def test_a_batch_that_processes_cannot_share_is_refused():
    state = Training(SETTINGS)
    three = SimpleNamespace(num_processes=3, process_index=1, device=torch.device("cpu"))
    with pytest.raises(InputError, match="--batch-size: 8 images cannot be shared evenly by 3 processes"):
        ImageObjective(state, IMAGES, three)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, "must both be at least 1"),
        ({"batch_size": 0}, "must both be at least 1"),
        ({"size": 0}, "size must be at least 1"),
        ({"learning_rate": 0.0}, "finite and above 0"),
        ({"learning_rate": math.nan}, "finite and above 0"),
        ({"learning_rate": math.inf}, "finite and above 0"),
        ({"ema_decay": 1.0}, "below 1"),
        ({"ema_decay": -0.1}, "below 1"),
        ({"ema_decay": math.nan}, "below 1"),
        ({"warmup": -1}, "warm-up must not be negative"),
        ({"network": "vgg"}, "'vgg' is not known"),
        ({"network": "mnist"}, "28x28"),
        ({"noise_process": "rectified"}, "'rectified' is not known"),
    ],
    ids=str,
)
def test_settings_that_cannot_be_trained_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        Training(asked(**changes))


def test_presets_are_networks_and_settings_survive_json():
    assert PRESETS.keys() == NETWORKS.keys()
    held = {**vars(SETTINGS), "data": list(SETTINGS.data), "shape": list(SHAPE)}
    assert TrainSettings.read(held) == SETTINGS
    with pytest.raises(KeyError):
        TrainSettings.read({k: v for k, v in held.items() if k != "noise_process"})


def test_table_1_is_trained_as_the_paper_says():
    """Batch, steps and EMA of Supp. A."""
    paper = {"mnist": (128, 400_000), "cifar10": (128, 500_000), "celeba": (64, 800_000)}
    for name, (batch, number) in paper.items():
        preset = PRESETS[name]
        assert (preset.batch_size, preset.steps, preset.ema_decay) == (batch, number, 0.9999)


# --- several processes ---

GRADIENTS = """
import sys
import torch
from accelerate import Accelerator
from training.test_loop import IMAGES, asked
from geomem.training.denoising import ImageObjective
from geomem.training.loop import Training, steps

torch.set_num_threads(1)
accelerator = Accelerator(cpu=True)
assert accelerator.num_processes == 2
for kind in ("vp", "ve"):
    state = Training(asked(noise_process=kind, warmup=0))
    step = next(steps(state, ImageObjective(state, IMAGES, accelerator)))
    found = {name: p.grad.clone() for name, p in state.network.named_parameters() if p.requires_grad}
    path = f"{sys.argv[1]}/{kind}-{accelerator.process_index}.pt"
    torch.save({"loss": step.loss, "length": step.gradient, "gradients": found}, path)
accelerator.end_training()
"""


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_processes_have_the_gradient_of_one(tmp_path):
    """Under torchrun by gloo: each of both has the mean loss and gradient of the whole batch, to float32's rounding."""
    script = tmp_path / "gradients.py"
    script.write_text(GRADIENTS)
    here = os.pathsep.join(p for p in sys.path if p)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": here}
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    done = subprocess.run(
        [*torchrun, script, tmp_path], env=environment, capture_output=True, text=True, timeout=500, check=False
    )
    assert done.returncode == 0, done.stderr
    for kind in NOISE_PROCESSES:
        state = Training(asked(noise_process=kind, warmup=0))
        (step,) = stepped(state, count=1)
        expected = {name: p.grad for name, p in state.network.named_parameters() if p.requires_grad}
        for rank in (0, 1):
            found = torch.load(tmp_path / f"{kind}-{rank}.pt")
            assert found["loss"] == pytest.approx(step.loss, rel=1e-5)
            assert found["length"] == pytest.approx(step.gradient, rel=1e-5)
            assert found["gradients"].keys() == expected.keys()
            for name, gradient in expected.items():
                # Entries far below the largest are differences of large numbers, good to its rounding alone.
                atol = 1e-5 * float(gradient.abs().max())
                assert torch.allclose(found["gradients"][name], gradient, rtol=1e-5, atol=atol), name
