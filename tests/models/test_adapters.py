"""Adapters: the change that diffusers makes of them, the base bit for bit beside it, and what each refusal says."""

import json
import re
import shlex
import shutil
import subprocess
import sys

import pytest
import torch
from diffusers.utils import convert_state_dict_to_diffusers
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from safetensors.torch import save_file

from geomem.errors import InputError
from geomem.models import fingerprint, load
from geomem.models.adapters import adapt
from laws import deviation
from models import saved, unet
from pipelines import SIDE, predicted, theirs

ATTENTION = ["to_q", "to_k", "to_v", "to_out.0"]
PARTS = {"sd": "unet", "sdxl": "unet", "sd3": "transformer", "flux": "transformer"}
WORDS = ["a cat"]


def opened(made, kind, **options):
    return load(made(kind), size=2 * SIDE, **options).conditioned(WORDS)


def points(score):
    return torch.randn(2, *score.shape, generator=torch.Generator().manual_seed(1)), score.nearest(1.0)


def changed(network, targets=ATTENTION, rank=2, alpha=4):
    """A network with a LoRA of random values in the place where training would put it."""
    g = torch.Generator().manual_seed(5)
    network.add_adapter(LoraConfig(r=rank, lora_alpha=alpha, target_modules=targets))
    for name, p in network.named_parameters():
        if "lora_" in name:
            p.data = 0.3 * torch.randn(p.shape, generator=g)
    return get_peft_model_state_dict(network)


@pytest.fixture(scope="session")
def layers(made):
    """The layers of a LoRA of each kind of pipeline, in PEFT's words."""
    return {kind: changed(getattr(theirs(made(kind)), part)) for kind, part in PARTS.items()}


def by_diffusers(made, kind, score, source, **options):
    """-eps/sqrt t of the pipeline with the same LoRA."""
    pipe = theirs(made(kind))
    pipe.load_lora_weights(source, **options)
    x, t = points(score)
    a = (1 + t) ** -0.5 if score.noise == "vp" else 1 / (1 + t**0.5)
    step = score.condition(torch.tensor([t], dtype=torch.float64)).float().expand(2)
    out = predicted(pipe, kind, a * x, step, WORDS * 2)
    return -(out if score.noise == "vp" else a * x + a * out) / t**0.5


def same_as_diffusers(made, kind, file, **options):
    score, base = opened(made, kind, adapter=file), opened(made, kind)
    x, t = points(score)
    with torch.no_grad():
        expected = by_diffusers(made, kind, score, str(file.parent), weight_name=file.name, **options)
        assert deviation(score(x, t), expected, 3) < 2e-5
        assert deviation(expected, base(x, t), 3) > 1e-3  # it changes something
    return score


def the_base_is_beside(score, base):
    """Bit for bit, in any order."""
    x, t = points(score)
    without = score.without_adapter()
    assert (score.adapted, without.adapted, base.adapted) == (True, False, None)
    with torch.no_grad():
        plain, changed = base(x, t), score(x, t)
        for _ in range(2):
            assert torch.equal(without(x, t), plain)
            assert torch.equal(score(x, t), changed)
    assert not any(p.requires_grad for p in score.module.parameters())


@pytest.mark.parametrize("kind", PARTS)
@pytest.mark.parametrize("metadata", [True, False], ids=["with alpha", "without"])
def test_lora_of_diffusers(kind, metadata, made, layers, tmp_path):
    pipe, part = theirs(made(kind)), PARTS[kind]
    config = {"r": 2, "lora_alpha": 8, "target_modules": ATTENTION}
    pipe.save_lora_weights(
        tmp_path,
        **{f"{part}_lora_layers": layers[kind]},
        **({f"{part}_lora_adapter_metadata": config} if metadata else {}),
    )
    file = tmp_path / "pytorch_lora_weights.safetensors"
    score = same_as_diffusers(made, kind, file)
    the_base_is_beside(score, opened(made, kind))
    x, t = points(score)
    with torch.no_grad():  # its folder is the same
        assert torch.equal(opened(made, kind, adapter=tmp_path)(x, t), score(x, t))


def test_alpha_scales_a_lora(made, layers, tmp_path):
    """By alpha/rank; without one, by 1."""
    scores = []
    for alpha in (None, 2, 8):
        pipe, folder = theirs(made("sd")), tmp_path / str(alpha)
        config = {} if alpha is None else {"r": 2, "lora_alpha": alpha, "target_modules": ATTENTION}
        pipe.save_lora_weights(
            folder,
            unet_lora_layers=layers["sd"],
            **({} if alpha is None else {"unet_lora_adapter_metadata": config}),
        )
        scores.append(opened(made, "sd", adapter=folder))
    x, t = points(scores[0])
    with torch.no_grad():
        none, two, eight = (score(x, t) for score in scores)
    assert deviation(two, none, 3) < 1e-5
    assert deviation(eight, none, 3) > 1e-3


def test_lora_of_names_of_two_kinds(made, tmp_path):
    """As diffusers' training scripts save it where it changes more than attention: they rename the attention's layers alone."""
    state = changed(theirs(made("sd")).unet, [*ATTENTION, "proj_in", "proj_out"])
    mixed = {f"unet.{name}": v.contiguous() for name, v in convert_state_dict_to_diffusers(state).items()}
    assert any(".lora.down." in name for name in mixed)
    assert any(".lora_A." in name for name in mixed)
    save_file(mixed, tmp_path / "mixed.safetensors")
    save_file({f"unet.{name}": v.contiguous() for name, v in state.items()}, tmp_path / "plain.safetensors")
    scores = [opened(made, "sd", adapter=tmp_path / f"{name}.safetensors") for name in ("mixed", "plain")]
    x, t = points(scores[0])
    with torch.no_grad():
        assert torch.equal(scores[0](x, t), scores[1](x, t))


@pytest.mark.parametrize("alpha", [2, 6])
def test_lora_of_peft(alpha, made, layers, tmp_path):
    """As PEFT saves an adapter of the network alone: a file and its settings beside it."""
    tensors = {f"base_model.model.{name}": v.contiguous() for name, v in layers["sd"].items()}
    save_file(tensors, tmp_path / "adapter_model.safetensors")
    settings = {"peft_type": "LORA", "r": 2, "lora_alpha": alpha, "target_modules": ATTENTION, "bias": "none"}
    (tmp_path / "adapter_config.json").write_text(json.dumps(settings))
    score = opened(made, "sd", adapter=tmp_path)
    theirs(made("sd")).save_lora_weights(
        tmp_path / "other",
        unet_lora_layers=layers["sd"],
        unet_lora_adapter_metadata={"r": 2, "lora_alpha": alpha, "target_modules": ATTENTION},
    )
    expected = by_diffusers(made, "sd", score, str(tmp_path / "other"))
    x, t = points(score)
    with torch.no_grad():
        assert deviation(score(x, t), expected, 3) < 2e-5
    the_base_is_beside(score, opened(made, "sd"))


def kohya(layers, alpha, prefix="lora_unet_"):
    """The same layers in the names of kohya's scripts."""
    out = {}
    for name, tensor in layers.items():
        layer, _, end = name.rpartition(".lora_")
        stem = prefix + layer.replace(".", "_")
        out[f"{stem}.lora_{'down' if end.startswith('A') else 'up'}.weight"] = tensor.contiguous()
        out[f"{stem}.alpha"] = torch.tensor(float(alpha))
    return out


@pytest.mark.parametrize("kind", ["sd", "sdxl"])
@pytest.mark.parametrize("alpha", [1, 2])
def test_lora_of_kohya(kind, alpha, made, layers, tmp_path):
    file = tmp_path / "style.safetensors"
    save_file(kohya(layers[kind], alpha), file)
    score = same_as_diffusers(made, kind, file)
    the_base_is_beside(score, opened(made, kind))


ENCODER = "encoder.layers.0.self_attn.q_proj"


def encoder_layers(seed=0, form="text_model."):
    """Layers of a LoRA of a text encoder of width 32: rank 2."""
    g = torch.Generator().manual_seed(seed)
    shapes = {"A": (2, 32), "B": (32, 2)}
    return {f"{form}{ENCODER}.lora_{side}.weight": torch.randn(shape, generator=g) for side, shape in shapes.items()}


def merged(pipe, alpha, *parts):
    """A pipeline whose text encoders have W + B A alpha/rank."""
    for seed, part in enumerate(parts):
        down, up = encoder_layers(seed).values()
        encoder = getattr(pipe, part)
        layer = dict(encoder.named_modules()).get(ENCODER) or encoder.get_submodule(f"text_model.{ENCODER}")
        layer.weight.data += up @ down * alpha / 2
    return pipe


def by_encoders(kind, score, pipe):
    x, t = points(score)
    step = score.condition(torch.tensor([t], dtype=torch.float64)).float().expand(2)
    return -predicted(pipe, kind, (1 + t) ** -0.5 * x, step, WORDS * 2) / t**0.5


@pytest.mark.parametrize("both", [True, False], ids=["with the network's", "alone"])
@pytest.mark.parametrize("form", ["text_model.", ""], ids=["nested", "flat"])
def test_lora_of_a_text_encoder(both, form, made, layers, tmp_path):
    options = {"unet_lora_layers": layers["sd"]} if both else {}
    theirs(made("sd")).save_lora_weights(tmp_path, text_encoder_lora_layers=encoder_layers(form=form), **options)
    score = opened(made, "sd", adapter=tmp_path)
    assert score.adapted
    x, t = points(score)
    pipe, base = merged(theirs(made("sd")), 2, "text_encoder"), opened(made, "sd")
    if both:
        theirs(made("sd")).save_lora_weights(tmp_path / "network", **options)
        pipe.load_lora_weights(str(tmp_path / "network"))
    with torch.no_grad():
        expected = by_encoders("sd", score, pipe)
        assert deviation(score(x, t), expected, 3) < 2e-5
        assert deviation(base(x, t), expected, 3) > 1e-3
    # Without the adapter texts are encoded as the base does.
    the_base_is_beside(score, base)


def test_lora_of_both_text_encoders(made, tmp_path):
    theirs(made("sdxl")).save_lora_weights(
        tmp_path,
        text_encoder_lora_layers=encoder_layers(0),
        text_encoder_2_lora_layers=encoder_layers(1),
    )
    score = opened(made, "sdxl", adapter=tmp_path)
    x, t = points(score)
    with torch.no_grad():
        pipe = merged(theirs(made("sdxl")), 2, "text_encoder", "text_encoder_2")
        assert deviation(score(x, t), by_encoders("sdxl", score, pipe), 3) < 2e-5


def test_lora_of_kohya_for_a_text_encoder(made, tmp_path):
    file = tmp_path / "style.safetensors"
    save_file(kohya(encoder_layers(), 1, "lora_te_"), file)
    score = opened(made, "sd", adapter=file)
    x, t = points(score)
    with torch.no_grad():
        expected = by_encoders("sd", score, merged(theirs(made("sd")), 1, "text_encoder"))
        assert deviation(score(x, t), expected, 3) < 2e-5


def test_half_precision_is_computed_with_in_full(made, layers, tmp_path):
    half = {f"unet.{name}": v.half() for name, v in layers["sd"].items()}
    save_file(half, tmp_path / "half.safetensors")
    score = opened(made, "sd", adapter=tmp_path / "half.safetensors")
    assert {p.dtype for p in score.module.parameters()} == {torch.float32}
    double = load(made("sd"), adapter=tmp_path / "half.safetensors", dtype=torch.float64).conditioned(WORDS)
    assert {p.dtype for p in double.module.parameters()} == {torch.float64}
    x, t = points(score)
    with torch.no_grad():
        assert deviation(score(x, t), double(x, t), 3) < 1e-4


def test_score_of_an_adapted_model_is_another_one(made, layers, tmp_path):
    save_file({f"unet.{name}": v for name, v in layers["sd"].items()}, tmp_path / "one.safetensors")
    score = opened(made, "sd", adapter=tmp_path / "one.safetensors")
    found = {fingerprint(s) for s in (score, score.without_adapter(), opened(made, "sd"))}
    assert len(found) == 3


# Textual inversions


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("form", ["diffusers", "A1111"])
def test_textual_inversion(count, form, made, tmp_path):
    g = torch.Generator().manual_seed(3)
    vectors = torch.randn(count, 32, generator=g)
    word, file = "<thing>", tmp_path / "<thing>.safetensors"
    stored = vectors[0] if count == 1 and form == "diffusers" else vectors
    save_file({word if form == "diffusers" else "emb_params": stored}, file)
    score = load(made("sd"), adapter=file, prompt=f"a {word} moon")
    pipe = theirs(made("sd"))
    pipe.load_textual_inversion({word: stored} if form == "diffusers" else {"emb_params": stored}, token=word)
    x, t = points(score)
    step = score.condition(torch.tensor([t], dtype=torch.float64)).float().expand(2)
    expected = -predicted(pipe, "sd", (1 + t) ** -0.5 * x, step, [f"a {word} moon"] * 2) / t**0.5
    with torch.no_grad():
        assert deviation(score(x, t), expected, 3) < 2e-5
        assert deviation(load(made("sd"), prompt=f"a {word} moon")(x, t), expected, 3) > 1e-4
        # Texts without the word are what they were.
        assert torch.equal(score.conditioned(WORDS)(x, t), opened(made, "sd")(x, t))
    the_base_is_beside(score, load(made("sd"), prompt=f"a {word} moon"))


def test_textual_inversion_of_two_encoders(made, tmp_path):
    g = torch.Generator().manual_seed(3)
    vectors = {"clip_l": torch.randn(2, 32, generator=g), "clip_g": torch.randn(2, 32, generator=g)}
    save_file(vectors, tmp_path / "thing.safetensors")
    score = load(made("sdxl"), adapter=tmp_path / "thing.safetensors", prompt="a thing moon")
    pipe = theirs(made("sdxl"))
    pipe.load_textual_inversion(
        vectors["clip_l"], token="thing", text_encoder=pipe.text_encoder, tokenizer=pipe.tokenizer
    )
    pipe.load_textual_inversion(
        vectors["clip_g"], token="thing", text_encoder=pipe.text_encoder_2, tokenizer=pipe.tokenizer_2
    )
    x, t = points(score)
    step = score.condition(torch.tensor([t], dtype=torch.float64)).float().expand(2)
    expected = -predicted(pipe, "sdxl", (1 + t) ** -0.5 * x, step, ["a thing moon"] * 2) / t**0.5
    with torch.no_grad():
        assert deviation(score(x, t), expected, 3) < 2e-5


def test_textual_inversion_for_texts_alone(made, tmp_path):
    save_file({"<x>": torch.zeros(32)}, tmp_path / "x.safetensors")
    for kind in ("dit", "ldm"):
        options = {"label": 3} if kind == "dit" else {}
        refused(made(kind), tmp_path / "x.safetensors", "is a textual inversion, but the model is not", **options)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"<x>": torch.zeros(31)}, r"its vectors have 31 values, but the model's text encoder takes 32\."),
        ({"a</w>": torch.zeros(32)}, r"its word 'a</w>' is known to the tokenizer already\."),
        ({"<x>": torch.zeros(101, 32)}, "is neither a LoRA nor a textual inversion of this model"),
        ({"clip_g": torch.zeros(32)}, "is neither a LoRA nor a textual inversion of this model"),
        ({"<x>": torch.tensor(0.0)}, "is neither a LoRA nor a textual inversion of this model"),
        ({"<x>": torch.zeros(4, 0)}, "is neither a LoRA nor a textual inversion of this model"),
        ({"<x>": torch.full((32,), float("nan"))}, r"holds NaN or infinity in <x>; it is damaged\."),
        ({"": torch.zeros(32)}, "is neither a LoRA nor a textual inversion of this model"),
        ({}, r"holds no tensors; copy or download it again\."),
    ],
)
def test_textual_inversion_that_does_not_fit(tensors, message, made, tmp_path):
    save_file(tensors, tmp_path / "thing.safetensors")
    refused(made("sd"), tmp_path / "thing.safetensors", message)


# Refusals


def refused(model, adapter, message, **options):
    with pytest.raises(InputError, match=message) as found:
        load(model, adapter=adapter, size=2 * SIDE, **options)
    assert "\n" not in str(found.value)
    assert "Traceback" not in str(found.value)


def lora_of(layers, file, kind="sd", **changes):
    save_file({f"{PARTS[kind]}.{name}": v.contiguous() for name, v in {**layers[kind], **changes}.items()}, file)
    return file


@pytest.mark.parametrize("name", ["lora.pt", "lora.bin", "lora.ckpt", "lora.pth"])
def test_pickles(name, made, tmp_path):
    (tmp_path / name).write_bytes(b"never opened")
    for source in (tmp_path, tmp_path / name):
        refused(
            made("sd"), source, rf"{name}: is a pickle by its name, which can run code .*convert it once: python -c"
        )


def test_advice_for_pickles_works(made, layers, tmp_path):
    torch.save({f"unet.{name}": v for name, v in layers["sd"].items()}, tmp_path / "a lora.bin")
    with pytest.raises(InputError) as found:
        load(made("sd"), adapter=tmp_path / "a lora.bin")
    python, *rest = shlex.split(re.search(r"python -c .*", str(found.value)).group())
    assert python == "python"
    done = subprocess.run([sys.executable, *rest], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert load(made("sd"), adapter=tmp_path / "adapter.safetensors").adapted


def test_not_there(made, tmp_path):
    refused(made("sd"), tmp_path / "absent", r"absent: does not exist\. An adapter is a LoRA or a textual inversion")
    refused(made("sd"), tmp_path, rf"{tmp_path.name}: must hold one adapter as a \.safetensors file \(none there\)")
    (tmp_path / "notes.txt").write_text("")
    refused(made("sd"), tmp_path / "notes.txt", r"notes\.txt: is no \.safetensors file; an adapter is a LoRA or")


def test_two_in_a_folder(made, layers, tmp_path):
    for name in ("one", "two"):
        lora_of(layers, tmp_path / f"{name}.safetensors")
    refused(
        made("sd"), tmp_path, r"must hold one adapter .* \((one|two)\.safetensors, .* there\); name the file to use\."
    )
    lora_of(layers, tmp_path / "pytorch_lora_weights.safetensors")  # the usual name is meant
    assert load(made("sd"), adapter=tmp_path).adapted


def test_damaged(made, layers, tmp_path):
    file = lora_of(layers, tmp_path / "lora.safetensors")
    file.write_bytes(file.read_bytes()[:-10])
    refused(made("sd"), file, r"lora\.safetensors: is damaged or cut short \(.*\); copy or download it again\.")


def test_lora_of_another_model(made, layers, tmp_path):
    lora_of(layers, tmp_path / "xl.safetensors", "sdxl")
    refused(made("sd"), tmp_path / "xl.safetensors", "it was made for another model")
    lora_of(layers, tmp_path / "sd3.safetensors", "sd3")
    refused(made("sd"), tmp_path / "sd3.safetensors", "which is no part of this model|made for another model")
    save_file(kohya(layers["sdxl"], 1), tmp_path / "kohya.safetensors")
    refused(made("sd"), tmp_path / "kohya.safetensors", "made for another model|cannot be read as a LoRA")


def test_networks_without_lora(layers, tmp_path, made):
    file = lora_of(layers, tmp_path / "lora.safetensors")
    message = "is a LoRA, which can be used with UNet2DConditionModel, .*, not with a {}"
    refused(saved(tmp_path / "model", unet()), file, message.format("UNet2DModel"))
    refused(made("dit"), file, message.format("DiTTransformer2DModel"), label=3)
    refused(made("pixart"), file, message.format("PixArtTransformer2DModel"))


def test_text_encoder_that_is_missing(made, layers, tmp_path):
    save_file({f"text_encoder_2.{name}": v for name, v in encoder_layers().items()}, tmp_path / "lora.safetensors")
    refused(made("sd"), tmp_path / "lora.safetensors", "changes the text_encoder_2, which this model does not have")


def test_adapter_of_another_type(made, layers, tmp_path):
    tensors = {f"base_model.model.{name}": v.contiguous() for name, v in layers["sd"].items()}
    save_file(tensors, tmp_path / "adapter_model.safetensors")
    (tmp_path / "adapter_config.json").write_text(json.dumps({"peft_type": "IA3"}))
    refused(made("sd"), tmp_path, r"is an adapter of type IA3; LoRA is supported")


@pytest.mark.parametrize(
    "settings",
    [
        {"lora_alpha": "x"},
        {"lora_alpha": 1e400},
        {"lora_alpha": [1]},
        {"alpha_pattern": [1]},
        {"alpha_pattern": {"to_q": "x"}},
    ],
    ids=str,
)
def test_settings_that_are_none(settings, made, layers, tmp_path):
    tensors = {f"base_model.model.{name}": v.contiguous() for name, v in layers["sd"].items()}
    save_file(tensors, tmp_path / "adapter_model.safetensors")
    whole = {"r": 2, "lora_alpha": 4, "target_modules": ATTENTION, **settings}
    (tmp_path / "adapter_config.json").write_text(json.dumps(whole))
    refused(made("sd"), tmp_path, r"adapter_model\.safetensors: (its settings|cannot be added)")


def test_settings_that_the_tensors_say_better(made, layers, tmp_path):
    """Ranks, layers and patterns come from the tensors, whatever a file claims; only alphas are the file's own."""
    tensors = {f"base_model.model.{name}": v.contiguous() for name, v in layers["sd"].items()}
    scores = []
    claims = {
        "r": 10**9,
        "rank_pattern": {"(a+)+$": 10**9},
        "target_modules": "(a+)+$",
        "use_dora": True,
        "bias": 3,
        "alpha_pattern": {"(to_q+)+$": 7},
    }
    for name, more in (("plain", {}), ("claims", claims)):
        (tmp_path / name).mkdir()
        save_file(tensors, tmp_path / name / "adapter_model.safetensors")
        settings = {"r": 2, "lora_alpha": 4, "target_modules": ATTENTION, **more}
        (tmp_path / name / "adapter_config.json").write_text(json.dumps(settings))
        scores.append(opened(made, "sd", adapter=tmp_path / name))
    x, t = points(scores[0])
    with torch.no_grad():
        assert torch.equal(scores[0](x, t), scores[1](x, t))


@pytest.mark.parametrize("rslora", [False, True])
def test_alphas_and_ranks_of_single_layers(rslora, made, tmp_path):
    """Whatever the patterns of the settings: W + B A alpha/rank, or alpha/sqrt(rank)."""
    g = torch.Generator().manual_seed(8)
    score = opened(made, "sd")
    network = score.module.network
    names = ["mid_block.attentions.0.transformer_blocks.0.attn1.to_q", "up_blocks.1.attentions.0.proj_in", "conv_in"]
    tensors, expected = {}, opened(made, "sd")
    for name, rank, alpha in zip(names, (2, 3, 4), (6.0, 1.0, 6.0), strict=True):
        weight = expected.module.network.get_submodule(name).weight
        down = 0.2 * torch.randn(rank, *weight.shape[1:], generator=g)
        up = 0.2 * torch.randn(len(weight), rank, *[1] * (weight.ndim - 2), generator=g)
        tensors |= {f"base_model.model.{name}.lora_A.weight": down, f"base_model.model.{name}.lora_B.weight": up}
        change = (up.flatten(1) @ down.flatten(1)).reshape(weight.shape)
        weight.data += change * alpha / (rank**0.5 if rslora else rank)
    save_file(tensors, tmp_path / "adapter_model.safetensors")
    settings = {"r": 4, "lora_alpha": 6, "rank_pattern": {"to_q": 2, "proj_in": 3}, "alpha_pattern": {"proj_in": 1}}
    (tmp_path / "adapter_config.json").write_text(json.dumps({**settings, "use_rslora": rslora}))
    found = opened(made, "sd", adapter=tmp_path)
    assert network is not expected.module.network
    x, t = points(score)
    with torch.no_grad():
        assert deviation(found(x, t), expected(x, t), 3) < 2e-5
        assert deviation(score(x, t), expected(x, t), 3) > 1e-3


def test_values_that_are_not_finite(made, layers, tmp_path):
    name = next(iter(layers["sd"]))
    file = lora_of(layers, tmp_path / "lora.safetensors", **{name: torch.full_like(layers["sd"][name], float("nan"))})
    refused(made("sd"), file, r"lora\.safetensors: holds NaN or infinity in .*; it is damaged\.")


def test_rank_that_no_file_holds(made, layers, tmp_path):
    """A tensor without values, or of a rank beyond its layer's, asks for no more memory than the file has."""
    a = next(name for name in layers["sd"] if "lora_A" in name)
    b = a.replace("lora_A", "lora_B")
    rows = layers["sd"][b].shape[0]
    for shapes in (((10**9, 0), (rows, 10**9)), ((0, 0), (0, 10**12)), ((10**6, 1), (1, 10**6)), ((2, 1), (1, 2))):
        if any(k * n > 10**8 for k, n in shapes):
            shapes = tuple((k, 0) if k > n else (0, n) for k, n in shapes)
        file = lora_of(layers, tmp_path / "lora.safetensors", **{a: torch.zeros(shapes[0]), b: torch.zeros(shapes[1])})
        refused(made("sd"), file, r"lora\.safetensors: its .* has the shape .*; it was made for another model")


def test_peft_missing(made, layers, tmp_path, monkeypatch):
    file = lora_of(layers, tmp_path / "lora.safetensors")
    network = load(made("sd")).module.network
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(InputError, match=r'is a LoRA; install what reads them: pip install "geomem\[text\]"'):
        adapt(network, "unet", file, None)


def test_transformers_missing(made, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    refused(made("sd"), None, r'sd: is conditioned on texts; install what reads them: pip install "geomem\[text\]"')


def test_text_encoder_without_its_folder(made, tmp_path):
    shutil.copytree(made("sd"), tmp_path / "model")
    shutil.rmtree(tmp_path / "model" / "tokenizer")
    refused(tmp_path / "model", None, r"tokenizer: is missing, so texts cannot be encoded; copy or download it as well")
