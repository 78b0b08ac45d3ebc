"""The examples of docs/models.md for pickles, carried out with stand-ins for the libraries that made them."""

import contextlib
import pickle
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

PAGE = (Path(__file__).parents[2] / "docs" / "models.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE[PAGE.index("## Conversions") : PAGE.index("## Safety")], re.DOTALL)
SPREAD = 4.0  # variance of the data whose exact denoisers stand in for networks


def example(words):
    (found,) = (code for code in EXAMPLES if words in code)
    return found


def carried_out(code, folder):
    names = {}
    with contextlib.chdir(folder):
        exec(compile(code, "docs/models.md", "exec"), names)
    return names


class Unet(nn.Module):
    """Predicts v without error for N(0, SPREAD), by the steps of a cosine-like schedule."""

    def __init__(self, dim, dim_mults):
        super().__init__()
        self.one = nn.Parameter(torch.zeros(()))  # 1 once its weights are loaded
        self.kept = None

    def forward(self, x, step, x_self_cond=None):
        kept = self.kept[step.round().long()].reshape(-1, 1, 1, 1)
        a, b = kept.sqrt(), (1 - kept).sqrt()
        total = a**2 * SPREAD + b**2
        return self.one * (a * b * x / total - b * a * SPREAD * x / total)


class GaussianDiffusion(nn.Module):
    def __init__(self, model, *, image_size, timesteps):
        super().__init__()
        self.model, self.objective = model, "pred_v"
        betas = torch.linspace(1e-4, 0.02, timesteps, dtype=torch.float64)
        self.register_buffer("alphas_cumprod", torch.cumprod(1 - betas, 0).float())
        model.kept = self.alphas_cumprod


def gaussian(score, levels, shape):
    x = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))
    for level in levels:
        t = score.nearest(level)
        assert torch.allclose(score(x, t), -x / (SPREAD + t), rtol=1e-3, atol=1e-5)


def test_denoising_diffusion_pytorch(tmp_path, monkeypatch):
    library = ModuleType("denoising_diffusion_pytorch")
    library.GaussianDiffusion, library.Unet = GaussianDiffusion, Unet
    monkeypatch.setitem(sys.modules, "denoising_diffusion_pytorch", library)
    trained = GaussianDiffusion(Unet(64, ()), image_size=32, timesteps=1000)
    trained.model.one.data += 1
    held = {f"ema_model.{name}": v for name, v in trained.state_dict().items()}
    held |= {"step": torch.tensor(3), "initted": torch.tensor(True)}
    torch.save({"step": 3, "ema": held, "model": trained.state_dict()}, tmp_path / "model-10.pt")
    score = carried_out(example("denoising_diffusion_pytorch"), tmp_path)["score"]
    gaussian(score, (0.01, 1.0, 100.0), (3, 32, 32))
    assert len(score.times) == 1000


class Precond(nn.Module):
    """EDM's denoiser, exact for N(0, SPREAD)."""

    img_channels, img_resolution, use_fp16 = 3, 8, True

    def __init__(self):
        super().__init__()
        self.one = nn.Parameter(torch.ones(()))

    def forward(self, x, sigma, class_labels=None):
        assert not self.use_fp16
        return self.one * SPREAD * x / (SPREAD + sigma.reshape(-1, 1, 1, 1) ** 2)


def test_edm(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, Precond.__module__, sys.modules.get(Precond.__module__) or ModuleType("m"))
    monkeypatch.setattr(sys.modules[Precond.__module__], "Precond", Precond, raising=False)
    (tmp_path / "network-snapshot.pkl").write_bytes(pickle.dumps({"ema": Precond()}))
    score = carried_out(example("network-snapshot.pkl"), tmp_path)["score"]
    gaussian(score, (0.01, 1.0, 1e3), (3, 8, 8))


def test_first_half_of_the_channels():
    names = carried_out("import torch\n" + example("class Noise"), Path())
    twice = names["Noise"](lambda x, step: torch.cat([x, step * x], 1))
    x = torch.randn(1, 3, 2, 2)
    assert torch.equal(twice(x, 2.0), x)


@pytest.mark.parametrize("nested", [True, False])
def test_stable_diffusion_as_ckpt(nested, tmp_path):
    weight = torch.randn(4, 3).T  # not contiguous
    tensors = {"a": weight, "b": weight}
    held = {"state_dict": {**tensors, "global_step": 7}} if nested else tensors
    torch.save(held, tmp_path / "model.ckpt")
    carried_out(example("model.ckpt"), tmp_path)
    found = load_file(tmp_path / "model.safetensors")
    assert set(found) == {"a", "b"}
    assert torch.equal(found["a"], weight)


def test_all_examples_are_python():
    assert len(EXAMPLES) == 5
    for code in EXAMPLES:
        compile(code, "docs/models.md", "exec")
