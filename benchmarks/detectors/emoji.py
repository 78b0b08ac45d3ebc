"""Captioned emoji, from which models with known memorization are trained.

    python benchmarks/detectors/emoji.py --out FOLDER [--seed S] [--font FILE] [--names FOLDER]

Images are the bitmaps of Debian's fonts-noto-color-emoji on white, 32x32. Captions are the names in Debian's unicode-cldr-core.
Skin tones are left out, and so is every emoji within 0.09 (RMS over pixels in [0, 1]) of one that is kept. No image of one set has
a near duplicate in another, or in its own. The sets are disjoint image folders in FOLDER/data:

    training      1,000 emoji; `repeats` says how often each is shown to the model with repeats: 100 of them 10 to 100 times,
                  log-uniform, the others once
    lora-N        N emoji to fine-tune on, N = 10, 30, 100
    held-out      all others, seen by no diffusion model
"""

import argparse
import json
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import torch
from fontTools.ttLib import TTFont
from PIL import Image
from torch import Tensor

__all__ = ["LORAS", "SETS", "read"]

SIDE, TRAINING, REPEATED, DISTANCE = 32, 1000, 100, 0.09
LORAS = (10, 30, 100)
SETS = ("training", *(f"lora-{n}" for n in LORAS), "held-out")

_DOCS = Path(__file__).parents[2] / "docs"
_FONT = Path("/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf")
_NAMES = Path("/usr/share/unicode/cldr/common")
_SKIN_TONES = {chr(code) for code in range(0x1F3FB, 0x1F400)}
_LIGATURES = 4


def read(folder: Path) -> tuple[Tensor, list[dict[str, Any]]]:
    """Images (n, 3, side, side) in [0, 1] of an image folder, and the lines of its metadata."""
    rows = [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]
    images = np.stack([np.asarray(Image.open(folder / row["file_name"]).convert("RGB")) for row in rows])
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255, rows


def captions(folder: Path) -> dict[str, str]:
    """English names of emoji, by their characters without variation selectors."""
    names = {}
    for part in ("annotations", "annotationsDerived"):
        for entry in ElementTree.parse(folder / part / "en.xml").iter("annotation"):
            if entry.get("type") == "tts" and entry.text:
                names[entry.attrib["cp"]] = entry.text
    return names


def glyphs(font: Path) -> Iterator[tuple[tuple[str, ...], str]]:
    """Sequences of glyphs that the font draws as one, and the glyph that it draws."""
    opened = TTFont(font)
    for name in opened["CBDT"].strikeData[0]:
        yield (name,), name
    for lookup in opened["GSUB"].table.LookupList.Lookup:
        if lookup.LookupType == _LIGATURES:
            for table in lookup.SubTable:
                for first, ligatures in table.ligatures.items():
                    for ligature in ligatures:
                        yield (first, *ligature.Component), ligature.LigGlyph


def captioned(font: Path, names: Path) -> tuple[np.ndarray, list[str]]:
    """Images (n, side, side, 3) of uint8 and captions of all emoji that have both, without skin tones."""
    drawn = runpy.run_path(str(_DOCS / "emoji.py"))["emoji"](font, SIDE)
    opened = TTFont(font)
    index = {name: i for i, name in enumerate(sorted(opened["CBDT"].strikeData[0]))}
    single, joined = opened.getBestCmap(), dict(glyphs(font))
    rows, texts = [], []
    for characters, text in captions(names).items():
        glyph = joined.get(tuple(single.get(ord(c), "") for c in characters))
        if glyph in index and not _SKIN_TONES & set(characters):
            rows.append(index[glyph])
            texts.append(text)
    return drawn[rows], texts


def distinct(images: np.ndarray, order: np.ndarray) -> np.ndarray:
    """The part of `order` whose images are all at least `DISTANCE` apart; of two near ones, the first stays."""
    x = torch.from_numpy(images).flatten(1).double() / 255
    distances = torch.cdist(x, x) / x.shape[1] ** 0.5
    kept: list[int] = []
    for i in order.tolist():
        if not kept or distances[i, kept].min() >= DISTANCE:
            kept.append(i)
    return np.array(kept)


def save(folder: Path, images: np.ndarray, texts: list[str], repeats: np.ndarray | None = None) -> None:
    """Write an image folder."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for i, (image, text) in enumerate(zip(images, texts, strict=True)):
        Image.fromarray(image).save(folder / f"{i:04}.png")
        row: dict[str, Any] = {"file_name": f"{i:04}.png", "text": text}
        lines.append(json.dumps(row if repeats is None else row | {"repeats": int(repeats[i])}, ensure_ascii=False))
    (folder / "metadata.jsonl").write_text("\n".join(lines) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--font", type=Path, default=_FONT)
    parser.add_argument("--names", type=Path, default=_NAMES, help="folder with annotations/ and annotationsDerived/")
    args = parser.parse_args()
    rng = np.random.default_rng(args.seed)
    images, texts = captioned(args.font, args.names)
    kept = distinct(images, rng.permutation(len(texts)))
    print(f"{len(texts):,} captioned emoji, {len(kept):,} of them distinct")
    repeats = np.ones(TRAINING, int)
    repeats[:REPEATED] = np.exp(rng.uniform(np.log(10), np.log(100), REPEATED)).round()
    repeats = rng.permutation(repeats)
    ends = np.cumsum([TRAINING, *LORAS])
    for name, part in zip(SETS, np.split(kept, ends), strict=True):
        own = repeats if name == "training" else None
        save(args.out / "data" / name, images[part], [texts[i] for i in part], own)
        print(f"{name:12}{len(part):6,}")
    print(f"training shows {repeats.sum():,} images with repeats")


if __name__ == "__main__":
    main()
