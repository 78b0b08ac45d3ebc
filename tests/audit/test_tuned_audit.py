"""Audits of a fine-tuned model against its base: pixels with whole weights, latents with a LoRA and captions."""

import json
import shutil

import numpy as np
import pytest
import torch
import xarray as xr
from diffusers import DDPMScheduler
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from PIL import Image
from safetensors.torch import save_file

import geomem
import pipelines
from commands import geomem as command
from geomem.errors import InputError
from geomem.jobs.audit.request import AuditRequest
from geomem.models import load
from models import saved, unet


def audit(model, out, **options):
    return geomem.run(AuditRequest(model=str(model), **options), out=out)


KEPT = 0.5  # of the base's denoised images, and so of its survival; of its degrees of freedom the square


def scaled(share):
    """A network that predicts the denoised image, and a share of it."""
    network = unet()
    with torch.no_grad():
        network.conv_out.weight.mul_(20 * share)
        network.conv_out.bias.mul_(20 * share)
    return network


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """base/, whose network predicts the denoised image; tuned/, which gives half of it; and images."""
    folder = tmp_path_factory.mktemp("scaled")
    for name, share in (("base", 1.0), ("tuned", KEPT)):
        saved(folder / name, scaled(share), DDPMScheduler(prediction_type="sample", clip_sample=False))
    rng = np.random.default_rng(0)
    for name in ("own", "other"):
        np.save(folder / f"{name}.npy", rng.integers(0, 256, (10, 8, 8)).astype(np.uint8))
    return folder


@pytest.fixture(scope="module")
def halved(models):
    """The tuned model beside its base, without held-out images."""
    return audit(
        models / "tuned",
        models / "halved",
        base=str(models / "base"),
        trained_on=str(models / "own.npy"),
        budget=5.0,
        draws=0,
        points=3,
    )


def test_what_is_lost_is_known(halved):
    found = halved.summary
    assert found["lost"]["fraction"]["value"] == pytest.approx(1 - KEPT**2, abs=1e-4)
    assert found["lost"]["held_out"] is None
    assert found["verdict"] == {"word": "memorizing", "reason": "lost"}
    assert found["title"].startswith("This fine-tuned model is memorizing: at training images it has lost 75% [75, 75]")
    assert "no held-out images" in found["sure"]


def test_directions_lost_have_half_their_survival(halved):
    looked = xr.load_dataset(halved.folder / "looked.nc")
    base, own = looked["base_survival"].values, looked["model_survival"].values
    there = np.isfinite(base)
    assert there.any()
    np.testing.assert_allclose(own[there], KEPT * base[there], rtol=1e-3)
    assert (looked["lost"] <= looked["free"]).all()
    np.testing.assert_allclose(looked["model_guess"], KEPT * looked["base_guess"], rtol=1e-3, atol=1e-3)


def test_a_loss_that_held_out_images_share_is_taken_off(models, tmp_path):
    found = audit(
        models / "tuned",
        tmp_path / "run",
        base=str(models / "base"),
        trained_on=str(models / "own.npy"),
        held_out=str(models / "other.npy"),
        budget=3.0,
        draws=0,
        points=2,
    ).summary
    assert found["lost"]["training"]["value"] == pytest.approx(1 - KEPT**2, abs=1e-4)
    assert found["lost"]["fraction"]["value"] == pytest.approx(0, abs=1e-3)
    assert found["membership"]["auc"]["low"] < 0.5 < found["membership"]["auc"]["high"]


def test_the_ranking_is_by_what_is_left_of_the_error(halved):
    left = [row["error_left"] for row in halved.summary["ranking"]]
    assert left == sorted(left)
    assert {"picture", "direction", "where", "base_guess", "model_guess"} <= set(
        xr.load_dataset(halved.folder / "looked.nc")
    )


def test_a_report_is_made_again_from_the_records(halved, tmp_path):
    shutil.copytree(halved.folder, tmp_path / "run")
    (tmp_path / "run" / "index.html").unlink()
    done = command("report", str(tmp_path / "run"), cwd=tmp_path)
    assert (done.returncode, (tmp_path / "run" / "index.html").exists()) == (0, True), done.stderr


def test_a_model_against_itself_has_lost_nothing(models, tmp_path):
    model = str(models / "base")
    found = audit(
        model, tmp_path / "run", base=model, trained_on=str(models / "own.npy"), budget=2.0, draws=0, points=2
    ).summary
    assert found["lost"]["fraction"] == {"value": 0.0, "low": 0.0, "high": 0.0, "n": found["training"]}
    assert (found["verdict"]["word"], found["membership"]) == ("keeping", None)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A base of latents, a LoRA on it, and folders of captioned images."""
    folder = tmp_path_factory.mktemp("photos")
    pipelines.quiet()
    base = pipelines.saved("sd", folder / "made")
    shutil.move(base, folder / "base")
    pipe = pipelines.theirs(folder / "base")
    torch.manual_seed(0)
    pipe.unet.add_adapter(LoraConfig(r=2, target_modules=["to_q", "to_v"], init_lora_weights="gaussian"))
    for name, value in pipe.unet.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(value, std=0.3)
    pipe.save_lora_weights(folder / "lora", unet_lora_layers=get_peft_model_state_dict(pipe.unet))
    rng = np.random.default_rng(0)
    for kind, count in (("own", 6), ("other", 8)):
        (folder / kind).mkdir()
        rows = []
        for i in range(count):
            pixels = np.kron(rng.integers(0, 256, (4, 4, 3)), np.ones((4, 4, 1)))
            Image.fromarray(pixels.astype(np.uint8)).save(folder / kind / f"{i}.png")
            rows.append({"file_name": f"{i}.png", "text": f"{kind} {'x' * i}"})
        (folder / kind / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


def test_a_lora_on_latents_with_captions(photos, tmp_path):
    done = command(
        "audit",
        str(photos / "base"),
        *("--adapter", str(photos / "lora"), "--trained-on", str(photos / "own"), "--held-out", str(photos / "other")),
        *("--budget", "5s", "--draws", "4", "--guidance", "2", "--points", "2", "--out", "run", "--json"),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert {row["caption"] for row in found["ranking"]} == {f"own {'x' * i}" for i in range(6)}
    assert (found["training"], found["model"]["shape"], found["model"]["image_shape"]) == (6, [4, 8, 8], [3, 16, 16])
    looked = xr.load_dataset(tmp_path / "run" / "looked.nc")
    assert looked["picture"].sizes["value"] == 3 * 16 * 16
    assert xr.load_dataset(tmp_path / "run" / "drawn.nc")["image"].shape == (4, 3 * 16 * 16)
    assert (
        xr.load_dataset(tmp_path / "run" / "against.nc")["squares"]
        .sel(score="base", set="training")[:6]
        .notnull()
        .all()
    )


def test_a_textual_inversion_is_compared_with_the_text_as_it_was(photos, tmp_path):
    """The network is the same, and so is the base's text encoder; what an image is conditioned on is not."""
    save_file({"xx": torch.full((32,), 3.0)}, photos / "word.safetensors")
    score = load(photos / "base", adapter=photos / "word.safetensors")
    plain, x = load(photos / "base"), torch.randn(1, 4, 8, 8)
    own, base = (one.conditioned(["own xx"]) for one in (score, score.without_adapter()))
    with torch.no_grad():
        assert torch.equal(base(x, base.nearest(1.0)), plain.conditioned(["own xx"])(x, base.nearest(1.0)))
        assert not torch.allclose(own(x, own.nearest(1.0)), base(x, own.nearest(1.0)))
    found = audit(
        photos / "base",
        tmp_path / "run",
        adapter=str(photos / "word.safetensors"),
        trained_on=str(photos / "own"),
        budget=2.0,
        draws=0,
        points=2,
    ).summary
    assert found["training"] == 6


def test_held_out_images_that_nearly_are_training_images_are_left_out(models, tmp_path):
    own, other = np.load(models / "own.npy"), np.load(models / "other.npy")
    near = own[:2].copy()
    near[:, 0, 0] ^= 1
    np.save(tmp_path / "mixed.npy", np.concatenate([near, other]))
    found = audit(
        models / "tuned",
        tmp_path / "run",
        base=str(models / "base"),
        trained_on=str(models / "own.npy"),
        held_out=str(tmp_path / "mixed.npy"),
        budget=2.0,
        draws=0,
        points=2,
    ).summary
    assert found["held_out"] == len(other)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"adapter": "lora"}, "need the images that the model was fine-tuned on"),
        ({"adapter": "lora", "base": "base", "trained_on": "own"}, "an adapter's base is MODEL itself"),
        (
            {"adapter": "lora", "trained_on": "own", "probe": "exact"},
            "--probe: is for models that are compared with held-out",
        ),
        ({"prompt": "a", "label": 1, "trained_on": "own"}, "name one of them"),
        ({"trained_on": "own", "adapter": "own"}, "must hold one adapter"),
        ({"trained_on": "own", "base": "pixels"}, "pixels: takes images of 1x8x8"),
        ({"trained_on": "own", "adapter": "lora", "captions": "said"}, "row 1 needs file_name and said"),
    ],
)
def test_what_does_not_go_together_is_refused(photos, tmp_path, options, message):
    saved(photos / "pixels") if not (photos / "pixels").exists() else None
    paths = ("adapter", "base", "trained_on")
    given = {key: str(photos / value) if key in paths else value for key, value in options.items()}
    with pytest.raises(InputError, match=message):
        audit(photos / "base", tmp_path / "run", **given)
    assert not (tmp_path / "run").exists()
