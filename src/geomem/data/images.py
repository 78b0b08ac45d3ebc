"""Decode image files, of a short list of formats and a largest size."""

import struct
from typing import IO, Any

from geomem.errors import reason_of
from geomem.files import Unreadable
from geomem.limits import LARGEST_IMAGE

__all__ = ["FORMATS", "decoded", "extensions"]

# The formats that Pillow may open, whatever a file's name; among the others are programs, as PostScript.
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM")


def extensions() -> set[str]:
    """The ends of names of files in `FORMATS`, in small letters, with the dot."""
    from PIL import Image

    return {extension for extension, kind in Image.registered_extensions().items() if kind in FORMATS}


def decoded(stream: IO[bytes], where: str, remedy: str) -> Any:
    """The first picture in an image file, as Pillow's image.

    Args:
        stream: The file.
        where: Its name, as a message begins.
        remedy: What to do about a file that cannot be used, as a clause.

    Raises:
        Unreadable: If it is damaged, is none of `FORMATS`, or is larger than `LARGEST_IMAGE`.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(stream, formats=FORMATS) as image:
            if image.width * image.height > LARGEST_IMAGE:
                raise Image.DecompressionBombError
            return image.copy()
    except UnidentifiedImageError:
        raise Unreadable(f"{where}: is not an image that can be read ({', '.join(FORMATS)}); {remedy}.") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise Unreadable(f"{where}: has more than {LARGEST_IMAGE:,} pixels; {remedy}.") from None
    except (OSError, ValueError, TypeError, SyntaxError, OverflowError, MemoryError, struct.error) as error:
        raise Unreadable(f"{where}: is a damaged image ({reason_of(error)}); {remedy}.") from error
