"""Images in folders: damaged files, headers that lie, other formats under the names of images, and bombs."""

import os
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from attack import images
from attack.arrays import pickled
from attack.cases import SAME, TAKEN, VALID, Case, attack, attacks
from attack.images import POSTSCRIPT, chunk, image, png, pngs
from attack.mutations import DAMAGE, flipped

FIRST, MORE = "00.png", "zz.png"


def of(content: Callable[[], bytes], name: str = FIRST) -> Callable[[Path], list[str]]:
    return lambda folder: images.wants(folder, name, content())


HEADERS: dict[str, Callable[[], bytes]] = {
    "no-width": lambda: png(0, 8),
    "negative": lambda: png(-8, -8),
    "2^31-wide": lambda: png(2**31 - 1, 1),
    "largest": lambda: png(2**32 - 1, 2**32 - 1),
    "30000x30000": lambda: png(30_000, 30_000),
    "100000x8": lambda: png(100_000, 8),
    "one-row-more": lambda: png(8, 9),
    "another-size": lambda: png(9, 8, pixels=bytes(80)),
    "depth-3": lambda: png(depth=3),
    "depth-200": lambda: png(depth=200),
    "colour-9": lambda: png(colour=9),
    "no-palette": lambda: png(colour=3),
    "interlaced-7": lambda: png(interlaced=7),
    "no-pixels": lambda: png(pixels=b""),
    "not-packed": lambda: png(packed=lambda data: data),
    "packed-cut": lambda: png(packed=lambda data: zlib.compress(data)[:-6]),
    "text-bomb": lambda: png(before=chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(300 << 20)))),
    "profile-bomb": lambda: png(before=chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(300 << 20)))),
    "chunk-of-4-GiB": lambda: png()[:33] + b"\xff\xff\xff\xffIDAT" + bytes(90),
    "two-headers": lambda: png(before=png()[8:33].replace(b"\0\0\0\x08", b"\0\x01\x00\x00")),
    "animation": lambda: png(before=chunk(b"acTL", b"\xff" * 8)),
    "bomb-as-stated": lambda: png(13_000, 13_000, pixels=bytes(13_001 * 13_000)),
}
# Content that no image format has, or that starts another program, under the name of an image.
CONTENT: dict[str, Callable[[], bytes]] = {
    "postscript": lambda: POSTSCRIPT,
    "postscript-dos": lambda: b"\xc5\xd0\xd3\xc6" + (32).to_bytes(4, "little") + bytes(24) + POSTSCRIPT,
    "pdf": lambda: b"%PDF-1.7\n" + b"0" * 99,
    "svg": lambda: b'<svg xmlns="http://www.w3.org/2000/svg"><script>x</script></svg>',
    "pickle": pickled,
    "fits": lambda: b"SIMPLE  =                    T" + b" " * 2850,
    "hdf5": lambda: b"\x89HDF\r\n\x1a\n" + bytes(200),
    "wmf": lambda: b"\xd7\xcd\xc6\x9a" + bytes(200),
    "mpo": lambda: image("jpeg")[:-2] + b"\xff\xe2" + bytes(90),
    "ico": lambda: b"\0\0\1\0\1\0\0\0\0\0\1\0\x20\0\xff\xff\xff\xff\x16\0\0\0" + bytes(90),
    "psd": lambda: b"8BPS\0\1" + b"\xff" * 90,
    "gif-large": lambda: b"GIF89a\xff\xff\xff\xff\0\0\0,\0\0\0\0\xff\xff\xff\xff\0\2\2L\1\0;",
    "bmp-large": lambda: (
        b"BM" + bytes(8) + b"\x36\0\0\0\x28\0\0\0" + b"\xff\xff\xff\x7f" * 2 + b"\1\0\x18\0" + bytes(30)
    ),
    "tiff-loop": lambda: b"II*\0\x08\0\0\0\0\0\x08\0\0\0",
    "tiff-lies": lambda: b"II*\0\x08\0\0\0\2\0\0\1\4\0\1\0\0\0\xff\xff\xff\x7f\1\1\4\0\1\0\0\0\xff\xff\xff\x7f\0\0\0\0",
    "jpeg2000": lambda: b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(90),
    "webp-lies": lambda: b"RIFF\xff\xff\xff\x7fWEBPVP8 " + b"\xff" * 90,
    "avif": lambda: b"\0\0\0\x1cftypavif" + bytes(90),
    "qoi": lambda: b"qoif\xff\xff\xff\xff\xff\xff\xff\xff\4\0" + bytes(9),
    "ppm-large": lambda: b"P6 99999999 99999999 255\n",
}
OTHER_FORMATS = ("gif", "bmp", "tiff", "webp", "jpeg", "ppm", "pcx", "tga", "ico", "dds")
# Names that no image has, of files that Ghostscript would run.
BESIDE = ("00.txt", "notes", "x[y].csv", "a.pkl", ".hidden", "a.eps", "a.ps", "a.pdf", "a.svg")
FLIPS = 24


def cases() -> list[Case]:
    made = [Case("control", of(lambda: pngs()[0]), TAKEN)]
    for kind, name, content in (("png", FIRST, lambda: pngs()[0]), ("jpeg", "00.jpg", lambda: image("jpeg"))):
        for what, damage in DAMAGE.items():
            made.append(
                Case(
                    f"{kind}-{what}",
                    of(lambda d=damage, c=content: d(c()), name),
                    SAME if kind == "png" else "refused",  # what is cut off a PNG may be its end mark alone
                    (name,),
                    same=of(content, name),
                )
            )
        for seed in range(FLIPS):
            change = flipped(seed, count=1 if kind == "png" else 3)
            # The pixels of JPEG have no checksum.
            made.append(
                Case(
                    f"{kind}-flip-{seed}",
                    of(lambda d=change, c=content: d(c()), name),
                    SAME if kind == "png" else VALID,
                    (name, "size", "pixels"),
                    same=of(content, name) if kind == "png" else None,
                )
            )
    for what, content in HEADERS.items():
        kind = VALID if what in ("animation", "packed-cut") else "refused"
        made.append(Case(f"png-{what}", of(content), kind, (FIRST,)))
    for what, content in CONTENT.items():
        kind = VALID if what == "mpo" else "refused"  # a JPEG with more at its end
        made += [Case(f"{what}-as-{name}", of(content, name), kind, (name,)) for name in (FIRST, MORE)]
    made += [Case(f"{kind}-as-png", of(lambda k=kind: image(k)), VALID, (FIRST,)) for kind in OTHER_FORMATS]
    return made + [Case(f"beside-{name}", beside(name), VALID, (name, "pictures")) for name in BESIDE]


def beside(name: str) -> Callable[[Path], list[str]]:
    return lambda folder: images.wants(folder, name, POSTSCRIPT)


@attacks(cases())
def test_images(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a Ghostscript that leaves a mark when it is started."""
    program = tmp_path / "bin" / "gs"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr("PIL.EpsImagePlugin.gs_binary", None)
    attack(case, tmp_path)
