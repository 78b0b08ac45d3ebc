"""MNIST's and CIFAR-10's binary files and the Hugging Face hub, without a network."""

import gzip
import io
import pickle
import socket
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from PIL import Image

from geomem.data import Preparation, load
from geomem.data.hub import from_table
from geomem.errors import InputError
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
    assert isinstance(data.values, np.memmap)
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
    assert isinstance(data.values, np.memmap)
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
    "empty": (b"", "cannot be unpacked"),
    "other": (b"\x89PNG" + bytes(100), "does not begin like a file in MNIST's IDX format"),
    "magic": (b"\0\1" + idx(TRAIN)[2:], "does not begin like"),
    "start": (b"\1\0" + idx(TRAIN)[2:], "does not begin like"),
    "type": (b"\0\0\x07\3" + idx(TRAIN)[4:], "does not begin like"),
    "axes": (b"\0\0\x08\0" + idx(TRAIN)[4:], "does not begin like"),
    "short": (idx(TRAIN)[:-1], "should hold 5x4x3 values, but holds 59 bytes of them instead of 60; it is cut short"),
    "long": (idx(TRAIN) + b"1", "holds 61 bytes of them instead of 60"),
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
    refused(path, "does not begin like" if packed and case == "empty" else words)


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
    assert isinstance(data.values, np.memmap)
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
            assert str(path) in refused(source, f"holds {len(broken):,} bytes, which are no whole number", "cut short")


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


def test_binary_files_are_not_prepared(batches):
    folder, _ = batches
    refused(folder, "--size, --mode and --background are for image files and hub data", size=8)
    (folder / "train-images-idx3-ubyte").write_bytes(idx(TRAIN))
    refused(folder, "--size, --mode and --background are for image files and hub data", mode="rgb")


# The hub

COLOURS = [RNG.integers(0, 256, (4, 6, 3), dtype=np.uint8) for _ in range(3)]
LOCAL_WAY = ("save the images into a folder, or the array with numpy.save", "give that path instead")


@pytest.fixture
def datasets(tmp_path, monkeypatch):
    library = pytest.importorskip("datasets")
    monkeypatch.setattr(library.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(socket, "create_connection", lambda *_, **__: pytest.fail("asked the network"))
    library.disable_progress_bars()
    return library


@pytest.fixture
def table(datasets):
    features = datasets.Features({"label": datasets.Value("int64"), "img": datasets.Image(), "mask": datasets.Image()})
    images = [Image.fromarray(image) for image in COLOURS]
    return datasets.Dataset.from_dict({"label": [0, 1, 2], "img": images, "mask": images[::-1]}, features=features)


def test_table_gives_its_first_column_of_images_in_order(table):
    data = from_table("hf:owner/name", table, Preparation())
    assert (data.name, data.kind, data.label(2)) == ("hf:owner/name", "Hugging Face images", "row 2")
    np.testing.assert_array_equal(data.values, COLOURS)
    cut = np.asarray(Image.fromarray(COLOURS[0][:, 1:5]).convert("L"))
    np.testing.assert_array_equal(from_table("hf:x", table, Preparation(4, "gray")).values[0], cut)


def test_table_without_images_or_rows_is_refused(table):
    for part, words in ((table.select_columns(["label"]), "has no column of images; it has label"), (table.select([]), "holds no rows")):  # fmt: skip
        with pytest.raises(InputError, match=f"hf:owner/name: {words}"):
            from_table("hf:owner/name", part, Preparation())


def test_table_of_mixed_images_names_the_rows(datasets):
    images = [Image.fromarray(COLOURS[0]), Image.fromarray(COLOURS[0][:2])]
    mixed = datasets.Dataset.from_dict({"image": images}, features=datasets.Features({"image": datasets.Image()}))
    with pytest.raises(InputError, match="hf:x: mixes sizes: row 0 has 6x4 pixels, row 1 has 6x2"):
        from_table("hf:x", mixed, Preparation())


@pytest.mark.parametrize("second", [None, {"bytes": b"no image", "path": None}], ids=["none", "damaged"])
def test_row_without_a_whole_image_is_refused(datasets, second):
    good = io.BytesIO()
    Image.fromarray(COLOURS[0]).save(good, "PNG")
    rows = {"image": [{"bytes": good.getvalue(), "path": None}, second]}
    broken = datasets.Dataset.from_dict(rows, features=datasets.Features({"image": datasets.Image()}))
    with pytest.raises(InputError, match=r"hf:x: .*row 1"):
        from_table("hf:x", broken, Preparation())


@pytest.fixture
def local(tmp_path, table):
    """A folder of Parquet files, which the library takes where it takes a name."""
    folder = tmp_path / "parquet"
    folder.mkdir()
    table.to_parquet(str(folder / "train-00000-of-00001.parquet"))
    table.select([2]).to_parquet(str(folder / "test-00000-of-00001.parquet"))
    return folder


def test_library_s_own_files_are_read_without_a_network(local):
    data = load(f"hf:{local}")
    assert data.name == f"hf:{local}"
    np.testing.assert_array_equal(data.values, COLOURS)
    np.testing.assert_array_equal(load(f"hf:{local}", split="test").values, COLOURS[2:])
    assert load(f"hf:{local}", size=2, mode="gray").shape == (2, 2)


def test_offline_is_refused_without_asking_the_network(datasets, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    start = time.monotonic()
    refused("hf:owner/name", "HF_HUB_OFFLINE is set, and it was not downloaded before", *LOCAL_WAY)
    assert time.monotonic() - start < 1


@pytest.mark.parametrize("name", ["{}", "{}:no-such-configuration"])
def test_unknown_split_or_configuration_is_not_put_down_to_the_network(local, name):
    split = "train" if ":" in name else "validation"
    assert "it was not downloaded before" not in refused("hf:" + name.format(local), split=split)


@pytest.fixture(params=["0", None], ids=["zero", "unset"])
def online(request, datasets, monkeypatch):
    if request.param is None:
        monkeypatch.delenv("HF_HUB_OFFLINE")
    else:
        monkeypatch.setenv("HF_HUB_OFFLINE", request.param)


@pytest.mark.parametrize("error", [OSError("no route"), socket.gaierror(-3, "no name"), TimeoutError()])
def test_missing_network_is_told_at_once(online, monkeypatch, error):
    def fails(*_, **__):
        raise error

    monkeypatch.setattr(socket, "create_connection", fails)
    start = time.monotonic()
    refused("hf:owner/name", "the hub cannot be reached from here", *LOCAL_WAY)
    assert time.monotonic() - start < 1


def test_name_look_up_that_hangs_is_not_waited_for(online, monkeypatch):
    over = threading.Event()
    monkeypatch.setattr(socket, "create_connection", lambda *_, **__: over.wait(5) and io.BytesIO())
    start = time.monotonic()
    refused("hf:owner/name", "the hub cannot be reached from here", *LOCAL_WAY)
    took = time.monotonic() - start
    over.set()
    assert took < 1


HANGING = """
import os, socket, sys, time, types
os.environ.pop("HF_HUB_OFFLINE", None)
def fails(*_, **__):
    raise ConnectionError("no network")
sys.modules["datasets"] = types.SimpleNamespace(
    __spec__=object(),
    disable_progress_bars=lambda: None, load_dataset=fails, config=types.SimpleNamespace(HF_HUB_OFFLINE=False)
)
socket.create_connection = lambda *_, **__: time.sleep(2.5)
from geomem.data import load
try:
    load("hf:owner/name")
except ValueError as error:
    print(time.time(), error)
"""


def test_name_look_up_that_hangs_does_not_hold_the_program_back():
    done = subprocess.run([sys.executable, "-c", HANGING], capture_output=True, text=True, check=True, timeout=60)
    told, message = done.stdout.split(maxsplit=1)
    assert "cannot be reached" in message
    assert time.time() - float(told) < 1.2


@pytest.fixture
def reached(online, monkeypatch):
    """The hub answers; the addresses that were asked."""
    asked = []

    def connects(address, timeout=None):
        asked.append(address)
        return io.BytesIO()

    monkeypatch.setattr(socket, "create_connection", connects)
    return asked


def test_reachable_hub_is_asked_for_the_name_configuration_and_split(datasets, table, reached, monkeypatch):
    calls = []
    monkeypatch.setattr(datasets, "load_dataset", lambda *a, **k: calls.append((a, k)) or table)
    np.testing.assert_array_equal(load("hf:owner/name").values, COLOURS)
    load("hf:owner/name:fine", split="test")
    assert calls == [(("owner/name", None), {"split": "train"}), (("owner/name", "fine"), {"split": "test"})]
    assert set(reached) == {("huggingface.co", 443)}


@pytest.mark.parametrize(
    ("error", "reason"), [(RuntimeError("it is gated\nTraceback"), "it is gated"), (KeyError(), "KeyError")]
)
def test_hub_s_refusal_is_passed_on_in_one_line(datasets, reached, monkeypatch, error, reason):
    def fails(*_, **__):
        raise error

    monkeypatch.setattr(datasets, "load_dataset", fails)
    message = refused("hf:owner/name", f"could not be loaded: {reason}; check its name", *LOCAL_WAY)
    assert "\n" not in message


@pytest.mark.parametrize("place", ["hub/datasets--owner--name", "datasets/owner___name"])
def test_what_was_downloaded_before_needs_no_network(datasets, table, online, monkeypatch, tmp_path, place):
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    for name in ("HF_HUB_CACHE", "HF_DATASETS_CACHE"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / place).mkdir(parents=True)

    def fails(*_, **__):
        raise OSError

    monkeypatch.setattr(socket, "create_connection", fails)
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: table)
    np.testing.assert_array_equal(load("hf:owner/name").values, COLOURS)


def test_missing_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    refused("hf:owner/name", "needs the extra hub: pip install 'geomem[hub]'", *LOCAL_WAY)
