"""Arrays in files: .npy, .npz, MNIST's and CIFAR-10's formats, damaged and hostile."""

import gzip
import io
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from attack import arrays
from attack.arrays import bomb, cifar, encrypted, gz, idx, npy, npy_header, npz, pickled, rows, wants
from attack.cases import SAME, TAKEN, VALID, Case, attack, attacks
from attack.mutations import DAMAGE, flipped

# The formats, each with a name by which geomem knows it.
FORMATS: dict[str, tuple[str, Callable[[], bytes]]] = {
    "npy": ("x.npy", npy),
    "npz": ("x.npz", npz),
    "idx": ("x-idx3-ubyte", idx),
    "idx.gz": ("x-idx3-ubyte.gz", lambda: gz(idx())),
    "cifar": ("data_batch_1.bin", cifar),
}
# Formats with checksums: damage is seen, or does no harm.
CHECKED = ("npz", "idx.gz")


def of(name: str, content: Callable[[], bytes]) -> Callable[[Path], list[str]]:
    return lambda folder: wants(folder, name, content())


def readable(folder: Path) -> bool:
    """Whether NumPy reads finite numbers from it."""
    array = np.load(folder / "x.npy", allow_pickle=False)
    return array.dtype.kind in "biuf" and bool(np.isfinite(array).all())


def shaped(shape: str, descr: str = "'|u1'", order: str = "False") -> bytes:
    return npy_header(f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}\n", rows().tobytes())


SHAPES = {
    "10^30-rows": shaped("(10**30, 8, 8)".replace("10**30", "1" + "0" * 30)),
    "10^9-rows": shaped("(1000000000, 8, 8)"),
    "one-row-more": shaped("(61, 8, 8)"),
    "2^62-rows": shaped(f"({2**62}, 8, 8)"),
    "2^64-rows": shaped(f"({2**64}, 1, 1)"),
    "product-overflows": shaped(f"({2**32}, {2**32}, 8)"),
    "no-rows": shaped("(0, 8, 8)"),
    "no-columns": shaped("(60, 0, 8)"),
    "negative": shaped("(-60, 8, 8)"),
    "two-negative": shaped("(-60, -8, 8)"),
    "no-shape": shaped("()"),
    "one-axis": shaped("(3840,)"),
    "70-axes": shaped("(" + "1, " * 70 + ")"),
    "true": shaped("(True, 8, 8)"),
    "half": shaped("(60.5, 8, 8)"),
    "none": shaped("None"),
    "text": shaped("'x[/y]'"),
    "call": shaped("__import__('os').system('touch ran')"),
    "list": shaped("[60, 8, 8]"),
    "deep": shaped("(" * 200 + ")" * 200),
    "very-deep": shaped("(" * 20_000 + ")" * 20_000),
    "object": shaped("(60, 8, 8)", "'|O'"),
    "text-type": shaped("(60, 2)", "'<U8'"),
    "bytes-type": shaped("(60, 8)", "'|S8'"),
    "void": shaped("(60, 8)", "'|V8'"),
    "structured": shaped("(60, 8)", "[('a', '<f4'), ('b', '<f4')]"),
    "deep-type": shaped("(60, 8)", "[('a'," * 60 + "'<f4'" + ")]" * 60),
    "complex": shaped("(60, 8)", "'<c8'"),
    "dates": shaped("(60, 8)", "'<M8[s]'"),
    "no-type": shaped("(60, 8, 8)", "'q[/y]'"),
    "huge-item": shaped("(60,)", "'|V2000000000'"),
    "order": shaped("(60, 8, 8)", "'|u1'", "'yes'"),
    "no-header": npy_header(""),
    "long-header": npy_header("{" + " " * 60_000 + "}"),
    "4-GiB-header": b"\x93NUMPY\x02\x00\xff\xff\xff\xff{",
    "version-9": npy_header("{}", version=(9, 9)),
    "control": npy_header("\x1b[31m\0" * 9),
}
CONTENT = {
    "pickled-objects": npy(np.array([[{"a": 1}, None]], dtype=object), allow_pickle=True),
    "pickle": pickled(),
    "infinite": npy(np.full((60, 8, 8), np.inf)),
    "one-NaN": npy(np.where(np.arange(3840).reshape(60, 8, 8) == 3839, np.nan, 1.0)),
    "largest-float": npy(np.full((60, 8, 8), np.finfo(np.float64).max)),
    "all-the-same": npy(np.zeros((60, 8, 8), np.uint8)),
    "longdouble": npy(np.ones((60, 8, 8), np.longdouble)),
    "two-rows": npy(rows()[:2]),
    "empty": b"",
}

ARCHIVES = {
    "no-entry": lambda: npz({"readme": b"nothing"}),
    "empty-archive": lambda: b"PK\x05\x06" + bytes(18),
    "two-arrays": lambda: npz({"x.npy": npy(), "y.npy": npy()}),
    "text-array": lambda: npz({"x.npy": npy(np.array(["a", "b"]))}),
    "text-entry": lambda: npz({"x.npy": b"x,y\n1,2\n"}),
    "named-otherwise": lambda: npz({"x.txt": b"x,y\n1,2\n"}),
    "pickled-entry": lambda: npz({"x.npy": pickled()}),
    "pickled-objects": lambda: npz({"x.npy": CONTENT["pickled-objects"]}),
    "bare-pickle": lambda: pickled(),
    "encrypted": lambda: encrypted(npz()),
    "encrypted-stored": lambda: encrypted(npz(deflated=False)),
    "stored-cut": lambda: npz({"x.npy": npy()[:-9]}, deflated=False),
    "10^30-rows": lambda: npz({"x.npy": SHAPES["10^30-rows"]}),
    "10^9-rows": lambda: npz({"x.npy": SHAPES["10^9-rows"]}),
    "control-name": lambda: npz({"\x1b[31mred\n.npy": npy(), "y.npy": npy()}),
    "markup-name": lambda: npz({"x[/y].npy": npy(np.array(["a"]))}),
    "parent-name": lambda: npz({"../../x.npy": npy(np.array(["a"]))}),
    "long-name": lambda: npz({"a" * 30_000 + ".npy": npy(), "y.npy": npy()}),
    "many-entries": lambda: npz({f"{i}.npy": npy(rows()[:1]) for i in range(2000)}),
    "nested": lambda: npz({"x.npy": npz()}),
    "bomb-of-little": lambda: bomb(npy(), 1500),
    "bomb-as-stated": lambda: bomb(
        npy_header("{'descr': '|u1', 'fortran_order': False, 'shape': (17179869184, 8, 8), }\n"), 1500
    ),
    "bomb-header": lambda: bomb(npy_header("{" + " " * 65_000, version=(2, 0))[:12] + b" " * 100, 1500),
    "other-method": lambda: npz().replace(b"\x14\x00\x00\x00\x08\x00", b"\x14\x00\x00\x00\x63\x00"),
}

IDX = {
    "10^9-rows": lambda: idx(shape=(10**9, 8, 8)),
    "all-sizes-largest": lambda: idx(shape=(2**32 - 1, 2**32 - 1, 2**32 - 1)),
    "one-row-more": lambda: idx(shape=(61, 8, 8)),
    "one-row-less": lambda: idx(shape=(59, 8, 8)),
    "no-rows": lambda: idx(shape=(0, 8, 8)),
    "no-columns": lambda: idx(shape=(60, 0, 8)),
    "255-axes": lambda: idx(magic=b"\0\0\x08\xff", shape=(1,) * 60),
    "no-axes": lambda: idx(magic=b"\0\0\x08\0", shape=()),
    "no-type": lambda: idx(magic=b"\0\0\x07\x03"),
    "doubles": lambda: idx(magic=b"\0\0\x0e\x03"),
    "magic": lambda: idx(magic=b"\x01\0\x08\x03"),
}
PACKED = {
    "not-packed": idx,
    "packed-twice": lambda: gz(gz(idx())),
    "bomb": lambda: gz(idx()) + gz(bytes(16 << 20)) * 64,
    "bomb-10^9-rows": lambda: gz(idx(np.zeros(0, np.uint8), shape=(10**9, 28, 28))) + gz(bytes(16 << 20)) * 64,
    "garbage-after": lambda: gz(idx()) + b"garbage" * 9,
    "no-checksum": lambda: gz(idx())[:-8] + bytes(8),
    "other-length": lambda: gz(idx())[:-4] + b"\x01\0\0\0",
    "10^9-rows": lambda: gz(IDX["10^9-rows"]()),
    "many-members": lambda: b"".join(gz(bytes([b])) for b in idx()[:2000]),
    "name-of-control": lambda: b"\x1f\x8b\x08\x08\0\0\0\0\0\x03\x1b[31m\0" + gz(idx())[10:-9],
}
BATCHES = {
    "one-byte-more": lambda: cifar() + b"a",
    "label-200": lambda: b"\xc8" + cifar()[1:],
    "pickle": pickled,
    "one-image": lambda: cifar()[:3073],
}

FLIPS = 16
# What may be taken: numbers are whole, beside or before what should not be there.
FAIR = ("bomb-of-little", "name-of-control")
# Odd, but arrays of numbers for whoever is generous.
MAYBE = {"all-the-same", "longdouble", "largest-float", *(f"header-{name}" for name in ("list", "true", "one-axis"))}


def cases() -> list[Case]:
    made = []
    for form, (name, content) in FORMATS.items():
        made.append(Case(f"{form}-control", of(name, content), TAKEN))
        for what, damage in DAMAGE.items():
            # Bytes of CIFAR-10's batches may be any but their number; its noise is as good as any.
            kind = VALID if form == "cifar" and what in ("noise", "swapped-halves") else "refused"
            made.append(Case(f"{form}-{what}", of(name, lambda d=damage, c=content: d(c())), kind, (name,)))
        checked = form in CHECKED
        for seed in range(2 * FLIPS if checked else FLIPS):
            among = slice(None) if checked else slice(0, 128) if form == "npy" else slice(0, 16)
            change = flipped(seed, among=among)
            made.append(
                Case(
                    f"{form}-flip-{seed}",
                    of(name, lambda d=change, c=content: d(c())),
                    SAME if checked else VALID,
                    (name,),
                    same=of(name, content) if checked else None,
                    fair=readable if form == "npy" else None,
                )
            )
    for what, data in {**{f"header-{k}": v for k, v in SHAPES.items()}, **CONTENT}.items():
        kind = VALID if what in MAYBE else "refused"
        made.append(Case(f"npy-{what}", of("x.npy", lambda d=data: d), kind, ("x.npy", "--size"), fair=readable))
    tables = (("npz", ARCHIVES, "x.npz"), ("idx", IDX, FORMATS["idx"][0]), ("gz", PACKED, FORMATS["idx.gz"][0]))
    for form, table, name in (*tables, ("batch", BATCHES, "data_batch_1.bin")):
        for what, content in table.items():
            kind = VALID if what in FAIR else "refused"
            made.append(Case(f"{form}-{what}", of(name, content), kind, (name,)))
    for what, name in (("pt", "x.pt"), ("pkl", "x.pkl"), ("joblib", "x.joblib"), ("batch", "data_batch_1")):
        made.append(Case(f"pickle-{what}", of(name, pickled), says=(name,)))
    for what, array in (("none", "z"), ("markup", "x[/y]"), ("control", "\x1b[31m"), ("empty", ""), ("path", "../x")):
        made.append(
            Case(
                f"npz-array-{what}",
                lambda folder, a=array: [*wants(folder, "x.npz", npz({"x.npy": npy(), "y.npy": npy()})), "--array", a],
                says=("x.npz", "--array"),
            )
        )
    return made


@attacks(cases())
def test_arrays(case: Case, tmp_path: Path) -> None:
    attack(case, tmp_path)


def test_the_generator_makes_what_it_says() -> None:
    """Its bombs unpack to what they should, and its damage damages."""
    packed = PACKED["bomb"]()
    assert len(packed) < 2 << 20
    assert len(gzip.decompress(packed)) == len(idx()) + (1 << 30)
    held = zipfile.ZipFile(io.BytesIO(bomb(b"head", 2))).infolist()[0]
    assert (held.filename, held.file_size) == ("x.npy", 4 + (2 << 20))
    assert held.compress_size < 10_000
    assert all(damage(npy()) != npy() for damage in DAMAGE.values())
    assert partial(arrays.npz)() == npz()
