"""Every claim holds where its statement is true of records made by hand, and fails where it is not."""

import math
from collections.abc import Callable

import numpy as np
import pytest

from geomem.paper.verdict import FAILS, HOLDS, IN_PART, UNDECIDED
from paper.by_hand import (
    BY_KEY,
    MOSTLY,
    OFF,
    Made,
    both,
    by_size,
    condensation,
    curves,
    latent,
    order,
    plane,
    reverse,
    scaling,
)
from paper.by_hand_networks import AHEAD, BEHIND, WIDE, algorithms, images, late, learned, trained

# Claim, the verdict that it must have, and records, made by hand so that the verdict is known.
CASES: list[tuple[str, str, str, Callable[[], Made]]] = [
    ("latent-manifold", HOLDS, "all distinct", lambda: latent(9, 40, 40)),
    ("latent-manifold", IN_PART, "fewer attractors than samples", lambda: latent(5, 40, 40)),
    ("latent-manifold", IN_PART, "attractors that are no samples", lambda: latent(9, 40, 40, away=0.1)),
    ("latent-manifold", IN_PART, "ellipse condenses", lambda: latent(9, 40, 2)),
    ("latent-manifold", FAILS, "circle condenses too", lambda: latent(12, 39, 2)),
    ("memorizing-limit", HOLDS, "all end on samples", lambda: reverse(0.96, 0.04)),
    ("memorizing-limit", IN_PART, "the exact score's too", lambda: reverse(1.0, 1.0)),
    ("memorizing-limit", FAILS, "half of either", lambda: reverse(0.5, 0.5)),
    ("opening", HOLDS, "both manifolds", lambda: both(curves)),
    ("opening", HOLDS, "low variance never", lambda: curves(7, (0.5, 0.0))),
    ("opening", IN_PART, "one manifold", lambda: {**curves(7), **curves(15, (0.3, 1.0))}),
    ("opening", FAILS, "the other way round", lambda: both(curves, (0.3, 1.0))),
    ("opening", FAILS, "together", lambda: both(curves, (0.5, 0.5))),
    ("opening", FAILS, "earlier by less than its error", lambda: both(curves, (0.5002, 0.5))),
    ("closing", HOLDS, "intermediate first", lambda: both(by_size, 100, 1000)),
    ("closing", IN_PART, "one manifold", lambda: {**by_size(7, 100, 1000), **by_size(15, 1000, 100)}),
    ("closing", FAILS, "total first", lambda: both(by_size, 1000, 100)),
    ("closing", FAILS, "together", lambda: both(by_size, 250, 250)),
    ("lost-first-exact", HOLDS, "always ahead", lambda: order(np.zeros(9))),
    ("lost-first-exact", FAILS, "never ahead", lambda: order(np.zeros(9), ahead=False)),
    ("lost-first-expansion", HOLDS, "always ahead", lambda: order(np.zeros(9))),
    ("lost-first-expansion", FAILS, "never ahead", lambda: order(np.zeros(9), ahead=False)),
    ("lost-first-simulation", HOLDS, "nowhere negative", lambda: order(np.linspace(0.0, 0.3, 9))),
    ("lost-first-simulation", IN_PART, "once negative", lambda: order(np.array([0.1, 0.1, 0.1, -0.05]))),
    ("lost-first-simulation", FAILS, "negative", lambda: order(np.full(9, -0.05))),
    ("plane", HOLDS, "high lost", lambda: plane(0.1, 0.9)),
    ("plane", HOLDS, "as shares of the exact survival", lambda: plane(0.45, 0.55)),
    ("plane", IN_PART, "less of it, but most", lambda: plane(0.7, 0.95)),
    ("plane", HOLDS, "less of it, about half", lambda: plane(0.505, 0.95)),
    ("plane", FAILS, "low lost", lambda: plane(0.9, 0.1)),
    ("plane", FAILS, "neither lost", lambda: plane(1.0, 0.9)),
    ("expansion", HOLDS, "within 10%", lambda: condensation([1.0, 1.02, 1.09])),
    ("expansion", IN_PART, "at small loads", lambda: condensation([1.0, 1.05, 1.2])),
    ("expansion", FAILS, "nowhere", lambda: condensation([1.15, 1.5, 3.0])),
    ("position", HOLDS, "strongly", lambda: condensation([1.0])),
    ("position", FAILS, "of no account", lambda: condensation([1.0], spread=0.05)),
    ("position", IN_PART, "through something else", lambda: condensation([1.0], correlated=False)),
    ("position", FAILS, "not at all", lambda: condensation([1.0], correlated=False, spread=0.05)),
    ("spectra", HOLDS, "all right", lambda: both(curves)),
    ("spectra", HOLDS, "other forms off", lambda: curves(7, errors={"row": MOSTLY, "correlated": MOSTLY})),
    ("spectra", HOLDS, "within 25%", lambda: curves(7, errors={"eq43": [1.2] * 13})),
    ("spectra", IN_PART, "Eq. 19 off", lambda: curves(7, errors={"eq19": OFF})),
    ("spectra", IN_PART, "Eq. 43 off", lambda: curves(7, errors={"eq43": MOSTLY})),
    ("spectra", IN_PART, "Eq. 18 too small", lambda: curves(7, errors={"eq18 samples": [0.7, *[1.0] * 12]})),
    ("closer", HOLDS, "at small t", lambda: curves(7, errors={"eq41 samples": OFF})),
    ("closer", HOLDS, "one manifold", lambda: {**curves(7), **curves(15, errors={"eq41 samples": OFF})}),
    ("closer", FAILS, "alike", lambda: both(curves, errors={"eq41 samples": OFF, "eq43": OFF})),
    ("closer", FAILS, "farther", lambda: both(curves, errors={"eq43": OFF})),
    ("scaling", HOLDS, "with m", lambda: scaling(0.9, 0.0)),
    ("scaling", IN_PART, "with both", lambda: scaling(0.9, 0.02)),
    ("scaling", IN_PART, "against d", lambda: scaling(0.9, -0.02)),
    ("scaling", IN_PART, "with neither", lambda: scaling(0.0, 0.0)),
    ("scaling", FAILS, "with d", lambda: scaling(0.0, 0.02)),
    ("networks-total-gap", HOLDS, "both manifolds", lambda: {**trained(), **trained(**WIDE)}),
    ("networks-total-gap", HOLDS, "nearest to it", lambda: trained(total=22)),
    ("networks-total-gap", IN_PART, "one manifold", lambda: {**trained(total=28), **trained(**WIDE)}),
    ("networks-total-gap", FAILS, "the low gap", lambda: trained(total=25)),
    ("networks-total-gap", FAILS, "no gap", lambda: trained(total=-1)),
    ("networks-total-gap", FAILS, "at four points of five", lambda: trained(astray=2)),
    ("networks-low-gap", HOLDS, "and the axes say so", lambda: {**trained(**BEHIND), **trained(**BEHIND, **WIDE)}),
    (
        "networks-low-gap",
        HOLDS,
        "at the smallest t",
        lambda: trained(high=lambda n, t: 0.5 + 0.4 * (t > 0.1), low=lambda n, t: 0.8),
    ),
    ("networks-low-gap", HOLDS, "at three points of five", lambda: trained(astray=4, **BEHIND)),
    ("networks-low-gap", IN_PART, "at half of the points", lambda: trained(astray=5, **BEHIND)),
    ("networks-low-gap", IN_PART, "but the axes do not", lambda: trained(**AHEAD)),
    ("networks-low-gap", IN_PART, "the axes alone", lambda: trained(middle=23, **BEHIND)),
    ("networks-low-gap", FAILS, "the total gap", lambda: trained(middle=23, **AHEAD)),
    ("networks-high-gap", HOLDS, "both manifolds", lambda: {**trained(), **trained(**WIDE)}),
    ("networks-high-gap", FAILS, "the low gap", lambda: {**trained(few=25), **trained(**WIDE | {"few": 20})}),
    ("networks-high-gap", HOLDS, "at three points of five", lambda: trained(astray=4)),
    ("networks-high-gap", FAILS, "at half of the points", lambda: trained(astray=5)),
    ("networks-high-gap", FAILS, "no gap", lambda: trained(few=-1)),
    ("networks-agree", HOLDS, "beyond at small t", lambda: trained(beyond=lambda t: 2.0 * (t < 0.1))),
    ("networks-agree", IN_PART, "beyond nowhere", lambda: trained()),
    ("networks-agree", IN_PART, "beyond at 1e-5 alone", lambda: trained(beyond=lambda t: 2.0 * (t < 1e-3))),
    ("networks-agree", IN_PART, "beyond everywhere", lambda: trained(beyond=lambda t: 2.0)),
    ("networks-agree", IN_PART, "behind at large t", lambda: trained(beyond=lambda t: 2.0 if t < 0.1 else -1.0)),
    ("networks-agree", FAILS, "beyond at large t", lambda: trained(beyond=lambda t: 2.0 * (t > 0.1))),
    ("lost-first-networks", HOLDS, "both manifolds", lambda: {**trained(**BEHIND), **trained(**BEHIND, **WIDE)}),
    (
        "lost-first-networks",
        HOLDS,
        "where anything is lost",
        lambda: trained(high=lambda n, t: 0.4 if t < 0.1 else 1.0, low=lambda n, t: 0.9 if t < 0.1 else 0.995),
    ),
    ("lost-first-networks", HOLDS, "low variance kept whole", lambda: trained(high=lambda n, t: 0.5)),
    (
        "lost-first-networks",
        IN_PART,
        "but for the smallest network",
        lambda: trained(high=lambda n, t: 0.9 if n == 50 else 0.5, low=lambda n, t: 0.8),
    ),
    ("lost-first-networks", FAILS, "low variance", lambda: trained(**AHEAD)),
    ("learned-first", HOLDS, "the lower lacks half", lambda: learned(1.0, 0.5)),
    ("learned-first", HOLDS, "the lower has too much", lambda: learned(1.1, 1.5)),
    ("learned-first", FAILS, "the higher lacks half", lambda: learned(0.5, 1.0)),
    ("learned-first", FAILS, "the higher has too much", lambda: learned(1.5, 1.1)),
    ("stable", HOLDS, "less scatter and bias", lambda: algorithms(0.9, 0.9)),
    ("stable", IN_PART, "more bias", lambda: algorithms(0.5, 2.0)),
    ("stable", IN_PART, "one score alone", lambda: algorithms(0.5, scores=(1, 4))),
    ("stable", FAILS, "more of both", lambda: algorithms(1.1, 1.1)),
    ("robust", HOLDS, "smaller errors", lambda: algorithms(stanczuk=3, ours=-1)),
    ("robust", HOLDS, "no answer is nearer than 10", lambda: algorithms(stanczuk=10, ours=math.nan)),
    ("robust", FAILS, "no answer is farther than 3", lambda: algorithms(stanczuk=3, ours=math.nan)),
    ("robust", FAILS, "larger errors", lambda: algorithms(stanczuk=-1, ours=3)),
    ("robust", FAILS, "larger errors below", lambda: algorithms(stanczuk=1, ours=-3)),
    ("images-grow", HOLDS, "by both readings", lambda: images()),
    ("images-grow", IN_PART, "not by Alg. 3", lambda: images(kink=lambda n: 100.0)),
    ("images-grow", IN_PART, "Alg. 3 has no answer", lambda: images(kink=lambda n: math.nan)),
    ("images-grow", FAILS, "falls", lambda: images(lambda n: -5 * math.log2(n), lambda n: 9.0)),
    ("images-grow", FAILS, "falls on the way", lambda: images(lambda n: 99.0 if n == 64 else n / 100, lambda n: 9.0)),
    ("images-grow", FAILS, "sets of unequal size", lambda: images(lambda n: 9.0, lambda n: 9.0, apart=-5.0, few=True)),
    ("images-mnist", IN_PART, "no peak is reached", lambda: images(late, late)),
    ("images-mnist", HOLDS, "peak seen", lambda: images(late, late, sizes=(2, 400, 4000, 16_000))),
    ("images-mnist", IN_PART, "no gaps", lambda: images(late, late, gap=lambda n: math.nan)),
    ("images-mnist", IN_PART, "no peak", lambda: images(late, lambda n: n / 1000, sizes=(2, 400, 4000, 16_000))),
    (
        "images-mnist",
        FAILS,
        "early rise, no gaps",
        lambda: images(*[lambda n: min(n, 64.0)] * 2, gap=lambda n: math.nan),
    ),
    ("images-mnist", UNDECIDED, "no MNIST", lambda: images(names=("digits",))),
    ("images-no-saturation", HOLDS, "still rising", lambda: images()),
    ("images-no-saturation", FAILS, "flat", lambda: images(*[lambda n: min(n, 64.0)] * 2)),
    ("images-no-saturation", IN_PART, "flat by Alg. 3", lambda: images(kink=lambda n: 5.0)),
    ("images-no-saturation", UNDECIDED, "no harder data", lambda: images(names=("mnist",))),
    ("images-alike", HOLDS, "no difference", lambda: images()),
    ("images-alike", HOLDS, "a difference within the margin", lambda: images(lambda n: 40.0, apart=2.0)),
    ("images-alike", FAILS, "more at held-out images", lambda: images(apart=12.0)),
    ("images-alike", FAILS, "fewer at held-out images", lambda: images(apart=-12.0)),
    ("images-alike", IN_PART, "where there are many", lambda: images(apart=4.0)),
    ("images-alike", UNDECIDED, "scatter", lambda: images(spread=30.0, sizes=(2, 64))),
]


@pytest.mark.parametrize(
    ("key", "expected", "made"), [(k, v, m) for k, v, _, m in CASES], ids=[f"{k}: {w}" for k, _, w, _ in CASES]
)
def test_verdict(key: str, expected: str, made: Callable[[], Made]) -> None:
    evidence = BY_KEY[key].judge(made())
    assert evidence.verdict == expected, evidence.found
    assert evidence.found
    if evidence.table is not None:
        assert {len(row) for row in evidence.table.rows} == {len(evidence.table.header)}


def test_every_claim_is_seen_to_hold_and_to_fail() -> None:
    """Where Eqs. 18, 19 and 43 are right at no time has its own test."""
    for wanted in (HOLDS, FAILS):
        assert set(BY_KEY) - {key for key, verdict, _, _ in CASES if verdict == wanted} <= {"spectra"}
