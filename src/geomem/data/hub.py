"""Data sets on the Hugging Face hub, through the `datasets` library (the extra `hub`)."""

import io
import os
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from geomem.data.dataset import DataSet
from geomem.data.folder import Preparation, prepare_all
from geomem.data.images import decoded
from geomem.errors import InputError
from geomem.files import Unreadable, exists, opened, path_of, printable

__all__ = ["from_hub", "from_table"]

# Seconds to wait for any answer from the hub.
_PATIENCE = 0.7
_LOCALLY = (
    "on a machine with a network, save the images into a folder or an array with numpy.save, and give that path instead"
)


def from_hub(name: str, split: str, preparation: Preparation, *, skip_unreadable: bool = False) -> DataSet:
    """Images of a hub data set, downloaded on first use.

    Args:
        name: "owner/name", or "owner/name:configuration".
        split: Name of the split, usually "train".
        preparation: How each image is prepared.
        skip_unreadable: Leave out damaged images, with a note.

    Raises:
        InputError: Without the extra or a network, or if the data set does not exist or holds no images.
    """
    where = f"hf:{printable(name)}"
    if not name.partition(":")[0]:
        raise InputError(f"{where}: names no data set; write hf:owner/name.")
    if find_spec("datasets") is None:
        raise InputError(f"{where}: needs the extra hub: pip install 'geomem[hub]'. Without it, {_LOCALLY}.")
    path, _, config = name.partition(":")
    asked_offline = os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on")
    offline = asked_offline or not _reachable()
    why = "HF_HUB_OFFLINE is set" if asked_offline else "the hub cannot be reached from here"
    if offline and not _downloaded(path):  # check first, because the library is slow to import
        raise InputError(f"{where}: {why}, and it was not downloaded before; {_LOCALLY}.")
    import datasets

    datasets.disable_progress_bars()
    try:
        with _without_network(datasets) if offline else nullcontext():
            table = datasets.load_dataset(path, config or None, split=split)
    except Exception as error:  # the library raises errors of its own, of its dependencies and of the server
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        if isinstance(error, ValueError) and "nknown split" in reason:
            raise InputError(f"{where}: {reason}; choose one with --split.") from error
        if offline:
            reason = f"{why}, and the earlier download cannot be used ({reason})"
        raise InputError(f"{where}: could not be loaded: {reason}; check its name, or {_LOCALLY}.") from error
    return from_table(where, table, preparation, skip_unreadable=skip_unreadable)


def from_table(where: str, table: Any, preparation: Preparation, *, skip_unreadable: bool = False) -> DataSet:
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
    column = table.select_columns(images[0]).cast_column(images[0], datasets.Image(decode=False))
    names = [f"row {i}" for i in range(len(column))]

    def read(i: int) -> Any:
        held = column[i][images[0]] or {}
        name, remedy = f"{where}, {names[i]}", "choose other data"
        if held.get("bytes"):
            return decoded(io.BytesIO(held["bytes"]), name, remedy)
        if not held.get("path"):
            raise Unreadable(f"{name}: holds no image; {remedy}.")
        with opened(path_of(held["path"])) as stream:
            return decoded(stream, name, remedy)

    values, kept, notes = prepare_all(where, names, read, preparation, skip_unreadable=skip_unreadable)
    files = () if kept.size == len(names) else [names[i] for i in kept]  # so that rows keep their numbers in the table
    return DataSet(where, "Hugging Face images", values, files, notes)


def _downloaded(path: str) -> bool:
    """Whether a data set may be on this machine: as a folder of that name, or in the library's cache."""
    home = Path(os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface")
    hub = Path(os.environ.get("HF_HUB_CACHE") or home / "hub")
    prepared = Path(os.environ.get("HF_DATASETS_CACHE") or home / "datasets")
    places = (path_of(path), hub / f"datasets--{path.replace('/', '--')}", prepared / path.replace("/", "___"))
    return any(exists(place) for place in places)


@contextmanager
def _without_network(datasets: Any) -> Iterator[None]:
    """Make the library use earlier downloads, without waiting for a missing network."""
    from huggingface_hub import constants

    before = datasets.config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE
    datasets.config.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        datasets.config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE = before


def _reachable() -> bool:
    """Whether the hub answers within `_PATIENCE`; a name look-up alone can hang for longer.

    Behind a proxy this cannot be checked, so the library's own timeout applies.
    """
    if any(os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")):
        return True
    address = urlsplit(os.environ.get("HF_ENDPOINT") or "https://huggingface.co")
    answered: list[bool] = []

    def ask() -> None:
        with suppress(OSError):
            port = address.port or (80 if address.scheme == "http" else 443)
            socket.create_connection((address.hostname or "", port), timeout=_PATIENCE).close()
            answered.append(True)

    # A daemon thread, because at exit Python would wait for any other thread.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(_PATIENCE)
    return bool(answered)
