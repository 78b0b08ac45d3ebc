"""Data sets of the Hugging Face hub, without a network."""

import io
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
from inputs import refused

RNG = np.random.default_rng(0)
COLOURS = [RNG.integers(0, 256, (4, 6, 3), dtype=np.uint8) for _ in range(3)]
LOCAL_WAY = ("save the images into a folder or an array with numpy.save", "give that path instead")


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
    with pytest.raises(InputError, match=r"^hf:x, row 1: .*; choose other data; in hf:x, 1 image cannot be read"):
        from_table("hf:x", broken, Preparation())
    data = from_table("hf:x", broken, Preparation(), skip_unreadable=True)
    assert (len(data), data.label(0), data.notes) == (1, "row 0", ("1 image could not be read and was left out.",))


def test_images_in_files_of_their_own_are_read(datasets, tmp_path):
    Image.fromarray(COLOURS[0]).save(tmp_path / "a.png")
    rows = {"image": [{"bytes": None, "path": str(tmp_path / "a.png")}]}
    there = datasets.Dataset.from_dict(rows, features=datasets.Features({"image": datasets.Image()}))
    np.testing.assert_array_equal(from_table("hf:x", there, Preparation()).values, [COLOURS[0]])


def test_only_known_formats_are_opened(datasets, monkeypatch):
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("a program was started"))
    rows = {"image": [{"bytes": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 5 5\n", "path": None}]}
    table = datasets.Dataset.from_dict(rows, features=datasets.Features({"image": datasets.Image()}))
    with pytest.raises(InputError, match=r"hf:x, row 0: is not an image that can be read \(PNG, JPEG"):
        from_table("hf:x", table, Preparation())


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
socket.create_connection = lambda *_, **__: time.sleep(600)
from geomem.data import load
try:
    load("hf:owner/name")
except ValueError as error:
    print(error)
"""


@pytest.mark.slow
def test_name_look_up_that_hangs_does_not_hold_the_program_back():
    """The program ends long before the look-up would."""
    done = subprocess.run([sys.executable, "-c", HANGING], capture_output=True, text=True, check=True, timeout=120)
    assert "cannot be reached" in done.stdout


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
