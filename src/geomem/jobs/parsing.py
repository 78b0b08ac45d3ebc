"""Options that are lists, as text and back: variances, sizes, noise variances and seeds."""

from collections.abc import Sequence
from itertools import groupby

from geomem.errors import InputError

__all__ = [
    "duration_text",
    "numbers_text",
    "parse_duration",
    "parse_seeds",
    "parse_sizes",
    "parse_times",
    "parse_variances",
    "seeds_text",
    "times_text",
    "variances_text",
]

# Values that a list may hold: more would fill the memory before they are looked at.
_MOST = 1_000_000
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}


def parse_variances(text: str) -> tuple[float, ...]:
    """Variances from text: "1x2,0.3x5" is two of 1 and five of 0.3.

    Raises:
        InputError: For text that is no such list.

    >>> parse_variances("1x2,0.3")
    (1.0, 1.0, 0.3)
    """
    out: list[float] = []
    for part in text.split(","):
        value, _, count = part.strip().partition("x")
        try:
            variance, number = float(value), int(count) if count else 1
        except ValueError:
            raise InputError(
                f"--variances: {part.strip()!r} is not a variance; write them as 1x2,0.3x5 (variance x how many)."
            ) from None
        if len(out) + number > _MOST:
            raise InputError(f"--variances: {text!r} stands for more than {_MOST:,} values; give fewer.")
        out += [variance] * number
    return tuple(out)


def variances_text(variances: Sequence[float]) -> str:
    """The text of variances.

    >>> variances_text((1.0, 1.0, 0.3))
    '1.0x2,0.3x1'
    """
    return ",".join(f"{value!r}x{len(list(same))}" for value, same in groupby(variances))


def parse_sizes(text: str) -> tuple[int, ...]:
    """Numbers of samples from text, as 100,1000.

    Raises:
        InputError: For text that is no such list.

    >>> parse_sizes("100, 1000"), parse_sizes("")
    ((100, 1000), ())
    """
    try:
        return tuple(int(part) for part in text.split(",")) if text.strip() else ()
    except ValueError:
        raise InputError(f"--sizes: {text!r} is no list of whole numbers; write them as 100,1000.") from None


def parse_times(text: str) -> tuple[float, ...]:
    """Times from text: "1e-3:10:40" is 40 of them evenly spaced in ln t, "0.1,1" is those two.

    Raises:
        InputError: For text that is neither, or times that are not finite and above 0.

    >>> parse_times("0.01:1:3")
    (0.01, 0.1, 1.0)
    """
    wrong = InputError(
        f"--times: {text!r} cannot be used; write from:to:count as 1e-3:10:40, or a list as 0.1,1, all finite and above 0."
    )
    try:
        if ":" not in text:
            times = [float(part) for part in text.split(",")]
        else:
            low, high, number = text.split(":")
            first, last, count = float(low), float(high), int(number)
            if not (0 < first < float("inf") and 0 < last < float("inf")) or not 1 <= count <= _MOST:
                raise wrong
            ratio = (last / first) ** (1 / max(1, count - 1))
            times = [first * ratio**i for i in range(count - 1)] + [last if count > 1 else first]
    except ValueError:
        raise wrong from None
    if not times or not all(0 < t < float("inf") for t in times):
        raise wrong
    return tuple(times)


def times_text(times: Sequence[float]) -> str:
    """The text of times, as `parse_times` reads it: from:to:count where they are evenly spaced in ln t.

    >>> times_text(parse_times("0.01:1:3")), times_text((0.1, 1.0))
    ('0.01:1.0:3', '0.1,1.0')
    """
    spaced = f"{times[0]!r}:{times[-1]!r}:{len(times)}" if len(times) > 2 else ""
    return spaced if spaced and parse_times(spaced) == tuple(times) else ",".join(repr(float(t)) for t in times)


def parse_duration(text: str) -> float:
    """Seconds from text: "30s", "10m", "2h", or a number of seconds.

    Raises:
        InputError: For text that is no such time, or one that is not finite and above 0.

    >>> parse_duration("10m"), parse_duration("1.5h"), parse_duration("45")
    (600.0, 5400.0, 45.0)
    """
    number, unit = (text[:-1], text[-1:]) if text[-1:] in _SECONDS else (text, "s")
    try:
        seconds = float(number) * _SECONDS[unit]
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise InputError(f"--budget: {text!r} is no time; write it as 30s, 10m or 2h.")
    return seconds


def duration_text(seconds: float) -> str:
    """The text of a time, as `parse_duration` reads it.

    >>> duration_text(600.0), duration_text(5400.0), duration_text(0.5)
    ('10m', '90m', '0.5s')
    """
    unit = next(u for u in ("h", "m", "s") if u == "s" or seconds % _SECONDS[u] == 0)
    return f"{seconds / _SECONDS[unit]!r}".removesuffix(".0") + unit


def numbers_text(numbers: Sequence[int]) -> str:
    """The text of whole numbers, as `parse_sizes` reads it."""
    return ",".join(map(str, numbers))


def parse_seeds(text: str) -> tuple[int, ...]:
    """Seeds from text: "0,1", or "3" for three of them, 0 to 2; "7," is one of them.

    Raises:
        InputError: For text that is neither.

    >>> parse_seeds("3"), parse_seeds("0,7"), parse_seeds("7,")
    ((0, 1, 2), (0, 7), (7,))
    """
    listed = text.strip().removesuffix(",")
    try:
        numbers = tuple(int(part) for part in listed.split(","))
    except ValueError:
        raise InputError(f"--seeds: {text!r} is neither a number of seeds nor a list of them, as 0,1.") from None
    counted = "," not in text
    if counted and numbers[0] > _MOST:
        raise InputError(f"--seeds: {text!r} is more than {_MOST:,} seeds; give fewer, or a list as 0,1.")
    if min(numbers) < 0 or (counted and numbers[0] == 0):
        raise InputError(f"--seeds: need one seed at least and none negative, got {text!r}.")
    return tuple(range(numbers[0])) if counted else numbers


def seeds_text(seeds: Sequence[int]) -> str:
    """The text of seeds, as `parse_seeds` reads it.

    >>> seeds_text((0, 1, 2)), seeds_text((0, 7)), seeds_text((7,))
    ('3', '0,7', '7,')
    """
    if tuple(seeds) == tuple(range(len(seeds))):
        return str(len(seeds))
    return numbers_text(seeds) + ("," if len(seeds) == 1 else "")
