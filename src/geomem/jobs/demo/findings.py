"""What the demo found, in short sentences: one function for each subject."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from geomem.findings.finding import Finding, Findings
from geomem.intervals import Interval
from geomem.jobs.demo.measure import EMPIRICAL, NETWORK, PROBED
from geomem.jobs.demo.numbers import CaseNumbers, Copies, Numbers, OriginNumbers, Row
from geomem.measure.observe import SETS

__all__ = ["Words", "findings", "listed", "short", "verdict"]

# "z": what rounds to 0 has no sign.
_SPEC = "z.1f"


@dataclass(frozen=True)
class Words:
    """How one data set is called: as a key and section, one point of it, and several."""

    key: str
    one: str
    many: str


DIGITS, MANIFOLD = Words("digits", "digit", "digits"), Words("manifold", "point", "points")


def findings(found: Numbers) -> Findings:
    """All findings, by key: "digits.lost.16", "digits.copies.16", "manifold.theory.training", ..."""
    out: list[Finding] = []
    for case, words in ((found.digits, DIGITS), (found.manifold, MANIFOLD)):
        out += [*_lost(case, words), _trend(case, words), *_beyond(case, words), *_theory(case, words)]
    return Findings([*out, *_copies(found.copies), *_origin(found.origin)])


def verdict(found: Numbers) -> str:
    """The finding on digits in one sentence."""
    case, rows = found.digits, found.digits.of(NETWORK)
    if case.hardly_trained:
        return "These networks have hardly trained: they have not yet lost any dimension of the digits"
    lost = [row.size for row in rows if row.difference.low > 0]
    copied = [c.size for c in found.copies if c.more]
    if not lost and not copied:
        return "No network has lost dimensions at its training digits, and none draws copies of them"
    if not lost:
        return f"Networks trained on {listed(copied)} digits draw copies of their training digits"
    sentence = f"Networks trained on {listed(lost)} digits have lost dimensions at their training digits"
    if copied == lost:
        return f"{sentence} and draw copies of them"
    if not copied:
        return f"{sentence}; none draws copies"
    who = f"those trained on {listed(copied)} draw" if len(copied) > 1 else f"the one trained on {copied[0]:,} draws"
    return f"{sentence}; {who} copies"


def short(found: Numbers, said: Findings) -> list[str]:
    """The findings that stand open."""
    first, last = found.digits.of(NETWORK)[0].size, found.digits.of(NETWORK)[-1].size
    most = max(found.copies, key=lambda c: float(c.generated.value)).size
    keys = [f"digits.lost.{first}", f"digits.lost.{last}", "digits.trend", f"digits.copies.{most}", "digits.beyond"]
    if found.digits.hardly_trained:
        keys = ["digits.beyond", f"digits.copies.{most}"]
    return [said[key].text for key in keys]


def listed(sizes: Sequence[int]) -> str:
    """Numbers as people list them.

    >>> listed([16, 1024])
    '16 and 1,024'
    """
    shown = [f"{n:,}" for n in sizes]
    return shown[0] if len(shown) == 1 else ", ".join(shown[:-1]) + f" and {shown[-1]}"


def _lost(case: CaseNumbers, words: Words) -> list[Finding]:
    return [
        Finding(f"{words.key}.lost.{row.size}", words.key, _gap(row, words), row.difference) for row in case.of(NETWORK)
    ]


def _gap(row: Row, words: Words) -> str:
    gap, where = row.difference, f"At N = {row.size:,}"
    if gap.low > 0:
        return (
            f"{where}, training {words.many} have lost {gap:{_SPEC}} dimensions that held-out {words.many} still have."
        )
    if gap.high < 0:
        more = Interval(-gap.value, -gap.high, -gap.low, gap.n)
        return f"{where}, training {words.many} have {more:{_SPEC}} dimensions more than held-out {words.many}."
    return f"{where}, no loss shows at training {words.many}: {gap:{_SPEC}} dimensions."


def _trend(case: CaseNumbers, words: Words) -> Finding:
    rows = case.of(NETWORK)
    first, last = rows[0], rows[-1]
    steps = np.diff([round(row.held_out.value, 1) for row in rows])  # as they are shown
    if np.all(steps > 0):
        course = "grows with every larger training set"
    elif np.all(steps >= 0) and np.any(steps > 0):
        course = "grows with the training set until it levels off"
    else:
        course = "does not grow with the training set throughout"
    text = (
        f"The dimension at held-out {words.many} {course}: from {first.held_out.value:{_SPEC}} at N = {first.size:,} to "
        f"{last.held_out.value:{_SPEC}} at N = {last.size:,}."
    )
    return Finding(f"{words.key}.trend", words.key, text, last.held_out.value - first.held_out.value)


def _beyond(case: CaseNumbers, words: Words) -> list[Finding]:
    """The network of the largest training set against the empirical score, like with like: by the same probe."""
    network, exact, probed = (case.of(score)[-1] for score in (NETWORK, EMPIRICAL, PROBED))
    at, where = f"At N = {network.size:,}", f"dimensions at held-out {words.many}"
    out = [
        Finding(
            f"{words.key}.empirical",
            words.key,
            f"{at}, the empirical score keeps {probed.held_out:{_SPEC}} {where}, measured by the network's probe.",
            probed.held_out,
        ),
        Finding(
            f"{words.key}.empirical.exact",
            words.key,
            f"By its exact Jacobian, the empirical score keeps {exact.held_out:{_SPEC}} {where}.",
            exact.held_out,
        ),
    ]
    if case.hardly_trained:
        text = (
            f"The networks keep more than the {case.gaussian} dimensions of a Gaussian of these data: train longer before "
            "reading their dimensions."
        )
    elif network.held_out.low > probed.held_out.high:
        text = (
            f"{at}, the network keeps more than the empirical score's {probed.held_out:{_SPEC}} {where}: it generalizes, or has "
            "not trained long enough to memorize."
        )
    else:
        text = f"{at}, the network keeps no more than the empirical score's {probed.held_out:{_SPEC}} {where}."
    value = float(case.gaussian) if case.hardly_trained else probed.held_out
    return [*out, Finding(f"{words.key}.beyond", words.key, text, value)]


def _theory(case: CaseNumbers, words: Words) -> list[Finding]:
    out = []
    for name in SETS:
        at = case.agreement[name]
        text = (
            f"Theory is off the empirical score by {at.mean_absolute:.2f} dimensions at {name} {words.many}, on average over N "
            f"and t."
        )
        most = (
            f"It is furthest off at N = {at.size:,} and t = {at.t:g}: it predicts {at.theory:{_SPEC}} dimensions, "
            f"{at.empirical:{_SPEC}} are measured."
        )
        out.append(Finding(f"{words.key}.theory.{name}", f"{words.key}.theory", text, at.mean_absolute))
        out.append(Finding(f"{words.key}.theory.{name}.most", f"{words.key}.theory", most, at.theory))
    return out


def _copies(copies: Sequence[Copies]) -> list[Finding]:
    return [
        Finding(
            f"digits.copies.{c.size}",
            "copies",
            f"At N = {c.size:,}, {c.generated} of the digits drawn are copies, against {100 * c.control.value:.1f}% of held-out "
            "digits.",
            c.generated,
        )
        for c in copies
    ]


def _origin(found: OriginNumbers) -> list[Finding]:
    """How far the correlated theory's singular values are off those of simulated data sets."""
    ranges = {"below": ("Below the condensation time", found.below), "above": ("Above twice that", found.above)}
    out = []
    for part, (words, where) in ranges.items():
        error = found.error("correlated", where)
        text = f"{words}, the correlated theory's singular values at the origin are off by |ln ratio| = {error:.2g} (median)."
        out.append(Finding(f"manifold.origin.{part}", "origin", text, error))
    return out
