"""What each image of an audit is conditioned on."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from geomem.data import load
from geomem.errors import InputError
from geomem.jobs.audit.opening import worded
from geomem.jobs.audit.request import AuditRequest
from geomem.models import Model
from geomem.scores import GaussianScore


class Kind(Model):
    """A model that is conditioned on something."""

    kind = "class"

    @property
    def takes(self):
        return self.kind


@pytest.fixture
def images(tmp_path):
    """Images in subfolders, beside a table that says something else."""
    for name in ("cat/a.png", "dog/b.png", "dog/c.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(np.zeros((4, 4), dtype=np.uint8)).save(tmp_path / name)
    (tmp_path / "metadata.jsonl").write_text(json.dumps({"file_name": "cat/a.png", "width": 4}))
    return tmp_path


def model(kind):
    found = Kind(GaussianScore(torch.ones(16)), "some")
    type(found).kind = kind
    return found


def at(images, kind, classes=(), **options):
    request = AuditRequest(model="m", trained_on=str(images), **options)
    return list(worded(request, model(kind), load(images), str(images), "--held-out", classes).captions)


def test_a_table_is_not_looked_at_where_nothing_is_conditioned_on_it(images):
    assert at(images, "nothing") == at(images, "class") == at(images, "text", prompt="a") == []


def test_a_table_without_captions_is_refused_where_they_are_needed(images):
    with pytest.raises(InputError, match="row 1 needs file_name and text"):
        at(images, "text")


def test_classes_are_numbered_as_those_of_the_training_images(images):
    assert at(images, "class", captions="folders") == ["0", "1", "1"]
    assert at(images, "class", ["bird", "cat", "dog"], captions="folders") == ["1", "2", "2"]
    with pytest.raises(InputError, match="--held-out: has the class dog, which the training images do not have"):
        at(images, "class", ["bird", "cat"], captions="folders")


def test_a_probe_needs_one_condition_for_all(images):
    with pytest.raises(InputError, match="give it with --prompt or --label"):
        at(images, "class", captions="folders", probe="exact")
