"""Checkpoints: resumption is exact, damage is refused, and the model that is left is diffusers' own."""

import json
import math
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from safetensors import safe_open
from safetensors.torch import save_file

from geomem.errors import InputError
from geomem.models import load
from geomem.training import EnsembleSettings
from geomem.training.checkpoint import load_training, save_training
from geomem.training.denoising import ImageObjective, pipeline
from geomem.training.loop import Training, steps
from geomem.training.unet import NETWORKS
from models import TRAINING
from training.folders import header_of

SHAPE = (1, 4, 4)
SETTINGS = replace(TRAINING, steps=8)
IMAGES = torch.rand(12, *SHAPE, generator=torch.Generator().manual_seed(0)) * 2 - 1


def trained(settings, count=None):
    state = Training(settings)
    stepper = steps(state, ImageObjective(state, IMAGES, Accelerator()))
    seen = list(stepper) if count is None else [next(stepper) for _ in range(count)]
    return state, seen


def narrow(shape, embedding):
    """diffusers' U-Net, as narrow as it comes, with dropout."""
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
        dropout=0.3,
    )


@pytest.mark.parametrize(
    ("network", "kind", "precision", "at"),
    [
        ("mlp", "vp", "float32", 0),
        ("mlp", "vp", "float32", 1),
        ("mlp", "ve", "float32", 5),
        ("mlp", "vp", "bf16", 5),
        ("mlp", "vp", "float32", 8),
        ("small-unet", "ve", "float32", 3),
        ("narrow", "vp", "float32", 5),
    ],
)
def test_resumption_is_exact(tmp_path, monkeypatch, network, kind, precision, at):
    """Stopped, saved, loaded and continued: losses, and every byte of the last checkpoint, as if it had never stopped.

    `narrow` has dropout.
    """
    monkeypatch.setitem(NETWORKS, "narrow", narrow)
    settings = replace(SETTINGS, network=network, noise_process=kind, precision=precision)
    whole, expected = trained(settings)
    part, seen = trained(settings, at)
    save_training(tmp_path / "part", part)
    loaded = load_training(tmp_path / "part", settings)
    assert loaded.step == at
    save_training(tmp_path / "again", loaded)
    assert (tmp_path / "again").read_bytes() == (tmp_path / "part").read_bytes()
    seen += list(steps(loaded, ImageObjective(loaded, IMAGES, Accelerator())))
    assert seen == expected
    assert len({s.loss for s in seen}) == settings.steps
    save_training(tmp_path / "resumed", loaded)
    save_training(tmp_path / "whole", whole)
    assert (tmp_path / "resumed").read_bytes() == (tmp_path / "whole").read_bytes()
    assert header_of(tmp_path / "whole")["step"] == settings.steps


def test_another_training_s_checkpoint_is_refused(tmp_path):
    state, _ = trained(SETTINGS, 1)
    save_training(tmp_path / "a", state)
    for change in ({"seed": 4}, {"data": ("images", "1")}, {"shape": (1, 5, 5)}, {"noise_process": "ve"}, {"steps": 9}):
        with pytest.raises(InputError, match=f"of another training .{next(iter(change))} = .*--out"):
            load_training(tmp_path / "a", replace(SETTINGS, **change))


def test_damaged_checkpoints_are_refused(tmp_path):
    state, _ = trained(SETTINGS, 1)
    path = tmp_path / "state.safetensors"
    save_training(path, state)
    whole, header = path.read_bytes(), header_of(path)
    with safe_open(path, framework="pt") as stored:
        content = {k: stored.get_tensor(k).clone() for k in stored.keys()}  # noqa: SIM118 - no mapping

    def write(tensors, header):
        save_file(tensors, path, metadata=None if header is None else {"geomem": json.dumps(header)})

    def without(key):
        return {k: v for k, v in content.items() if k != key}

    def lacking(key):
        return {k: v for k, v in header.items() if k != key}

    damages = {
        "empty": lambda: path.write_bytes(b""),
        "truncated": lambda: path.write_bytes(whole[: len(whole) // 2]),
        "last byte": lambda: path.write_bytes(whole[:-1]),
        "in the header": lambda: path.write_bytes(whole[:20]),
        "noise": lambda: path.write_bytes(bytes(range(256)) * 10),
        "text": lambda: path.write_text("{}"),
        "foreign": lambda: write(content, None),
        "no object": lambda: write(content, [1]),
        "no step": lambda: write(content, lacking("step")),
        "no average's step": lambda: write(content, lacking("averaged")),
        "no settings": lambda: write(content, lacking("settings")),
        "settings of another kind": lambda: write(content, header | {"settings": "none"}),
        "fewer settings": lambda: write(content, header | {"settings": {"seed": 3}}),
        "no weights": lambda: write(without("weights/first.weight"), header),
        "no average": lambda: write(without("average/first.weight"), header),
        "no moments": lambda: write(without("exp_avg_sq/first.weight"), header),
        "no count": lambda: write(without("step/first.weight"), header),
        "another shape": lambda: write(content | {"average/gain.bias": torch.zeros(2)}, header),
    }
    taken = []
    for name, damage in damages.items():
        damage()
        try:
            load_training(path, SETTINGS)
        except InputError as error:
            assert f"{path}: is not a readable geomem checkpoint" in str(error)  # noqa: PT017 - all damages, then which
        else:
            taken.append(name)
    assert not taken
    path.unlink()
    with pytest.raises(InputError, match="delete it to train again"):
        load_training(path, SETTINGS)
    os.mkfifo(path)
    with pytest.raises(InputError, match=r"is not a readable geomem checkpoint .is a named pipe"):
        load_training(path, SETTINGS)
    path.unlink()
    path.mkdir()
    with pytest.raises(InputError, match="is not a readable geomem checkpoint"):
        load_training(path, SETTINGS)
    path.rmdir()
    save_training(path, state)
    with pytest.raises(InputError, match="settings of another kind"):
        load_training(path, EnsembleSettings(sizes=(4,), dim=16))


@pytest.mark.parametrize("network", ["mlp", "small-unet"])
@pytest.mark.parametrize("kind", ["vp", "ve"])
def test_the_model_that_is_left_is_the_averaged_one(tmp_path, network, kind):
    """Its score by hand: -F(sqrt(abar) x, k)/sqrt(t) at t = 1/abar - 1; F((x + 1)/2, sigma)/2 at t = (2 sigma)^2."""
    state = Training(replace(SETTINGS, network=network, noise_process=kind, shape=(1, 8, 6)))
    generator = torch.Generator().manual_seed(5)
    for mean in state.average.shadow_params:  # far from the weights
        mean.add_(0.05 * torch.randn(mean.shape, generator=generator))
    pipeline(state).save_pretrained(tmp_path)
    score = load(tmp_path)
    assert score.shape == (1, 8, 6)
    averaged = Training(state.settings).network.eval()
    with torch.no_grad():
        for p, mean in zip(averaged.parameters(), state.average.shadow_params, strict=True):
            p.copy_(mean)
        x = torch.randn(3, 1, 8, 6, generator=generator)
        for level in (0.02, 1.0, 30.0) if kind == "ve" else (0, 250, 999):
            if kind == "ve":
                t = (2 * level) ** 2
                expected = averaged((x + 1) / 2, torch.full((3,), level)).sample / 2
            else:
                abar = float(np.prod(1 - np.linspace(1e-4, 2e-2, 1000)[: level + 1]))
                t = 1 / abar - 1
                expected = -averaged(math.sqrt(abar) * x, torch.full((3,), level)).sample / math.sqrt(t)
            found = score(x, t)
            scale = float(expected.square().mean().sqrt())
            assert float((found - expected).abs().max()) < 1e-3 * scale, level
            other = state.network.eval()(x, torch.full((3,), float(level))).sample
            assert not torch.allclose(other, averaged(x, torch.full((3,), float(level))).sample, rtol=0.01)


@pytest.mark.parametrize(
    ("network", "kind", "shape"),
    [
        ("mlp", "vp", (1, 4, 4)),
        ("mlp", "vp", (3, 7, 5)),
        ("small-unet", "vp", (1, 7, 5)),
        ("small-unet", "vp", (3, 4, 4)),
        # diffusers' pipeline draws square images of three channels, whatever the network's are.
        ("small-unet", "ve", (3, 4, 4)),
        ("mlp", "ve", (3, 4, 4)),
    ],
    ids=str,
)
def test_diffusers_opens_the_model_and_draws(tmp_path, network, kind, shape):
    from diffusers import DDPMPipeline, ScoreSdeVePipeline

    pipeline(Training(replace(SETTINGS, network=network, noise_process=kind, shape=shape))).save_pretrained(tmp_path)
    opened = {"vp": DDPMPipeline, "ve": ScoreSdeVePipeline}[kind].from_pretrained(tmp_path)
    opened.set_progress_bar_config(disable=True)
    drawn = []
    for seed in (0, 0, 1):
        generator = torch.Generator().manual_seed(seed)
        images = opened(batch_size=2, num_inference_steps=3, output_type="np", generator=generator).images
        assert images.shape == (2, *shape[1:], shape[0])
        assert images.min() >= 0
        assert images.max() <= 1
        drawn.append(images)
    assert np.array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0], drawn[2])


@pytest.mark.slow
@pytest.mark.parametrize(("network", "first"), [("small-unet", "diffusers"), ("mlp", "geomem.models.pixels")])
def test_diffusers_alone_opens_it_and_a_perceptron_once_its_class_is_imported(tmp_path, network, first):
    """In a process that knows nothing else of geomem."""
    pipeline(Training(replace(SETTINGS, network=network, shape=(1, 4, 4)))).save_pretrained(tmp_path)
    script = (
        f"import sys, {first}, diffusers; pipeline = diffusers.DDPMPipeline.from_pretrained({str(tmp_path)!r}); "
        "print(type(pipeline.unet).__name__, 'geomem' in sys.modules)"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=200)
    kind = {"small-unet": "UNet2DModel False", "mlp": "PixelMLP True"}[network]
    assert ended.stdout.split("\n")[0] == kind, ended.stderr
