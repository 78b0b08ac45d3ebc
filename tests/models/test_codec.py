"""Images as latents: those of diffusers' autoencoders, on the network's own scale, and back."""

import shutil

import numpy as np
import pytest
import torch

import geomem.data
from geomem.data import DataSet
from geomem.errors import InputError
from geomem.models import load, opened, wrapped
from laws import deviation
from models import edited
from pipelines import KINDS, SIDE

PIXELS = 2 * SIDE


def images(n=3, dtype=torch.float32):
    return (2 * torch.rand(n, 3, PIXELS, PIXELS, generator=torch.Generator().manual_seed(1)) - 1).to(dtype)


def data_of(array, folder, name="data.npy") -> DataSet:
    np.save(folder / name, array)
    return geomem.data.load(folder / name)


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


def codec_of(made, kind):
    return load(made(kind), size=PIXELS, label=3 if kind == "dit" else None).codec


@torch.no_grad()
def test_latents_are_those_of_diffusers(kind, made, diffusers_own):
    """The mean of the posterior, shifted and scaled as its pipeline does; before it is quantized, for a VQModel."""
    codec, pipe = codec_of(made, kind), diffusers_own(kind)
    x = images()
    if kind == "ldm":
        expected = pipe.vqvae.encode(x).latents * pipe.vqvae.config.scaling_factor
    else:
        shift = 0.06 if kind in ("sd3", "flux") else 0.0
        expected = (pipe.vae.encode(x).latent_dist.mean - shift) * 0.18215
    assert deviation(codec.encode(x), expected, 3) < 1e-5
    assert codec.shape((3, PIXELS, PIXELS)) == tuple(expected.shape[1:])
    assert codec.image_shape(tuple(expected.shape[1:])) == (3, PIXELS, PIXELS)


@torch.no_grad()
def test_latents_are_decoded_as_diffusers_decodes_them(kind, made, diffusers_own):
    codec, pipe = codec_of(made, kind), diffusers_own(kind)
    z = torch.randn(3, *codec.shape((3, PIXELS, PIXELS)), generator=torch.Generator().manual_seed(2))
    if kind == "ldm":
        expected = pipe.vqvae.decode(z / pipe.vqvae.config.scaling_factor).sample
    else:
        shift = 0.06 if kind in ("sd3", "flux") else 0.0
        expected = pipe.vae.decode(z / 0.18215 + shift).sample
    assert deviation(codec.decode(z), expected, 3) < 1e-5


class Halves(torch.nn.Module):
    """An autoencoder that loses nothing: pixels in blocks of 2x2 as channels."""

    def __init__(self, config):
        super().__init__()
        self.config, self.one = config, torch.nn.Parameter(torch.ones(()))

    def encode(self, x):
        z = torch.nn.functional.pixel_unshuffle(x, 2)
        return type("Encoded", (), {"latent_dist": type("Posterior", (), {"mode": staticmethod(lambda: z)})})

    def decode(self, z):
        return type("Decoded", (), {"sample": torch.nn.functional.pixel_shuffle(z, 2)})


def test_decoding_inverts_encoding(made):
    """Scale and shift are taken back as they were applied; with an autoencoder that loses nothing, so is all."""
    codec = codec_of(made, "sd3")
    lossless = type(codec)(Halves(codec.network.config), codec.scale, codec.shift)
    x = images(40)  # more than are encoded at once
    assert deviation(lossless.decode(lossless.encode(x)), x, 3) < 1e-6
    assert deviation(lossless.encode(x), (torch.nn.functional.pixel_unshuffle(x, 2) - 0.06) * 0.18215, 3) < 1e-6


def test_precision_is_the_networks(made):
    score = load(made("sd"), dtype=torch.float64)
    assert score.codec.encode(images()).dtype == torch.float64
    assert deviation(score.codec.encode(images()), codec_of(made, "sd").encode(images()), 3) < 1e-5


@pytest.mark.parametrize("layout", ["first", "last", "bytes"])
def test_images_of_any_layout(layout, made, tmp_path):
    model = wrapped(load(made("sd")))
    whole = ((images() + 1) * 127.5).round()
    x = whole / 127.5 - 1
    array = {
        "first": x.numpy(),
        "last": x.movedim(1, -1).contiguous().numpy(),
        "bytes": whole.movedim(1, -1).to(torch.uint8).numpy(),
    }[layout]
    data = data_of(array, tmp_path)
    assert model.image_shape == (3, PIXELS, PIXELS)
    found = model.encode(data)
    assert deviation(found, model.codec.encode(x), 3) < 1e-5
    assert found.shape == (3, *model.shape)
    assert torch.equal(model.encode(data, np.array([2, 0])), found[[2, 0]])
    assert torch.equal(model.encode(data, slice(1, 3)), found[1:3])
    assert model.decode(found).shape == x.shape
    assert opened(load(made("sd")), data).shape == model.shape


def test_images_are_encoded_once(made, tmp_path, monkeypatch):
    model = wrapped(load(made("sd")))
    data = data_of(images(5).numpy(), tmp_path)
    counts = []
    encode = type(model.codec).encode

    def counted(self, some):
        counts.append(len(some))
        return encode(self, some)

    monkeypatch.setattr(type(model.codec), "encode", counted)
    first = model.encode(data, np.array([0, 1, 2]))
    again = model.encode(data, np.array([2, 1, 4, 4]))
    assert torch.equal(again[:2], first[[2, 1]])
    assert torch.equal(again[2], again[3])
    assert sum(counts) == 4
    model.encode(data, np.array([4, 0]))
    assert sum(counts) == 4
    other = data_of(-images(5).numpy(), tmp_path, "other.npy")
    assert not torch.equal(model.encode(other, np.array([0])), first[:1])
    assert model.encode(data, np.array([], dtype=np.int64)).shape == (0, *model.shape)


def test_latents_as_data(made, tmp_path):
    """Data that are latents already are taken as they are."""
    score = load(made("sd"))
    z = 5 * torch.randn(4, *score.shape, generator=torch.Generator().manual_seed(3))
    data = data_of(z.numpy(), tmp_path)
    model = opened(score, data)
    assert torch.equal(model.encode(data), z)


def test_data_of_another_shape(made, tmp_path):
    data = data_of(np.zeros((3, 3, SIDE, SIDE), np.uint8), tmp_path)
    message = (
        r"takes images of 3x16x16 \(channels, height, width\) or latents of 4x8x8, but .* has samples of shape "
        r"\(3, 8, 8\); convert image files with --size 16 and --mode rgb"
    )
    with pytest.raises(InputError, match=message):
        opened(load(made("sd")), data)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scaling_factor": 0}, r"vae: needs a scaling_factor above 0 and a shift_factor, got \[0, 0\.0\]"),
        ({"scaling_factor": "x"}, r"vae: needs a scaling_factor above 0"),
        ({"shift_factor": float("nan")}, r"vae: needs a scaling_factor above 0 and a shift_factor"),
        ({"latent_channels": 8}, r"vae: its weights hold \d+ tensors of another shape"),
        ({"block_out_channels": [8]}, r"vae: cannot be opened as a AutoencoderKL|vae: its weights"),
        ({"norm_num_groups": 3}, r"vae: cannot be opened as a AutoencoderKL"),
    ],
)
def test_autoencoder_of_another_configuration(changes, message, made, tmp_path):
    shutil.copytree(made("sd"), tmp_path / "model")
    edited(tmp_path / "model" / "vae" / "config.json", **changes)
    with pytest.raises(InputError, match=message):
        load(tmp_path / "model")


def test_autoencoder_of_another_class(made, tmp_path):
    shutil.copytree(made("sd"), tmp_path / "model")
    edited(tmp_path / "model" / "model_index.json", vae=["diffusers", "AutoencoderDC"])
    with pytest.raises(
        InputError, match=r"vae: its autoencoder is AutoencoderDC; supported are AutoencoderKL, VQModel\."
    ):
        load(tmp_path / "model")
    shutil.rmtree(tmp_path / "model" / "vae")
    edited(tmp_path / "model" / "model_index.json", vae=["diffusers", "AutoencoderKL"])
    with pytest.raises(InputError, match=r"vae: is missing, so images cannot be encoded; copy or download it"):
        load(tmp_path / "model")
