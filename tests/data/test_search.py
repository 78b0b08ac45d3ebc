"""The search for near duplicates in parts, in dense regions and in a run; rows that are read as they are needed."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

from data.data_inputs import FINE
from data.test_duplicates import agrees, data_set, near_duplicates, planted, same
from geomem.data import distinct
from geomem.data.distinct import distinct_rows
from geomem.data.duplicates import Search, joined, scale_of_search
from geomem.data.selection import Selection
from geomem.jobs import duplicates as stages
from geomem.jobs.data.request import DataRequest
from geomem.jobs.engine import run
from geomem.measure.posterior import local_directions, posterior_cell
from geomem.measure.principal import prepare
from geomem.records import Run


def test_rows_whose_sums_agree_are_compared_value_for_value(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(9, 5))[rng.integers(0, 9, 50)]
    whole = distinct_rows(data_set(values))
    monkeypatch.setattr(distinct, "_factors", lambda count: np.zeros(count, np.uint64))
    for found, expected in zip(distinct_rows(data_set(values)), whole, strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("step", [1, 30, 77, 1000])
def test_parts_make_the_whole(step: int) -> None:
    rows = planted(9, n=150, d=8, count=50)
    data, kept = data_set(rows.numpy()), np.arange(150)
    scale = scale_of_search(data, kept, seed=0)
    search = Search(data, kept, scale)
    parts = [search.part(range(i, min(i + step, 150))) for i in range(0, 150, step)]
    same(joined(scale, parts), near_duplicates(rows))


def test_white_noise_around_one_row_is_compared_in_full(monkeypatch: pytest.MonkeyPatch) -> None:
    """300 rows are near to each other, and few coordinates say too little of their distances: none is a near duplicate but one."""
    compared, whole = [], Search._all_compared
    monkeypatch.setattr(Search, "_all_compared", lambda s, *a: compared.append(1) or whole(s, *a))
    g = torch.Generator().manual_seed(0)
    y = torch.randn(800, 400, generator=g, dtype=torch.float64) * torch.arange(1, 401) ** -0.5
    y[:300] = y[0] + 0.02 * torch.randn(300, 400, generator=g, dtype=torch.float64)
    assert agrees(y) == 0
    y[7] = y[3] + 1e-4 * torch.randn(400, generator=g, dtype=torch.float64)
    assert agrees(y) == 1
    assert compared


def test_a_run_that_stops_resumes_at_its_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    twins = FINE[:60] + rng.normal(0, 1e-4, (60, 8, 8))
    np.save(tmp_path / "data.npy", np.concatenate([FINE[:300], twins]))
    request = DataRequest(str(tmp_path / "data.npy"), quick=True)
    found: list[range] = []

    def until(count: int) -> Callable[..., xr.Dataset]:
        def some(search: Search, places: range) -> xr.Dataset:
            if len(found) == count:
                raise KeyboardInterrupt
            found.append(places)
            return whole(search, places)

        return some

    whole = stages.found_in
    monkeypatch.setattr(stages, "found_in", until(1))
    with pytest.raises(KeyboardInterrupt):
        run(request, out=tmp_path / "whole", workers=1, progress=_stop_at("condenses"))
    assert found == [range(360)]  # small data are one part
    monkeypatch.setattr(stages, "_PART", 100)
    monkeypatch.setattr(stages, "found_in", until(3))
    found.clear()
    with pytest.raises(KeyboardInterrupt):
        run(request, out=tmp_path / "parts", workers=1)
    assert not Run.existing(tmp_path / "parts").has("duplicates")
    monkeypatch.setattr(stages, "found_in", until(4))
    with pytest.raises(KeyboardInterrupt):
        run(request, out=tmp_path / "parts", workers=1, progress=_stop_at("condenses"))
    assert found == [range(0, 100), range(100, 200), range(200, 300), range(300, 360)]
    records = [Run.existing(tmp_path / name).load("duplicates") for name in ("whole", "parts")]
    assert records[0].identical(records[1])
    assert records[0].sizes["pairs"] == 60


def _stop_at(word: str) -> Callable[[str, float], None]:
    def told(label: str, share: float) -> None:
        if word in label:
            raise KeyboardInterrupt

    return told


def test_rows_that_are_read_as_needed_are_measured_as_rows_in_memory_are() -> None:
    rng = np.random.default_rng(0)
    data = data_set(rng.integers(0, 256, (90, 6, 5)).astype(np.uint8))
    order = rng.permutation(90)
    held = data.rows(order[70:])
    read, whole = prepare(Selection(data, order[:70]), held), prepare(data.rows(order[:70]), held)
    np.testing.assert_array_equal(read.variances, whole.variances)
    times = np.array([0.05, 1.0])
    for measure in (lambda d: posterior_cell(d, np.arange(5, 65), times, 9, 4), lambda d: local_directions(d, 0.5, 2)):
        xr.testing.assert_identical(measure(read), measure(whole))
