"""Two models trained by plain diffusers code: one memorizes, one generalizes, and the audit finds which."""

import itertools
from pathlib import Path

import pytest

from geomem.jobs.audit.request import AuditRequest
from geomem.jobs.engine import run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]  # whichever runs first trains both models

WORDS = ("memorizing", "generalizing")


def audited(reference: Path, name: str, out: Path, **options):
    request = AuditRequest(
        model=reference / name / "model",
        held_out=reference / "unseen.npy",
        quick=True,
        **({"trained_on": reference / name / "training.npy"} | options),
    )
    return run(request, out=out).summary


@pytest.mark.parametrize(("name", "seed"), [*itertools.product(WORDS, range(2))])
def test_reference_models_are_what_they_were_made_to_be(reference, no_pages, name, seed, tmp_path):
    """By what they have lost, and by the error and the confidence at held-out images; samples are not looked at."""
    found = audited(reference, name, tmp_path / "run", draws=0, seed=seed)
    assert found["verdict"]["word"] == name
    assert found["title"].startswith(f"This model is {name}")
    lost, auc, ratio = found["lost"]["fraction"], found["membership"]["auc"], found["calibration"]["held_out"]
    closer = found["closer"]["lost"]
    if name == "memorizing":
        assert lost["low"] > 0.6
        assert auc["low"] > 0.8
        assert ratio["low"] > 3
        assert closer["dimensions"]["low"] > 0.5
    else:
        assert lost["high"] < 0.1
        assert auc["low"] < 0.52
        assert abs(ratio["value"] - 1) < 0.1
        assert closer["dimensions"]["low"] < 0


def test_copies_are_found_among_the_samples_of_the_memorizing_model(reference, no_pages, tmp_path):
    found = audited(reference, "memorizing", tmp_path / "run", draws=24)
    assert (found["verdict"]["word"], found["verdict"]["reason"]) == ("memorizing", "copies")


@pytest.mark.parametrize("name", WORDS)
def test_held_out_images_alone_show_which_is_overconfident(reference, no_pages, name, tmp_path):
    found = audited(reference, name, tmp_path / "run", trained_on=None)
    assert found["verdict"]["reason"] == "alone"
    assert found["confidence"] == ("too sure" if name == "memorizing" else "right")


def test_the_reference_models_were_opened_as_diffusers_saved_them(reference):
    for name in WORDS:
        assert {p.name for p in Path(reference / name / "model").iterdir()} == {"model_index.json", "unet", "scheduler"}
