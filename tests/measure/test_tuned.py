"""A fine-tuned model against its base: intervals that cover, and verdicts."""

import numpy as np
import pytest

from geomem.intervals import Interval
from geomem.measure.tuned import fraction_lost_against, judged_against, net, recognized


def trial(rng, n, lost, spread=0.1):
    base = rng.gamma(9.0, 4.0, n)
    return base * (1 - lost) * np.exp(spread * rng.normal(size=n) - spread**2 / 2), base


def test_interval_of_the_fraction_lost_covers():
    rng, inside = np.random.default_rng(0), 0
    for _ in range(2000):
        found = fraction_lost_against(*trial(rng, 10, 0.4))
        inside += found.low <= 0.4 <= found.high
    assert 0.93 < inside / 2000 < 0.97


def test_intervals_of_all_levels_hold_together():
    """Whichever of six levels looks worst, its interval excludes nothing lost in few trainings without a loss."""
    rng, alarms = np.random.default_rng(1), 0
    for _ in range(4000):
        found = [fraction_lost_against(*trial(rng, 10, 0.0), choices=6) for _ in range(6)]
        alarms += max(one.low for one in found) > 0
    assert alarms / 4000 < 0.05


def test_what_is_lost_at_held_out_images_is_taken_off():
    rng, inside = np.random.default_rng(2), 0
    for _ in range(1000):
        own = fraction_lost_against(*trial(rng, 12, 0.5))
        other = fraction_lost_against(*trial(rng, 40, 0.2))
        found = net(own, other)
        inside += found.low <= 0.3 <= found.high
        assert found.value == pytest.approx(own.value - other.value)
    assert inside / 1000 > 0.93


def test_nothing_to_lose_is_not_known():
    found = fraction_lost_against(np.zeros(5), np.zeros(5))
    assert not np.isfinite(found.low)
    assert judged_against(found, None, copies=None).reason == "flat"


def test_recognized_is_wider_for_more_choices():
    rng = np.random.default_rng(3)
    a, b = rng.normal(-1, 1, 20), rng.normal(0, 1, 30)
    one, many = recognized(a, b), recognized(a, b, choices=6)
    assert one.value == many.value > 0.5
    assert many.low < one.low
    assert one.high < many.high


@pytest.mark.parametrize(
    ("low", "value", "high", "auc", "copies", "verdict"),
    [
        (0.6, 0.7, 0.8, None, "no sign", ("memorizing", "lost")),
        (0.3, 0.4, 0.6, None, None, ("losing dimensions", "lost")),
        (0.06, 0.1, 0.14, None, None, ("overfitting", "lost")),
        (0.0, 0.02, 0.05, (0.6, 0.7, 0.8), None, ("overfitting", "lost")),
        (0.0, 0.02, 0.05, (0.4, 0.5, 0.6), "no sign", ("keeping", "lost")),
        (0.0, 0.02, 0.05, None, "likely", ("undecided", "likely")),
        (-0.1, 0.1, 0.3, None, None, ("undecided", "open")),
        (0.0, 0.02, 0.05, None, "yes", ("memorizing", "copies")),
    ],
)
def test_verdicts(low, value, high, auc, copies, verdict):
    told = None if auc is None else Interval(auc[1], auc[0], auc[2], 10)
    found = judged_against(Interval(value, low, high, 10), told, copies=copies)
    assert (found.word, found.reason) == verdict


def test_three_images_are_too_few():
    assert judged_against(Interval(0.9, 0.8, 1.0, 3), None, copies=None).reason == "few"
