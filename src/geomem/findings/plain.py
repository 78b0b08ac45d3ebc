"""Summaries as JSON holds them."""

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from geomem.intervals import Interval, Rate

__all__ = ["plain"]


def plain(value: Any) -> Any:
    """Numbers and lists for JSON, intervals and rates as objects."""
    if isinstance(value, Interval):
        return {k: plain(v) for k, v in asdict(value).items()}
    if isinstance(value, Rate):
        return {"value": value.value, "low": value.low, "high": value.high, "count": value.count, "n": value.total}
    if isinstance(value, Mapping):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, list):
        return [plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # JSON has no name for it
    return value
