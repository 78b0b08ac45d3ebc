"""What the paper says, judged: the claims of all experiments, each on the records of those that carry it."""

from geomem.paper.experiments import BY_SUBJECT
from geomem.paper.verdict import Claim, Runs, Verdict, judged

__all__ = ["CLAIMS", "needs", "verdicts"]

CLAIMS: tuple[Claim, ...] = tuple(dict.fromkeys(claim for experiment in BY_SUBJECT for claim in experiment.claims))


def needs(claim: Claim) -> tuple[str, ...]:
    """Names of the experiments whose records a claim is judged on."""
    return tuple(experiment.name for experiment in BY_SUBJECT if claim in experiment.claims)


def verdicts(runs: Runs) -> list[Verdict]:
    """Verdicts on every claim, each on those of its experiments that are there."""
    found: list[Verdict] = []
    for claim in CLAIMS:
        there = {name: runs[name] for name in needs(claim) if name in runs}
        if there:
            found += judged([claim], there)
    return found
