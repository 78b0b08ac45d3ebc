"""Arrays are read value for value, and whatever cannot be is refused in words that help."""

import gc
import io
import os
import pickle
import tracemalloc
import warnings
import zipfile

import numpy as np
import pytest

from geomem.data import dataset, digits, load
from geomem.data.stored import StoredArray
from geomem.errors import InputError
from inputs import lock, pictures, refused, saved

RNG = np.random.default_rng(0)
ALL_BYTES = np.arange(256, dtype=np.uint8).reshape(2, 128)
COLOUR = RNG.integers(0, 256, (5, 6, 3), dtype=np.uint8)


def test_bytes_are_read_on_the_scale_of_models(tmp_path):
    data = load(saved(tmp_path / "a.npy", ALL_BYTES))
    assert data.pixels
    assert data.values.dtype == np.uint8
    rows = data.rows(slice(None)).numpy()
    assert rows.dtype == np.float32
    assert (rows.min(), rows.max()) == (-1.0, 1.0)
    np.testing.assert_allclose(rows, ALL_BYTES / 127.5 - 1, atol=1e-7)


@pytest.mark.parametrize(
    "dtype", ["<f8", ">f8", "<f4", ">f4", "<f2", ">f2", "i1", "<i2", ">i2", "<i8", ">i8", "<u2", ">u4", "<u8"]
)
def test_other_numbers_are_read_as_they_are(tmp_path, dtype):
    values = (RNG.uniform(0, 100, (4, 2, 3))).astype(dtype)
    data = load(saved(tmp_path / "a.npy", values))
    assert not data.pixels
    rows = data.rows([2, 0]).numpy()
    assert rows.dtype == (np.float64 if values.dtype.itemsize == 8 or dtype == ">u4" else np.float32)
    np.testing.assert_array_equal(rows, values[[2, 0]].reshape(2, 6))


@pytest.mark.parametrize("dtype", ["i4", "u4"])
def test_large_whole_numbers_are_not_rounded(tmp_path, dtype):
    values = np.array([[100_000_001, 3]], dtype)
    np.testing.assert_array_equal(load(saved(tmp_path / "a.npy", values)).rows([0]), values)


@pytest.mark.parametrize("order", ["C", "F"])
def test_npy_stays_on_disk(tmp_path, order):
    values = np.asarray(RNG.normal(size=(3, 4, 5)), order=order)
    path = saved(tmp_path / "A.npy", values).rename(tmp_path / "A.NPY")
    data = load(str(path))
    assert isinstance(data.values, StoredArray)
    assert (data.name, data.kind) == (str(path), "array")
    np.testing.assert_array_equal(data.values, values)


def test_npz_gives_the_one_array_of_samples_or_the_named_one(tmp_path):
    a, b = RNG.normal(size=(3, 4)), RNG.normal(size=(2, 5))
    np.savez_compressed(tmp_path / "one.npz", labels=np.arange(3), images=a)
    np.savez(tmp_path / "two.npz", a=a, b=b)
    data = load(tmp_path / "one.npz")
    assert data.name == f"{tmp_path / 'one.npz'}[images]"
    np.testing.assert_array_equal(data.values, a)
    np.testing.assert_array_equal(load(tmp_path / "two.npz", array="b").values, b)
    refused(tmp_path / "two.npz", "holds a, b; name the one array to use with --array")
    refused(tmp_path / "two.npz", "holds no array 'c'; it holds a, b", array="c")


def test_digits_come_by_name_unless_there_is_such_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = load("digits")
    np.testing.assert_array_equal(data.values, digits())
    assert data.rows(slice(0, 2)).shape == (2, 64)
    pictures(tmp_path / "digits", a=COLOUR)
    np.testing.assert_array_equal(load("digits").values, COLOUR[None])


def test_home_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    saved(tmp_path / "a.npy", ALL_BYTES)
    np.testing.assert_array_equal(load("~/a.npy").values, ALL_BYTES)


# What is refused


def test_missing_path_says_what_can_be_read(tmp_path):
    refused(tmp_path / "nothing.npy", "does not exist. Data may be .npy or .npz", "hf:owner/name", "digits")


def test_name_too_long_for_a_file_is_refused():
    refused("a" * 5000, "file name too long")


def test_home_of_nobody_is_refused():
    refused("~no-such-user-here/a.npy")


@pytest.mark.parametrize("name", ["a.npy", "a.npz", "a.bin"])
def test_unreadable_file_is_refused(tmp_path, name, monkeypatch):
    (tmp_path / name).write_bytes(b"what is in it does not matter")
    refused(lock(monkeypatch, tmp_path / name), "cannot be read (permission denied)")


def npz(save):
    content = io.BytesIO()
    save(content, x=RNG.integers(0, 256, (9, 4, 4), dtype=np.uint8))
    return content.getvalue()


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # test_damaged_npz_is_closed is about these
@pytest.mark.parametrize("name", ["a.npy", "a.npz"])
def test_file_cut_short_anywhere_is_refused(tmp_path, name):
    content = npz(np.savez_compressed) if name == "a.npz" else saved(tmp_path / name, ALL_BYTES).read_bytes()
    for length in [*range(0, len(content), 7), len(content) - 1]:
        (tmp_path / name).write_bytes(content[:length])
        refused(tmp_path / name)
    (tmp_path / name).write_bytes(content[: len(content) // 2])
    refused(tmp_path / name, "is not a complete NumPy file", "save it again")


def test_damaged_npz_is_refused(tmp_path):
    content = bytearray(npz(np.savez))
    content[len(content) // 3] ^= 255
    (tmp_path / "a.npz").write_bytes(content)
    refused(tmp_path / "a.npz", "is not a complete NumPy file", "save it again")


def test_damaged_npz_is_closed(tmp_path):
    (tmp_path / "a.npz").write_bytes(npz(np.savez)[:-9])
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        refused(tmp_path / "a.npz")
        gc.collect()
    assert not seen


def test_damaged_compressed_npz_is_refused(tmp_path):
    content = bytearray(npz(np.savez_compressed))
    start = content.index(b"x.npy") + 5 + 20  # after the local header's extra field
    content[start : start + 8] = b"\xff" * 8
    (tmp_path / "a.npz").write_bytes(content)
    refused(tmp_path / "a.npz", "is not a complete NumPy file", "save it again")


def test_damaged_npy_header_is_refused(tmp_path):
    path = saved(tmp_path / "a.npy", ALL_BYTES)
    path.write_bytes(path.read_bytes().replace(b"}", b" ", 1))
    refused(path, "is not a complete NumPy file")


@pytest.mark.parametrize("name", ["a.npy", "a.npz"])
def test_content_of_the_other_kind_of_array_file_is_read_or_refused(tmp_path, name, unchecked):
    with (tmp_path / name).open("wb") as file:
        np.save(file, ALL_BYTES) if name == "a.npz" else np.savez(file, x=ALL_BYTES)
    try:
        data = load(tmp_path / name)
    except InputError:
        return
    np.testing.assert_array_equal(data.values, ALL_BYTES)


@pytest.mark.parametrize("name", ["a.npy", "a.npz"])
def test_text_under_an_array_s_name_is_refused(tmp_path, name):
    (tmp_path / name).write_text("1, 2, 3\n4, 5, 6\n")
    refused(tmp_path / name, "save")


OBJECTS = np.array([[{}, 1], [2, 3]], object)
SPOKEN = (
    "holds Python objects (a pickle), which can run code",
    "save an array of numbers with numpy.save",
)


def test_npz_of_objects_is_refused_for_what_it_is(tmp_path):
    np.savez(tmp_path / "a.npz", x=OBJECTS)
    refused(tmp_path / "a.npz", *SPOKEN)
    refused(tmp_path / "a.npz", *SPOKEN, array="x")


def test_npy_of_objects_is_refused_for_what_it_is(tmp_path):
    refused(saved(tmp_path / "a.npy", OBJECTS, allow_pickle=True), *SPOKEN)


@pytest.mark.parametrize("name", ["a.npy", "a.npz"])
def test_pickle_by_another_name_is_refused_and_never_run(tmp_path, name):
    ran = tmp_path / "ran"
    (tmp_path / name).write_bytes(pickle.dumps(type("Evil", (), {"__reduce__": lambda self: (ran.touch, ())})()))
    refused(tmp_path / name, "numpy.save")
    assert not ran.exists()


@pytest.mark.parametrize("name", ["a.pkl", "a.pickle", "a.pt", "a.pth", "a.joblib"])
def test_pickles_are_refused_and_never_run(tmp_path, name):
    ran = tmp_path / "ran"
    (tmp_path / name).write_bytes(pickle.dumps(type("Evil", (), {"__reduce__": lambda self: (ran.touch, ())})()))
    refused(tmp_path / name, "pickle", "which can run code when", "numpy.save")
    assert not ran.exists()


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (
            np.zeros(3),
            "has shape (3,), but must be an array of samples (n, d) or images (n, height, width[, channels])",
        ),
        (np.array(1.0), "has shape (), but must be an array of samples"),
        (np.zeros((0, 3)), "holds no samples (shape (0, 3))"),
        (np.zeros((3, 0)), "zero columns"),
        (np.zeros((2, 3), "c8"), "type complex64, but must hold numbers"),
        (np.zeros((2, 3), "U3"), "type <U3, but must hold numbers"),
        (np.zeros((2, 3), "S2"), "type |S2, but must hold numbers"),
        (np.zeros((2, 3), "?"), "type bool, but must hold numbers"),
        (np.zeros((2, 3), "M8[s]"), "type datetime64[s], but must hold numbers"),
        (np.zeros((2, 3), "f4,i4"), "must hold numbers"),
        (np.array([[1, 2], [3, np.nan], [np.nan, 0]]), "row 1 holds a value that is not finite"),
        (np.array([[[1.0]], [[1.0]], [[np.inf]]]), "row 2 holds a value that is not finite"),
        (np.array([[-np.inf, 2]], np.float16), "row 0 holds a value that is not finite (NaN or infinity); leave such"),
    ],
)
@pytest.mark.parametrize("name", ["a.npy", "a.npz"])
def test_values_that_are_no_samples_are_refused(tmp_path, values, words, name):
    if name == "a.npy":
        refused(saved(tmp_path / name, values), words)
    else:  # a second array of samples, so that the name decides
        np.savez(tmp_path / name, x=values, y=ALL_BYTES)
        refused(tmp_path / name, "[x]", words, array="x")


def test_whole_npz_is_not_called_damaged(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.array([[1, np.nan]]))
    assert "not a complete NumPy file" not in refused(tmp_path / "a.npz", "row 0 holds a value", array="x")


def test_row_beyond_the_first_block_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(dataset, "_BLOCK", 4 * 8 * 3)
    values = np.zeros((11, 3))
    values[9, 1] = np.nan
    refused(saved(tmp_path / "a.npy", values), "row 9 holds")


def test_arrays_of_bytes_are_prepared_as_image_files_are(tmp_path):
    rng = np.random.default_rng(0)
    colour = rng.integers(0, 256, (5, 6, 8, 3), dtype=np.uint8)
    last = load(saved(tmp_path / "last.npy", colour), size=4)
    first = load(saved(tmp_path / "first.npy", np.moveaxis(colour, 3, 1)), size=4)
    assert last.values.shape == (5, 4, 4, 3)
    np.testing.assert_array_equal(last.values, first.values)
    np.savez(tmp_path / "a.npz", colour)
    assert load(tmp_path / "a.npz", mode="gray").shape == (6, 8)
    square = load(saved(tmp_path / "square.npy", colour[:, :, :6]), size=3).values
    mean = colour[:, :, :6].astype(float).reshape(-1, 3, 2, 3, 2, 3).mean((2, 4))
    assert np.abs(square - mean).max() <= 1  # rounded to bytes


@pytest.mark.parametrize("options", [{"size": 4}, {"mode": "gray"}])
def test_what_is_no_image_of_bytes_is_not_prepared(tmp_path, options):
    refused(saved(tmp_path / "a.npy", np.zeros((4, 8, 8))), "--size and --mode apply to images of bytes", **options)
    refused(saved(tmp_path / "b.npy", np.zeros((4, 64), np.uint8)), "has samples of shape (64,)", **options)
    refused("digits", "but this holds float64", **options)


def test_what_has_the_size_is_left_as_it_is():
    assert load("digits", size=8).values.dtype == np.float64


def test_array_s_name_is_refused_where_arrays_have_none(tmp_path):
    refused(saved(tmp_path / "a.npy", ALL_BYTES), "--array", array="x")


@pytest.mark.parametrize("name", ["a.csv", "a.mat", "a", "a.png"])
def test_unknown_kind_of_file_is_refused(tmp_path, name):
    (tmp_path / name).write_text("1, 2")
    refused(tmp_path / name, "is not a supported file type. Data may be .npy or .npz arrays, a folder of images")


# Headers that lie, and archives that hold something else


def npy(header, values=b"", version=1, length=None):
    text = header if isinstance(header, bytes) else repr(header).encode()
    size = (len(text) if length is None else length).to_bytes(2 if version == 1 else 4, "little")
    return b"\x93NUMPY" + bytes([version, 0]) + size + text + values


def form(shape, descr="<f4", fortran=False):
    return {"descr": descr, "fortran_order": fortran, "shape": shape}


LIES = {
    "rows": npy(form((10**30, 4)), bytes(64)),
    "digits": npy(f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({'9' * 4200}, {'9' * 4200})}}".encode()),
    "more digits": npy(f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({'9' * 9000}, 4)}}".encode()),
    "overflow": npy(form((2**62, 4, 4)), bytes(64)),
    "negative": npy(form((-4, -4)), bytes(64)),
    "one negative": npy(form((-1, 4)), bytes(64)),
    "nested": npy(b"(" * 9000),
    "dtype": npy(form((4, 4), "<U1000000000"), bytes(64)),
    "no dtype": npy(form((4, 4), "nonsense"), bytes(64)),
    "subarray": npy(form((4, 4), ("<f4", (10**9,))), bytes(64)),
    "text": npy(b"4 rows of 4 numbers"),
    "code": npy(b"__import__('os').getpid()"),
    "long": npy(form((4, 4)), bytes(64), version=2, length=2**32 - 1),
    "padded": npy(repr(form((4, 4))).encode() + b" " * 20_000, bytes(64), version=2),
    "version": npy(form((4, 4)), bytes(64), version=3),
    "unknown version": npy(form((4, 4)), bytes(64), version=9),
    "short": npy(form((4, 4)), bytes(63)),
}


@pytest.mark.parametrize("name", ["a.npy", "a.npz"])
@pytest.mark.parametrize("case", LIES)
def test_header_that_lies_is_refused_before_memory_is_taken(tmp_path, name, case):
    if name == "a.npy":
        (tmp_path / name).write_bytes(LIES[case])
    else:
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr("x.npy", LIES[case])
    tracemalloc.start()
    try:
        refused(tmp_path / name)
        assert tracemalloc.get_traced_memory()[1] < 1e7
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("fortran", [False, True])
def test_npz_in_either_order(tmp_path, fortran):
    values = np.asarray(RNG.normal(size=(3, 4, 5)), order="F" if fortran else "C")
    np.savez(tmp_path / "a.npz", values)
    np.testing.assert_array_equal(load(tmp_path / "a.npz").values, values)


def test_npz_with_text_beside_its_array(tmp_path):
    np.savez(tmp_path / "a.npz", x=ALL_BYTES)
    with zipfile.ZipFile(tmp_path / "a.npz", "a") as archive:
        archive.writestr("readme.txt", "text")
        archive.writestr("labels.npy", "text")
    np.testing.assert_array_equal(load(tmp_path / "a.npz", array="x").values, ALL_BYTES)
    refused(tmp_path / "a.npz", "its entry 'readme.txt' is not a NumPy array; it holds x, labels", array="readme.txt")
    refused(tmp_path / "a.npz", "[labels]: is not a NumPy array file", array="labels")
    with zipfile.ZipFile(tmp_path / "b.npz", "w") as archive:
        archive.writestr("readme.txt", "text")
    refused(tmp_path / "b.npz", "holds no array of samples (n, d) or images; it holds none")


def test_encrypted_npz_is_refused(tmp_path):
    np.savez(tmp_path / "a.npz", x=ALL_BYTES)
    content = bytearray((tmp_path / "a.npz").read_bytes())
    for mark, flags in ((b"PK\3\4", 6), (b"PK\1\2", 8)):  # as zip -e sets it in the entry's head and in the directory
        content[content.index(mark) + flags] |= 1
    (tmp_path / "a.npz").write_bytes(content)
    refused(tmp_path / "a.npz", "its array 'x' is encrypted; save it without a password")


def test_bomb_is_not_unpacked(tmp_path, monkeypatch):
    """A thousand times the size of its file, and more than the free memory."""
    np.savez_compressed(tmp_path / "a.npz", x=np.zeros((2000, 5000), np.uint8))
    assert (tmp_path / "a.npz").stat().st_size < 20_000
    monkeypatch.setattr("geomem.memory._free_memory", lambda: 2**20)
    refused(tmp_path / "a.npz", "[x]: needs 9.5 MiB of memory, but 1.0 MiB are free; save the array alone")
    monkeypatch.undo()
    assert load(tmp_path / "a.npz").shape == (5000,)


def test_directory_that_lies_is_refused(tmp_path):
    """An entry that announces more than deflate can make of its bytes."""
    header = npy(form((2**29, 4), "|u1"))
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", header + bytes(1000))
    content = (tmp_path / "a.npz").read_bytes()
    size = (len(header) + 1000).to_bytes(4, "little")
    (tmp_path / "a.npz").write_bytes(content.replace(size, (2**31 - 1).to_bytes(4, "little")))
    refused(tmp_path / "a.npz", "announces more values than it holds")


@pytest.mark.parametrize("name", ["a.npy", "a.npz", "x-idx3-ubyte", "x-idx3-ubyte.gz", "a.bin", "data_batch_1.bin"])
def test_pipes_are_refused_without_waiting(tmp_path, name):
    os.mkfifo(tmp_path / name)
    refused(tmp_path / name, "is a named pipe")


def test_names_that_are_no_utf_8(tmp_path):
    path = tmp_path / os.fsdecode(b"a\xff.npy")
    path.write_bytes(LIES["short"])
    with pytest.raises(InputError, match=r"a\\xff\.npy: is not a complete NumPy file"):
        load(path)
    saved(path, ALL_BYTES)
    assert load(path).name == f"{tmp_path}/a\\xff.npy"


@pytest.mark.parametrize("name", ["circle", "nowhere", "a" * 300, "~nobody-here/a.npy", "a\0b"])
def test_paths_that_lead_nowhere_are_refused(tmp_path, name, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "circle").symlink_to("circle")
    (tmp_path / "nowhere").symlink_to("gone")
    with pytest.raises(InputError):
        load(name)
