"""Networks of images: the paper's Table 1 to the parameter, networks for any size, and what a PixelMLP computes."""

import math

import pytest
import torch
from diffusers.models.attention_processor import Attention
from diffusers.models.resnet import ResnetBlock2D
from torch import nn

from geomem.errors import InputError
from geomem.models.pixels import PixelMLP
from geomem.training.checkpoint import read_tensors, write_tensors
from geomem.training.unet import NETWORKS, SHAPES, build

# Of the paper's Table 1; sides of the images that attend to themselves, the middle's last; dropout.
TABLE_1 = {
    "mnist": (24_515_585, [7], 0.0),
    "cifar10": (35_746_307, [16, 4], 0.1),
    "celeba": (27_460_355, [16, 2], 0.0),
}


def seeded(name, shape, kind="vp", seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build(name, shape, noise_process=kind)


@pytest.mark.parametrize("name", TABLE_1)
def test_table_1_to_the_parameter(name):
    """On no device: shapes and sizes without a number computed."""
    parameters, sides, dropout = TABLE_1[name]
    with torch.device("meta"):
        network = build(name)
    assert sum(p.numel() for p in network.parameters()) == parameters
    assert {m.p for m in network.modules() if isinstance(m, nn.Dropout) and m.p > 0} == ({dropout} - {0.0})
    resnets = [m.dropout.p for m in network.modules() if isinstance(m, ResnetBlock2D)]
    assert set(resnets) == {dropout}
    seen = []
    for module in network.modules():
        if isinstance(module, Attention):
            assert module.heads == 1
            module.register_forward_pre_hook(lambda _, args, named: seen.append((args[0]).shape[2:]), with_kwargs=True)
    images = torch.zeros(2, *SHAPES[name], device="meta")
    assert network(images, torch.zeros(2, device="meta")).sample.shape == images.shape
    assert all(height == width for height, width in seen)
    # Two blocks on the way down, three on the way up, one in the middle.
    assert sorted({side for side, _ in seen}, reverse=True) == sides
    assert len(seen) == (1 if len(sides) == 1 else 2 + 1 + 3)


@pytest.mark.parametrize("kind", ["vp", "ve"])
@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 16, 16), (1, 7, 5), (3, 1, 3), (1, 6, 4)], ids=str)
@pytest.mark.parametrize("name", ["mlp", "small-unet"])
def test_networks_for_any_size(name, shape, kind):
    """Each image by itself, each told of its own noise, and gradients to every weight."""
    network = seeded(name, shape, kind).eval()
    images = torch.randn(3, *shape, generator=torch.Generator().manual_seed(1))
    told = torch.tensor([0.1, 1.0, 30.0]) if kind == "ve" else torch.tensor([0, 500, 999])
    out = network(images, told).sample
    assert out.shape == images.shape
    alone = torch.cat([network(images[i : i + 1], told[i : i + 1]).sample for i in range(3)])
    # Convolutions of one image and of three sum in other orders, and how far that tells depends on the processor.
    torch.testing.assert_close(out, alone, rtol=1e-4, atol=1e-4)
    other = network(images, told.flip(0)).sample
    assert not torch.allclose(out[0], other[0], rtol=1e-2)
    assert torch.equal(network(images, told, return_dict=False)[0], out)
    out.square().sum().backward()
    still = [n for n, p in network.named_parameters() if p.requires_grad and not bool(p.grad.any())]
    assert not still


@pytest.mark.parametrize("name", NETWORKS)
def test_a_variance_exploding_network_is_told_sigma(name):
    """Fourier features of ln sigma in place of sines of the step; the rest is as it was."""
    shape = SHAPES.get(name, (1, 8, 8))
    with torch.device("meta"):
        step, sigma = build(name, shape), build(name, shape, noise_process="ve")
    assert step.config.time_embedding_type == "positional"
    assert sigma.config.time_embedding_type == "fourier"
    frozen = [p for p in sigma.parameters() if not p.requires_grad]
    assert len(frozen) == 1
    assert all(p.requires_grad for p in step.parameters())
    # The random frequencies, and, in a U-Net, a first layer of the embedding that takes twice as many features.
    more = sum(p.numel() for p in sigma.parameters()) - sum(p.numel() for p in step.parameters())
    width = step.config.get("block_out_channels", [0])[0]
    assert more == frozen[0].numel() + width * step.time_embedding.linear_1.out_features


def test_small_unet_halves_images_as_often_as_they_allow():
    for shape, levels in (((1, 8, 8), 3), ((3, 16, 16), 3), ((1, 6, 4), 2), ((1, 7, 5), 1), ((1, 12, 7), 1)):
        assert len(seeded("small-unet", shape).config.block_out_channels) == levels, shape


def test_the_global_generator_alone_decides_the_weights():
    for name in ("mlp", "small-unet"):
        first, same, other = (seeded(name, (1, 8, 8), "ve", seed) for seed in (0, 0, 1))
        assert all(torch.equal(a, b) for a, b in zip(first.parameters(), same.parameters(), strict=True))
        assert not all(torch.equal(a, b) for a, b in zip(first.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize("kind", ["vp", "ve"])
def test_a_pixel_mlp_computes_its_formula(kind):
    """h = W c_in x, h <- h + B silu(A silu(h + e_k)), out = g x + V silu(h); over sigma for one that gives the score."""
    silu = nn.functional.silu
    network = seeded("mlp", (1, 3, 4), kind).double()
    x = torch.randn(2, 1, 3, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    told = torch.tensor([0.5, 20.0] if kind == "ve" else [3.0, 700.0], dtype=torch.float64)
    w = dict(network.named_parameters())

    def linear(name, rows):
        return rows @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    if kind == "ve":
        phase = told.log()[:, None] * w["time_proj.weight"] * 2 * math.pi
        features = torch.cat([phase.sin(), phase.cos()], -1)
        seen = x.flatten(1) / (0.3**2 + told[:, None] ** 2).sqrt()
    else:
        phase = told[:, None] * 10_000 ** (-torch.arange(64, dtype=torch.float64) / 63)
        features = torch.cat([phase.sin(), phase.cos()], -1)
        seen = x.flatten(1)
    e = linear("time_embedding.linear_2", silu(linear("time_embedding.linear_1", features)))
    h = linear("first", seen)
    for k in range(2):
        h = h + linear(f"layers.{k}.3", silu(linear(f"layers.{k}.1", silu(h + linear(f"told.{k}", e)))))
    expected = linear("gain", e) * seen + linear("last.1", silu(h))
    expected = expected / told[:, None] if kind == "ve" else expected
    found = network(x, told).sample
    # diffusers makes sines of the step in float32.
    assert torch.allclose(found.flatten(1), expected, rtol=1e-4, atol=1e-5)
    assert torch.equal(network(x, 3.0).sample, network(x, torch.tensor([3.0, 3.0])).sample)


def test_a_pixel_mlp_gives_as_many_channels_as_it_takes():
    with pytest.raises(ValueError, match="must agree"):
        PixelMLP(sample_size=[4, 4], in_channels=3, out_channels=1)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("vgg", (1, 8, 8)), ["'vgg' is not known", "mnist, cifar10, celeba, mlp, small-unet"]),
        (("mnist", (1, 32, 32)), ["mnist", "28x28", "32x32", "one channel"]),
        (("mnist", (3, 28, 28)), ["mnist", "one channel", "3 channels", "another preset"]),
        (("cifar10", (1, 32, 32)), ["cifar10", "32x32", "3 channels", "one channel"]),
        (("celeba", (3, 32, 32)), ["celeba", "64x64"]),
        (("mnist", (784,)), ["mnist", "is for images", "(784,)"]),
        (("mlp", (64,)), ["mlp", "(channels, height, width)", "(64,)"]),
        (("mlp", None), ["mlp takes images of any size"]),
        (("small-unet", None), ["small-unet takes images of any size"]),
    ],
    ids=str,
)
def test_what_does_not_fit_is_refused(arguments, words):
    with pytest.raises(InputError) as refused:
        build(*arguments)
    for word in words:
        assert word in str(refused.value)


def test_an_unknown_noise_process_is_refused():
    with pytest.raises(InputError, match="noise process: 'rectified' is not known; choose vp or ve"):
        build("mlp", (1, 8, 8), noise_process="rectified")


# --- files of tensors ---


def test_tensors_and_header_come_back_as_they_were(tmp_path):
    tensors = {
        "a/b": torch.randn(3, 4, generator=torch.Generator().manual_seed(0)),
        "transposed": torch.arange(6.0).reshape(2, 3).T,
        "step": torch.tensor(7.0),
        "half": torch.tensor([1.5, -2.0], dtype=torch.bfloat16),
        "none": torch.zeros(0, 3),
        "not finite": torch.tensor([math.nan, math.inf]),
    }
    header = {"step": 7, "settings": {"name": "Zürich", "shape": [1, 8, 8], "rate": 1e-3}}
    write_tensors(tmp_path / "a", tensors, header)
    found, held = read_tensors(tmp_path / "a", lambda *content: content)
    assert found == header
    assert held.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert held[name].dtype == tensor.dtype
        assert held[name].shape == tensor.shape
        torch.testing.assert_close(held[name], tensor, rtol=0, atol=0, equal_nan=True)
    write_tensors(tmp_path / "b", dict(reversed(tensors.items())), header)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("error", [KeyError("step"), TypeError("no list"), ValueError("shape"), RuntimeError("size")])
def test_content_that_is_not_what_was_expected_is_a_damaged_file(tmp_path, error):
    def build(header, tensors):
        raise error

    write_tensors(tmp_path / "a", {"x": torch.zeros(1)}, {})
    with pytest.raises(InputError, match=r"a: is not a readable geomem checkpoint .* delete it to train again"):
        read_tensors(tmp_path / "a", build)


def test_a_reader_s_own_words_are_kept(tmp_path):
    def build(header, tensors):
        raise InputError("of another training")

    write_tensors(tmp_path / "a", {"x": torch.zeros(1)}, {})
    with pytest.raises(InputError, match=r"^of another training$"):
        read_tensors(tmp_path / "a", build)
