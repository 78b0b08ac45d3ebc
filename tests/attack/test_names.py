"""Paths: links without end, long names, bytes that are no text, FIFOs, sockets, devices, other users' homes, and folders in the way."""

import os
import socket
from collections.abc import Callable
from contextlib import chdir
from pathlib import Path

import numpy as np

from attack.arrays import npy, rows
from attack.cases import TAKEN, VALID, Case, attack, attacks
from attack.models import wants

# Where the path goes that is wrong; the rest of the command is right.
PLACES: dict[str, tuple[str, ...]] = {
    "data": ("data", "{}", "--quick", "--out", "run"),
    "samples": ("data", "data.npy", "--samples", "{}", "--quick", "--out", "run"),
    "held-out": ("audit", "model", "--trained-on", "data.npy", "--held-out", "{}", "--quick", "--out", "run"),
    "model": ("audit", "{}", "--trained-on", "data.npy", "--quick", "--out", "run"),
    "scheduler": ("audit", "model", "--trained-on", "data.npy", "--scheduler", "{}", "--quick", "--out", "run"),
    "train": ("train", "{}", "--preset", "mlp", "--out", "run"),
    "report": ("report", "{}"),
    "claims": ("claims", "--records", "{}", "--out", "run"),
}


def _loop(folder: Path, name: str) -> str:
    (folder / name).symlink_to(name)
    return name


def _socket(folder: Path, name: str) -> str:
    with chdir(folder), socket.socket(socket.AF_UNIX) as made:
        made.bind(name)
    return name


def _fifo(folder: Path, name: str) -> str:
    os.mkfifo(folder / name)
    return name


def _folder_of(folder: Path, inner: Callable[[Path, str], str], name: str) -> str:
    (folder / "odd").mkdir()
    inner(folder / "odd", name)
    return "odd"


def _chain(folder: Path) -> str:
    for i in range(60):
        (folder / f"link{i}").symlink_to(f"link{i + 1}")
    return "link0"


def _deep(folder: Path) -> str:
    place = folder / "deep"
    with chdir(folder):
        for _ in range(60):
            Path("d" * 60).mkdir()
            os.chdir("d" * 60)
    return str(place)


# What stands in the place of a path; each makes what it needs in the folder.
WRONG: dict[str, Callable[[Path], str]] = {
    "missing": lambda folder: "nowhere.npy",
    "empty": lambda folder: "",
    "markup": lambda folder: "x[/y].npy",
    "control": lambda folder: "\x1b[31mred\x07.npy",
    "newline": lambda folder: "a\nb.npy",
    "bidi": lambda folder: "a\u202eypn.npy",
    "not-utf8": lambda folder: os.fsdecode(b"a\xff\xfe.npy"),
    "name-of-300": lambda folder: "a" * 300 + ".npy",
    "path-of-5000": lambda folder: "a/" * 2500 + "x.npy",
    "zero-byte": lambda folder: "a\0b.npy",
    "nobody": lambda folder: "~nobody-of-that-name/x.npy",
    "tilde": lambda folder: "~nobody-of-that-name",
    "loop": lambda folder: _loop(folder, "loop.npy"),
    "loop-of-a-folder": lambda folder: _loop(folder, "loop"),
    "chain": _chain,
    "inside-a-file": lambda folder: "data.npy/x.npy",
    "fifo": lambda folder: _fifo(folder, "pipe.npy"),
    "fifo-idx": lambda folder: _fifo(folder, "pipe-idx3-ubyte.gz"),
    "fifo-npz": lambda folder: _fifo(folder, "pipe.npz"),
    "socket": lambda folder: _socket(folder, "socket.npy"),
    "fifo-in-a-folder": lambda folder: _folder_of(folder, _fifo, "pipe.png"),
    "loop-in-a-folder": lambda folder: _folder_of(folder, _loop, "loop.png"),
    "socket-in-a-folder": lambda folder: _folder_of(folder, _socket, "socket.png"),
    "config-is-a-fifo": lambda folder: _folder_of(folder, _fifo, "config.json"),
    "config-is-a-loop": lambda folder: _folder_of(folder, _loop, "config.json"),
    "index-is-a-fifo": lambda folder: _folder_of(folder, _fifo, "model_index.json"),
    "scheduler-is-a-fifo": lambda folder: _folder_of(folder, _fifo, "scheduler_config.json"),
    "zero": lambda folder: "/dev/zero",
    "full": lambda folder: "/dev/full",
    "null": lambda folder: "/dev/null",
    "proc": lambda folder: "/proc/self/mem",
    "hub-like": lambda folder: "owner/name",
    "hub-bad": lambda folder: "hf:../x[/y]",
    "hub-empty": lambda folder: "hf:",
    "url": lambda folder: "https://example.org/x.npy",
}
# Words of a refusal that cannot hold the name: there is none, or it leads elsewhere.
NAMED = {
    "empty": ("given", "--scheduler", "records", "holds", "folder"),
    "chain": ("link",),
    "hub-empty": ("hub", "hf:"),
}
# Data may be read from anywhere; those that the program may take.
USUAL_NAMES = {
    "not-utf8": os.fsdecode(b"a\xff.npy"),
    "markup": "x[bold]y.npy",
    "control": "\x1b[31mred.npy",
    "newline": "a\nb.npy",
    "space": " .npy",
    "dash": "./-x.npy",
    "upper": "X.NPY",
    "accent": "é\u0301.npy",
    "255-bytes": "a" * 251 + ".npy",
}


def of(words: tuple[str, ...], wrong: Callable[[Path], str]) -> Callable[[Path], list[str]]:
    def make(folder: Path) -> list[str]:
        wants(folder)
        return [word.replace("{}", wrong(folder)) if word == "{}" else word for word in words]

    return make


def usual(name: str, out: str = "run") -> Callable[[Path], list[str]]:
    def make(folder: Path) -> list[str]:
        (folder / name).write_bytes(npy())
        return ["data", name, "--quick", "--out", out]

    return make


# Folders for the results that cannot be one.
OUTS: dict[str, Callable[[Path], str]] = {
    **{name: WRONG[name] for name in ("name-of-300", "zero-byte", "nobody", "loop", "inside-a-file", "fifo")},
    "socket": WRONG["socket"],
    "full": WRONG["full"],
    "proc": lambda folder: "/proc/1/run",
    "file": lambda folder: "data.npy",
    "foreign": lambda folder: _foreign(folder),
    "empty": WRONG["empty"],
}


def _foreign(folder: Path) -> str:
    (folder / "thesis").mkdir()
    (folder / "thesis" / "thesis.tex").write_text("years of work")
    return "thesis"


def into(out: Callable[[Path], str]) -> Callable[[Path], list[str]]:
    def make(folder: Path) -> list[str]:
        np.save(folder / "data.npy", rows())
        words = ["theory", "--variances", "1x2", "--samples", "100", "--times", "0.1", "--quick"]
        return [*words, "--out", out(folder)]

    return make


def cases() -> list[Case]:
    made = []
    for place, words in PLACES.items():
        for what, wrong in WRONG.items():
            if place in ("samples", "held-out", "train") and what not in (
                "loop",
                "fifo",
                "not-utf8",
                "name-of-300",
                "nobody",
            ):
                continue  # read by what reads data
            made.append(Case(f"{place}-{what}", of(words, wrong), says=NAMED.get(what, ())))
    for what, name in USUAL_NAMES.items():
        made.append(Case(f"named-{what}", usual(name), TAKEN))
    for what, out in OUTS.items():
        # An empty --out may mean this folder, which holds something else.
        made.append(Case(f"out-{what}", into(out), says=("--out", "cannot", "is a file", "holds"), whole=True))
        if what not in ("empty", "proc", "full"):
            made.append(
                Case(
                    f"out-{what}-forced", _forced(into(out)), says=("--out", "cannot", "is a file", "holds"), whole=True
                )
            )
    for what, name in (
        ("markup", "x[/y]"),
        ("control", "\x1b[31mred"),
        ("not-utf8", os.fsdecode(b"a\xff")),
        ("bold", "[bold]"),
    ):
        made.append(Case(f"out-named-{what}", into(lambda folder, n=name: n), VALID, ("--out",), whole=True))
    return made


def _forced(make: Callable[[Path], list[str]]) -> Callable[[Path], list[str]]:
    return lambda folder: [*make(folder), "--force"]


@attacks(cases())
def test_names(case: Case, tmp_path: Path) -> None:
    attack(case, tmp_path)
