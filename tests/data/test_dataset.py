"""What a data set is: rows and images, labels, blocks, and a fingerprint of its values alone."""

import numpy as np
import pytest

from geomem.data import DataSet, dataset, load
from geomem.data.layout import as_images
from inputs import pictures, saved

RNG = np.random.default_rng(0)
ALL_BYTES = np.arange(256, dtype=np.uint8).reshape(2, 128)


@pytest.mark.parametrize(
    ("shape", "image"),
    [
        ((28, 28), (28, 28)),
        ((28, 28, 1), (28, 28)),
        ((1, 28, 28), (28, 28)),
        ((32, 30, 3), (32, 30, 3)),
        ((3, 32, 30), (32, 30, 3)),
        ((3, 30, 1), (3, 30)),
        ((64,), None),
        ((4, 8, 8), None),
        ((2, 3, 4, 3), None),
    ],
)
def test_shape_of_a_sample_reads_as_an_image(shape, image):
    data = DataSet("x", "array", RNG.normal(size=(2, *shape)))
    assert (len(data), data.shape, data.dim) == (2, shape, int(np.prod(shape)))
    assert data.image_shape == image


@pytest.mark.parametrize(
    ("shape", "axes"), [((3, 5, 6), (0, 2, 3, 1)), ((5, 6, 3), (0, 1, 2, 3)), ((3, 5, 3), (0, 1, 2, 3))]
)
def test_images_are_shown_with_channels_last(shape, axes):
    values = RNG.normal(size=(2, *shape))
    np.testing.assert_array_equal(as_images(values.reshape(2, -1), shape), values.transpose(axes))
    grey = RNG.normal(size=(2, 5, 6))
    for single in ((5, 6), (1, 5, 6), (5, 6, 1)):
        np.testing.assert_array_equal(as_images(grey.reshape(2, -1), single), grey)


def test_axes_are_arranged_like_another_data_set_s():
    def sized(*shape):
        return DataSet("x", "array", np.arange(np.prod(shape), dtype=np.float64).reshape(shape))

    last, first = sized(2, 5, 6, 3), sized(2, 3, 5, 6)
    np.testing.assert_array_equal(last.arranged(first).values, last.values.transpose(0, 3, 1, 2))
    np.testing.assert_array_equal(first.arranged(last).values, first.values.transpose(0, 2, 3, 1))
    assert first.arranged(sized(7, 3, 5, 6)) is first
    flat = sized(2, 1, 5, 6)
    for other in (sized(1, 5, 6), sized(1, 5, 6, 1)):
        arranged = flat.arranged(other)
        assert arranged.shape == other.shape
        np.testing.assert_array_equal(arranged.rows([1]), flat.rows([1]))
    np.testing.assert_array_equal(sized(2, 5, 6).arranged(sized(1, 5, 6, 1)).rows([1]), flat.rows([1]))


def test_label_is_a_file_or_a_number():
    assert DataSet("x", "array", ALL_BYTES).label(1) == "row 1"
    assert DataSet("x", "images", ALL_BYTES, ("a.png", "b.png")).label(1) == "b.png"


def test_blocks_cover_all_rows_once(monkeypatch):
    values = RNG.normal(size=(10, 3))
    for held in (1, 3 * 8, 4 * 3 * 8, 2**20):
        monkeypatch.setattr(dataset, "_BLOCK", held)
        blocks = list(DataSet("x", "array", values).blocks())
        np.testing.assert_array_equal(np.concatenate([block for _, block in blocks]), values)
        assert [start for start, _ in blocks] == list(np.cumsum([0, *(len(block) for _, block in blocks[:-1])]))
        assert all(len(block) == 1 or block.nbytes <= held for _, block in blocks)
    assert len(blocks) == 1


def test_fingerprint_goes_by_the_values_alone(tmp_path, monkeypatch):
    values = RNG.integers(0, 256, (3, 4, 5), dtype=np.uint8)
    path = saved(tmp_path / "a.npy", values)
    np.savez(tmp_path / "b.npz", x=values)
    mark = load(path).fingerprint()
    assert load(tmp_path / "b.npz").fingerprint() == mark
    assert load(pictures(tmp_path / "c", a=values[0], b=values[1], c=values[2])).fingerprint() == mark
    assert load(saved(tmp_path / "f.npy", np.asfortranarray(values))).fingerprint() == mark
    monkeypatch.setattr(dataset, "_BLOCK", 1)
    assert load(path).fingerprint() == mark


def test_fingerprint_changes_with_every_value_type_and_shape():
    values = RNG.normal(size=(3, 4))
    changed = []
    for place in np.ndindex(values.shape):
        other = values.copy()
        other[place] = np.nextafter(other[place], 9)
        changed.append(other)
    variants = [values, *changed, values.astype(np.float32), values.reshape(3, 2, 2), values[:2], values.view(np.int64)]
    assert len({DataSet("x", "array", v).fingerprint() for v in variants}) == len(variants)
