"""Two models trained by plain diffusers code: one memorizes, one generalizes, and the audit finds which."""

import itertools
from pathlib import Path

import pytest

from geomem.jobs.audit.request import AuditRequest
from geomem.jobs.engine import run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]  # whichever runs first trains both models

# With as many points as decide: few dimensions lost take more to tell from none than most of them.
WORDS = {"memorizing": 20, "generalizing": 32}


def audited(reference: Path, name: str, out: Path, **options):
    request = AuditRequest(
        model=reference / name / "model",
        trained_on=reference / name / "training.npy",
        held_out=reference / "unseen.npy",
        quick=True,
        **options,
    )
    return run(request, out=out).summary


@pytest.mark.parametrize(("name", "seed"), [*itertools.product(WORDS, range(2))])
def test_reference_models_are_what_they_were_made_to_be(reference, no_pages, name, seed, tmp_path):
    found = audited(reference, name, tmp_path / "run", points=WORDS[name], draws=24, times=(0.2,), seed=seed)
    assert found["verdict"]["word"] == name
    assert found["title"].startswith(f"This model is {name}")
    dimensions = [row["word"] for row in found["levels"]]
    assert dimensions == [name]


@pytest.mark.parametrize("name", WORDS)
def test_four_points_say_nothing_of_the_reference_models(reference, no_pages, name, tmp_path):
    found = audited(reference, name, tmp_path / "run", points=4, draws=0)
    assert found["verdict"] == {"word": "undecided", "reason": "few", "pairs_needed": 8}
    assert len(found["levels"]) == 3


def test_the_reference_models_were_opened_as_diffusers_saved_them(reference):
    for name in WORDS:
        assert {p.name for p in Path(reference / name / "model").iterdir()} == {"model_index.json", "unet", "scheduler"}
