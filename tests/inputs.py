"""Files that people may hand over, made for tests, and how the bad ones are refused."""

import os

import numpy as np
from PIL import Image

from geomem.data import load
from geomem.errors import InputError


def saved(path, array, **options):
    np.save(path, array, **options)
    return path


def pictures(folder, **images):
    """A folder of PNG files, each from bytes or a Pillow image."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, image in images.items():
        (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(folder / f"{name}.png")
    return folder


def refused(source, *words, **options):
    """The message of the error for users that the data meet, which must hold their name and all of the words."""
    # Not pytest.raises, which would keep the traceback, and with it open files, until the garbage is collected.
    try:
        data = load(source, **options)
    except InputError as error:
        message = str(error)
    else:
        raise AssertionError(f"{source} was taken, as {data}")
    for word in (str(source), *words):
        assert word in message, f"{word!r} is not in {message!r}"
    return message


def lock(monkeypatch, path):
    """Make a file or folder unreadable, for root as well."""
    for module, name in ((os, "open"), (os, "scandir")):
        original = getattr(module, name)

        def tried(what, *args, original=original, **options):
            if str(what) == str(path):
                raise PermissionError(13, "Permission denied", str(path))
            return original(what, *args, **options)

        monkeypatch.setattr(module, name, tried)
    return path
