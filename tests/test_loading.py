"""Opening diffusers models: every layout that diffusers writes, no code run, and what each refusal says."""

import json
import pickle
import re
import shlex
import shutil
import subprocess
import sys
import time

import diffusers
import numpy as np
import pytest
import torch
from diffusers import DDIMPipeline, DDIMScheduler, DDPMPipeline, DDPMScheduler, ScoreSdeVeScheduler, UNet2DModel

from geomem.errors import InputError
from geomem.models import load
from geomem.spectra import spectrum, trace
from laws import deviation
from models import edited, saved, unet

SHAPE = (1, 8, 8)


def times(scheduler):
    bar = torch.cumprod(1 - scheduler.betas.double(), 0)
    return (1 - bar) / bar


@torch.no_grad()
def by_hand(network, scheduler, x, step, **options):
    """-eps/sqrt t at a step of a network that predicts noise, in the network's words."""
    t = times(scheduler)[step]
    out = network(x / (1 + t).sqrt().to(x), torch.tensor(step), **options).sample
    return -out[:, : x.shape[1]] / t.sqrt().to(x)


def gives(score, network, scheduler, steps=(0, 500, 999), **options):
    """A score is that of the network, in float32."""
    g = torch.Generator().manual_seed(1)
    x = torch.randn(2, *score.shape, generator=g)
    for step in steps:
        t = float(times(scheduler)[step])
        noisy = x * (1 + t) ** 0.5
        expected = by_hand(network, scheduler, noisy, step, **options)
        assert score(noisy, t).dtype == torch.float32
        assert deviation(score(noisy, t), expected, len(score.shape)) < 1e-5


@pytest.mark.parametrize("kind", [(DDPMPipeline, DDPMScheduler), (DDIMPipeline, DDIMScheduler)], ids=["DDPM", "DDIM"])
def test_pipelines_of_plain_diffusers(kind, tmp_path):
    pipeline, scheduler = kind[0], kind[1]()
    network = unet()
    pipeline(network, scheduler).save_pretrained(tmp_path)
    score = load(tmp_path)
    assert score.shape == SHAPE
    assert score.name == str(tmp_path)
    assert score.description == "variance-preserving, 1,000 steps"
    assert score.parameters == sum(p.numel() for p in network.parameters())
    assert score.codec is None
    assert not score.module.training
    assert not any(p.requires_grad for p in score.module.parameters())
    gives(score, network, scheduler)


def test_network_beside_its_scheduler(tmp_path):
    saved(tmp_path)
    gives(load(tmp_path / "unet"), unet(), DDPMScheduler())


@pytest.mark.parametrize("place", ["", "scheduler", "scheduler/scheduler_config.json"])
def test_network_alone_with_a_scheduler(place, tmp_path):
    unet().save_pretrained(tmp_path / "network")
    other = DDPMScheduler(beta_schedule="squaredcos_cap_v2")
    saved(tmp_path / "other", scheduler=other)
    gives(load(tmp_path / "network", scheduler=tmp_path / "other" / place), unet(), other)
    assert len(load(tmp_path / "other", scheduler=tmp_path / "other" / place).times) == 1000


def test_given_scheduler_comes_first(tmp_path):
    saved(tmp_path / "model")
    other = DDPMScheduler(beta_schedule="squaredcos_cap_v2")
    other.save_pretrained(tmp_path / "other")
    gives(load(str(tmp_path / "model"), scheduler=str(tmp_path / "other")), unet(), other)


def test_everything_in_one_folder(tmp_path):
    """The layout of the hub's oldest models."""
    saved(tmp_path)
    for part in ("unet", "scheduler"):
        for file in (tmp_path / part).iterdir():
            shutil.move(file, tmp_path / file.name)
        (tmp_path / part).rmdir()
    gives(load(tmp_path), unet(), DDPMScheduler())
    (tmp_path / "model_index.json").unlink()
    gives(load(tmp_path), unet(), DDPMScheduler())


def test_learned_variance_is_left_out(tmp_path):
    network = unet(out_channels=2)
    gives(load(saved(tmp_path, network)), network, DDPMScheduler())


def test_classes(tmp_path):
    network = unet(num_class_embeds=3)
    saved(tmp_path, network)
    for label in (0, 2):
        gives(load(tmp_path, label=label), network, DDPMScheduler(), class_labels=torch.full((2,), label))


def test_classes_embedded_as_numbers(tmp_path):
    network = unet(class_embed_type="timestep")
    saved(tmp_path, network)
    gives(load(tmp_path, label=7), network, DDPMScheduler(), class_labels=torch.full((2,), 7.0))


@pytest.mark.parametrize("shards", ["10GB", "20KB"], ids=["whole", "sharded"])
def test_half_precision_weights_are_computed_with_in_full(shards, tmp_path):
    unet().half().save_pretrained(tmp_path / "unet", variant="fp16", max_shard_size=shards)
    DDPMScheduler().save_pretrained(tmp_path / "scheduler")
    score = load(tmp_path / "unet")
    assert {p.dtype for p in score.module.parameters()} == {torch.float32}
    gives(score, unet().half().float(), DDPMScheduler())


def test_half_precision_comes_second(tmp_path):
    saved(tmp_path)
    unet(seed=1).half().save_pretrained(tmp_path / "unet", variant="fp16")
    gives(load(tmp_path), unet(), DDPMScheduler())


def test_sharded_weights(tmp_path):
    unet().save_pretrained(tmp_path / "unet", max_shard_size="20KB")
    DDPMScheduler().save_pretrained(tmp_path / "scheduler")
    assert len(list((tmp_path / "unet").glob("*.safetensors"))) > 1
    gives(load(tmp_path / "unet"), unet(), DDPMScheduler())


def test_float64(tmp_path):
    saved(tmp_path)
    score = load(tmp_path, dtype=torch.float64)
    assert {p.dtype for p in score.module.parameters()} == {torch.float64}
    x = torch.randn(2, *SHAPE, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    t = float(times(DDPMScheduler())[500])
    assert deviation(score(x, t), by_hand(unet().double(), DDPMScheduler(), x, 500)) < 1e-10


@torch.no_grad()
def test_variance_exploding_network_on_unit_scale(tmp_path):
    """Its output is the gradient with respect to images in [0, 1], half of which is that for images in [-1, 1]."""
    network = unet(time_embedding_type="fourier")
    diffusers.ScoreSdeVePipeline(network, ScoreSdeVeScheduler()).save_pretrained(tmp_path)
    score = load(tmp_path)
    x = torch.randn(3, *SHAPE, generator=torch.Generator().manual_seed(1))
    for sigma in (0.02, 1.0, 500.0):
        noisy = x * (1 + sigma)
        expected = network((noisy + 1) / 2, torch.full((3,), sigma / 2)).sample / 2
        assert deviation(score(noisy, sigma**2), expected, 3) < 1e-5


def test_zero_terminal_signal(tmp_path):
    scheduler = DDPMScheduler(rescale_betas_zero_snr=True)
    score = load(saved(tmp_path, scheduler=scheduler))
    assert len(score.times) == 999
    gives(score, unet(), scheduler, steps=(0, 500, 998))


def test_trained_betas(tmp_path):
    scheduler = DDPMScheduler(trained_betas=[0.001, 0.02, 0.1, 0.4], num_train_timesteps=4)
    score = load(saved(tmp_path, scheduler=scheduler))
    assert score.times == pytest.approx(times(scheduler).numpy(), rel=1e-6)
    gives(score, unet(), scheduler, steps=(0, 1, 3))


def test_oblong_images(tmp_path):
    network = unet(sample_size=(8, 16))
    score = load(saved(tmp_path, network))
    assert score.shape == (1, 8, 16)
    gives(score, network, DDPMScheduler())


def test_learned_steps(tmp_path):
    network = unet(time_embedding_type="learned", num_train_timesteps=1000)
    score = load(saved(tmp_path, network))
    gives(score, network, DDPMScheduler())
    t = float(np.sqrt(score.times[500] * score.times[501]))
    with pytest.raises(InputError, match=r"t: lies between two steps"):
        score(torch.zeros(SHAPE), t)
    found = spectrum(score, torch.zeros(SHAPE), score.nearest(t), probes=2)
    assert bool(torch.isfinite(found.values).all())


def test_latents_are_noticed(tmp_path):
    """A pipeline that names an autoencoder has latents; without the autoencoder, no image can be encoded."""
    saved(tmp_path)
    edited(tmp_path / "model_index.json", vqvae=["diffusers", "VQModel"])
    refused(tmp_path, r"vqvae: is missing, so images cannot be encoded; copy or download it as well")


def test_downloads_leave_pickles_out(tmp_path, monkeypatch):
    saved(tmp_path / "snapshot")
    asked = []

    def snapshot_download(name, *, allow_patterns):
        asked.append((name, tuple(allow_patterns)))
        return str(tmp_path / "snapshot")

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    assert load("hf:someone/model").name == "hf:someone/model"
    assert asked == [("someone/model", ("*.json", "*.safetensors", "*.txt", "*.model"))]  # the last two of tokenizers


def test_only_what_says_hf_goes_to_the_hub(tmp_path, monkeypatch):
    def never(*args, **options):
        raise AssertionError("the hub was asked")

    monkeypatch.setattr("huggingface_hub.snapshot_download", never)
    monkeypatch.chdir(tmp_path)
    refused(
        "someone/model", r"^someone/model: does not exist; a model of the hub is written hf:someone/model\. A model"
    )
    refused("models/one/unet", r"^models/one/unet: does not exist\. A model is a diffusers folder")
    for name in ("model", "../model", "a/b/c", "", "-/x"):
        refused(f"hf:{name}", rf"^hf:{name}: is not the name of a model on the hub, which is hf:owner/name")


def test_nothing_is_unpickled(tmp_path, monkeypatch):
    saved(tmp_path)
    (tmp_path / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"never opened")

    def refuse(*args, **options):
        raise AssertionError("a pickle was opened")

    for module, name in ((torch, "load"), (pickle, "load"), (pickle, "loads"), (pickle, "Unpickler")):
        monkeypatch.setattr(module, name, refuse)
    assert bool(torch.isfinite(load(tmp_path)(torch.zeros(SHAPE), 1.0)).all())


@pytest.mark.parametrize("within", ["pipeline", "network"])
def test_pickles_are_refused_and_the_advice_works(within, tmp_path):
    model = tmp_path / "a model"
    saved(model)
    folder = model / "unet"
    unet().save_pretrained(folder, safe_serialization=False)
    (folder / "diffusion_pytorch_model.safetensors").unlink()
    source = model if within == "pipeline" else folder
    with pytest.raises(
        InputError, match=r"diffusion_pytorch_model\.bin: is a pickle by its name, which can run"
    ) as found:
        load(source)
    if within == "network":  # once: it takes as long as importing diffusers
        return
    python, *rest = shlex.split(re.search(r"python -c .*", str(found.value)).group())
    assert python == "python"
    done = subprocess.run([sys.executable, *rest], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    gives(load(source), unet(), DDPMScheduler())


@pytest.mark.parametrize("name", ["model.pt", "model.ckpt", "model.bin"])
def test_files_of_pickles_are_refused(name, tmp_path):
    (tmp_path / name).write_bytes(b"\x80\x04")
    for source in (tmp_path / name, tmp_path):
        with pytest.raises(InputError, match=rf"{name}: is a pickle by its name, which can run code .*safetensors"):
            load(source)


def refused(source, message, **options):
    """InputError, one that says its piece in a paragraph."""
    with pytest.raises(InputError, match=message) as found:
        load(source, **options)
    assert "Traceback" not in str(found.value)
    assert "\n" not in str(found.value)


def test_code_beside_the_model_is_refused(tmp_path):
    saved(tmp_path)
    edited(tmp_path / "model_index.json", scheduler=["my_scheduler", "MyScheduler"])
    refused(
        tmp_path,
        r"model_index\.json: its part scheduler is MyScheduler of 'my_scheduler', custom code .* not run\. Rebuild",
    )


def test_empty_folder(tmp_path):
    refused(
        tmp_path,
        rf"^{re.escape(str(tmp_path))}: is not a diffusers model \(it is empty\)\. A model is a diffusers folder",
    )


def test_folder_of_other_things(tmp_path):
    (tmp_path / "notes.txt").write_text("")
    refused(tmp_path, r"is not a diffusers model \(it holds notes\.txt\)\. A model is a diffusers folder")


def test_not_there(tmp_path):
    refused(tmp_path / "absent", r"absent: does not exist\. A model is a diffusers folder")


def test_nothing_named():
    refused("", r"no model was given\. A model is a diffusers folder")


def test_file(tmp_path):
    path = saved(tmp_path) / "unet" / "diffusion_pytorch_model.safetensors"
    refused(path, rf"safetensors: is a file of weights, .*; give its folder, {re.escape(str(path.parent))}, if its")
    refused(
        path, r"For a whole model in one file, add the diffusers folder of its kind: config=FOLDER, --config FOLDER\."
    )
    (tmp_path / "notes.txt").write_text("")
    refused(tmp_path / "notes.txt", r"txt: is a file\. A model is a diffusers folder")


@pytest.mark.parametrize("name", ["adapter_config.json", "pytorch_lora_weights.safetensors"])
def test_lora(name, tmp_path):
    (tmp_path / name).write_text("{}")
    refused(
        tmp_path,
        r"holds a LoRA, a change of a model's weights and not a model\. Give its base model as the model, and this with --adapter: "
        rf"geomem audit BASE --adapter {re.escape(str(tmp_path))} --trained-on IMAGES\.",
    )


def test_no_weights(tmp_path):
    saved(tmp_path)
    (tmp_path / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    refused(tmp_path, r"unet: has no weights \(no diffusion_pytorch_model\.safetensors\); save the model again")


def test_weights_cut_short(tmp_path):
    saved(tmp_path)
    path = tmp_path / "unet" / "diffusion_pytorch_model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    refused(tmp_path, r"safetensors: is damaged or cut short \(.*\); copy or download it again")


def test_shard_missing(tmp_path):
    unet().save_pretrained(tmp_path / "unet", max_shard_size="20KB")
    DDPMScheduler().save_pretrained(tmp_path / "scheduler")
    sorted((tmp_path / "unet").glob("*.safetensors"))[-1].unlink()
    refused(tmp_path / "unet", r"index\.json: names '.*safetensors', which is missing; copy or download it again")
    next((tmp_path / "unet").glob("*.index.json")).unlink()
    refused(tmp_path / "unet", r"unet: its weights are in \d+ files, but the map of them .* is missing")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"add_attention": True},
            r"unet: its weights lack \d+ of the network's tensors \(mid_block\.att.*do not belong",
        ),
        ({"block_out_channels": [8, 32]}, r"unet: its weights hold \d+ tensors of another shape \(.*do not belong"),
        ({"block_out_channels": [8, 8.5]}, r"unet: cannot be opened as a UNet2DModel \("),
        ({"down_block_types": ["NoBlock2D", "DownBlock2D"]}, r"unet: cannot be opened as a UNet2DModel \(.*NoBlock2D"),
        ({"sample_size": None}, r"config\.json: does not state the image size; set sample_size there"),
    ],
    ids=["tensors", "sizes", "types", "blocks", "sample-size"],
)
def test_config_of_another_network(changes, message, tmp_path):
    edited(saved(tmp_path) / "unet" / "config.json", **changes)
    refused(tmp_path, message)


def test_weights_of_a_larger_network(tmp_path):
    """A network without the attention that was trained would be another one."""
    saved(tmp_path, unet(add_attention=True))
    edited(tmp_path / "unet" / "config.json", add_attention=False)
    refused(tmp_path, r"unet: its weights .*mid_block\.attentions")


def test_channels_do_not_fit(tmp_path):
    saved(tmp_path, unet(out_channels=3))
    refused(tmp_path, r"config\.json: the network takes 1 channels and gives 3; a score has as many as its image")


def test_network_of_another_class(tmp_path):
    saved(tmp_path)
    edited(tmp_path / "unet" / "config.json", _class_name="UNet3DConditionModel")
    why = r"its network is UNet3DConditionModel \(it makes videos\), but supported are UNet2DModel, .*\. Wrap another"
    refused(tmp_path / "unet", rf"config\.json: {why}")
    edited(tmp_path / "model_index.json", unet=["diffusers", "UNet3DConditionModel"])
    refused(tmp_path, rf"model_index\.json: {why}")
    edited(tmp_path / "model_index.json", unet=["diffusers", "OtherModel"])
    refused(tmp_path, r"model_index\.json: its network is OtherModel, but supported are UNet2DModel, .*\. Wrap another")


def test_pipeline_without_network(tmp_path):
    saved(tmp_path)
    edited(tmp_path / "model_index.json", unet=None, prior=["diffusers", "PriorTransformer"])
    refused(
        tmp_path,
        r"model_index\.json: has no part unet or transformer \(it has scheduler, prior\); supported are pipelines of UNet2DModel, ",
    )


def test_part_missing(tmp_path):
    saved(tmp_path)
    (tmp_path / "unet" / "config.json").unlink()
    refused(tmp_path, r"unet: has no config\.json, so the model's network is missing")


@pytest.mark.parametrize("path", ["model_index.json", "unet/config.json", "scheduler/scheduler_config.json"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", r"cannot be read as JSON \(.*\)"),
        (b"\xff\xfe{}", r"cannot be read as JSON \(.*\)"),
        (b"[1]", "holds no JSON object"),
        (b'{"a": ' + b"[" * 10**5 + b"]" * 10**5 + b"}", "nests lists and objects more than 32 deep"),
    ],
    ids=["cut", "bytes", "list", "deep"],
)
def test_configuration_is_no_json(path, content, message, tmp_path):
    (saved(tmp_path) / path).write_bytes(content)
    refused(tmp_path, re.escape(str(tmp_path / path)) + ": " + message)


def test_no_scheduler(tmp_path):
    unet().save_pretrained(tmp_path / "network")
    message = r"network: has no scheduler_config\.json, which defines the network's noise process; give the folder of the scheduler"
    refused(tmp_path / "network", message)
    refused(tmp_path / "network", r"nowhere: has no scheduler_config\.json", scheduler=tmp_path / "nowhere")


def test_unknown_scheduler(tmp_path):
    edited(saved(tmp_path) / "scheduler" / "scheduler_config.json", _class_name="OtherScheduler")
    refused(
        tmp_path,
        r"scheduler_config\.json: the scheduler OtherScheduler cannot be read as a noise process; supported are",
    )


def test_scheduler_with_other_steps_than_learned(tmp_path):
    network = unet(time_embedding_type="learned", num_train_timesteps=50)
    refused(
        saved(tmp_path, network),
        r"scheduler_config\.json: has 1,000 steps, but the network has embeddings for 50; give",
    )


@pytest.mark.parametrize("label", [None, -1, 3])
def test_class_missing_or_unknown(label, tmp_path):
    got = "" if label is None else f", got {label}"
    saved(tmp_path, unet(num_class_embeds=3))
    refused(tmp_path, rf"is class-conditional; .*\(label, --label: 0 to 2\){got}, and give data", label=label)


def test_class_of_a_network_without_any(tmp_path):
    refused(saved(tmp_path), r"label: this model has no classes; leave the label out", label=0)


def test_conditioned_on_vectors(tmp_path):
    refused(
        saved(tmp_path, unet(class_embed_type="identity")), r"is conditioned on vectors \(class_embed_type identity\)"
    )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_refused(dtype, tmp_path):
    refused(saved(tmp_path), rf"dtype: {dtype} is too coarse for a spectrum; choose torch\.float32", dtype=dtype)


def test_hub_out_of_reach():
    start = time.perf_counter()
    refused(
        "hf:someone/nothing",
        r"^hf:someone/nothing: could not be downloaded from the Hugging Face hub \(.*Check the name",
    )
    assert time.perf_counter() - start < 2


@pytest.mark.parametrize("probe", ["exact", "smoothed", "score-matrix", "antithetic", "regression", "orthonormal"])
def test_damaged_weights_are_noticed(probe, tmp_path):
    network = unet()
    with torch.no_grad():
        network.conv_out.weight.fill_(float("nan"))
    score = load(saved(tmp_path, network))
    with pytest.raises(InputError, match=r"score: is not finite .* near t = 1; its weights may be damaged"):
        spectrum(score, torch.zeros(SHAPE), 1.0, probe=probe, probes=None if probe in ("exact", "smoothed") else 64)


def test_damaged_weights_have_no_trace(tmp_path):
    network = unet()
    with torch.no_grad():
        network.conv_out.bias.fill_(float("inf"))
    score = load(saved(tmp_path, network))
    with pytest.raises(InputError, match=r"score: is not finite"):
        trace(score, torch.zeros(SHAPE), 1.0, probes=2)


def test_configuration_of_the_network_stays_as_it_was(tmp_path):
    """Opening a model writes nothing."""
    saved(tmp_path)
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    load(tmp_path)
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before
    assert json.loads((tmp_path / "unet" / "config.json").read_text())["_class_name"] == UNet2DModel.__name__
