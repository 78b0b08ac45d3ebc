"""Values of options: out of range, not numbers, markup, control characters; and requests that are too large to carry out."""

from collections.abc import Callable, Sequence
from dataclasses import MISSING
from pathlib import Path
from typing import get_type_hints

import numpy as np

from attack.arrays import rows
from attack.cases import VALID, Case, attack, attacks
from attack.models import wants
from geomem.jobs.parsing import parse_sizes
from geomem.jobs.registry import request_named
from geomem.jobs.request import Execution, flag, options

# Commands that are whole but for one option.
COMMANDS: dict[str, tuple[str, ...]] = {
    "audit": ("audit", "model", "--trained-on", "data.npy", "--quick"),
    "data": ("data", "data.npy", "--quick"),
    "train": ("train", "data.npy", "--preset", "mlp"),
    "sweep": ("sweep", "data.npy", "--preset", "mlp", "--sizes", "2,20"),
    "theory": ("theory", "--variances", "1x2,0.3x5", "--samples", "100", "--quick"),
    "demo": ("demo", "--quick"),
    "reproduce": ("reproduce", "fig8"),
}
NO_NUMBERS = {
    "NaN": "nan",
    "infinity": "inf",
    "minus-infinity": "-inf",
    "1e400": "1e400",
    "markup": "x[/y]",
    "control": "\x1b[31m7",
    "empty": "",
    "hexadecimal": "0x1F",
    "10^400": "1" + "0" * 400,
    "10^6000": "1" + "0" * 6000,
    "minus-one": "-1",
    "surrogate": "7\udcff",
    "many": ",".join("9" * 3000),
}
# One value is tried where all are read by the same code, on the first command that has the option.
OF_TEXT = {"markup": "x[/y]", "control": "\x1b[31mred\x07", "empty": "", "long": "a" * 5000, "surrogate": "a\udcff"}

# Options whose text is looked at only where it is used.
LOOSE = ("split", "on")


def given(words: Sequence[str], *, model: bool = False) -> Callable[[Path], list[str]]:
    def make(folder: Path) -> list[str]:
        np.save(folder / "data.npy", rows())
        if model or words[0] == "audit":
            wants(folder)
        return [*words, "--out", "run"]

    return make


def single() -> list[Case]:
    """Every option of every command that takes a number, a list of them, or one of some names."""
    made, seen = [], set()
    for command, words in COMMANDS.items():
        for kind in (request_named(command), Execution):
            hints = get_type_hints(kind)
            for name, (field, said) in options(kind).items():
                key = (name, str(hints[name]), said.least)
                if said.positional or bool in (hints[name],) or key in seen or said.path:
                    continue
                seen.add(key)
                numbers = said.read is not None or "int" in str(hints[name]) or "float" in str(hints[name])
                for what, value in (NO_NUMBERS if numbers else OF_TEXT).items():
                    required = field.default is MISSING
                    base = [w for w in words if not (required and (w == flag(name) or _follows(words, flag(name), w)))]
                    may = name in LOOSE or what in ("hexadecimal", "many") or (name, what) == ("sizes", "empty")
                    # Whether a negative number is out of bounds is the option's own matter.
                    expect = VALID if may or (what == "minus-one" and not _bounded(said)) else "refused"
                    made.append(
                        Case(
                            f"{command}-{name}-{what}",
                            given([*base, f"{flag(name)}={value}"]),
                            expect,
                            (flag(name), name),
                        )
                    )
    return made


def _follows(words: Sequence[str], option: str, word: str) -> bool:
    return option in words and words.index(word) == words.index(option) + 1


def _bounded(said: object) -> bool:
    return getattr(said, "least", None) is not None or getattr(said, "above", None) is not None


# Requests of the right form that no machine can carry out, or that should not keep anyone waiting.
LARGE: dict[str, tuple[str, ...]] = {
    "data-size": ("data", "data.npy", "--quick", "--size", "1000000000"),
    "data-size-of-pictures": ("data", "pictures", "--quick", "--size", "1000000"),
    "data-hold-out": ("data", "data.npy", "--quick", "--hold-out", "1000000000"),
    "data-t": ("data", "data.npy", "--quick", "--t", "1e300"),
    "data-t-small": ("data", "data.npy", "--quick", "--t", "1e-300"),
    "data-sizes": ("data", "data.npy", "--quick", "--sizes", ",".join(["16"] * 20_000)),
    "audit-draws": (*COMMANDS["audit"], "--draws", "100000000000"),
    "audit-points": (*COMMANDS["audit"], "--points", "1000000000000"),
    "audit-directions": (*COMMANDS["audit"], "--probe", "orthonormal", "--directions", "1000000000000"),
    "audit-memory": (*COMMANDS["audit"], "--memory", "1e-12"),
    "audit-label": (*COMMANDS["audit"], "--label", "7"),
    "audit-times": (*COMMANDS["audit"], "--times", "1e-300:1e300:1000000000"),
    "train-batch": (*COMMANDS["train"], "--batch-size", "1000000000000"),
    "train-hold-out": (*COMMANDS["train"], "--hold-out", "1000000000000"),
    "sweep-sizes": ("sweep", "data.npy", "--preset", "mlp", "--sizes", "1000000000000"),
    "sweep-seeds": (*COMMANDS["sweep"], "--seeds", "1000000000000"),
    "sweep-times": (*COMMANDS["sweep"], "--times", "0.1:1:1000000000"),
    "sweep-points": (*COMMANDS["sweep"], "--points", "1000000000000"),
    "theory-dim": (*COMMANDS["theory"], "--dim", "100000"),
    "theory-dim-10^12": (*COMMANDS["theory"], "--dim", "1000000000000"),
    "theory-variances": ("theory", "--variances", "1x100000000000", "--samples", "100", "--quick"),
    "theory-variances-large": ("theory", "--variances", "1e300x3,1e-300x3", "--samples", "100", "--quick"),
    "theory-samples": ("theory", "--variances", "1x2", "--samples", "1e300", "--quick"),
    "theory-times": (*COMMANDS["theory"], "--times", "0.1:1:1000000000"),
    "theory-times-large": (*COMMANDS["theory"], "--times", "1e-300,1e300"),
    "reproduce-unknown": ("reproduce", "x[/y]"),
    "reproduce-control": ("reproduce", "\x1b[31mred"),
    "reproduce-long": ("reproduce", "a" * 5000),
    "reproduce-scale": ("reproduce", "fig8", "--scale", "x[/y]"),
    "no-command": ("x[/y]",),
    "command-control": ("\x1b[31mred",),
    "option-unknown": ("demo", "--quick", "--x[/y]", "1"),
    "option-control": ("demo", "--quick", "--\x1b[31mred"),
    "option-twice": ("demo", "--quick", "--seed", "1", "--seed", "2"),
    "one-more": ("demo", "--quick", "x[/y]"),
    "on-cluster": ("demo", "--quick", "--on", "ray://x[/y]:99999999"),
}
# What may be carried out at its size; then it must be within the time and memory of a case.
FEASIBLE = {
    *("data-t", "data-t-small", "data-sizes", "audit-memory", "theory-dim", "theory-variances-large", "theory-samples"),
    *("theory-times-large", "option-twice"),
}
# Words of refusals that name no option.
SAID = {
    **dict.fromkeys(("no-command", "command-control"), ("Unknown command",)),
    **{f"reproduce-{what}": ("experiment", "is not known") for what in ("unknown", "control", "long")},
    "audit-memory": ("memory",),
    "audit-label": ("label",),
    "one-more": ("Unused", "x[/y]"),
    "data-size-of-pictures": ("pictures",),
}


def large() -> list[Case]:
    made = []
    for what, words in LARGE.items():
        # Theory has nothing to open, so that it runs as a whole.
        expect = VALID if what in FEASIBLE else "refused"
        says = (*(word for word in words if word.startswith("--")), *SAID.get(what, ()))
        made.append(Case(what, given(words), expect, says, whole=words[0] == "theory"))
    return made


@attacks([*single(), *large()])
def test_options(case: Case, tmp_path: Path) -> None:
    attack(case, tmp_path)


def test_many_sizes_are_numbers() -> None:
    """The list that is refused as no number is one that a reader could read: it is the command that refuses it."""
    assert len(parse_sizes(NO_NUMBERS["many"])) == 3000
