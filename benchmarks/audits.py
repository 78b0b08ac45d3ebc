"""Wall time and peak memory of `geomem data` on whole data sets: digits, MNIST, Fashion-MNIST, colour emoji.

    python benchmarks/audits.py OUT [--mnist FOLDER] [--fashion FOLDER] [--emoji FONT.ttf] [--only NAME]

Each run is one process. MNIST and Fashion-MNIST are folders with the usual files (Debian: dataset-fashion-mnist); the
emoji are drawn from the font (Debian: fonts-noto-color-emoji) at 32x32 pixels on white.
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

from fontTools.ttLib import TTFont
from PIL import Image, ImageDraw, ImageFont

# The only size that the font has bitmaps for, and their width and height in pixels.
_STRIKE, _PICTURE = 109, (136, 128)


def emoji(font: Path, folder: Path) -> Path:
    """A PNG of 32x32 pixels for each character of the font, and each sequence that it has a glyph for."""
    folder.mkdir(parents=True, exist_ok=True)
    drawer = ImageFont.truetype(str(font), _STRIKE)
    with TTFont(font) as table:
        texts = [chr(c) for c in table.getBestCmap() if chr(c).isprintable()]
        texts += [_sequence(glyphs, table) for glyphs in _ligatures(table)]
    for text in dict.fromkeys(texts):
        left, top, right, bottom = drawer.getbbox(text)
        if (right - left, bottom - top) != _PICTURE:
            continue  # a digit or a letter, or a sequence that the font draws as several pictures
        image = Image.new("RGB", (_PICTURE[0],) * 2, "white")
        ImageDraw.Draw(image).text((0, (_PICTURE[0] - _PICTURE[1]) // 2), text, font=drawer, embedded_color=True)
        name = "-".join(f"{ord(c):x}" for c in text)
        image.resize((32, 32), Image.Resampling.BOX).save(folder / f"{name}.png")
    return folder


def _ligatures(table: TTFont) -> list[list[str]]:
    out = []
    for lookup in table["GSUB"].table.LookupList.Lookup:
        for sub in lookup.SubTable:
            sub = getattr(sub, "ExtSubTable", sub)
            for first, found in getattr(sub, "ligatures", {}).items():
                out += [[first, *ligature.Component] for ligature in found]
    return out


def _sequence(glyphs: list[str], table: TTFont) -> str:
    characters = {name: chr(code) for code, name in table.getBestCmap().items()}
    return "".join(characters.get(glyph, "") for glyph in glyphs)


def audit(name: str, data: str, out: Path) -> None:
    """Run one analysis and print its wall time and peak memory."""
    command = [str(Path(sys.executable).parent / "geomem"), "data", data, "--out", str(out / name), "--force"]
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - start
    print(
        f"{name}: exit {os.waitstatus_to_exitcode(status)}, {wall:.0f} s, {usage.ru_maxrss / 1024:.0f} MB", flush=True
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--mnist")
    parser.add_argument("--fashion", default="/usr/share/datasets/fashion-mnist")
    parser.add_argument("--emoji", type=Path, default=Path("/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf"))
    parser.add_argument("--only")
    asked = parser.parse_args()
    sources = {"digits": "digits", "mnist": asked.mnist, "fashion": asked.fashion, "emoji": asked.out / "emoji-32x32"}
    for name, data in sources.items():
        if data is None or asked.only not in (None, name):
            continue
        if name == "emoji":
            emoji(asked.emoji, Path(data))
        audit(name, str(data), asked.out)
