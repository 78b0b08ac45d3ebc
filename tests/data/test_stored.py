"""Arrays that stay in their files: the rows that NumPy would give, and an error where the file is cut short."""

import gc
import os
from pathlib import Path

import numpy as np
import pytest

from data.test_binary import cifar, idx
from geomem.data import load
from geomem.data.stored import StoredArray
from geomem.errors import InputError
from inputs import saved

RNG = np.random.default_rng(0)
VALUES = RNG.normal(size=(50, 3, 4))


@pytest.fixture(params=["C", "F"])
def stored(request, tmp_path):
    return load(saved(tmp_path / "a.npy", np.asarray(VALUES, order=request.param))).values


@pytest.mark.parametrize(
    "index", [3, -1, np.int64(7), slice(4, 9), slice(None, None, -3), slice(9, 4), [7, 8, 9, 2, 2, -1], []]
)
def test_rows_are_those_of_numpy(stored, index):
    np.testing.assert_array_equal(stored[index], VALUES[np.array(index, int) if isinstance(index, list) else index])


def test_whole_array_and_its_form(stored):
    assert (len(stored), stored.shape, stored.ndim, stored.dtype) == (50, (50, 3, 4), 3, VALUES.dtype)
    np.testing.assert_array_equal(np.asarray(stored), VALUES)
    assert "a.npy" in repr(stored)


def test_axes_and_shape_of_rows_change_as_numpy_s(stored):
    turned = stored.transpose(0, 2, 1).reshape(-1, 2, 6)
    assert turned.shape == (50, 2, 6)
    np.testing.assert_array_equal(turned[5:9], VALUES.transpose(0, 2, 1).reshape(-1, 2, 6)[5:9])
    assert stored.shape == (50, 3, 4)


@pytest.mark.parametrize("index", [50, -51, [0, 50]])
def test_rows_that_are_not_there(stored, index):
    with pytest.raises(IndexError):
        stored[index]


def test_columns_are_read_in_parts(stored, monkeypatch):
    monkeypatch.setattr("geomem.data.stored._COLUMN", 7 * 8)
    np.testing.assert_array_equal(stored[[3, 40, 11]], VALUES[[3, 40, 11]])


def test_file_is_closed_with_the_last_reference(stored):
    other = stored.transpose(0, 2, 1)
    number = other._file._number
    del stored
    os.fstat(number)


def test_descriptors_are_given_back(tmp_path):
    path = saved(tmp_path / "a.npy", VALUES)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(50):
        load(path)
    gc.collect()
    assert len(list(Path("/proc/self/fd").iterdir())) <= before


FORMS = {
    "a.npy": lambda path: saved(path, RNG.integers(0, 255, (20, 32, 32, 3), dtype=np.uint8)),
    "x-idx3-ubyte": lambda path: path.write_bytes(idx(RNG.integers(0, 255, (20, 8, 8), dtype=np.uint8))),
    "data_batch_1.bin": lambda path: path.write_bytes(cifar(RNG.integers(0, 255, (20, 32, 32, 3), dtype=np.uint8))),
}


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("length", [0, 3000])
def test_file_cut_short_after_it_was_opened_is_an_error_not_a_signal(tmp_path: Path, name, length):
    path = tmp_path / name
    FORMS[name](path)
    data = load(path)
    os.truncate(path, min(length, path.stat().st_size // 2))
    for read in (lambda: data.rows(slice(None)), lambda: list(data.blocks()), lambda: data.values[19]):
        with pytest.raises(InputError, match=rf"{name}: was cut short while it was read"):
            read()


def test_too_small_a_file_is_refused_at_once(tmp_path):
    (tmp_path / "a").write_bytes(bytes(100))
    StoredArray(tmp_path / "a", "f4", (5, 5))
    for shape in ((6, 5), (10**30, 5)):
        with pytest.raises(InputError, match="a: holds fewer values than its header says"):
            StoredArray(tmp_path / "a", "f4", shape)
