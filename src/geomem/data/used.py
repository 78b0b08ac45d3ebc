"""The rows of a data set that are used, and their near duplicates, as records: the search, its parts, and what they make.

`search` says where the search begins:

    row, order (kept)             rows that are used: distinct, and at most `limit`; and their positions in the order of the search
    repeated, original (repeats)  rows that equal an earlier row, and that row
    mean (value), axis (value, coordinate)  where rows are projected

A part holds `pair` (pairs, end), as positions in `row`, and `distance` (pairs). All commands use what the parts make, `duplicates`:

    row (kept)                    rows that are used
    group (kept)                  the first row of each row's group of near duplicates, as a position in `row`
    pair, distance (pairs)        near duplicates, nearest pair first; `pair_label` names them
    repeated, original (repeats)  as above; `repeated_label`, `original_label` name them
"""

from collections.abc import Sequence

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray

from geomem.data.dataset import DataSet
from geomem.data.distinct import distinct_rows
from geomem.data.duplicates import MEMORY, Pairs, Scale, Search, joined, scale_of_search
from geomem.data.screen import Axes
from geomem.seeds import derived_seed

__all__ = ["found_in", "search_in", "search_record", "used_rows", "used_rows_of"]


def used_rows(data: DataSet, *, limit: int | None, seed: int, memory: int = MEMORY) -> xr.Dataset:
    """The record `duplicates`, made in one go."""
    record = search_record(data, limit=limit, seed=seed, memory=memory)
    whole = found_in(search_in(data, record, memory=memory), range(record.sizes["kept"]))
    return used_rows_of(data, record, [whole])


def search_record(data: DataSet, *, limit: int | None, seed: int, memory: int = MEMORY) -> xr.Dataset:
    """The record `search`."""
    rows, first = distinct_rows(data)
    if limit is not None:
        rows = np.sort(np.random.default_rng(derived_seed(seed, "limit")).permutation(rows)[:limit])
    scale = scale_of_search(data, rows, seed=seed, memory=memory)
    repeated = np.flatnonzero(first != np.arange(first.size))
    return xr.Dataset(
        {
            "row": ("kept", rows, {"long_name": "row of the data that is used"}),
            "order": ("kept", scale.order, {"long_name": "position in row; near rows lie together"}),
            "repeated": ("repeats", repeated, {"long_name": "rows equal to an earlier one"}),
            "original": ("repeats", first[repeated], {"long_name": "the earlier row"}),
            "mean": ("value", scale.axes.mean.numpy(), {"units": "data units"}),
            "axis": (("value", "coordinate"), scale.axes.columns.numpy(), {"units": "1"}),
        },
        attrs={"typical": scale.typical},
    )


def search_in(data: DataSet, record: xr.Dataset, *, memory: int = MEMORY) -> Search:
    """The search that a record `search` begins."""
    return Search(data, record["row"].values, _scale(record), memory=memory)


def found_in(search: Search, places: range) -> xr.Dataset:
    """A part of the search."""
    pairs = search.part(places)
    return xr.Dataset({"pair": (("pairs", "end"), pairs.rows), "distance": ("pairs", pairs.distance, _UNITS)})


def used_rows_of(data: DataSet, record: xr.Dataset, parts: Sequence[xr.Dataset]) -> xr.Dataset:
    """The record `duplicates`, from the record `search` and all parts."""
    near = joined(_scale(record), [Pairs(part["pair"].values, part["distance"].values) for part in parts])
    rows = record["row"].values
    used = record[["row", "repeated", "original"]].assign(
        group=("kept", near.group, {"long_name": "first of the group of near duplicates, as position in row"}),
        pair=(("pairs", "end"), rows[near.pairs], {"long_name": "rows of near duplicates, nearest first"}),
        distance=("pairs", near.distance, _UNITS),
        pair_label=(("pairs", "end"), _labels(data, rows[near.pairs])),
        repeated_label=("repeats", _labels(data, record["repeated"].values)),
        original_label=("repeats", _labels(data, record["original"].values)),
    )
    return used.assign_attrs(threshold=near.threshold, typical=near.typical)


_UNITS = {"units": "data units"}


def _scale(record: xr.Dataset) -> Scale:
    axes = Axes(*(torch.from_numpy(record[name].values) for name in ("mean", "axis")))
    return Scale(float(record.attrs["typical"]), axes, record["order"].values)


def _labels(data: DataSet, rows: NDArray[np.int64]) -> np.ndarray:
    """Names of rows, in an array of the same shape."""
    names = [data.label(int(row)) for row in rows.flat]
    return np.array(names, dtype=str).reshape(rows.shape)
