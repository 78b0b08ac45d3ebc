"""Whole models in one file of the original form: the same scores as of the diffusers folder that they were made from."""

import re
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from geomem.errors import InputError
from geomem.models import load
from laws import deviation
from models import saved, unet
from pipelines import SIDE

BLOCKS = 2  # of the tiny networks, with one layer each
RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "time_emb_proj": "emb_layers.1",
    "conv_shortcut": "skip_connection",
}
UNET = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
    "mid_block.resnets.0": "middle_block.0",
    "mid_block.attentions.0": "middle_block.1",
    "mid_block.resnets.1": "middle_block.2",
    "down_blocks.0.downsamplers.0.conv": "input_blocks.2.0.op",
    "up_blocks.0.upsamplers.0.conv": "output_blocks.1.1.conv",
    **{f"down_blocks.{i}.resnets.0": f"input_blocks.{2 * i + 1}.0" for i in range(BLOCKS)},
    **{f"down_blocks.{i}.attentions.0": f"input_blocks.{2 * i + 1}.1" for i in range(BLOCKS)},
    **{f"up_blocks.{i}.resnets.{j}": f"output_blocks.{2 * i + j}.0" for i in range(BLOCKS) for j in range(2)},
    **{f"up_blocks.{i}.attentions.{j}": f"output_blocks.{2 * i + j}.1" for i in range(BLOCKS) for j in range(2)},
}
CODEC = {
    **{f"encoder.down_blocks.{i}.resnets": f"encoder.down.{i}.block" for i in range(BLOCKS)},
    **{f"decoder.up_blocks.{i}.resnets": f"decoder.up.{BLOCKS - 1 - i}.block" for i in range(BLOCKS)},
    "encoder.down_blocks.0.downsamplers.0": "encoder.down.0.downsample",
    "decoder.up_blocks.0.upsamplers.0": "decoder.up.1.upsample",
    **{f"{side}.mid_block.resnets.{j}": f"{side}.mid.block_{j + 1}" for side in ("encoder", "decoder") for j in (0, 1)},
    **{f"{side}.mid_block.attentions.0": f"{side}.mid.attn_1" for side in ("encoder", "decoder")},
}
ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}


def begun(name, names):
    """A name whose beginning is replaced."""
    start = max((old for old in names if name.startswith(f"{old}.")), key=len, default=None)
    return name if start is None else names[start] + name.removeprefix(start)


def original(folder):
    """The tensors of a Stable Diffusion pipeline under the names of the original code."""
    out = {}
    for name, tensor in load_file(folder / "unet" / "diffusion_pytorch_model.safetensors").items():
        new = begun(name, UNET)
        if "resnets" in name:
            new = re.sub(r"(norm1|conv1|norm2|conv2|time_emb_proj|conv_shortcut)", lambda m: RESNET[m[1]], new)
        out[f"model.diffusion_model.{new}"] = tensor
    for name, tensor in load_file(folder / "vae" / "diffusion_pytorch_model.safetensors").items():
        new = begun(name, CODEC).replace("conv_shortcut", "nin_shortcut").replace("conv_norm_out", "norm_out")
        if ".attentions." in name:
            new = re.sub(r"(group_norm|to_q|to_k|to_v|to_out\.0)", lambda m: ATTENTION[m[1]], new)
            tensor = tensor[..., None, None] if tensor.ndim == 2 else tensor
        out[f"first_stage_model.{new}"] = tensor.contiguous()
    for name, tensor in load_file(folder / "text_encoder" / "model.safetensors").items():
        new = name if name.startswith("text_model.") else f"text_model.{name}"
        out[f"cond_stage_model.transformer.{new}"] = tensor
    return out


@pytest.fixture(scope="session")
def single(made, tmp_path_factory):
    """A file, and a folder of its configurations without any weights."""
    folder = tmp_path_factory.mktemp("single")
    save_file(original(made("sd")), folder / "model.safetensors")
    shutil.copytree(made("sd"), folder / "config", ignore=shutil.ignore_patterns("*.safetensors"))
    return folder


def points(score):
    return torch.randn(2, *score.shape, generator=torch.Generator().manual_seed(1)), score.nearest(1.0)


@torch.no_grad()
@pytest.mark.parametrize("encoder", ["of the file", "of the folder"])
def test_one_file_is_the_same_model(encoder, single, made, tmp_path):
    config = single / "config"
    if encoder == "of the folder":
        shutil.copytree(config, tmp_path / "config")
        config = tmp_path / "config"
        shutil.copy(made("sd") / "text_encoder" / "model.safetensors", config / "text_encoder")
    score, expected = load(single / "model.safetensors", config=config), load(made("sd"))
    assert score.name == str(single / "model.safetensors")
    x, t = points(score)
    for word in ("a cat", None):
        # transformers sums its attention in another order.
        assert deviation(score.conditioned([word])(x, t), expected.conditioned([word])(x, t), 3) < 1e-5
    images = torch.rand(2, 3, 2 * SIDE, 2 * SIDE, generator=torch.Generator().manual_seed(2))
    assert torch.equal(score.codec.encode(images), expected.codec.encode(images))


def refused(source, message, **options):
    with pytest.raises(InputError, match=message) as found:
        load(source, **options)
    assert "\n" not in str(found.value)


def test_file_without_a_folder(single):
    refused(
        single / "model.safetensors",
        r"model\.safetensors: is a file of weights, .* add the diffusers folder of its kind: config=FOLDER, --config FOLDER\.",
    )


def test_folder_of_configurations_for_what_is_no_file(made, single):
    refused(made("sd"), r"sd: config, --config: is for a single \.safetensors file; leave it out", config=made("sd"))
    refused(single / "absent.safetensors", "is for a single", config=made("sd"))


def test_configuration_of_another_model(single, made, tmp_path):
    file = single / "model.safetensors"
    refused(file, r"model\.safetensors: ", config=made("sdxl"))
    refused(file, r"files of one DiTTransformer2DModel cannot be converted; supported are UNet2D", config=made("dit"))
    refused(file, r"files of one UNet2DModel cannot be converted", config=saved(tmp_path / "model", unet()))
    refused(file, r"absent: does not exist", config=tmp_path / "absent")


@pytest.mark.parametrize("part", ["model.diffusion_model.", "first_stage_model.", "cond_stage_model."])
def test_part_that_is_missing(part, single, tmp_path):
    tensors = load_file(single / "model.safetensors")
    save_file({k: v for k, v in tensors.items() if not k.startswith(part)}, tmp_path / "model.safetensors")
    message = {
        "model.diffusion_model.": r"model\.safetensors: (its tensors cannot be read as those of a UNet2DConditionModel|holds no)",
        "first_stage_model.": r"vae: has no weights",
        "cond_stage_model.": r"model\.safetensors: its text encoder cannot be read as the text_encoder of",
    }[part]
    refused(tmp_path / "model.safetensors", message, config=single / "config")


@pytest.mark.parametrize("part", ["model.diffusion_model.", "first_stage_model.", "cond_stage_model."])
def test_tensor_that_is_missing(part, single, tmp_path):
    tensors = load_file(single / "model.safetensors")
    lost = next(name for name in sorted(tensors) if name.startswith(part) and "norm" in name)
    del tensors[lost]
    save_file(tensors, tmp_path / "model.safetensors")
    refused(tmp_path / "model.safetensors", r"model\.safetensors: ", config=single / "config")
    tensors = load_file(single / "model.safetensors")
    tensors[lost] = torch.zeros(3)
    save_file(tensors, tmp_path / "model.safetensors")
    refused(tmp_path / "model.safetensors", r"model\.safetensors: ", config=single / "config")


def test_damaged_file(single, tmp_path):
    (tmp_path / "model.safetensors").write_bytes((single / "model.safetensors").read_bytes()[:-10])
    refused(tmp_path / "model.safetensors", r"is damaged or cut short", config=single / "config")
