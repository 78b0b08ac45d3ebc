"""Real images: their range, and subsets that nest and never leak."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits

from geomem.data import digits, nested_split
from geomem.errors import InputError


def test_digits_are_scikit_learn_s_on_the_scale_of_models():
    images = digits()
    assert images.shape == (1797, 8, 8)
    assert images.dtype == torch.float64
    assert (float(images.min()), float(images.max())) == (-1.0, 1.0)
    np.testing.assert_array_equal((images + 1) * 8, load_digits().images)


def test_digits_may_be_changed():
    images = digits()
    images.zero_()
    assert float(digits().max()) == 1.0


def test_digits_have_no_duplicates():
    """So that a held-out image is in no training subset under another number either."""
    assert len(digits().reshape(1797, 64).unique(dim=0)) == 1797


splits = given(
    n=st.integers(4, 300),
    seed=st.integers(0, 2**32),
    shares=st.lists(st.floats(0.01, 1.0), min_size=1, max_size=4),
    held_out=st.floats(0.0, 0.9),
)


@pytest.mark.repeated
@settings(derandomize=True, deadline=None, max_examples=60)
@splits
def test_subsets_nest_and_held_out_rows_are_apart(n, seed, shares, held_out):
    apart = int(held_out * (n - 1))
    sizes = tuple(max(1, int(s * (n - apart))) for s in shares)
    split = nested_split(n, sizes, held_out=apart, seed=seed)
    assert len(split.order) == max(sizes)
    assert len(split.held_out) == apart
    rows = np.concatenate([split.order, split.held_out])
    assert len(np.unique(rows)) == len(rows)
    assert np.all((rows >= 0) & (rows < n))
    # Other sizes change neither the order nor what is held out: the smaller subset is the larger one's beginning.
    smaller = nested_split(n, (1,), held_out=apart, seed=seed)
    largest = nested_split(n, (n - apart,), held_out=apart, seed=seed)
    np.testing.assert_array_equal(smaller.held_out, split.held_out)
    np.testing.assert_array_equal(largest.held_out, split.held_out)
    np.testing.assert_array_equal(largest.order[: max(sizes)], split.order)
    np.testing.assert_array_equal(smaller.order, split.order[:1])


def test_seed_decides():
    a, b, c = (nested_split(1797, (16, 1024), held_out=256, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(a.order, b.order)
    assert not np.array_equal(a.order, c.order)
    assert not np.array_equal(np.sort(a.held_out), np.sort(c.held_out))
    state = np.random.get_state()[1].copy()  # noqa: NPY002 - the one to check
    nested_split(10, (2,), held_out=1, seed=0)
    np.testing.assert_array_equal(state, np.random.get_state()[1])  # noqa: NPY002


@pytest.mark.repeated
def test_held_out_rows_are_a_fair_draw():
    """Over seeds every row is held out as often: chi-squared of 20 rows in 2,000 draws of 5, level 1e-4."""
    counts = np.zeros(20)
    for seed in range(2000):
        counts[nested_split(20, (15,), held_out=5, seed=seed).held_out] += 1
    # Draws without replacement: variance p (1 - p) n/(n - 1) of each count's share of the statistic.
    statistic = np.sum((counts - 500) ** 2) / (500 * 0.75 * 20 / 19)
    assert statistic < 50.8  # 0.9999 quantile of chi-squared with 19 degrees of freedom


@pytest.mark.parametrize(
    ("sizes", "held_out", "message"),
    [
        ((16, 64), 50, "sizes: 64 samples and 50 held-out points need more than 100 rows"),
        ((101,), 0, "sizes: 101 samples and 0 held-out points need more than 100 rows"),
    ],
)
def test_too_few_rows_are_refused(sizes, held_out, message):
    with pytest.raises(InputError, match=message):
        nested_split(100, sizes, held_out=held_out, seed=0)


@pytest.mark.parametrize(("sizes", "held_out"), [((), 1), ((0, 3), 1), ((-1,), 1), ((5,), -1)])
def test_numbers_that_make_no_sense_are_refused_for_what_they_are(sizes, held_out):
    """The rows would suffice; the message must not say that they do not."""
    with pytest.raises(InputError) as refused:
        nested_split(100, sizes, held_out=held_out, seed=0)
    assert "need more than 100 rows" not in str(refused.value)
