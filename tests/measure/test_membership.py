"""AUC with its interval, and rates that are stated on images that chose nothing."""

import numpy as np
import pytest

from geomem.errors import InputError
from geomem.measure.membership import auc, membership


def test_auc_by_hand():
    assert auc(np.array([0.0, 1.0]), np.array([2.0, 3.0])).value == 1
    assert auc(np.array([2.0, 3.0]), np.array([0.0, 1.0])).value == 0
    assert auc(np.array([1.0, 1.0]), np.array([1.0, 1.0])).value == 0.5
    assert auc(np.array([0.0, 2.0]), np.array([1.0, 3.0])).value == 0.75


@pytest.mark.repeated
@pytest.mark.parametrize(("shift", "m", "n"), [(0.0, 40, 40), (1.0, 40, 40), (1.0, 20, 200), (2.5, 60, 60)])
def test_the_interval_holds_the_true_auc_as_often_as_it_says(shift, m, n):
    from scipy.stats import norm

    truth, g, draws = norm.cdf(shift / np.sqrt(2)), np.random.default_rng(0), 1500
    held = 0
    for _ in range(draws):
        found = auc(g.normal(0, 1, m), g.normal(shift, 1, n))
        assert 0 <= found.low <= found.value <= found.high <= 1
        held += found.low <= truth <= found.high
    assert 0.93 <= held / draws <= 0.985


def test_groups_that_do_not_overlap_leave_room_for_one_that_does():
    found = auc(np.arange(20.0), 100 + np.arange(30.0))
    assert found.value == found.high == 1
    assert 0.8 < found.low < 1


@pytest.mark.repeated
def test_the_choice_of_a_column_does_not_flatter():
    """Of 30 columns without information the best has an AUC of about .5 where it is stated."""
    g = np.random.default_rng(1)
    found = [membership(g.normal(size=(60, 30)), g.normal(size=(60, 30)), seed=i).auc.value for i in range(200)]
    assert abs(np.mean(found) - 0.5) < 4 * np.std(found) / np.sqrt(len(found))


def test_the_column_that_tells_most_is_chosen():
    g = np.random.default_rng(2)
    training, held_out = g.normal(size=(300, 4)), g.normal(size=(300, 4))
    held_out[:, 2] += 3
    found = membership(training, held_out)
    assert found.column == 2
    assert found.auc.low > 0.9
    assert found.rate.total == 150
    assert 0.3 < found.rate.value < 0.95


@pytest.mark.repeated
def test_one_percent_of_false_positives_are_one_percent():
    g, hits = np.random.default_rng(3), []
    for i in range(100):
        found = membership(g.normal(size=(400, 1)), g.normal(size=(400, 1)), seed=i)
        hits.append(found.rate.value)
    # The limit is the second smallest of 200 values, below which 2/201 are expected.
    assert np.mean(hits) == pytest.approx(2 / 201, abs=4 * np.std(hits) / 10)


def test_of_few_held_out_images_one_is_let_pass_and_very_few_have_no_halves():
    g = np.random.default_rng(4)
    found = membership(g.normal(size=(50, 2)), g.normal(size=(50, 2)))
    assert found.false_positives == 1 / 25
    with pytest.raises(InputError, match="halves need at least four images"):
        membership(np.zeros((3, 1)), np.zeros((9, 1)))
    with pytest.raises(InputError, match="at least two images of each, got 1 and 9"):
        auc(np.zeros(1), np.zeros(9))
