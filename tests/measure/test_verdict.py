"""The verdict's word at every boundary, and how often simulated verdicts err or decide."""

import itertools
import math
from time import perf_counter

import numpy as np
import pytest

from geomem.intervals import Interval, Rate, quotient
from geomem.measure.membership import auc, known
from geomem.measure.verdict import LEAST_IMAGES, TELLING, Evidence, Judgement, judged


def of(value, low, high, n=40, *, told=0.5, rate=(0, 100)):
    """Evidence with a share lost, the lower end of an AUC, and how many images are known."""
    return Evidence(Interval(value, low, high, n), Interval((told + 1) / 2, told, 1.0, n), Rate.of(*rate))


def word_of(found, **options):
    return judged(found, **{"copies": None, "fits": True, **options})


CASES = {
    "more than half": (of(0.8, 0.501, 0.99), ("memorizing", "lost")),
    "half": (of(0.8, 0.5, 0.99), ("losing dimensions", "lost")),
    "more than a quarter": (of(0.4, 0.251, 0.45), ("losing dimensions", "lost")),
    "a quarter": (of(0.4, 0.25, 0.45), ("overfitting", "lost")),
    "a little": (of(0.12, 0.051, 0.2), ("overfitting", "lost")),
    "a twentieth": (of(0.12, 0.05, 0.2), ("undecided", "open")),
    "little, but surely": (of(0.05, 0.02, 0.08), ("generalizing", "lost")),
    "nothing, but its images are told": (of(0.0, -0.05, 0.05, told=TELLING + 0.001), ("overfitting", "lost")),
    "nothing, and its images are hardly told": (of(0.0, -0.05, 0.05, told=TELLING), ("generalizing", "lost")),
    "below a tenth": (of(0.02, -0.05, 0.099), ("generalizing", "lost")),
    "a tenth": (of(0.02, -0.05, 0.1), ("undecided", "open")),
    "gained": (of(-0.3, -0.5, -0.101), ("undecided", "other")),
    "gained little": (of(-0.15, -0.2, -0.1), ("generalizing", "lost")),
    "four of a hundred known": (of(0.02, -0.05, 0.09, rate=(4, 100)), ("generalizing", "lost")),
    "five of a hundred known": (of(0.02, -0.05, 0.09, rate=(5, 100)), ("undecided", "rare")),
    "none of 35 known": (of(0.02, -0.05, 0.09, rate=(0, 35)), ("undecided", "rare")),
    "many known, and more than half lost": (of(0.8, 0.6, 0.9, rate=(60, 100)), ("memorizing", "lost")),
    "more than everything": (of(1.2, 0.9, 1.5), ("memorizing", "lost")),
    "one image too few": (of(0.9, 0.8, 0.95, LEAST_IMAGES - 1), ("undecided", "few")),
    "just enough images": (of(0.9, 0.8, 0.95, LEAST_IMAGES), ("memorizing", "lost")),
    "flat": (of(math.nan, -math.inf, math.inf), ("undecided", "flat")),
}


@pytest.mark.parametrize("name", CASES)
def test_words_at_their_boundaries(name):
    evidence, expected = CASES[name]
    found = word_of(evidence)
    assert (found.word, found.reason) == expected


@pytest.mark.parametrize("copies", [None, "no sign", "likely", "far", "too few", "yes", "identical"])
def test_copies_settle_it_where_they_are_certain(copies):
    """Whatever was lost; a likelihood of copies keeps a model from being called generalizing."""
    for (evidence, expected), fits, alike in itertools.product([*CASES.values(), (None, None)], *[(True, False)] * 2):
        found = judged(evidence, copies=copies, fits=fits, alike=alike)
        if copies in ("yes", "identical"):
            assert found == Judgement("memorizing", "copies", None)
        elif not fits:
            assert found == Judgement("undecided", "unfit")
        elif evidence is None:
            assert found == Judgement("undecided", "unseen")
        elif not alike:
            assert (found.word, found.reason in ("other", "few")) == ("undecided", True)
        elif copies == "likely" and expected[0] == "generalizing":
            assert found == Judgement("undecided", "likely", None)
        else:
            assert (found.word, found.reason) == expected


# --- images that would decide ---


@pytest.mark.parametrize(
    ("share", "images"),
    [
        ((0.3, -0.3, 0.6), 480),  # twice as narrow takes four times as many; 2.04 times that for four audits in five
        ((0.05, -0.05, 0.15), 330),  # to 0 and to a tenth it is as far
        ((0.75, 0.3, 0.9), 270),
        ((0.35, 0.26, 0.45), None),  # final: not more than half
        ((0.15, 0.06, 0.35), 330),
        ((0.6, 0.51, 0.7), None),
        ((0.01, -0.01, 0.05), None),
    ],
)
def test_images_that_would_decide_by_hand(share, images):
    """The interval narrows as the root of their number, which is told in two digits."""
    assert word_of(of(*share)).images == images


@pytest.mark.parametrize(("known", "images"), [((0, 10), 36), ((0, 30), 36), ((4, 60), 292), ((3, 30), None)])
def test_images_that_would_rule_out_a_tenth_of_known_ones(known, images):
    """Where their share is a tenth or more no number does."""
    found = word_of(of(0.0, -0.05, 0.05, rate=known))
    assert (found.word, found.reason) == ("undecided", "rare")
    assert found.images == images


def test_images_that_would_rule_out_known_ones_are_found_at_once():
    """Also where none or very many would."""
    start = perf_counter()
    for rate in ((3, 32), (8, 64), (19, 200), (60, 500)):
        word_of(of(0.0, -0.05, 0.05, rate=rate))
    assert perf_counter() - start < 1


def test_no_more_images_are_asked_for_than_a_million():
    assert word_of(of(0.5, 0.3, 0.9)).images == 1_000_000


def simulated(rng, share, m, n, told=0.0, few=0.0):
    """Evidence of images whose degrees of freedom are those of one mirrored pair, 20 directions, all but a share at training images.

    `told`: by how many standard deviations of the error training images are known; `few`: share of them that is known by heart.
    """
    squares = [rng.chisquare(20 * (1 - lost), count) for lost, count in ((share, m), (0.0, n))]
    error = rng.normal(size=m) - told, rng.normal(size=n)
    heart = rng.random(m) < few
    squares[0][heart], error[0][heart] = 0.0, -9.0
    kept = quotient(*squares)
    return Evidence(Interval(1 - kept.value, 1 - kept.high, 1 - kept.low, kept.n), auc(*error), known(*error)[0])


@pytest.mark.parametrize(("m", "n"), [(8, 8), (16, 200), (200, 200)])
def test_a_loss_is_rarely_found_where_there_is_none(m, n):
    rng = np.random.default_rng(m)
    words = [word_of(simulated(rng, 0.0, m, n)).word for _ in range(500)]
    # The share or the AUC, each wrong on this side in 2.5%.
    assert sum(word in ("memorizing", "losing dimensions", "overfitting") for word in words) <= 40


@pytest.mark.parametrize(("share", "word"), [(0.1, "generalizing"), (0.25, "losing dimensions"), (0.5, "memorizing")])
@pytest.mark.parametrize("count", [30, 300])
def test_words_are_rarely_wrong_at_the_shares_that_separate_them(share, word, count):
    rng = np.random.default_rng(count)
    words = [word_of(simulated(rng, share, count, count)).word for _ in range(500)]
    assert words.count(word) <= 25


def test_a_large_sample_without_memory_is_generalizing():
    rng = np.random.default_rng(0)
    words = [word_of(simulated(rng, 0.0, 500, 500)).word for _ in range(200)]
    assert words.count("generalizing") > 150


@pytest.mark.parametrize("count", [50, 200, 1000])
def test_a_model_that_knows_a_tenth_of_its_images_by_heart_is_rarely_generalizing(count):
    """A mean does not see them; the exact bound is wrong in one of forty."""
    rng = np.random.default_rng(count)
    words = [word_of(simulated(rng, 0.0, count, 1000, few=0.1)).word for _ in range(300)]
    assert words.count("generalizing") <= 15


def test_images_that_are_told_make_a_model_overfitting():
    rng = np.random.default_rng(1)
    words = [word_of(simulated(rng, 0.0, 200, 200, told=0.7)).word for _ in range(200)]
    assert words.count("overfitting") > 190
