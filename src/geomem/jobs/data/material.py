"""What the sections of the page are made of."""

from collections.abc import Mapping
from typing import Any

import xarray as xr

from geomem.findings.finding import Findings

__all__ = ["Material"]


class Material:
    """What sections are made of."""

    def __init__(
        self, records: Mapping[str, xr.Dataset], numbers: Mapping[str, Any], findings: Findings, note: str
    ) -> None:
        self.records, self.numbers, self.findings, self.note = records, numbers, findings, note
        self.unit: str = numbers["unit"]
        self.shape = tuple(numbers["data"]["shape"])
        self.pictures = bool(numbers["data"]["pictures"])

    def said(self, section: str) -> list[str]:
        """The sentences of a section."""
        return [finding.text for finding in self.findings.section(section)]
