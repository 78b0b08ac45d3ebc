"""Load a data set from a path, a hub name or a word."""

from pathlib import Path

import numpy as np

from geomem.data.arrays import from_npy, from_npz
from geomem.data.binary import cifar_batches, from_cifar, from_idx, idx_files, is_idx, pickled_batches
from geomem.data.bundled import digits
from geomem.data.dataset import DataSet
from geomem.data.folder import Preparation, from_folder, prepared
from geomem.data.hub import from_hub
from geomem.errors import InputError
from geomem.files import is_file, is_folder, path_of, printable

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
    skip_unreadable: bool = False,
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
        skip_unreadable: Leave out image files and subfolders that cannot be read, with a note; by default they are an error.

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
        return from_hub(text[3:], split, preparation, skip_unreadable=skip_unreadable)
    if not text:
        raise InputError(f"no data were given. Data may be {_FORMATS}.")
    path = path_of(text)
    if array is not None and path.suffix.lower() != ".npz":
        raise InputError(f"--array: names an array of a .npz file, which {printable(text)} is not.")
    if is_folder(path):
        if holds_image_files(path):
            return from_folder(path, preparation, skip_unreadable=skip_unreadable)
        return prepared(_folder(path), preparation)
    if is_file(path):
        return prepared(_file(path, array), preparation)
    if text == "digits":
        return prepared(DataSet("digits", "scikit-learn's handwritten digits", np.asarray(digits())), preparation)
    raise InputError(f"{printable(path)}: does not exist. Data may be {_FORMATS}.")


def holds_image_files(source: str | Path) -> bool:
    """Whether a source holds image files or images on the hub, each with a size, channels and transparency of its own."""
    if str(source).startswith("hf:"):
        return True
    path = path_of(source)
    if is_folder(path):
        return not idx_files(path) and not cifar_batches(path)
    return not is_file(path) and str(source) != "digits"  # `load` reports that it is missing


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
            f"{printable(path)}: is a pickle by its name, which can run code when it is opened and is refused; save the array with "
            "numpy.save."
        )
    if path.name.startswith(("data_batch_", "test_batch")):
        raise pickled_batches(path)
    raise InputError(f"{printable(path)}: is not a supported file type. Data may be {_FORMATS}.")


def _folder(path: Path) -> DataSet:
    if files := idx_files(path):
        if len(files) == 1:
            return from_idx(files[0])
        raise InputError(
            f"{printable(path)}: holds {', '.join(printable(p.name) for p in files)}; name the file to use."
        )
    return from_cifar(cifar_batches(path))
