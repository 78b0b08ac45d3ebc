"""Colour images to train on, from Debian's fonts-noto-color-emoji: python docs/emoji.py FONT EMOJI.npy [SIDE]

Every bitmap of the font on white, padded to a square and scaled to SIDE (16) pixels: uint8 (n, SIDE, SIDE, 3).
"""

import io
import sys
from pathlib import Path

import numpy as np
from fontTools.ttLib import TTFont
from PIL import Image


def emoji(font: Path, side: int) -> np.ndarray:
    """The font's bitmaps, in the order of its glyphs' names."""
    bitmaps = TTFont(font)["CBDT"].strikeData[0]
    images = []
    for name in sorted(bitmaps):
        with Image.open(io.BytesIO(bitmaps[name].imageData)) as opened:
            drawn = opened.convert("RGBA")
        longest = max(drawn.size)
        square = Image.new("RGBA", (longest, longest), "white")
        square.alpha_composite(drawn, ((longest - drawn.width) // 2, (longest - drawn.height) // 2))
        images.append(np.asarray(square.convert("RGB").resize((side, side), Image.Resampling.LANCZOS)))
    return np.stack(images)


if __name__ == "__main__":
    found = emoji(Path(sys.argv[1]), int(sys.argv[3]) if len(sys.argv) > 3 else 16)
    np.save(sys.argv[2], found)
    print(f"saved {found.shape[0]:,} images of {found.shape[1]}x{found.shape[2]} pixels in {sys.argv[2]}")
