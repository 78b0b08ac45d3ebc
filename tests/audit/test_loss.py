"""What was lost and the verdict on it: by hand, at every boundary, and how often simulated verdicts err or decide."""

import itertools
import math
from time import perf_counter

import numpy as np
import pytest
from scipy.stats import binom
from scipy.stats import t as student

from geomem.intervals import Interval
from geomem.measure.copies import Rate
from geomem.measure.verdict import LEAST_PAIRS, Judgement, Loss, judged, lost, lost_by_image, most_telling


def of_share(value, low, high, k=32, halved=0):
    """A loss of given share and number of images that lost more than half, by whatever dimensions."""
    any_ = Interval(1.0, 0.0, 2.0, k)
    return Loss(any_, any_, any_, Interval(value, low, high, k), Rate.of(halved, k, confidence=0.9))


def word_of(loss, **options):
    return judged(loss, **{"copies": None, "fits": True, **options})


# --- the share and its interval ---


def test_share_and_means_by_hand():
    found = lost(np.array([1.0, 2, 3, 2]), np.array([4.0, 4, 6, 6]))
    assert (found.training.value, found.held_out.value, found.dimensions.value) == (2, 5, 3)
    assert found.share.value == pytest.approx(0.6, rel=1e-12)
    assert found.pairs == found.share.n == 4
    # Differences 3, 2, 3, 4: variance 2/3; Student's 3.182446 with three degrees of freedom.
    half = 3.182446305284263 * math.sqrt(2 / 3 / 4)
    assert (found.dimensions.low, found.dimensions.high) == (pytest.approx(3 - half), pytest.approx(3 + half))


@pytest.mark.parametrize("k", [4, 8, 32])
def test_both_ends_of_the_share_are_where_students_test_turns(k):
    """Fieller: at the ends rho the mean of (difference - rho held-out) is as far from 0 as its interval is wide."""
    rng = np.random.default_rng(k)
    held_out = 10 + rng.normal(size=k)
    training = 4 + 0.5 * held_out + rng.normal(size=k)
    share = lost(training, held_out).share
    for rho in (share.low, share.high):
        rest = held_out - training - rho * held_out
        statistic = rest.mean() / (rest.std(ddof=1) / math.sqrt(k))
        assert abs(statistic) == pytest.approx(student.ppf(0.975, k - 1), rel=1e-9)
    assert share.low < share.value < share.high


def test_means_are_not_below_nothing():
    found = lost(np.array([0.0, 0, 0, 1]), np.array([0.0, 0, 0, 3]))
    assert found.training.low == found.held_out.low == 0
    assert found.dimensions.low < 0


@pytest.mark.parametrize("k", [8, 12, 16, 32])
def test_where_all_training_images_lost_everything_some_that_did_not_may_have_been_missed(k):
    """Of images of which a share p keeps its dimensions, none is among k with probability (1 - p)^k = 1/40."""
    share = lost(np.zeros(k), 3.0 + np.arange(k) % 3).share
    assert (share.value, share.high) == (1, 1)
    assert (share.low) ** k == pytest.approx(0.025, rel=1e-9)


def test_the_widened_interval_is_never_narrower():
    """Where the held-out images scatter more than that, theirs is kept."""
    training, held_out = np.full(8, 3.0), np.array([3.0, 30, 3, 3, 30, 3, 3, 30])
    share = lost(training, held_out).share
    rest = held_out - training - share.low * held_out
    statistic = rest.mean() / (rest.std(ddof=1) / math.sqrt(8))
    assert statistic == pytest.approx(student.ppf(0.975, 7), rel=1e-9)
    assert share.low < share.value - (1 - 0.025 ** (1 / 8))
    equal = lost(training, training).share
    assert (equal.value, equal.high) == (0, 0)
    assert equal.low == pytest.approx(0.025 ** (1 / 8) - 1)


def test_one_training_image_that_differs_is_not_widened():
    training, held_out = np.array([1.0, *np.zeros(15)]), 5.0 + np.arange(16) % 2
    share = lost(training, held_out).share
    assert share.low > share.value - (1 - 0.025 ** (1 / 16))


def test_no_dimensions_to_lose_have_no_share():
    share = lost(np.zeros(8), np.zeros(8)).share
    assert (share.low, share.high) == (-math.inf, math.inf)


@pytest.mark.parametrize("k", [8, 32])
def test_halved_images_have_less_than_half_of_their_partner_s_dimension(k):
    held_out = np.full(k, 6.0)
    training = np.where(np.arange(k) < 3, [2.9, 0.0, 1.0, *[3.0] * (k - 3)], 3.0)
    halved = lost(training, held_out).halved
    assert (halved.count, halved.total) == (3, k)
    # Exact: three or fewer of k where the upper end is the truth come out in one of twenty.
    assert binom.cdf(3, k, halved.high) == pytest.approx(0.05, rel=1e-9)


# --- image by image, and the noise level ---


def test_lost_by_image_reaches_as_far_as_twins_differ():
    twins = np.array([[5.0, 6], [5, 3], [4, 4], [7, 5], [6, 7]])
    found = lost_by_image(np.array([1.0, 5, 4, 2, 9]), np.array([5.0, 5, 4, 7, 6]), twins)
    assert [f.value for f in found] == [4, 0, 0, 5, -3]
    # Mean square of -1, 2, 0, 2, -1 is 2; Student's 2.776445 with four degrees of freedom.
    half = 2.7764451051977987 * math.sqrt(2)
    assert [f.value - f.low for f in found] == pytest.approx([half] * 5)
    assert [f.high - f.value for f in found] == pytest.approx([half] * 5)


def test_an_image_that_lost_nothing_is_flagged_one_time_in_forty():
    """Three images of one law: the chance that the training one is as far below its partner as the interval reaches."""
    rng = np.random.default_rng(0)
    flagged = []
    for _ in range(200):
        training, held_out, twin = rng.normal(10, 2, (3, 40))
        flagged += [f.low > 0 for f in lost_by_image(training, held_out, np.stack([held_out, twin], 1))]
    assert np.mean(flagged) == pytest.approx(0.025, abs=0.008)


def test_most_telling_is_the_column_of_the_largest_mean_difference():
    training = np.array([[9.0, 1, 0, 0], [9, 2, 0, 0]])
    held_out = np.array([[9.0, 2, 3, 2], [9, 9, 4, 2]])
    assert most_telling(training, held_out) == 1  # 0, 4, 3.5, 2
    assert most_telling(held_out[:, ::-1], training[:, ::-1]) == 3  # gains do not count as losses


# --- the word ---

CASES = {
    "more than half": (of_share(0.8, 0.501, 0.99), ("memorizing", "lost")),
    "half": (of_share(0.8, 0.5, 0.99), ("losing dimensions", "lost")),
    "some": (of_share(0.3, 0.01, 0.45), ("losing dimensions", "lost")),
    "nothing": (of_share(0.3, 0.0, 0.45), ("undecided", "open")),
    "below a tenth": (of_share(0.02, -0.05, 0.099), ("generalizing", "lost")),
    "a tenth": (of_share(0.02, -0.05, 0.1), ("undecided", "open")),
    "gained": (of_share(-0.3, -0.5, -0.101), ("undecided", "other")),
    "gained little": (of_share(-0.15, -0.2, -0.1), ("generalizing", "lost")),
    "none of 29 halved": (of_share(0.02, -0.05, 0.09, 29), ("generalizing", "lost")),
    "none of 28 halved": (of_share(0.02, -0.05, 0.09, 28), ("undecided", "rare")),
    "one of 32 halved": (of_share(0.02, -0.05, 0.09, 32, 1), ("undecided", "rare")),
    "one of 46 halved": (of_share(0.02, -0.05, 0.09, 46, 1), ("generalizing", "lost")),
    "many halved, and more than half lost": (of_share(0.8, 0.6, 0.9, 32, 20), ("memorizing", "lost")),
    "many halved, and some lost": (of_share(0.3, 0.1, 0.45, 32, 5), ("losing dimensions", "lost")),
    "little, but surely": (of_share(0.05, 0.02, 0.08), ("generalizing", "lost")),
    "more than everything": (of_share(1.2, 0.9, 1.5), ("memorizing", "lost")),
    "one pair too few": (of_share(0.9, 0.8, 0.95, LEAST_PAIRS - 1), ("undecided", "few")),
    "just enough pairs": (of_share(0.9, 0.8, 0.95, LEAST_PAIRS), ("memorizing", "lost")),
    "flat": (of_share(math.nan, -math.inf, math.inf), ("undecided", "flat")),
}


@pytest.mark.parametrize("name", CASES)
def test_words_at_their_boundaries(name):
    loss, expected = CASES[name]
    found = word_of(loss)
    assert (found.word, found.reason) == expected


@pytest.mark.parametrize("copies", [None, "no sign", "likely", "far", "too few", "yes", "identical"])
def test_copies_settle_it_where_they_are_certain(copies):
    """Whatever the dimensions say; a likelihood of copies keeps a model from being called generalizing."""
    for (loss, expected), fits, held_out, alike in itertools.product(CASES.values(), *[(True, False)] * 3):
        found = judged(loss, copies=copies, fits=fits, held_out=held_out, alike=alike)
        if copies in ("yes", "identical"):
            assert found == Judgement("memorizing", "copies", None)
        elif not (fits and held_out and alike):
            reason = "unfit" if not fits else "other" if held_out else "unseen"
            assert (found.word, found.reason in (reason, "few")) == ("undecided", True)
        elif copies == "likely" and expected[0] == "generalizing":
            assert found == Judgement("undecided", "likely", None)
        else:
            assert (found.word, found.reason) == expected


# --- pairs that would decide ---


@pytest.mark.parametrize(
    ("share", "pairs"),
    [
        ((0.3, -0.3, 0.6), 270),  # twice as narrow takes four times as many; 2.04 times that for four audits in five
        ((0.3, -0.1, 0.9), 270),  # the wider side counts
        ((0.05, -0.05, 0.15), 270),  # to 0 and to a tenth it is as far
        ((0.0, -0.2, 0.2), 270),
        ((-0.1, -0.3, 0.1), 66),
        ((-0.3, -0.45, 0.1), 66),
        ((0.2, -0.4, 0.8), 590),
        ((0.75, 0.25, 0.9), 270),
        ((0.4, 0.2, 0.6), 270),
        ((0.6, 0.51, 0.7), None),
        ((0.3, 0.1, 0.5), None),  # final: not more than half
        ((0.01, -0.01, 0.05), None),
    ],
)
def test_pairs_that_would_decide_by_hand(share, pairs):
    """The interval narrows as the root of their number, which is told in two digits."""
    assert word_of(of_share(*share)).pairs == pairs


@pytest.mark.parametrize(
    ("k", "halved", "pairs"), [(10, 0, 29), (28, 0, 29), (32, 1, 46), (32, 4, None), (20, 2, None)]
)
def test_pairs_that_would_rule_out_a_tenth_of_halved_images(k, halved, pairs):
    """Where their share is a tenth or more no number does."""
    found = word_of(of_share(0.0, -0.05, 0.05, k, halved))
    assert found == Judgement("undecided", "rare", pairs)


def test_pairs_that_would_rule_out_halved_images_are_found_at_once():
    """Also where none or very many would."""
    start = perf_counter()
    for k, halved in ((32, 3), (64, 8), (200, 19), (500, 60)):
        word_of(of_share(0.0, -0.05, 0.05, k, halved))
    assert perf_counter() - start < 1


def test_no_more_pairs_are_asked_for_than_a_million():
    assert word_of(of_share(0.5, 0.2, 0.9)).pairs == 1_000_000


def simulated(rng, share, k, kind="normal"):
    """Dimensions (k,) of pairs that look alike (correlation 0.64), the training ones less by a share."""
    common, first, second = rng.normal(size=(3, k))
    training, held_out = 0.8 * common + 0.6 * first, 0.8 * common + 0.6 * second
    if kind == "normal":
        return 10 * (1 - share) + 3 * training, 10 + 3 * held_out
    assert share == 0
    laws = {
        "counts": lambda z: np.round(np.maximum(0, 5 + 2 * z)),
        "skewed": lambda z: np.floor(np.exp(0.9 * z)),
        "none or one": lambda z: (z > 0.9).astype(float),
        "rarely one": lambda z: (z > 1.4).astype(float),
    }
    return laws[kind](training), laws[kind](held_out)


@pytest.mark.parametrize(("share", "word"), [(0.0, "undecided"), (0.2, "undecided"), (0.6, "losing dimensions")])
def test_the_given_number_of_pairs_decides_in_most_repetitions_and_fewer_do_not(share, word):
    """Over repetitions with 8 pairs that did not decide, the median of what they asked for."""
    rng = np.random.default_rng(0)

    def decided(found):
        return found.pairs is None

    asked = [found for found in (word_of(lost(*simulated(rng, share, 8))) for _ in range(400)) if not decided(found)]
    needed = int(np.median([found.pairs for found in asked if found.word == word]))
    often = {k: np.mean([decided(word_of(lost(*simulated(rng, share, k)))) for _ in range(400)]) for k in (8, needed)}
    assert needed < 200
    assert often[8] < 0.5
    assert often[needed] > 0.65


@pytest.mark.parametrize("kind", ["normal", "counts", "skewed", "none or one", "rarely one"])
@pytest.mark.parametrize("k", [8, 16, 32])
def test_a_loss_is_rarely_found_where_there_is_none(kind, k):
    rng = np.random.default_rng(k)
    words = [word_of(lost(*simulated(rng, 0, k, kind))).word for _ in range(500)]
    assert sum(word in ("memorizing", "losing dimensions") for word in words) <= 25


@pytest.mark.parametrize("k", [8, 16, 32])
@pytest.mark.parametrize("share", [0.1, 0.5])
def test_words_are_rarely_wrong_at_the_shares_that_separate_them(share, k):
    """Of a model that has lost a tenth, generalizing is said in 2.5%; of one that has lost half, memorizing."""
    rng = np.random.default_rng(k)
    words = [word_of(lost(*simulated(rng, share, k))).word for _ in range(500)]
    assert words.count("generalizing" if share == 0.1 else "memorizing") <= 25


@pytest.mark.parametrize("k", [32, 64, 128])
def test_a_model_that_memorized_a_tenth_of_its_images_is_rarely_generalizing(k):
    """A mean of few pairs does not see them; the exact bound is wrong in one of twenty."""
    rng, words = np.random.default_rng(k), []
    for _ in range(500):
        training, held_out = simulated(rng, 0, k)
        words.append(word_of(lost(training * (rng.random(k) > 0.1), held_out)).word)
    assert words.count("generalizing") <= 35
