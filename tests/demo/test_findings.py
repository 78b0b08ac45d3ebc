"""Verdict and findings from given numbers: which words go with which case."""

from dataclasses import replace

import pytest

from geomem.intervals import Interval, Rate
from geomem.jobs.demo.findings import findings, listed, short, verdict
from geomem.jobs.demo.measure import SCORES
from geomem.jobs.demo.numbers import Agreement, CaseNumbers, Copies, Numbers, OriginNumbers, Row, numbers_as_plain


def interval(value: float, reach: float = 0.5) -> Interval:
    return Interval(value, value - reach, value + reach, 8)


def case(network: list[tuple[float, float]], *, empirical: float = 2.0) -> CaseNumbers:
    """Numbers of a data set from what networks keep at training and held-out points."""
    rows = []
    for size, kept in zip((16, 1024), network, strict=True):
        for score in SCORES:
            training, held_out = kept if score == "network" else (0.0, empirical)
            rows.append(Row(size, score, interval(training), interval(held_out), interval(held_out - training, 0.7)))
    agreement = Agreement(0.25, 16, 0.1, interval(3), interval(2))
    return CaseNumbers(0.01, 64, 49, 8, rows, {"training": agreement, "held-out": agreement})


def found(digits: CaseNumbers, copied: tuple[int, int] = (0, 0)) -> Numbers:
    copies = [
        Copies(size, Rate.of(count, 100), Rate.of(0, 500)) for size, count in zip((16, 1024), copied, strict=True)
    ]
    errors = {name: [0.5, 0.1, 0.01, 0.001] for name in ("exact", "row", "correlated", "network")}
    return Numbers(digits, case([(5, 5), (7, 7)]), copies, OriginNumbers(1000, [0.001, 0.01, 0.1, 1.0], errors, 0.02))


MEMORIZING = case([(6, 13), (41, 41)])


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        (found(case([(64, 64), (64, 64)])), "These networks have hardly trained"),
        (
            found(case([(40, 40), (41, 41)])),
            "No network has lost dimensions at its training digits, and none draws copies",
        ),
        (
            found(MEMORIZING),
            "Networks trained on 16 digits have lost dimensions at their training digits; none draws copies",
        ),
        (
            found(MEMORIZING, (51, 0)),
            "Networks trained on 16 digits have lost dimensions at their training digits and draw copies of them",
        ),
        (
            found(case([(6, 13), (31, 41)]), (51, 0)),
            "Networks trained on 16 and 1,024 digits have lost dimensions at their training digits; the one trained on 16 "
            "draws copies",
        ),
        (found(case([(40, 40), (41, 41)]), (51, 51)), "Networks trained on 16 and 1,024 digits draw copies of"),
        (
            found(MEMORIZING, (51, 51)),
            "Networks trained on 16 digits have lost dimensions at their training digits; those trained on 16 and 1,024 draw",
        ),
    ],
)
def test_verdict(numbers: Numbers, words: str) -> None:
    assert verdict(numbers).startswith(words)


def test_findings_are_short_and_state_their_numbers() -> None:
    said = findings(found(MEMORIZING, (51, 0)))
    assert max(len(f.text.split(":")[0].split()) for f in said.values()) <= 30
    assert "have lost 7.0 [6.3, 7.7] dimensions" in said["digits.lost.16"].text
    assert said["digits.lost.16"].value == interval(7, 0.7)
    assert "no loss shows at training digits: 0.0 [-0.7, 0.7]" in said["digits.lost.1024"].text
    assert "grows with every larger training set: from 13.0 at N = 16 to 41.0" in said["digits.trend"].text
    assert said["digits.trend"].value == 28
    assert "it generalizes, or has not trained long enough" in said["digits.beyond"].text
    assert "51.0% [40.8, 61.1] of the digits drawn are copies" in said["digits.copies.16"].text
    assert said["manifold.origin.below"].value == pytest.approx(0.3)
    assert "are off by |ln ratio| = 0.0055" in said["manifold.origin.above"].text
    assert said["digits.theory.training"].value == 0.25
    assert {f.section for f in said.values()} == {
        "digits",
        "digits.theory",
        "manifold",
        "manifold.theory",
        "copies",
        "origin",
    }


def test_findings_of_other_courses() -> None:
    falling = findings(found(case([(15, 13), (12, 12)], empirical=20)))
    assert "dimensions more than held-out digits" in falling["digits.lost.16"].text
    assert falling["digits.lost.16"].value == interval(-2, 0.7)
    assert "does not grow" in falling["digits.trend"].text
    assert "no more than the empirical score's 20.0" in falling["digits.beyond"].text
    level = case([(13, 13), (13, 13)])
    middle = [replace(row, size=64) for row in level.rows if row.size == 16]
    rows = [replace(row, held_out=interval(9)) if row.size == 16 else row for row in level.rows]
    courses = findings(found(replace(level, rows=[*rows[:4], *middle, *rows[4:]])))
    assert "until it levels off" in courses["digits.trend"].text
    zero = findings(found(case([(13.04, 13.0), (13, 13)])))
    assert "-0.0 [" not in zero["digits.lost.16"].text


def test_short_findings_are_at_most_five() -> None:
    for digits in (MEMORIZING, case([(64, 64), (64, 64)])):
        numbers = found(digits, (51, 0))
        assert 1 <= len(short(numbers, findings(numbers))) <= 5


def test_numbers_are_json() -> None:
    held = numbers_as_plain(found(MEMORIZING))
    assert held["digits"]["rows"][0]["training"] == {"value": 6, "low": 5.5, "high": 6.5, "n": 8}
    assert held["copies"][0]["generated"]["count"] == 0
    assert held["digits"]["agreement"]["training"]["t"] == 0.1


def test_lists() -> None:
    assert listed([16]) == "16"
    assert listed([16, 64, 1024]) == "16, 64 and 1,024"
