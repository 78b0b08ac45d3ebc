"""Load a data set from a path, a hub name or a word."""

import os
from pathlib import Path

import numpy as np

from geomem.data.arrays import from_npy, from_npz
from geomem.data.binary import cifar_batches, from_cifar, from_idx, idx_files, is_idx, pickled_batches
from geomem.data.bundled import digits
from geomem.data.dataset import DataSet
from geomem.data.folder import Preparation, from_folder, prepared
from geomem.data.hub import from_hub
from geomem.errors import InputError

__all__ = ["holds_image_files", "load"]

_FORMATS = (
    ".npy or .npz arrays, a folder of images, MNIST's *-idx3-ubyte[.gz] files or their folder, CIFAR-10's binary batches or "
    "their folder, hf:owner/name, or the word digits"
)
_PICKLES = {".pkl", ".pickle", ".pt", ".pth", ".joblib"}


def load(
    source: str | Path,
    *,
    size: int | None = None,
    mode: str | None = None,
    array: str | None = None,
    split: str = "train",
    background: str = "white",
) -> DataSet:
    """Load data from an array, a folder of images, a well-known binary format, or the hub, without augmentation.

    Args:
        source: A .npy or .npz file, a folder of images, a file or folder in MNIST's format, CIFAR-10's binary batches
            or their folder, "hf:owner/name[:configuration]" (extra `hub`), or "digits" (scikit-learn's).
        size: Center-crop images and resize them to this side, in pixels.
        mode: "gray" or "rgb", to convert images.
        array: Name of an array in a .npz file.
        split: Split of a hub data set.
        background: Background of transparent pixels in image files, "white" or "black"; "ignore" drops the alpha channel.

    Returns:
        The data; pixels remain bytes until rows are read.

    Raises:
        InputError: For anything that cannot be read as numbers; the message states what to do.

    >>> load("digits")
    DataSet(name='digits', kind="scikit-learn's handwritten digits", values=array(...))
    """
    preparation = Preparation(size, mode, background)
    text = str(source)
    if text.startswith("hf:"):
        return from_hub(text[3:], split, preparation)
    if not text:
        raise InputError(f"no data were given. Data may be {_FORMATS}.")
    path = Path(os.path.expanduser(text))  # noqa: PTH111 - an unknown user name must not raise here
    if array is not None and path.suffix.lower() != ".npz":
        raise InputError(f"--array: names an array of a .npz file, which {text} is not.")
    try:
        if text == "digits" and not path.exists():
            return prepared(DataSet("digits", "scikit-learn's handwritten digits", np.asarray(digits())), preparation)
        if not path.exists():
            raise InputError(f"{path}: does not exist. Data may be {_FORMATS}.")
        if holds_image_files(path):
            return from_folder(path, preparation)
        return prepared(_folder(path) if path.is_dir() else _file(path, array), preparation)
    except PermissionError as error:
        raise InputError(f"{error.filename or path}: cannot be read (permission denied).") from error
    except OSError as error:
        raise InputError(
            f"{error.filename or path}: cannot be read ({(error.strerror or str(error)).lower()})."
        ) from error


def holds_image_files(source: str | Path) -> bool:
    """Whether a source holds image files or images on the hub, each with a size, channels and transparency of its own."""
    if str(source).startswith("hf:"):
        return True
    path = Path(os.path.expanduser(source))  # noqa: PTH111 - as in `load`
    try:
        if not path.exists():
            return str(source) != "digits"  # `load` reports that it is missing
        return path.is_dir() and not idx_files(path) and not cifar_batches(path)
    except OSError:
        return True  # reading it will report the error


def _file(path: Path, array: str | None) -> DataSet:
    if is_idx(path):
        return from_idx(path)
    suffix = path.suffix.lower()
    if suffix == ".npy":
        return from_npy(path)
    if suffix == ".npz":
        return from_npz(path, array)
    if suffix == ".bin":
        return from_cifar([path])
    if suffix in _PICKLES:
        raise InputError(
            f"{path}: is a pickle by its name, which can run code when it is opened and is refused; save the array with "
            "numpy.save."
        )
    if path.name.startswith(("data_batch_", "test_batch")):
        raise pickled_batches(path)
    raise InputError(f"{path}: is not a supported file type. Data may be {_FORMATS}.")


def _folder(path: Path) -> DataSet:
    if files := idx_files(path):
        if len(files) == 1:
            return from_idx(files[0])
        raise InputError(f"{path}: holds {', '.join(p.name for p in files)}; name the file to use.")
    return from_cifar(cifar_batches(path))
