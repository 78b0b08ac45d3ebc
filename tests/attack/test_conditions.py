"""Latent models that are conditioned on texts, and adapters: encoders, tokenizers, autoencoders and LoRAs that lie or are damaged."""

import json
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import save, save_file

from attack.arrays import pickled
from attack.cases import TAKEN, VALID, Case, attack, attacks
from attack.conditions import AUDIT, CODEC, ENCODER, LORA, TOKENIZER, adapted, edited, lora, raw, tensors, wants
from attack.mutations import LIES, deep, lied

ENCODER_FIELDS = {
    "hidden_size": ("huge", "zero", "text", "null"),
    "vocab_size": ("huge", "10^400", "minus-one"),
    "num_hidden_layers": ("huge", "half", "list"),
    "num_attention_heads": ("zero", "huge"),
    "max_position_embeddings": ("huge", "zero", "text"),
    "intermediate_size": ("huge",),
    "hidden_act": ("text", "control", "deep"),
    "architectures": ("text", "object"),
    "model_type": ("text", "list"),
    "eos_token_id": ("huge", "text"),
    "layer_norm_eps": ("NaN", "text"),
}
CODEC_FIELDS = {
    "_class_name": ("text", "list", "null"),
    "in_channels": ("huge", "zero", "text"),
    "out_channels": ("huge", "null"),
    "latent_channels": ("huge", "text", "minus-one", "NaN"),
    "block_out_channels": ("text", "huge", "empty-list", "list", "deep"),
    "block_out_channels.1": ("huge", "10^400", "text", "zero"),
    "down_block_types": ("text", "empty-list", "object"),
    "layers_per_block": ("huge", "half", "text"),
    "norm_num_groups": ("zero", "huge", "text"),
    "sample_size": ("text", "deep"),
    "scaling_factor": ("zero", "text", "NaN", "Infinity", "10^400", "list"),
    "shift_factor": ("text", "NaN", "huge", "object"),
    "act_fn": ("text", "surrogate"),
}
# What tokenizers read, of which transformers writes some.
WORDS = ("tokenizer_config.json", "tokenizer.json", "vocab.json", "merges.txt", "special_tokens_map.json")
DAMAGED: dict[str, bytes | None] = {
    "missing": None,
    "empty": b"",
    "cut": b'{"a": ',
    "deep": deep(100_000).encode(),
    "list": b"[1, 2]",
    "numbers": b'{"a": "x", "b": -1, "model": 7, "model_max_length": "x[/y]"}',
    "bytes": b"\xff\xfe\x00" * 50,
    "pickle": pickled(),
}


def _lie(field: str, kind: str) -> Callable[[bytes], bytes]:
    path = tuple(int(key) if key.isdigit() else key for key in field.split("."))
    return lambda data: lied(data.decode(), path, kind).encode()


def lies() -> list[Case]:
    """Values of the wrong kind in the configurations of the text encoder and of the autoencoder."""
    return [
        Case(f"{part}-{field}-{kind}", edited(f"{part}/config.json", _lie(field, kind)), VALID, (part, "model"))
        for part, fields in ((ENCODER, ENCODER_FIELDS), (CODEC, CODEC_FIELDS))
        for field, kinds in fields.items()
        for kind in kinds
    ]


def words() -> list[Case]:
    """Files of a tokenizer that are damaged or missing."""
    return [
        Case(
            f"{name}-{what}",
            edited(f"{TOKENIZER}/{name}", lambda _, d=data: d),
            VALID,
            (TOKENIZER, ENCODER),
            apart=True,
        )
        for name in WORDS
        for what, data in DAMAGED.items()
    ]


def _instead(part: str, name: str) -> Callable[[Path], list[str]]:
    """The weights of a part under the name of a pickle."""

    def make(folder: Path) -> list[str]:
        made = wants(folder)
        held = next((folder / "model" / part).glob("*.safetensors"))
        held.unlink()
        (held.parent / name).write_bytes(pickled())
        return made

    return make


def _mapped(part: str, name: str, *, keep: bool) -> Callable[[Path], list[str]]:
    """A weight map of a part that names a pickle."""

    def make(folder: Path) -> list[str]:
        made = wants(folder)
        held = next((folder / "model" / part).glob("*.safetensors"))
        (held.parent / f"{held.name}.index.json").write_text(json.dumps({"metadata": {}, "weight_map": {"x": name}}))
        (held.parent / "pytorch_model.bin").write_bytes(pickled())
        if not keep:
            held.unlink()
        return made

    return make


def pickles() -> list[Case]:
    """Weights of parts that are pickles, by their own name or a map's."""
    made = []
    for part, name in ((ENCODER, "pytorch_model.bin"), (CODEC, "diffusion_pytorch_model.bin"), (ENCODER, "x.pt")):
        made.append(Case(f"{part}-{name}", _instead(part, name), says=(part,)))
    for part in (ENCODER, CODEC):
        for name in ("pytorch_model.bin", "../pytorch_model.bin", "/dev/zero"):
            for keep in (True, False):
                said = f"{part}-map-{Path(name).name}-{'..' in name}-{keep}"
                made.append(Case(said, _mapped(part, name, keep=keep), says=(part,)))
    return made


def strange() -> list[Case]:
    """Parts that would lead elsewhere, or name code."""
    config = f"{ENCODER}/config.json"
    elsewhere = json.dumps({"base_model_name_or_path": "/etc", "peft_type": "LORA"}).encode()

    def with_fields(**fields: object) -> Callable[[bytes], bytes]:
        return lambda data: json.dumps({**json.loads(data), **fields}).encode()

    def index(**parts: object) -> Callable[[Path], list[str]]:
        return edited("model_index.json", with_fields(**parts))

    return [
        Case("encoder-adapter", edited(f"{ENCODER}/adapter_config.json", lambda _: elsewhere), says=(ENCODER,)),
        Case("encoder-kernel", edited(config, with_fields(_attn_implementation="someone/kernel")), says=(ENCODER,)),
        Case("encoder-code", edited(config, with_fields(auto_map={"AutoModel": "x.Y"})), VALID, (ENCODER,)),
        Case("encoder-quantized", edited(config, with_fields(quantization_config={"a": 1})), VALID, (ENCODER,)),
        Case("encoder-wider", edited(config, with_fields(hidden_size=64)), says=(ENCODER,)),
        Case("encoder-class", index(text_encoder=["transformers", "PreTrainedModel"]), says=(ENCODER,)),
        Case("encoder-library", index(text_encoder=["os", "system"]), says=("model_index.json",)),
        Case("encoder-number", index(text_encoder=["transformers", 7]), says=("model_index.json",)),
        Case("encoder-none", index(text_encoder=[None, None]), says=("model",)),
        Case("codec-class", index(vae=["diffusers", "AutoencoderDC"]), says=(CODEC,)),
        Case("codec-library", index(vae=["x[/y]", "AutoencoderKL"]), says=("model_index.json",)),
        Case("codec-none", index(vae=[None, None]), says=("model",)),
    ]


def _special(kind: str, within: bool) -> Callable[[Path], list[str]]:
    """An adapter that is no file."""

    def make(folder: Path) -> list[str]:
        wants(folder)
        (folder / "lora").mkdir()
        path = folder / "lora" / "lora.safetensors"
        if kind == "fifo":
            os.mkfifo(path)
        elif kind == "loop":
            path.symlink_to(path.name)
        elif kind == "nowhere":
            path.symlink_to("absent.safetensors")
        elif kind == "device":
            path.symlink_to("/dev/zero")
        elif kind == "folder":
            path.mkdir()
        return [*AUDIT, "--adapter", "lora" if within else "lora/lora.safetensors"]

    return make


def _settings(**settings: object) -> Callable[[Path], list[str]]:
    """A LoRA as PEFT saves it, with settings that lie."""

    def make(folder: Path) -> list[str]:
        named = {f"base_model.model.{k.removeprefix('unet.')}": v for k, v in lora().items()}
        wants(folder)
        (folder / "lora").mkdir()
        save_file(named, folder / "lora" / "adapter_model.safetensors")
        (folder / "lora" / "adapter_config.json").write_text(json.dumps({"lora_alpha": 2, **settings}))
        return [*AUDIT, "--adapter", "lora"]

    return make


def _zeros(*shape: int) -> torch.Tensor:
    return torch.zeros(shape)


def _many(count: int) -> bytes:
    entry = b'"x%d.lora":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}'
    return raw(b"{" + b",".join([entry % i for i in range(count)]) + b"}")


def loras() -> list[Case]:
    """Adapters with values, shapes, names and settings of none."""
    contents: dict[str, bytes | Callable[[], bytes]] = {
        "nan": tensors(down=torch.full((2, 32), float("nan"))),
        "inf": tensors(up=torch.full((32, 2), float("inf"))),
        "rank-0": tensors(down=_zeros(0, 32), up=_zeros(32, 0)),
        "rank-10^12": tensors(down=_zeros(10**12, 0), up=_zeros(0, 10**12)),
        "rank-10^5": tensors(down=_zeros(10**5, 1), up=_zeros(1, 10**5)),
        "ranks-differ": tensors(down=_zeros(2, 32), up=_zeros(32, 3)),
        "wide": tensors(down=_zeros(2, 64)),
        "scalar": tensors(down=torch.tensor(0.0)),
        "five-axes": tensors(down=_zeros(2, 32, 1, 1, 1)),
        "whole-numbers": tensors(down=torch.zeros(2, 32, dtype=torch.int64)),
        "no-pair": tensors(up=None),
        "alpha-nan": tensors(**{"unet.x.alpha": torch.tensor(float("nan"))}),
        "alpha-many": tensors(**{"unet.x.alpha": _zeros(7)}),
        "other-layer": tensors(**{"unet.nowhere.lora_A.weight": _zeros(2, 2)}),
        "other-part": tensors(**{"prior.x.lora_A.weight": _zeros(2, 2)}),
        "dots": tensors(**{"....lora_A.weight": _zeros(2, 2)}),
        "markup": tensors(**{"unet.x[/y].lora_A.weight": _zeros(2, 2)}),
        "control": tensors(**{"unet.\x1b[31m.lora_A.weight": _zeros(2, 2)}),
        "long-name": tensors(**{f"unet.{'a' * 100_000}.lora_A.weight": _zeros(2, 2)}),
        "kohya-nowhere": lambda: _kohya("lora_unet_nowhere"),
        "kohya-te2": lambda: _kohya("lora_te2_text_model_encoder_layers_0_self_attn_q_proj"),
        "kohya-no-rest": lambda: _kohya("lora_unet_"),
        "metadata-text": tensors({"lora_adapter_metadata": "x[/y]"}),
        "metadata-deep": tensors({"lora_adapter_metadata": deep(100_000)}),
        "metadata-list": tensors({"lora_adapter_metadata": "[1]"}),
        "metadata-alpha": tensors({"lora_adapter_metadata": json.dumps({"unet.lora_alpha": "x"})}),
        "metadata-huge": tensors({"lora_adapter_metadata": LIES["10^400"]}),
        "tensors-10^6": lambda: _many(10**6),
        "tensors-30,000": lambda: _many(30_000),
        "empty": b"",
        "no-tensors": raw({}),
        "pickle": pickled(),
        "header-2^63": raw(b"")[:-1] + b"\x80",
        "text": b"this is no such file\n" * 20,
    }
    made = [
        Case(f"lora-{what}", adapted(content), VALID if what == "whole-numbers" else "refused", (LORA,))
        for what, content in contents.items()
    ]
    made += [
        Case(f"lora-name-{name}", adapted(pickled(), name), says=(name,)) for name in ("x.pt", "x.bin", "x.ckpt", "x")
    ]
    made += [
        Case(f"lora-{kind}-{'folder' if within else 'file'}", _special(kind, within), says=("lora",))
        for kind in ("fifo", "loop", "nowhere", "device", "folder", "none")
        for within in (True, False)
    ]
    for what, settings in {
        "alpha-text": {"lora_alpha": "x[/y]"},
        "alpha-huge": {"lora_alpha": 1e300},
        "pattern-list": {"alpha_pattern": [1]},
        "type": {"peft_type": "x[/y]"},
        "type-list": {"peft_type": [1]},
    }.items():
        made.append(Case(f"peft-{what}", _settings(**settings), says=("adapter",)))
    for what, settings in {
        "rank": {"r": 10**9},
        "ranks": {"rank_pattern": {"(a+)+$": 10**9}},
        "targets": {"target_modules": "(a+)+$"},
        "modules": {"modules_to_save": ["x"], "base_model_name_or_path": "/etc", "auto_mapping": {"a": "b"}},
    }.items():  # which is not read
        made.append(Case(f"peft-{what}", _settings(**settings), TAKEN))
    for what, some in {
        "none": {"<x>": _zeros(4, 0)},
        "nan": {"<x>": torch.full((32,), float("nan"))},
        "width": {"<x>": _zeros(31)},
        "many": {"<x>": _zeros(1000, 32)},
        "known": {"a</w>": _zeros(32)},
        "empty-name": {"": _zeros(32)},
        "control": {"\x1b[31m": _zeros(32)},
        "zero-byte": {"a\0b": _zeros(32)},
    }.items():
        made.append(Case(f"inversion-{what}", adapted(partial(save, some)), says=(LORA,)))
    return made


def _kohya(name: str) -> bytes:
    return save({f"{name}.lora_down.weight": _zeros(2, 32), f"{name}.lora_up.weight": _zeros(32, 2)})


def cases() -> list[Case]:
    control = [Case("control", wants, TAKEN), Case("control-lora", adapted(tensors()), TAKEN)]
    return [*control, *lies(), *words(), *pickles(), *strange(), *loras()]


@attacks(cases())
def test_conditions(case: Case, tmp_path: Path) -> None:
    attack(case, tmp_path)
