"""Weights and configurations that were made to do harm: no pickle is opened, nothing is allocated that files do not hold."""

import json
import os
import pickle
import struct
import tracemalloc
from pathlib import Path

import pytest
import torch
from diffusers import DDPMScheduler
from safetensors.torch import load_file, save_file

from geomem.errors import InputError
from geomem.limits import DEEPEST_JSON, LARGEST_JSON, LARGEST_LABEL, LARGEST_SIDE, MOST_STEPS
from geomem.models import load
from models import edited, saved, unet

STEM = "diffusion_pytorch_model"
INDEX = f"{STEM}.safetensors.index.json"


def refused(source, message, **options):
    """InputError, one that says its piece in a paragraph."""
    with pytest.raises(InputError, match=message) as found:
        load(source, **options)
    assert "\n" not in str(found.value)
    assert len(str(found.value)) < 2000


@pytest.fixture
def sharded(tmp_path):
    """A network's folder with weights in several files, and its map."""
    folder = tmp_path / "unet"
    unet().save_pretrained(folder, max_shard_size="20KB")
    DDPMScheduler().save_pretrained(tmp_path / "scheduler")
    return folder


def renamed(folder, new, index=INDEX):
    """The map with one of its files named otherwise."""
    content = json.loads((folder / INDEX).read_text())
    old = min(content["weight_map"].values())
    content["weight_map"] = {key: new if file == old else file for key, file in content["weight_map"].items()}
    (folder / index).write_text(json.dumps(content))
    return folder / old


class Evil:
    """A pickle that would leave a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize(
    "index", [INDEX, f"{STEM}.safetensors.index.fp16.json", f"{STEM}.bin.index.json", "x.index.json"]
)
@pytest.mark.parametrize("suffix", ["bin", "pt", "ckpt", "pkl", "safetensors.bin"])
def test_maps_that_name_pickles_are_refused(sharded, tmp_path, suffix, index):
    renamed(sharded, f"{STEM}.{suffix}", index)
    (sharded / f"{STEM}.{suffix}").write_bytes(pickle.dumps(Evil(tmp_path / "ran")))
    refused(
        sharded, rf"{index}: names '{STEM}\.{suffix}', which is not safetensors and could run code .*; it is refused"
    )
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "name", ["../other.safetensors", "/x.safetensors", "a/b.safetensors", "a\\b.safetensors", "..", ""]
)
def test_maps_that_lead_out_of_the_folder_are_refused(sharded, name):
    renamed(sharded, name)
    refused(sharded, "which is no file of its folder, and is refused|which is not safetensors")


def test_maps_of_links_out_of_the_folder_are_refused(sharded, tmp_path):
    path = sharded / min(json.loads((sharded / INDEX).read_text())["weight_map"].values())
    path.rename(tmp_path / "elsewhere.safetensors")
    path.symlink_to(tmp_path / "elsewhere.safetensors")
    refused(sharded, "a link to a file outside of its folder, and is refused")


@pytest.mark.parametrize("given", ["pipeline", "network"])
def test_the_hub_s_cache_is_read(tmp_path, given):
    """snapshots/<revision> holds links into blobs/ of the same model."""
    snapshot = tmp_path / "models--someone--model" / "snapshots" / "abc"
    blobs = tmp_path / "models--someone--model" / "blobs"
    saved(snapshot)
    unet().save_pretrained(snapshot / "unet", max_shard_size="20KB")
    (snapshot / "unet" / f"{STEM}.safetensors").unlink(missing_ok=True)
    blobs.mkdir()
    for i, path in enumerate(sorted(p for p in snapshot.rglob("*") if p.is_file())):
        path.rename(blobs / str(i))
        path.symlink_to(os.path.relpath(blobs / str(i), path.parent))
    score = load(snapshot if given == "pipeline" else snapshot / "unet")
    assert bool(torch.isfinite(score(torch.zeros(1, 8, 8), 1.0)).all())


@pytest.mark.parametrize(
    "content", [{}, {"weight_map": []}, {"weight_map": {"a": 1}}, {"weight_map": {}}, {"weight_map": None}]
)
def test_maps_of_something_else_are_refused(sharded, content):
    (sharded / INDEX).write_text(json.dumps(content))
    refused(sharded, r"index\.json: has no weight_map from tensors to files")


def test_tensor_in_two_files_is_refused(sharded):
    files = sorted(sharded.glob("*.safetensors"))
    save_file({**load_file(files[0]), **load_file(files[1])}, files[0])
    refused(sharded, r"safetensors: holds '.*', as another file does; save the model again")


def test_former_names_of_attention(tmp_path):
    """As the oldest models of the hub hold them."""
    network = unet(attention_head_dim=None, add_attention=True)
    path = saved(tmp_path, network) / "unet" / f"{STEM}.safetensors"
    tensors = load_file(path)
    for new, old in (("to_q", "query"), ("to_k", "key"), ("to_v", "value"), ("to_out.0", "proj_attn")):
        tensors = {key.replace(f".{new}.", f".{old}."): tensor for key, tensor in tensors.items()}
    assert any(".query." in key for key in tensors)
    save_file(tensors, path)
    held = load(tmp_path).module.network.state_dict()
    assert all(torch.equal(tensor, held[key]) for key, tensor in network.state_dict().items())


def test_pipe_instead_of_weights_is_refused(tmp_path):
    path = saved(tmp_path) / "unet" / f"{STEM}.safetensors"
    path.unlink()
    os.mkfifo(path)
    refused(tmp_path, "is a named pipe, not a file with content")


@pytest.mark.parametrize("path", ["model_index.json", "unet/config.json", "scheduler/scheduler_config.json"])
def test_pipe_instead_of_a_configuration_is_refused(tmp_path, path):
    place = saved(tmp_path) / path
    place.unlink()
    os.mkfifo(place)
    refused(tmp_path, "is a named pipe, not a file with content")


def test_header_that_claims_more_than_its_file_is_refused(tmp_path):
    path = saved(tmp_path) / "unet" / f"{STEM}.safetensors"
    content = path.read_bytes()
    for length in (2**63, 2**40, len(content)):
        path.write_bytes(struct.pack("<Q", length) + content[8:])
        refused(tmp_path, "is damaged or cut short")


CHANGES = {
    "class": {"_class_name": ["UNet2DModel"]},
    "class-number": {"_class_name": 3},
    "padding": {"downsample_padding": "x"},
    "groups": {"norm_num_groups": 0},
    "groups-text": {"norm_num_groups": "x"},
    "channels": {"in_channels": [1]},
    "channels-huge": {"block_out_channels": [10**9, 10**9]},
    "channels-overflow": {"block_out_channels": [10**400, 10**400]},
    "channels-many": {"block_out_channels": [8] * 10**5},
    "layers": {"layers_per_block": 10**9},
    "layers-fraction": {"layers_per_block": 1.5},
    "layers-negative": {"layers_per_block": -1},
    "blocks": {"down_block_types": 7},
    "blocks-many": {
        "down_block_types": ["DownBlock2D"] * 1000,
        "up_block_types": ["UpBlock2D"] * 1000,
        "block_out_channels": [8] * 1000,
    },
    "embedding": {"time_embedding_type": ["learned"]},
    "embedding-huge": {"time_embedding_type": "learned", "num_train_timesteps": 10**12},
    "classes": {"num_class_embeds": 10**12},
    "classes-text": {"num_class_embeds": "many"},
    "activation": {"act_fn": {}},
    "size": {"sample_size": [8, 8, 8]},
    "size-huge": {"sample_size": 10**9},
    "size-negative": {"sample_size": -8},
    "size-text": {"sample_size": "8"},
    "shift": {"resnet_time_scale_shift": "scale_shift"},
    "heads": {"attention_head_dim": 0, "add_attention": True},
    "epsilon": {"norm_eps": "small"},
    "dropout": {"dropout": 7},
    "frequency": {"freq_shift": "x"},
}


@pytest.mark.parametrize("case", CHANGES)
def test_configuration_of_wrong_types_and_sizes_is_refused(tmp_path, case):
    edited(saved(tmp_path) / "unet" / "config.json", **CHANGES[case])
    tracemalloc.start()
    try:
        refused(tmp_path, rf"{tmp_path}.*: ")
        assert tracemalloc.get_traced_memory()[1] < 5e7
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "key", ["downsample_padding", "norm_num_groups", "sample_size", "layers_per_block", "in_channels", "act_fn"]
)
def test_null_in_a_configuration_is_refused_or_read(tmp_path, key):
    path = saved(tmp_path) / "unet" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), key: None}))
    try:
        score = load(tmp_path)
    except InputError as error:
        assert str(tmp_path) in str(error)  # noqa: PT017 - refused or read, as diffusers can
    else:
        assert bool(torch.isfinite(score(torch.zeros(1, 8, 8), 1.0)).all())


@pytest.mark.parametrize(
    "part", [[["diffusers"], "UNet2DModel"], ["diffusers", ["UNet2DModel"]], ["diffusers", 5], [{"a": 1}, {}]]
)
def test_parts_of_wrong_types_are_refused(tmp_path, part):
    edited(saved(tmp_path) / "model_index.json", unet=part)
    refused(tmp_path, r"model_index\.json: its part unet is not the name of a library and of a class")


def test_more_memory_than_is_free_is_refused(tmp_path, monkeypatch):
    saved(tmp_path)
    monkeypatch.setattr("geomem.memory._free_memory", lambda: 1000)
    refused(tmp_path, r"unet: needs 0\.\d MiB of memory, but 0\.0 MiB are free; use a computer")


@pytest.mark.parametrize("label", [10**400, 10**7, -(10**400)])
@pytest.mark.parametrize("kind", [{"num_class_embeds": 3}, {"class_embed_type": "timestep"}])
def test_label_out_of_range_is_refused(tmp_path, label, kind):
    refused(
        saved(tmp_path, unet(**kind)), "is class-conditional; choose the class .*, got one out of range", label=label
    )


@pytest.mark.parametrize("name", ["circle", "nowhere", "a" * 300, "~nobody-here/model", "a\0b"])
@pytest.mark.parametrize("which", ["model", "scheduler"])
def test_paths_that_lead_nowhere_are_refused(tmp_path, monkeypatch, name, which):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "circle").symlink_to("circle")
    (tmp_path / "nowhere").symlink_to("gone")
    saved(tmp_path / "model")
    with pytest.raises(InputError):
        load(name) if which == "model" else load("model", scheduler=name)


def test_documents_name_the_limits():
    document = (Path(__file__).parents[1] / "docs" / "models.md").read_text()
    for text in (
        f"{LARGEST_JSON >> 20} MiB, nested {DEEPEST_JSON} deep",
        f"`num_train_timesteps` | {MOST_STEPS:,}",
        f"`sample_size` | {LARGEST_SIDE:,}",
        f"`--label` | {LARGEST_LABEL:,}",
    ):
        assert text in document
