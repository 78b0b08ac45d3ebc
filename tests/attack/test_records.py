"""Runs that `geomem report` draws again: damaged records and settings, labels that are markup, and HDF5 that leads elsewhere."""

import json
import os
import random
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray as xr

from attack.cases import TAKEN, VALID, Case, attack, attacks
from attack.mutations import DAMAGE, LIES, deep, flipped, lied
from attack.records import RECORD, RUNS, edited, hdf5, made, of

Change = Callable[[Path], object]
FLIPS, TOLD = 10, 4


def bytes_of(name: str, damage: Callable[[bytes], bytes | None]) -> Change:
    def change(run: Path) -> None:
        path = run / name
        data = damage(path.read_bytes() if path.exists() else b"")
        path.unlink(missing_ok=True)
        if data is not None:
            path.write_bytes(data)

    return change


def values(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[xr.Dataset], xr.Dataset]:
    """All numbers of a record changed."""

    def edit(arrays: xr.Dataset) -> xr.Dataset:
        for name in arrays.data_vars:
            if arrays[name].dtype.kind == "f":
                arrays[name] = (arrays[name].dims, change(arrays[name].values))
        return arrays

    return edit


def first(arrays: xr.Dataset) -> str:
    return str(next(iter(arrays.data_vars)))


def widest(arrays: xr.Dataset) -> str:
    return str(max(arrays.sizes, key=lambda name: arrays.sizes[name]))


def worded(text: str) -> Callable[[xr.Dataset], xr.Dataset]:
    """All words of a record replaced, in coordinates and attributes."""

    def edit(arrays: xr.Dataset) -> xr.Dataset:
        for name in arrays.variables:
            if arrays[name].dtype.kind in "UO":
                words = np.full(arrays[name].shape, text, dtype=object).ravel()
                words[1:] = [f"{text}{i}" for i in range(1, len(words))]
                arrays[name] = (arrays[name].dims, words.reshape(arrays[name].shape))
            arrays[name].attrs = dict.fromkeys(arrays[name].attrs, text)
        arrays.attrs = {key: text if isinstance(value, str) else value for key, value in arrays.attrs.items()}
        return arrays

    return edit


ARRAYS: dict[str, Callable[[xr.Dataset], xr.Dataset]] = {
    "no-variable": lambda a: a.drop_vars(first(a)),
    "no-variables": lambda a: a.drop_vars(list(a.data_vars)),
    "no-coordinates": lambda a: a.drop_vars(list(a.coords)),
    "no-attributes": lambda a: a.drop_attrs(),
    "one-row": lambda a: a.isel({widest(a): slice(0, 1)}),
    "no-rows": lambda a: a.isel({widest(a): slice(0, 0)}),
    "no-axis": lambda a: a.isel({widest(a): 0}),
    "renamed": lambda a: a.rename({first(a): "x"}),
    "renamed-axis": lambda a: a.rename_dims({widest(a): "x"}),
    "one-more-axis": lambda a: a.assign({first(a): a[first(a)].expand_dims(x=3)}),
    "NaN": values(lambda v: np.full_like(v, np.nan)),
    "infinite": values(lambda v: np.full_like(v, np.inf)),
    "negative": values(lambda v: -np.abs(v) - 1),
    "huge": values(lambda v: np.full(v.shape, 1e300)),
    "zeros": values(np.zeros_like),
    "one-NaN": values(lambda v: np.where(np.arange(v.size).reshape(v.shape) == 0, np.nan, v)),
    "as-text": lambda a: a.assign({first(a): (("z",), np.array(["x[/y]", "b"], dtype=object))}),
    "as-integers": lambda a: a.assign({first(a): (a[first(a)].dims, np.zeros(a[first(a)].shape, np.int8))}),
    "attribute-of-text": lambda a: a.assign_attrs(dict.fromkeys(a.attrs, "x[/y]")),
    "attribute-negative": lambda a: a.assign_attrs(dict.fromkeys(a.attrs, -1)),
    "attribute-list": lambda a: a.assign_attrs({key: [1.0, 2.0] for key in a.attrs}),
    "mathtext": worded("$\\frac{$"),
    "mathtext-open": worded("a$b_{c"),
    "markup": worded("[/x]<script>alert(1)</script>"),
    "control": worded("\x1b[31mred\x07"),
    "newlines": worded("a\n\n\nb"),
    "long-words": worded("w" * 20_000),
    "no-words": worded(""),
}


def _external_link(file: h5py.File, run: Path) -> None:
    name = _variable(file)
    with h5py.File(run.parent / "elsewhere.h5", "w") as other:
        file.copy(name, other, name="x")
    del file[name]
    file[name] = h5py.ExternalLink(str(run.parent / "elsewhere.h5"), "/x")


def _variable(file: h5py.File) -> str:
    """The first variable that holds floating-point numbers and is no scale of an axis."""
    return next(
        str(name) for name, held in file.items() if held.dtype.kind == "f" and held.ndim and "CLASS" not in held.attrs
    )


def _made_again(file: h5py.File, **options: object) -> None:
    """The variable with the attributes that it had, stored in another way."""
    name = _variable(file)
    shape, dtype, held = file[name].shape, file[name].dtype, dict(file[name].attrs)
    held.pop("DIMENSION_LIST", None)
    del file[name]
    made = file.create_dataset(name, **{"shape": shape, "dtype": dtype, **options})  # type: ignore[arg-type]
    for key, value in held.items():
        made.attrs[key] = value


def _external_storage(file: h5py.File, run: Path, path: str = "/etc/passwd") -> None:
    _made_again(file, external=[(path, 0, h5py.h5f.UNLIMITED)])


def _soft_link(file: h5py.File, run: Path) -> None:
    names = [name for name, held in file.items() if isinstance(held, h5py.Dataset)]
    del file[names[0]]
    file[names[0]] = h5py.SoftLink(f"/{names[-1]}")


def _cycle(file: h5py.File, run: Path) -> None:
    name = _variable(file)
    del file[name]
    file[name] = h5py.SoftLink(f"/{name}")


def _groups(file: h5py.File, run: Path) -> None:
    for _ in range(300):
        file = file.create_group("g")


def _object_reference(file: h5py.File, run: Path) -> None:
    _made_again(file, dtype=h5py.ref_dtype)


HDF5: dict[str, Callable[[h5py.File, Path], object]] = {
    "external-link": _external_link,
    "external-storage": _external_storage,
    "external-zero": lambda file, run: _external_storage(file, run, "/dev/zero"),
    "soft-link": _soft_link,
    "soft-cycle": _cycle,
    "virtual": lambda file, run: _virtual(file, run),
    "unwritten-80-GB": lambda file, run: _made_again(file, shape=(10**10,), chunks=(10**6,), compression="gzip"),
    "unwritten-10^18": lambda file, run: _made_again(file, shape=(10**9, 10**9), chunks=(1000, 1000)),
    "unlimited": lambda file, run: _made_again(file, shape=(10**10,), maxshape=(None,), chunks=(10**6,)),
    "compound": lambda file, run: _made_again(file, dtype=[("a", "f8"), ("b", "f8")]),
    "strings": lambda file, run: _made_again(file, dtype=h5py.string_dtype()),
    "references": _object_reference,
    "variable-length": lambda file, run: _made_again(file, dtype=h5py.vlen_dtype("f8")),
    "groups": _groups,
    "hard-cycle": lambda file, run: file.create_group("g").__setitem__("up", file["/"]),
    "external-fifo": lambda file, run: (os.mkfifo(run / "pipe"), _external_storage(file, run, str(run / "pipe"))),
    "many-variables": lambda file, run: [file.create_dataset(f"v{i}", data=0.0) for i in range(3000)],
}


def _virtual(file: h5py.File, run: Path) -> None:
    """A data set made of those of another file."""
    name = _variable(file)
    shape, dtype = file[name].shape, file[name].dtype
    with h5py.File(run.parent / "elsewhere.h5", "w") as other:
        other["x"] = np.zeros(shape, dtype)
    layout = h5py.VirtualLayout(shape=shape, dtype=dtype)
    layout[...] = h5py.VirtualSource(str(run.parent / "elsewhere.h5"), "x", shape=shape)
    del file[name]
    file.create_virtual_dataset(name, layout)


SETTINGS = {
    "theory": ("format", "geomem", "command", "variances", "samples", "dim", "times", "seed", "quick"),
    "audit": (
        "command",
        "model",
        "samples",
        "probe",
        "label",
        "points",
        "times",
        "seed",
        "measured",
        "measured.draws",
        "budget",
    ),
    "data": ("command", "data", "samples", "sizes", "t", "seed", "quick", "extent", "split"),
    "train": ("command", "data", "seed", "steps", "settings", "settings.steps", "settings.shape", "settings.data"),
    "reproduce": ("command", "name", "scale", "steps", "seed", "alphas", "dim"),
}


def cases() -> list[tuple[Case, str]]:
    """Each with the command whose run it is."""
    made: list[tuple[Case, str]] = []

    def add(command: str, what: str, change: Change, expect: str = VALID, *says: str, forged: bool = True) -> None:
        # Damage beneath xarray can keep HDF5 turning for good.
        apart = what.startswith(("record-", "hdf5-"))
        case = Case(f"{command}-{what}", lambda _: (), expect, (*says, "run"), whole=True, writes="run", apart=apart)
        made.append((replace(case, make=partial(of(command, change, forged=forged))), command))  # type: ignore[arg-type]

    for command in RUNS:
        record = RECORD[command]
        file = f"{record}.nc"
        add(command, "control", lambda run: None, TAKEN)
        for what, damage in DAMAGE.items():
            # The last byte of a record may be one that nothing needs.
            add(command, f"record-{what}", bytes_of(file, damage), VALID if what == "cut--1" else "refused", file)
        add(command, "record-missing", bytes_of(file, lambda _: None), "refused", record)
        for seed in range(FLIPS):
            among = slice(None) if seed % 2 else slice(0, 3000)
            # Without its digest a flipped record can keep HDF5 turning for good.
            flip = bytes_of(file, flipped(seed, among=among, count=4))
            add(command, f"record-flip-{seed}", flip, "refused", file, forged=False)
        for what, change in ARRAYS.items():
            add(command, f"arrays-{what}", edited(record, change), VALID, file)
        for field in SETTINGS[command]:
            for kind in random.Random(field).sample(list(LIES), TOLD):
                lie = partial(lied, path=tuple(field.split(".")), lie=kind)
                add(command, f"{field}-{kind}", bytes_of("config.json", lambda d, c=lie: c(d.decode()).encode()), VALID)
    for command in ("theory", "audit"):
        for what, edit in HDF5.items():
            expect = VALID if what in ("groups", "many-variables", "soft-link") else "refused"
            add(command, f"hdf5-{what}", hdf5(RECORD[command], edit), expect, f"{RECORD[command]}.nc")
    for name, expect in (
        ("config.json", "refused"),
        ("environment.json", VALID),
        ("metrics.jsonl", VALID),
        ("summary.json", VALID),
    ):
        for what, damage in (*DAMAGE.items(), *_texts()):
            add("audit", f"{name}-{what}", bytes_of(name, damage), VALID if what == "cut--1" else expect, name)
        add("audit", f"{name}-fifo", lambda run, n=name: ((run / n).unlink(), os.mkfifo(run / n)), expect, name)
        add("audit", f"{name}-loop", lambda run, n=name: ((run / n).unlink(), (run / n).symlink_to(n)), expect, name)
    for what in ("fifo", "loop", "folder"):
        add("theory", f"record-is-a-{what}", partial(_instead, what), "refused", "theory.nc")
        add("theory", f"page-is-a-{what}", partial(_instead, what, name="theory.png"), VALID, "theory.png")
    return made


def _texts() -> list[tuple[str, Callable[[bytes], bytes]]]:
    texts = {"deep": deep(100_000), "deep-list": deep(100_000, "["), "list": "[]", "number": "7", "NaN": "NaN", **LIES}
    return [(f"is-{what}", lambda _, t=text: t.encode()) for what, text in texts.items() if what != "long"]


def _instead(what: str, run: Path, name: str = "theory.nc") -> None:
    path = run / name
    path.unlink(missing_ok=True)
    {"fifo": os.mkfifo, "loop": lambda p: p.symlink_to(p.name), "folder": Path.mkdir}[what](path)


CASES = dict(cases_ for cases_ in cases())


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("runs"))


@pytest.mark.usefixtures("undrawn")
@attacks([*CASES])
def test_records(case: Case, runs: Path, tmp_path: Path) -> None:
    attack(replace(case, make=partial(case.make, runs)), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("words", ["$\\frac{$", "a$b_{c", "$$", "\\$", "$x$"])
def test_words_that_are_mathtext_are_drawn_or_refused(words: str, runs: Path, tmp_path: Path) -> None:
    """With pictures, where it shows."""
    change = edited("theory", worded(words))
    attack(
        Case("mathtext", partial(of("theory", change), runs), VALID, ("theory.nc", "run"), whole=True, writes="run"),
        tmp_path,
    )


@pytest.mark.slow
def test_settings_are_those_of_the_runs(runs: Path) -> None:
    for command, fields in SETTINGS.items():
        held = json.loads((runs / command / "config.json").read_text())
        assert {field.partition(".")[0] for field in fields} <= held.keys()
