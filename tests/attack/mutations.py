"""Malformed bytes and JSON made from valid ones, the same at every run."""

import json
import random
from collections.abc import Callable, Iterator, Mapping
from typing import Any

__all__ = ["CUTS", "DAMAGE", "LIES", "cut", "deep", "flipped", "lied", "places"]

Damage = Callable[[bytes], bytes]

# Values that no field is meant to have, as JSON writes them; Python reads the last two as well.
LIES: Mapping[str, str] = {
    "null": "null",
    "true": "true",
    "minus-one": "-1",
    "zero": "0",
    "half": "0.5",
    "huge": "1000000000",
    "10^400": "1" + "0" * 400,
    "text": '"x[/y]"',
    "control": '"\\u001b[31mred\\u0000"',
    "surrogate": '"\\ud800"',
    "long": json.dumps("a" * 100_000),
    "empty-list": "[]",
    "list": '[1, "a", null]',
    "object": '{"a": {"b": []}}',
    "deep": "[" * 3000 + "]" * 3000,
    "NaN": "NaN",
    "Infinity": "-Infinity",
}

# Where files are cut, as a share of them or in bytes.
CUTS: tuple[float, ...] = (0, 1, 7, 0.1, 0.5, 0.87, -1)


def cut(at: float) -> Damage:
    """The beginning of a file: a number of bytes, a share, or all but some of the last."""
    return lambda data: data[: int(len(data) * at) if 0 < at < 1 else int(at)]


def flipped(seed: int, *, among: slice = slice(None), count: int = 1) -> Damage:
    """Some bits turned, in a range of the bytes."""

    def damage(data: bytes) -> bytes:
        chosen, out = random.Random(seed), bytearray(data)
        where = range(len(data))[among]
        for at in chosen.sample(where, min(count, len(where))):
            out[at] ^= 1 << chosen.randrange(8)
        return bytes(out)

    return damage


def _blank(data: bytes) -> bytes:
    return data[: len(data) // 3] + bytes(len(data) // 3) + data[2 * (len(data) // 3) :]


def _noise(data: bytes) -> bytes:
    return random.Random(0).randbytes(len(data))


def _swapped(data: bytes) -> bytes:
    half = len(data) // 2
    return data[half:] + data[:half]


# Damage that leaves no valid file of any format.
DAMAGE: Mapping[str, Damage] = {
    **{f"cut-{at}": cut(at) for at in CUTS},
    "noise": _noise,
    "swapped-halves": _swapped,
    "text": lambda data: b"this is no such file\n" * 20,
    "html": lambda data: b"<!DOCTYPE html><html><body>404: not found</body></html>",
    "lfs-pointer": lambda data: (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 172068\n"
    ),
}


def places(content: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Where the values of a JSON object are, lists and objects among them."""
    if path:
        yield path
    if isinstance(content, dict | list):
        for key, value in content.items() if isinstance(content, dict) else enumerate(content):
            yield from places(value, (*path, key))


def lied(text: str, path: tuple[str | int, ...], lie: str) -> str:
    """JSON in which a value was replaced by one of `LIES`."""
    content = json.loads(text)
    inner = content
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = "@lie@"
    return json.dumps(content).replace('"@lie@"', LIES[lie])


def deep(levels: int, kind: str = "{") -> str:
    """JSON nested so deeply that a reader that calls itself runs out of stack."""
    return '{"a":' * levels + "1" + "}" * levels if kind == "{" else "[" * levels + "]" * levels
