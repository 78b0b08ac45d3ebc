"""MNIST's and CIFAR-10's binary files."""

import gzip
import pickle
import tracemalloc

import numpy as np
import pytest
from PIL import Image

from geomem.data import load
from geomem.data.stored import StoredArray
from inputs import lock, refused

RNG = np.random.default_rng(0)
TRAIN = RNG.integers(0, 256, (5, 4, 3), dtype=np.uint8)
TEST = RNG.integers(0, 256, (2, 4, 3), dtype=np.uint8)
CODES = {"u1": 8, "i1": 9, "i2": 11, "i4": 12, "f4": 13, "f8": 14}


def idx(array):
    """An array as the bytes of an IDX file."""
    dtype = array.dtype.newbyteorder(">")
    head = bytes([0, 0, CODES[array.dtype.str[1:]], array.ndim]) + np.array(array.shape, ">u4").tobytes()
    return head + array.astype(dtype).tobytes()


def cifar(images):
    """Images (n, 32, 32, 3) as the bytes of a CIFAR-10 batch: a label, then all red, all green, all blue values."""
    return b"".join(bytes([i % 10]) + image.transpose(2, 0, 1).tobytes() for i, image in enumerate(images))


# MNIST's format


@pytest.mark.parametrize("dtype", CODES)
def test_idx_is_read_value_for_value_and_stays_on_disk(tmp_path, dtype):
    values = RNG.integers(0, 100, (3, 4, 5)).astype(dtype)
    path = tmp_path / "t10k-images-idx3-ubyte"
    path.write_bytes(idx(values))
    data = load(path)
    assert isinstance(data.values, StoredArray)
    assert (data.kind, data.name, data.pixels) == ("MNIST-format images", str(path), dtype == "u1")
    np.testing.assert_array_equal(data.values, values)
    expected = values / 127.5 - 1 if dtype == "u1" else values
    np.testing.assert_allclose(data.rows(slice(None)), expected.reshape(3, 20), atol=1e-7)


@pytest.mark.parametrize("name", ["train-images-idx3-ubyte.gz", "train-images.idx3-ubyte", "x-idx3-float"])
def test_idx_is_known_by_its_name_also_compressed(tmp_path, name):
    (tmp_path / name).write_bytes(gzip.compress(idx(TRAIN)) if name.endswith(".gz") else idx(TRAIN))
    np.testing.assert_array_equal(load(tmp_path / name).values, TRAIN)
    np.testing.assert_array_equal(load(tmp_path).values, TRAIN)


def test_mnist_s_folder_means_its_training_images(tmp_path):
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(idx(TEST))
    np.testing.assert_array_equal(load(tmp_path).values, TEST)
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(TRAIN)))
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(np.zeros(5, np.uint8)))
    Image.fromarray(TEST[0]).save(tmp_path / "preview.png")
    np.testing.assert_array_equal(load(tmp_path).values, TRAIN)
    # An unpacked copy beside it is the same data, and can be mapped.
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx(TRAIN))
    data = load(tmp_path)
    assert isinstance(data.values, StoredArray)
    np.testing.assert_array_equal(data.values, TRAIN)


def test_several_idx_files_must_be_told_apart(tmp_path):
    for name in ("a-idx3-ubyte", "b-idx3-ubyte"):
        (tmp_path / name).write_bytes(idx(TRAIN))
    refused(tmp_path, "holds a-idx3-ubyte, b-idx3-ubyte; name the file to use")


def test_folder_named_like_an_idx_file_is_passed_over(tmp_path):
    inner = tmp_path / "train-images-idx3-ubyte"
    inner.mkdir()
    (inner / "train-images-idx3-ubyte").write_bytes(idx(TRAIN))
    (tmp_path / "train-images.idx3-ubyte").write_bytes(idx(TRAIN))
    np.testing.assert_array_equal(load(tmp_path).values, TRAIN)


DAMAGED = {
    "empty": (b"", "does not begin like"),
    "other": (b"\x89PNG" + bytes(100), "does not begin like a file in MNIST's IDX format"),
    "magic": (b"\0\1" + idx(TRAIN)[2:], "does not begin like"),
    "start": (b"\1\0" + idx(TRAIN)[2:], "does not begin like"),
    "type": (b"\0\0\x07\3" + idx(TRAIN)[4:], "does not begin like"),
    "axes": (b"\0\0\x08\0" + idx(TRAIN)[4:], "does not begin like"),
    "short": (idx(TRAIN)[:-1], "should hold 5x4x3 values, but holds 59 bytes of them instead of 60; it is cut short"),
    "long": (idx(TRAIN) + b"1", "61 bytes of them instead of 60"),
    "no rows": (idx(TRAIN[:0]), "holds no samples"),
    "labels": (idx(np.zeros(5, np.uint8)), "has shape (5,)"),
    "infinite": (idx(np.array([[[1.0]], [[np.inf]]])), "row 1 holds a value that is not finite"),
}


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gz"])
@pytest.mark.parametrize("case", DAMAGED)
def test_damaged_idx_is_refused(tmp_path, case, packed):
    content, words = DAMAGED[case]
    path = tmp_path / ("train-images-idx3-ubyte" + ".gz" * packed)
    path.write_bytes(gzip.compress(content) if packed else content)
    refused(path, words)


@pytest.mark.parametrize("length", [2, 5, 7, 8, 15, 16])
def test_idx_cut_short_in_its_head_is_refused(tmp_path, length):
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(idx(TRAIN)[:length])
    refused(path, "it is")


def test_damaged_gz_is_refused(tmp_path):
    path = tmp_path / "train-images-idx3-ubyte.gz"
    content = gzip.compress(idx(TRAIN))
    for broken in (content[:-9], content[:20], b"", b"text", content[:10] + b"\xff" * 30):
        path.write_bytes(broken)
        if broken:
            refused(path, "cannot be unpacked", "it is damaged or not what its name says")
        else:
            refused(path, "it is damaged")


def test_unreadable_idx_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(idx(TRAIN))
    refused(lock(monkeypatch, path), "ermission denied")


def test_unreadable_idx_is_not_called_damaged(tmp_path, monkeypatch):
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(idx(TRAIN))
    assert "damaged" not in refused(lock(monkeypatch, path))


# CIFAR-10


@pytest.fixture
def batches(tmp_path):
    """CIFAR-10's folder in small, and its training images."""
    images = RNG.integers(0, 256, (10, 32, 32, 3), dtype=np.uint8)
    for i in range(5):
        (tmp_path / f"data_batch_{i + 1}.bin").write_bytes(cifar(images[2 * i : 2 * i + 2]))
    (tmp_path / "test_batch.bin").write_bytes(cifar(255 - images))
    (tmp_path / "batches.meta.txt").write_text("airplane\n")
    return tmp_path, images


def test_cifar_folder_is_its_training_batches_in_order(batches):
    folder, images = batches
    data = load(folder)
    assert (data.kind, data.name, data.image_shape) == ("CIFAR-10 binary batches", str(folder), (32, 32, 3))
    np.testing.assert_array_equal(data.values, images)
    for path in folder.glob("data_batch_*"):
        path.unlink()
    np.testing.assert_array_equal(load(folder).values, 255 - images)


def test_one_cifar_batch_stays_on_disk(batches):
    folder, images = batches
    data = load(folder / "data_batch_2.bin")
    assert isinstance(data.values, StoredArray)
    assert data.name == str(folder / "data_batch_2.bin")
    np.testing.assert_array_equal(data.values, images[2:4])
    np.testing.assert_allclose(data.rows([1])[0], images[3].reshape(-1) / 127.5 - 1, atol=1e-7)


def test_cifar_s_pixels_lie_where_its_page_says():
    """So that the writer above, which the other tests trust, is no mirror image of the reader."""
    image = np.zeros((1, 32, 32, 3), np.uint8)
    image[0, 0, 1] = (1, 2, 3)
    image[0, 1, 0] = (4, 5, 6)
    record = cifar(image)
    assert [record[1 + 1], record[1 + 1024 + 1], record[1 + 2048 + 1]] == [1, 2, 3]
    assert [record[1 + 32], record[1 + 1024 + 32], record[1 + 2048 + 32]] == [4, 5, 6]


def test_cifar_that_is_no_whole_number_of_records_is_refused(batches):
    folder, _ = batches
    path = folder / "data_batch_3.bin"
    content = path.read_bytes()
    for broken in (content[:-1], content + b"1", b""):
        path.write_bytes(broken)
        for source in (path, folder):
            assert str(path) in refused(
                source, f"holds {len(broken):,} bytes, not a multiple of CIFAR-10's record size", "cut short"
            )


def test_labels_that_are_not_cifar_10_s_are_refused(batches):
    folder, _ = batches
    path = folder / "data_batch_3.bin"
    path.write_bytes(b"\x0a" + path.read_bytes()[1:])
    refused(path, "holds labels above 9")


@pytest.mark.parametrize("name", ["data_batch_1", "test_batch"])
def test_cifar_s_pickle_is_refused_and_never_run(tmp_path, name):
    ran = tmp_path / "ran"
    (tmp_path / name).write_bytes(pickle.dumps(type("Evil", (), {"__reduce__": lambda self: (ran.touch, ())})()))
    words = ("is CIFAR-10's Python version, a pickle", "cifar-10-binary.tar.gz", "data_batch_1.bin")
    refused(tmp_path / name, *words)
    if name == "data_batch_1":
        assert str(tmp_path / name) in refused(tmp_path, *words)
    assert not ran.exists()


def test_cifar_s_binary_version_is_read_beside_its_pickles(batches):
    folder, images = batches
    (folder / "data_batch_1").write_bytes(b"a pickle")
    np.testing.assert_array_equal(load(folder).values, images)


def test_binary_files_are_prepared_as_image_files_are(batches, tmp_path):
    folder, images = batches
    shrunk = load(folder, size=8, mode="gray")
    assert shrunk.values.shape == (len(images), 8, 8)
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for i, image in enumerate(images[:3]):
        Image.fromarray(image).save(pictures / f"{i}.png")
    np.testing.assert_array_equal(shrunk.values[:3], load(pictures, size=8, mode="gray").values)
    assert "--background applies to image files" in refused(folder, background="black")


def test_gz_is_unpacked_as_far_as_its_header_says(tmp_path, monkeypatch):
    path = tmp_path / "x-idx3-ubyte.gz"
    path.write_bytes(gzip.compress(idx(TRAIN) + bytes(10**8), compresslevel=1))
    tracemalloc.start()
    try:
        refused(path, "should hold 5x4x3 values, but holds at least 61 bytes of them instead of 60")
        assert tracemalloc.get_traced_memory()[1] < 5e6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("packed", [False, True])
def test_idx_header_that_claims_more_than_memory_is_refused(tmp_path, packed):
    path = tmp_path / ("x-idx3-ubyte" + ".gz" * packed)
    content = bytes([0, 0, 8, 4]) + b"\xff" * 16 + bytes(100)
    path.write_bytes(gzip.compress(content) if packed else content)
    refused(path, "needs more memory than any computer has" if packed else "it is cut short or damaged")
