"""Pairs of scores: both at the same points, in one evaluation of a network where they share it, with conditions that follow."""

import pytest
import torch
from torch import nn

from geomem.errors import InputError
from geomem.measure.counted import Tally, counted
from geomem.models import load
from geomem.scores import GaussianScore, NetworkScore
from geomem.scores.pair import pair
from geomem.spectra import leading
from geomem.spectra.products import products
from models import saved, unet

D = 5


class AroundMeans:
    """A Gaussian around a mean of each point's own: the least score with a condition for each point."""

    def __init__(self, means):
        self.means, self.shape = means, means.shape[1:]

    def __call__(self, x, t):
        rows = x.reshape(-1, *self.shape)
        means = self.means.repeat_interleave(len(rows) // len(self.means), 0)
        times = torch.as_tensor(t, dtype=x.dtype).expand(x.shape[: x.ndim - 1]).reshape(-1, 1)
        return (-(rows - means) / (1 + times)).reshape(x.shape)

    def select(self, places):
        return AroundMeans(self.means[list(places)])


@pytest.fixture(scope="module")
def classes(tmp_path_factory):
    """A network of three classes."""
    return load(saved(tmp_path_factory.mktemp("classes"), unet(num_class_embeds=3)), label=0)


def drawn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def calls(module: nn.Module, made: list):
    return module.register_forward_hook(lambda _, given, out: made.append(len(given[0])))


@pytest.mark.parametrize("batch", [(), (3,), (2, 3)])
def test_both_scores_and_their_difference(batch):
    s, r = GaussianScore(torch.arange(D).double()), GaussianScore(torch.ones(D).double())
    x, t = drawn(*batch, D), drawn(*batch).abs() + 0.1
    both = pair(s, r)
    found = both(x, t)
    assert torch.equal(found[0], s(x, t))
    assert torch.equal(found[1], r(x, t))
    assert torch.equal(both.difference(x, t), s(x, t) - r(x, t))
    assert both.shape == (D,)


def test_different_shapes_are_refused():
    with pytest.raises(InputError, match=r"reference: has events of shape \(4,\), but the score takes \(5,\)"):
        pair(GaussianScore(torch.ones(5)), GaussianScore(torch.ones(4)))


def test_conditions_follow_their_points():
    means = drawn(6, D)
    both = pair(AroundMeans(means), GaussianScore(torch.ones(D)))
    x = drawn(6, D, seed=1)
    whole = both.difference(x, 0.5)
    for places in ([0], [2, 3], [5, 1, 4]):
        torch.testing.assert_close(both.select(places).difference(x[places], 0.5), whole[places], rtol=0, atol=0)


@pytest.mark.parametrize(
    ("words", "others"), [([0, 1, 2, 1], [2]), ([0], [2]), ([1], [0, 1, 2, 1]), ([0, 1, 2, 1], [1, 1, 0, 2])]
)
def test_scores_of_one_network_are_evaluated_in_one_batch(classes, words, others):
    s, r = classes.conditioned(words), classes.conditioned(others)
    # Three points of each condition.
    x, t = drawn(4, 3, *classes.shape).float(), torch.tensor([0.1, 1.0, 2.0, 4.0])[:, None].expand(4, 3)
    made = []
    hook = calls(classes.module, made)
    try:
        found = pair(s, r)(x, t)
    finally:
        hook.remove()
    assert made == [24]
    for one, expected in zip(found, (s(x, t), r(x, t)), strict=True):
        torch.testing.assert_close(one, expected, rtol=1e-4, atol=1e-5)
    some = pair(s, r).select([3, 1])(x[[3, 1]], t[[3, 1]])
    torch.testing.assert_close(some[0], found[0][[3, 1]], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(some[1], found[1][[3, 1]], rtol=1e-4, atol=1e-5)


def test_scores_of_two_networks_are_evaluated_apart(classes, tmp_path):
    other = load(saved(tmp_path, unet(1, num_class_embeds=3)), label=0)
    made = []
    hook = calls(classes.module, made)
    try:
        found = pair(classes, other)(x := drawn(2, *classes.shape).float(), 1.0)
    finally:
        hook.remove()
    assert made == [2]
    assert torch.equal(found[1], other(x, 1.0))


def test_conditions_that_do_not_fit_are_refused(classes):
    with pytest.raises(InputError, match="reference: has 3 conditions and the score 4"):
        pair(classes.conditioned([0, 1, 2, 0]), classes.conditioned([0, 1, 2]))


def test_evaluations_are_counted_forward_and_backward():
    class Wavy(nn.Module):
        def forward(self, x, t):
            return x.sin()

    both, spent = pair(NetworkScore(Wavy(), (D,)), AroundMeans(drawn(4, D))), Tally()
    noted = counted(both, spent)
    x = drawn(4, D, seed=1)
    assert torch.equal(noted.difference(x, 1.0), both.difference(x, 1.0))
    assert spent.evaluations == 8
    for score, plain in ((noted.score, both.score), (noted.reference, both.reference)):
        spent.evaluations = 0
        a, b = products(score, x, 1.0), products(plain, x, 1.0)
        for product in ("transposed", "plain", "rough"):
            assert torch.equal(getattr(a, product)(x), getattr(b, product)(x))
        assert spent.evaluations == 4 * a.evaluations == 4 * (2 + 1 + 2 + 1)


def test_products_in_closed_form_are_counted_once_each():
    spent, score = Tally(), GaussianScore(torch.ones(D))
    noted = counted(pair(score, score), spent).score
    found = leading(noted, torch.zeros(3, D), 0.1)
    assert found.count.tolist() == [D] * 3
    assert spent.evaluations == 3 * D == int(found.evaluations.sum())


def test_a_guided_score_counts_twice(classes):
    spent = Tally()
    guided = classes.conditioned([0])
    guided.guidance = 3.0
    noted = counted(pair(classes, classes), spent)
    noted(x := drawn(2, *classes.shape).float(), 1.0)
    assert spent.evaluations == 4
    assert counted(pair(guided, classes), spent).together is None
    spent.evaluations = 0
    counted(pair(GuidedTwice(), classes), spent)(x, 1.0)
    assert spent.evaluations == 6


class GuidedTwice:
    shape, guidance = (1, 8, 8), 2.0

    def __call__(self, x, t):
        return -x
