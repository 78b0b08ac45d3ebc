"""Data sets of the Hugging Face hub, through its own library (the extra `hub`)."""

import os
import socket
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as OutOfTime
from typing import Any

from geomem.errors import InputError
from geomem.images.dataset import DataSet
from geomem.images.folder import Preparation, prepare_all

__all__ = ["from_hub", "from_table"]

_HOST = ("huggingface.co", 443)
# Seconds that the hub may take to answer at all.
_PATIENCE = 0.7
_LOCALLY = (
    "save the images into a folder, or the array with numpy.save, where there is a network, and give that path instead"
)


def from_hub(name: str, split: str, preparation: Preparation) -> DataSet:
    """Images of a hub data set, downloaded on first use.

    Args:
        name: "owner/name", or "owner/name:configuration".
        split: The part to use, "train" as a rule.
        preparation: What is done to each image.

    Raises:
        InputError: Without the extra or a network, or for a data set that is not there or holds no images.
    """
    where = f"hf:{name}"
    try:
        import datasets
    except ImportError:
        raise InputError(f"{where}: needs the extra hub: pip install 'geomem[hub]'. Without it, {_LOCALLY}.") from None
    offline = os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on")
    if not offline and not _reachable():
        raise InputError(f"{where}: the hub cannot be reached from here; {_LOCALLY}.")
    path, _, config = name.partition(":")
    datasets.disable_progress_bars()
    try:
        table = datasets.load_dataset(path, config or None, split=split)
    except Exception as error:  # the library raises its own, its dependencies' and the server's
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        reason = "HF_HUB_OFFLINE is set and it was not downloaded before" if offline else first
        raise InputError(f"{where}: could not be loaded ({reason}); check its name, or {_LOCALLY}.") from error
    return from_table(where, table, preparation)


def from_table(where: str, table: Any, preparation: Preparation) -> DataSet:
    """Images of a `datasets.Dataset`, from its first column of images.

    Raises:
        InputError: For a table without images or rows.
    """
    import datasets

    columns: Mapping[str, Any] = table.features
    images = [name for name, feature in columns.items() if isinstance(feature, datasets.Image)]
    if not images:
        raise InputError(f"{where}: has no column of images; it has {', '.join(columns)}.")
    if len(table) == 0:
        raise InputError(f"{where}: holds no rows.")
    column = table.select_columns(images[0])
    names = [f"row {i}" for i in range(len(column))]
    return DataSet(where, "Hugging Face images", prepare_all(where, names, lambda i: column[i][images[0]], preparation))


def _reachable() -> bool:
    """Whether the hub answers, known within `_PATIENCE`; a name look-up alone can hang for longer."""
    pool = ThreadPoolExecutor(1)
    try:
        pool.submit(lambda: socket.create_connection(_HOST, timeout=_PATIENCE).close()).result(timeout=_PATIENCE)
    except (OSError, OutOfTime):
        return False
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    return True
