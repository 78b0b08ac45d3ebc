"""Numbers as people read them: counts, noise on pixels, samples needed."""

import math
from collections.abc import Mapping
from typing import Any

from geomem.intervals import Interval

__all__ = ["number", "plural", "samples_needed", "sigma"]

# The range of pixels in [-1, 1] as bytes hold them, and what one unit is there.
_RANGE, _UNIT = 255, 127.5


def number(value: float) -> str:
    """A count: three digits, millions, and powers of ten when it is large.

    >>> number(12_345.0), number(2e12), number(float("inf"))
    ('12,300', '2×10^12', 'unlimited')
    """
    if math.isnan(value):
        return "unknown"
    if math.isinf(value):
        return "unlimited"
    rounded = float(f"{value:.3g}")
    if rounded < 1e9:
        return f"{rounded:,.0f}"
    power = math.floor(math.log10(rounded))
    return f"{rounded / 10**power:.2g}×10^{power}"


def plural(count: int, unit: str) -> str:
    """A count with its noun.

    >>> plural(1, "image"), plural(1200, "image")
    ('1 image', '1,200 images')
    """
    return f"{count:,} {unit}" if count == 1 else f"{count:,} {unit}s"


def samples_needed(row: Mapping[str, Any], name: str, beyond: str) -> str:
    """A number of samples with its interval, `beyond` after it where it was extrapolated past what it was computed from."""
    interval: Interval = row[name]
    if row[f"{name}_at_most"]:
        return f"at most {number(interval.value)}"
    if math.isinf(interval.value):
        return f"unlimited [{number(interval.low)}, unlimited]"
    shown = f"{number(interval.value)} [{number(interval.low)}, {number(interval.high)}]"
    return shown + (beyond if row[f"{name}_beyond"] else "")


def sigma(t: float, pixels: bool) -> str:
    """A noise variance as a standard deviation, in pixel values where they are bytes.

    >>> sigma(0.25, False), sigma(0.25, True), sigma(42.0, True)
    ('standard deviation 0.5', 'standard deviation 64 of 255 pixel values', 'standard deviation 3.2 times the pixel range')
    """
    deviation = math.sqrt(t)
    if not pixels:
        return f"standard deviation {deviation:.2g}"
    if deviation * _UNIT > _RANGE:
        return f"standard deviation {deviation * _UNIT / _RANGE:.1f} times the pixel range"
    return f"standard deviation {deviation * _UNIT:.0f} of {_RANGE} pixel values"
