"""`geomem claims`: verdicts on all statements of the paper, and the documents that state them."""

import json
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from geomem.errors import GeomemError
from geomem.paper.document import stale, verdicts_of, write
from geomem.terminal import say

__all__ = ["claims"]


def claims(
    *,
    records: Annotated[Path, Parameter(help="Folder with a run of every experiment.")] = Path("docs/gallery"),
    out: Annotated[Path, Parameter(help="Folder of claims.md and errata.md.")] = Path("docs"),
    check: Annotated[
        bool, Parameter(help="Write nothing; fail if the documents differ from the records.", negative="")
    ] = False,
    json_: Annotated[bool, Parameter(name="--json", help="Print the verdicts as JSON.", negative="")] = False,
) -> None:
    """Judge every statement of the paper from the records of its reproduction, and write docs/claims.md and errata.md."""
    verdicts = verdicts_of(records)
    if json_:
        print(json.dumps([v.plain() for v in verdicts], indent=2))
    else:
        for v in verdicts:
            print(f"{v.evidence.verdict:>14}  {v.claim.statement} ({v.claim.place})")
    if not check:
        for path in write(records, out, verdicts):
            say(f"wrote {path}")
        return
    old = stale(records, out, verdicts)
    if old:
        names = ", ".join(str(path) for path in old)
        raise GeomemError(f"{names}: not what the records say; write them again with geomem claims.")
    say("the documents say what the records say.")
