"""Models as they are measured: data as their points, their noise levels, fingerprints, and samples."""

import math
import shutil

import numpy as np
import pytest
import torch

from closed_forms import SHAPE, TRUTH, VARIANCES, D, Nothing, model_of, network, population
from geomem.data import DataSet
from geomem.data.layout import channels_first
from geomem.errors import InputError
from geomem.measure.directions import Axes
from geomem.models import drawn, fingerprint, load, opened, wrapped
from geomem.scores import GaussianScore, NetworkScore, Score
from models import saved, unet

STEPS = 18


def test_a_score_given_in_python_is_a_model():
    model = wrapped(TRUTH)
    assert isinstance(model, Score)
    assert (model.name, model.parameters, model.device, model.dtype) == ("GaussianScore", 0, "cpu", torch.float64)
    assert model.reach == (0.0, math.inf)
    assert model.nearest(0.123) == 0.123
    x = torch.from_numpy(population(0, 3)).double()
    assert torch.equal(model(x, 0.1), TRUTH(x, 0.1))
    images = DataSet("some", "", population(0, 5))
    assert torch.equal(model.encode(images, np.array([3, 1])), torch.from_numpy(population(0, 5)[[3, 1]]))


def test_a_pipeline_is_a_model_with_its_own_words(tmp_path):
    model = wrapped(load(saved(tmp_path / "m")), "cpu")
    assert model.name == str(tmp_path / "m")
    assert "variance-preserving" in model.words
    assert model.parameters == sum(p.numel() for p in unet().parameters())
    assert (model.pixels, model.codec, model.dtype) == (True, None, torch.float32)
    assert model.nearest(0.1) in model.levels
    assert model.fingerprint() == fingerprint(model.score)


def test_levels_and_reach_are_the_network_s():
    model = model_of(network(np.array([0.01, 0.1, 1.0])))
    assert [model.nearest(t) for t in (1e-9, 0.05, 0.2, 50.0)] == [0.01, 0.1, 0.1, 1.0]
    within = model_of(network(reach=(0.02, 0.5)))
    assert [within.nearest(t) for t in (0.001, 0.1, 7.0)] == [0.02, 0.1, 0.5]


def test_a_device_that_is_not_there_is_refused():
    with pytest.raises(InputError, match="--device"):
        wrapped(network(), "cuda:99" if not torch.cuda.is_available() else "nowhere")


LAYOUTS = {
    "height, width": ((2, 3), (1, 2, 3), (0,)),
    "height, width, 1": ((2, 3, 1), (1, 2, 3), (0,)),
    "1, height, width": ((1, 2, 3), (1, 2, 3), (0,)),
    "height, width, 3": ((4, 5, 3), (3, 4, 5), (2, 0, 1)),
    "3, height, width": ((3, 4, 5), (3, 4, 5), (0, 1, 2)),
    "3 by 3 pixels, channels last": ((4, 3, 3), (3, 4, 3), (2, 0, 1)),
    "latents": ((4, 2, 3), (4, 2, 3), (0, 1, 2)),
    "a vector": ((12,), (12,), (0,)),
    "an image as a vector": ((3, 4), (12,), None),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_channels_come_first(name):
    shape, wanted, order = LAYOUTS[name]
    rows = torch.arange(2 * math.prod(shape), dtype=torch.float32).reshape(2, -1)
    found = channels_first(rows, shape, wanted)
    moved = rows.reshape(2, *shape)
    if order is not None and len(order) == 3:
        moved = moved.permute(0, *(k + 1 for k in order))
    assert torch.equal(found, moved.reshape(2, *wanted))


@pytest.mark.parametrize(
    ("shape", "wanted"),
    [
        ((10, 10), (1, 8, 8)),
        ((8, 8), (3, 8, 8)),
        ((8, 8, 3), (1, 8, 8)),
        ((64,), (1, 8, 8)),  # a vector says nothing of height and width
        ((2, 32), (1, 8, 8)),
        ((8, 8), (63,)),
        ((4, 2, 3), (4, 3, 2)),
        ((8, 8, 4), (4, 8, 8)),
        ((5, 4, 3), (3, 4, 5)),  # sides in another order
    ],
)
def test_images_of_another_form_are_refused(shape, wanted):
    with pytest.raises(InputError, match="must be events of shape"):
        channels_first(torch.zeros(2, math.prod(shape)), shape, wanted)


def test_names_of_folders_are_no_options_of_scores_that_are_given():
    data = DataSet("a", "", population(0, 40))
    for options in ({"label": 1}, {"scheduler": "x"}):
        with pytest.raises(InputError, match="only for models opened from a folder"):
            opened(TRUTH, data, **options)


def test_fingerprints_tell_models_apart_and_not_their_copies(tmp_path):
    first = saved(tmp_path / "a", unet(0))
    shutil.copytree(first, tmp_path / "copy")
    other = saved(tmp_path / "b", unet(1))
    conditional = saved(tmp_path / "c", unet(0, num_class_embeds=3))
    digests = [
        fingerprint(load(first)),
        fingerprint(load(other)),
        *(fingerprint(load(conditional, label=label)) for label in (0, 1)),
        fingerprint(TRUTH),
        fingerprint(GaussianScore(VARIANCES)),
        fingerprint(GaussianScore(VARIANCES * 1.001, shape=SHAPE)),
    ]
    assert len(set(digests)) == len(digests)
    assert fingerprint(load(tmp_path / "copy")) == digests[0]
    assert fingerprint(GaussianScore(VARIANCES.clone(), shape=SHAPE)) == fingerprint(TRUTH)


def test_fingerprints_of_one_module_tell_its_condition_and_where_it_was_trained():
    module = Nothing()
    scores = [NetworkScore(module, SHAPE, condition=name) for name in ("t", "sigma", "log-sigma")]
    scores += [NetworkScore(module, SHAPE, times=np.array([0.1, middle, 1.0])) for middle in (0.2, 0.3)]
    assert len({fingerprint(score) for score in scores}) == 5


@pytest.mark.parametrize("kind", ["exact", "network"])
def test_samples_do_not_depend_on_their_batch(kind, tmp_path):
    score = TRUTH if kind == "exact" else load(saved(tmp_path / "m"), dtype=torch.float64)
    model = model_of(score)
    axes = Axes.of(torch.randn(100, *score.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64))
    whole = drawn(model, axes.mean, STEPS, range(6), seed=3)
    parts = torch.cat([drawn(model, axes.mean, STEPS, part, seed=3) for part in (range(1), range(1, 5), range(5, 6))])
    assert whole.shape == (6, *score.shape)
    assert torch.allclose(whole, parts, rtol=1e-5, atol=1e-6)
    assert not torch.allclose(whole[0], whole[1])
    assert not torch.allclose(whole, drawn(model, axes.mean, STEPS, range(6), seed=4))


def test_samples_have_the_variances_of_the_population():
    mean = torch.zeros(D, dtype=torch.float64)
    found = drawn(model_of(TRUTH), mean, STEPS, range(800), seed=0).flatten(1).double()
    assert torch.allclose(found.var(0) / VARIANCES, torch.ones(D, dtype=torch.float64), atol=0.3)


def test_samples_that_are_not_finite_are_refused():
    class Broken:
        shape = SHAPE

        def __call__(self, x, t):
            return x * float("nan")

    with pytest.raises(InputError, match="Broken: its samples are not finite"):
        drawn(model_of(Broken()), torch.zeros(D, dtype=torch.float64), STEPS, range(2), seed=0)
