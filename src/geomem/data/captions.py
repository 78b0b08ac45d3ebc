"""Captions and classes of images in a folder: a table beside them, as image folders of Hugging Face have, or the names of subfolders."""

import csv
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from geomem.data.dataset import DataSet
from geomem.errors import InputError
from geomem.files import exists, opened, path_of, printable

__all__ = ["FOLDERS", "TABLES", "captioned"]

# Tables of captions, the first that there is; and the word for names of subfolders.
TABLES, FOLDERS = ("metadata.jsonl", "metadata.csv", "captions.jsonl", "captions.csv"), "folders"
# What a table may call the name of a file and the caption, where the user does not say.
_NAMES, _CAPTIONS = ("file_name", "file", "filename", "image"), ("text", "caption", "prompt", "label")
_LARGEST = 2**28


def captioned(data: DataSet, source: str | Path, column: str | None = None) -> DataSet:
    """A data set with what each of its images is conditioned on.

    Args:
        data: Images that were read from a folder.
        source: That folder; data of another kind have no captions.
        column: Column of the table; "folders" for the names of the images' subfolders; None for the table's usual column, or for no
            captions where there is no table.

    Raises:
        InputError: If captions were asked for and there are none, for a table that cannot be read, or an image without a caption.
    """
    folder, where = path_of(source), printable(source)
    table = next((folder / name for name in TABLES if exists(folder / name)), None) if len(data.files) else None
    if column == FOLDERS:
        words = [Path(name).parts[0] if len(Path(name).parts) > 1 else "" for name in data.files]
        if not words or "" in words:
            raise InputError(f"{where}: --captions folders takes classes from subfolders, but some images are in none.")
        return replace(data, captions=words)
    if table is None:
        if column is None:
            return data
        raise InputError(
            f"{where}: has no captions; put {TABLES[0]} beside the images, with lines such as "
            '{"file_name": "a.png", "text": "a red house"}.'
        )
    known = dict(_rows(table, column))
    missing = [name for name in data.files if name not in known]
    if missing:
        raise InputError(
            f"{printable(table)}: has no caption for {len(missing):,} of {len(data):,} images ({missing[0]}, ...); add them, or leave "
            "the images out."
        )
    return replace(data, captions=[known[name] for name in data.files])


def _rows(table: Path, column: str | None) -> Iterator[tuple[str, str]]:
    """File names and captions."""
    for number, row in enumerate(_lines(table), start=1):
        name = next((row[key] for key in _NAMES if row.get(key)), None)
        wanted = (column,) if column is not None else _CAPTIONS
        caption = next((row[key] for key in wanted if row.get(key) is not None), None)
        if not isinstance(name, str) or not isinstance(caption, str | int):
            raise InputError(
                f"{printable(table)}: row {number} needs {_NAMES[0]} and {wanted[0]} (it has {', '.join(map(printable, list(row)[:6]))}); name "
                "the column with --captions."
            )
        yield printable(name), str(caption)


def _lines(table: Path) -> Iterator[Mapping[str, Any]]:
    with opened(table) as stream:
        content = stream.read(_LARGEST + 1)
    if len(content) > _LARGEST:
        raise InputError(f"{printable(table)}: is larger than {_LARGEST // 2**20} MiB, which is no table of captions.")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{printable(table)}: is not text in UTF-8; save it again.") from None
    if table.suffix == ".csv":
        try:
            yield from csv.DictReader(io.StringIO(text, newline=""))
        except csv.Error as error:
            raise InputError(f"{printable(table)}: is a damaged table ({error}).") from None
        return
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if not isinstance(row, dict):
            raise InputError(f"{printable(table)}: line {number} is not a JSON object; each line describes one image.")
        yield row
