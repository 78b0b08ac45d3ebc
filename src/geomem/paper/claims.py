"""What the paper says, judged: claims from records, errata from the equations."""

from collections.abc import Sequence

from geomem.paper import claims_condensation as condensation
from geomem.paper import claims_images as images
from geomem.paper import claims_latent as latent
from geomem.paper import claims_networks as networks
from geomem.paper import claims_spectra as spectra
from geomem.paper.verdict import Claim, Evidence, Records, Table, Verdict

__all__ = ["CLAIMS", "Claim", "Evidence", "Records", "Table", "Verdict", "judged", "verdict_lines"]

CLAIMS: tuple[Claim, ...] = (
    *latent.CLAIMS,
    *spectra.CLAIMS,
    *condensation.CLAIMS,
    *networks.CLAIMS,
    *images.CLAIMS,
)


def judged(records: Records) -> list[Verdict]:
    """Verdicts on every claim, each on those of its experiments that are there."""
    found = []
    for claim in CLAIMS:
        there = {name: records[name] for name in claim.needs if name in records}
        if there:
            found.append(Verdict(claim, claim.judge(there)))
    return found


def verdict_lines(verdicts: Sequence[Verdict]) -> list[str]:
    """A line for each verdict."""
    return [
        f"{v.claim.statement} ({v.claim.place}): {v.evidence.verdict}. {' '.join(v.evidence.found)}" for v in verdicts
    ]
