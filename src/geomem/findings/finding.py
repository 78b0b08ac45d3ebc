"""A finding: one statement with its number, found by its key."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from geomem.findings.plain import plain
from geomem.intervals import Interval, Rate

__all__ = ["Finding", "Findings"]

Number = float | Interval | Rate | None


@dataclass(frozen=True)
class Finding:
    """One statement.

    Attributes:
        key: Its name, unique within a report, as "lost" or "copies.rate".
        section: Section of the page that it belongs to.
        text: A short sentence, or two.
        value: The number that the sentence states, with its interval where it has one; None for none.
    """

    key: str
    section: str
    text: str
    value: Number = None


class Findings(Mapping[str, Finding]):
    """Findings in the order in which they were added, by key.

    >>> found = Findings([Finding("lost", "model", "It has lost 3.0 dimensions.", 3.0)])
    >>> found["lost"].value, [f.key for f in found.section("model")]
    (3.0, ['lost'])
    """

    def __init__(self, findings: list[Finding] | None = None) -> None:
        self._held: dict[str, Finding] = {}
        for finding in findings or ():
            self.add(finding)

    def add(self, finding: Finding) -> None:
        """Add one.

        Raises:
            ValueError: If its key is taken.
        """
        if finding.key in self._held:
            raise ValueError(f"two findings have the key {finding.key!r}")
        self._held[finding.key] = finding

    def __getitem__(self, key: str) -> Finding:
        return self._held[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._held)

    def __len__(self) -> int:
        return len(self._held)

    def section(self, name: str) -> list[Finding]:
        """Those of one section."""
        return [finding for finding in self._held.values() if finding.section == name]

    def plain(self) -> dict[str, Any]:
        """As JSON holds them, by key."""
        return {f.key: {"section": f.section, "text": f.text, "value": plain(f.value)} for f in self._held.values()}
