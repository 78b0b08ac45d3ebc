"""Model folders: configurations that lie, weights that are damaged, pickles under any name, and folders that are none."""

import json
import os
import random
import struct
from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch
from safetensors.torch import load_file

from attack.arrays import pickled
from attack.cases import SAME, TAKEN, VALID, Case, attack, attacks
from attack.models import AUDIT, CONFIG, INDEX, SCHEDULER, WEIGHTS, edited, header, wants
from attack.mutations import DAMAGE, LIES, cut, deep, flipped, lied, places

UNET = [
    "_class_name",
    "act_fn",
    "add_attention",
    "attention_head_dim",
    "attn_norm_num_groups",
    "block_out_channels",
    "block_out_channels.1",
    "center_input_sample",
    "class_embed_type",
    "down_block_types",
    "down_block_types.0",
    "downsample_padding",
    "downsample_type",
    "dropout",
    "flip_sin_to_cos",
    "freq_shift",
    "in_channels",
    "layers_per_block",
    "mid_block_scale_factor",
    "mid_block_type",
    "norm_eps",
    "norm_num_groups",
    "num_class_embeds",
    "num_train_timesteps",
    "out_channels",
    "resnet_time_scale_shift",
    "sample_size",
    "time_embedding_dim",
    "time_embedding_type",
    "up_block_types",
    "upsample_type",
]
NOISE = [
    "_class_name",
    "beta_end",
    "beta_schedule",
    "beta_start",
    "clip_sample",
    "num_train_timesteps",
    "prediction_type",
    "rescale_betas_zero_snr",
    "timestep_spacing",
    "trained_betas",
    "variance_type",
]
PIPELINE = ["_class_name", "_diffusers_version", "scheduler", "scheduler.0", "scheduler.1", "unet", "unet.0", "unet.1"]
# Lies told of each field of a configuration; all of them are told of the fields that libraries look up or multiply by.
TOLD = 3
ALL = {"_class_name", "downsample_padding", "sample_size", "num_train_timesteps", "unet"}
FLIPS = 20


def lie(field: str, kind: str) -> Callable[[bytes], bytes]:
    path = tuple(int(key) if key.isdigit() else key for key in field.split("."))
    return lambda data: lied(data.decode(), path, kind).encode()


def lies() -> list[Case]:
    """Values of the wrong kind in each field of the three configurations."""
    made = []
    for where, fields in ((CONFIG, UNET), (SCHEDULER, NOISE), (INDEX, PIPELINE)):
        for field in fields:
            told = list(LIES) if field in ALL else random.Random(field).sample(list(LIES), TOLD)
            names = (Path(where).name, field.partition(".")[0], "model")
            made += [
                Case(f"{Path(where).stem}-{field}-{kind}", edited(where, lie(field, kind)), VALID, names)
                for kind in told
            ]
    return made


def file_damage() -> list[Case]:
    """Files that are cut, replaced, missing or nested without end."""
    made = []
    for where in (CONFIG, SCHEDULER, INDEX, WEIGHTS):
        name = Path(where).name
        for what, damage in DAMAGE.items():
            # A text without its last newline is whole.
            kind = (
                VALID if (what, where) in {("cut--1", CONFIG), ("cut--1", SCHEDULER), ("cut--1", INDEX)} else "refused"
            )
            made.append(Case(f"{name}-{what}", edited(where, damage), kind, (name,)))
        for seed in range(FLIPS if where == WEIGHTS else FLIPS // 3):
            among = slice(0, 4000) if where == WEIGHTS and seed % 2 else slice(None)
            made.append(Case(f"{name}-flip-{seed}", edited(where, flipped(seed, among=among)), VALID, (name, "model")))
    for where in (CONFIG, SCHEDULER, INDEX):
        name = Path(where).name
        for what, text in (
            ("deep", deep(100_000)),
            ("deep-list", deep(100_000, "[")),
            ("list", "[1, 2]"),
            ("number", "1" * 5000),
            ("latin", '{"a": "é"}'.encode("latin-1")),
            ("utf-16", '{"a": 1}'.encode("utf-16")),
            ("twice", '{"a": 1}{"a": 1}'),
            ("many-keys", json.dumps({f"k{i}": i for i in range(20_000)})),
        ):
            data = text.encode() if isinstance(text, str) else text
            made.append(Case(f"{name}-{what}", edited(where, lambda _, d=data: d), says=(name,)))
        made.append(Case(f"{name}-missing", edited(where, lambda _: None), VALID, (name, "model")))
    return made


def _entry(**changes: object) -> Callable[[dict[str, dict[str, object]]], None]:
    """The first tensor's entry in the header with some changes."""

    def change(held: dict[str, dict[str, object]]) -> None:
        first = next(name for name in held if name != "__metadata__")
        held[first].update(changes)

    return change


TENSORS: dict[str, Callable[[bytes], bytes]] = {
    "shape-10^30": header(_entry(shape=[10**30])),
    "shape-negative": header(_entry(shape=[-8])),
    "shape-text": header(_entry(shape="x[/y]")),
    "shape-other": header(_entry(shape=[1])),
    "type-none": header(_entry(dtype="X[/y]")),
    "type-other": header(_entry(dtype="I64")),
    "offsets-outside": header(_entry(data_offsets=[0, 2**62])),
    "offsets-backwards": header(_entry(data_offsets=[32, 0])),
    "offsets-overlap": header(_entry(data_offsets=[0, 64])),
    "no-tensors": header(lambda held: b"{}"),
    "deep": header(lambda held: deep(50_000).encode()),
    "renamed": header(lambda held: held.update({"x[/y]": held.pop("conv_in.bias")})),
    "one-missing": header(lambda held: json.dumps({k: v for k, v in held.items() if k != "conv_in.bias"}).encode()),
    "control-name": header(lambda held: held.update({"\x1b[31m": held.pop("conv_in.bias")})),
    "length-2^63": lambda data: struct.pack("<Q", 2**63) + data[8:],
    "length-0": lambda data: struct.pack("<Q", 0) + data[8:],
    "NaN": lambda data: data[:-4000] + struct.pack("<f", float("nan")) * 1000,
    "largest": lambda data: data[:-4000] + struct.pack("<f", 3.4e38) * 1000,
    "pickle": lambda data: pickled(),
    "longer": lambda data: data + bytes(64),
}
# Names that a weight map may give, none of which is a file of safetensors in the folder.
MAPPED = (
    *(
        "diffusion_pytorch_model.bin",
        "x.pt",
        "x.ckpt",
        "x.pkl",
        "x",
        "x.safetensors.bin",
        "../x.bin",
        "../../x.safetensors",
    ),
    *(
        "/etc/passwd",
        "/dev/zero",
        "missing.safetensors",
        "x[/y].safetensors",
        "\x1b[31m.safetensors",
        "",
        ".",
        "..",
        "a\0b",
    ),
    *("a" * 300 + ".safetensors", "pipe.safetensors", "loop.safetensors", "link.safetensors", "pickle.safetensors"),
)


def mapped(name: str, *, keep: bool = False) -> Callable[[Path], list[str]]:
    """A weight map that names one file for all tensors; the weights' own file is kept or not."""

    def make(folder: Path) -> list[str]:
        words = wants(folder)
        unet = folder / "model" / "unet"
        tensors = _names((folder / "model" / WEIGHTS).read_bytes())
        index = {"metadata": {"total_size": 1}, "weight_map": dict.fromkeys(tensors, name)}
        (unet / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(index))
        for held in ("diffusion_pytorch_model.bin", "x.pt", "x.ckpt", "x.safetensors.bin", "../x.bin"):
            torch.save(load_file(folder / "model" / WEIGHTS), unet / held)  # a pickle that does no harm
        for held in ("x.pkl", "x", "pickle.safetensors"):
            (unet / held).write_bytes(pickled())
        os.mkfifo(unet / "pipe.safetensors")
        (unet / "loop.safetensors").symlink_to("loop.safetensors")
        (folder / "elsewhere.bin").write_bytes(pickled())
        (unet / "link.safetensors").symlink_to(folder / "elsewhere.bin")
        (folder / "x.safetensors").write_bytes((folder / "model" / WEIGHTS).read_bytes())
        shard = unet / "diffusion_pytorch_model-00001-of-00002.safetensors"
        (folder / "model" / WEIGHTS).rename(shard) if not keep else shard.write_bytes(
            (folder / "x.safetensors").read_bytes()
        )
        return words

    return make


@cache
def _names(data: bytes) -> tuple[str, ...]:
    (length,) = struct.unpack("<Q", data[:8])
    return tuple(name for name in json.loads(data[8 : 8 + length]) if name != "__metadata__")


def weights() -> list[Case]:
    """Headers of safetensors that lie, and maps that name what is no weights."""
    name = Path(WEIGHTS).name
    made = [
        Case(f"safetensors-{what}", edited(WEIGHTS, damage), VALID if what == "largest" else "refused", (name, "model"))
        for what, damage in TENSORS.items()
    ]
    for i, target in enumerate(MAPPED):
        made.append(Case(f"map-{i}-{target[:20].encode('unicode_escape').decode()}", mapped(target), says=("model",)))
    made += [
        Case(f"map-beside-weights-{Path(target).name}", mapped(target, keep=True), VALID, ("model",))
        for target in ("diffusion_pytorch_model.bin", "/dev/zero", "../../x.safetensors")
    ]
    index = "unet/diffusion_pytorch_model.safetensors.index.json"
    for what, text in (
        ("deep", deep(100_000)),
        ("list", "[]"),
        ("no-map", "{}"),
        ("map-list", '{"metadata": {}, "weight_map": [1]}'),
        ("map-number", '{"metadata": {}, "weight_map": {"conv_in.bias": 7}}'),
        ("map-deep", '{"metadata": {}, "weight_map": ' + LIES["deep"] + "}"),
        ("cut", '{"metadata": '),
        ("bytes", "\udcff\udcfe"),
    ):
        data = text.encode("utf-8", "surrogateescape")
        made.append(Case(f"index-{what}", edited(index, lambda _, d=data: d), VALID, ("index.json", "model")))
    return made


def cases() -> list[Case]:
    control = Case("control", wants, TAKEN)
    cut_weights = Case("weights-longer-by-a-cut", edited(WEIGHTS, cut(0.999)), SAME, ("safetensors",), same=wants)
    return [control, cut_weights, *lies(), *file_damage(), *weights()]


@attacks(cases())
def test_models(case: Case, tmp_path: Path) -> None:
    attack(case, tmp_path)


def test_fields_are_those_of_a_model(tmp_path: Path) -> None:
    """A library's new field belongs in the tables above."""
    wants(tmp_path)
    assert AUDIT[1] == "model"
    for where, fields in ((CONFIG, UNET), (INDEX, PIPELINE)):
        held = {".".join(map(str, path)) for path in places(json.loads((tmp_path / "model" / where).read_text()))}
        assert set(fields) <= held
