"""Samples compared with data: the record `copies`, its findings and box, and how samples are prepared."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data.data_inputs import FINE, ROWS, save_images
from geomem.data import DataSet, load
from geomem.data.matching import like, unseen
from geomem.data.used import used_rows
from geomem.errors import InputError
from geomem.findings.copies import copies_box, copies_findings, copies_numbers, copies_section
from geomem.measure.copies import compared


def data_set(values: np.ndarray, name: str = "data") -> DataSet:
    return DataSet(name, "array", values)


def numbers(
    data: np.ndarray, samples: np.ndarray, held_out: np.ndarray | None = None, limit: int | None = None
) -> dict[str, object]:
    real = data_set(data)
    control = None if held_out is None else data_set(held_out, "fresh.npy")
    record = compared(real, data_set(samples), control, used_rows(real, limit=limit, seed=0), seed=0)
    return copies_numbers(record)


def test_one_identical_sample_is_a_reproduction() -> None:
    found = numbers(FINE[:200], FINE[199:400])
    assert (found["verdict"], found["identical"]) == ("identical", 1)
    assert "1 of 201 samples equals a training image exactly" in copies_box(found, "image").verdict
    first = copies_findings(found, "image")[0]
    assert (first.key, first.text) == ("copies.identical", "1 sample equals a training image exactly.")


def test_noisy_copies_that_the_rate_misses_are_told_by_their_ranks() -> None:
    noise = np.random.default_rng(0).normal(0, 0.2, (200, 8, 8))
    found = numbers(FINE[:400], FINE[:200] + noise)
    assert found["generated"].value < 0.05
    assert found["nearer"].low > 0.8
    assert found["verdict"] == "likely"
    assert "probably" in copies_box(found, "image").verdict


def test_samples_far_from_all_data_are_not_judged() -> None:
    found = numbers(FINE[:200], 5 * np.random.default_rng(0).normal(size=(200, 8, 8)))
    assert found["verdict"] == "far"
    meaning = next(f.text for f in copies_findings(found, "image") if f.key == "copies.meaning")
    assert "another scale" in meaning
    assert "simply bad" in meaning


def test_small_controls_and_large_ones_count() -> None:
    assert numbers(FINE[:200], FINE[200:400], FINE[400:422])["verdict"] == "too few"
    found = numbers(FINE[:200], FINE[200:400], FINE[400:600])
    assert found["verdict"] == "no sign"
    control = next(f for f in copies_findings(found, "image") if f.key == "copies.control")
    assert "200 held-out images (fresh.npy)" in control.text
    assert control.value is found["control"]


def test_copies_are_looked_for_in_all_rows_whatever_the_limit() -> None:
    assert numbers(FINE[:400], FINE[:100] + 1e-3, limit=60)["generated"].count == 100


def test_near_duplicates_in_the_data_hide_no_copy() -> None:
    twins = FINE[:50] + np.random.default_rng(0).normal(0, 1e-4, (50, 8, 8))
    found = numbers(np.concatenate([FINE[:200], twins]), FINE[:50] + 1e-3)
    assert found["generated"].count == 50


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("yes", "memorizes"),
        ("likely", "probably"),
        ("far", "cannot be judged"),
        ("too few", "Too few"),
        ("no sign", "No sign"),
    ],
)
def test_every_verdict_says_how_sure_it_is_and_what_to_do(word: str, said: str) -> None:
    box = copies_box({**numbers(FINE[:60], FINE[60:100]), "verdict": word, "identical": 0}, "image")
    assert said in box.verdict
    assert "by chance" in box.sure
    assert box.next.endswith(".")


def test_the_section_lists_every_sample_the_closest_first() -> None:
    real, made = data_set(FINE[:60]), data_set(FINE[60:100])
    record = compared(real, made, None, used_rows(real, limit=None, seed=0), seed=0)
    section = copies_section(record, copies_numbers(record), real.shape, "note", "image")
    rates, closest = section.tables
    assert [row[:3] for row in rates.rows] == [["generated samples", 40, 0], ["training data (control)", 60, 0]]
    ratios = [row[2] for row in closest.rows]
    assert ratios == sorted(ratios)
    assert len(ratios) == 40
    assert len(section.pictures) == 1
    assert copies_section(record, copies_numbers(record), None, "note", "sample").pictures == []


# --- preparation ---


def test_samples_are_brought_to_the_size_and_the_channels_of_square_data(tmp_path: Path) -> None:
    real = data_set(ROWS[:60])
    large = ROWS[100:150].repeat(4, axis=1).repeat(4, axis=2)
    save_images(tmp_path / "made", np.stack([large] * 3, -1))
    made = like(real, tmp_path / "made", "--samples")
    assert (made.shape, len(made), made.notes) == ((8, 8), 50, ())
    np.testing.assert_array_equal(made.values, ROWS[100:150])
    Image.fromarray(np.stack([large[0], large[0] // 2, large[0]], -1)).save(tmp_path / "made" / "0000.png")
    (note,) = like(real, tmp_path / "made", "--samples").notes
    assert note == "They are in color and were converted to grayscale, as the data are."
    coloured = data_set(np.stack([ROWS[:60]] * 3, -1))
    save_images(tmp_path / "gray", ROWS[100:150])
    made = like(coloured, tmp_path / "gray", "--samples")
    assert made.shape == (8, 8, 3)
    assert "gray in three channels" in made.notes[0]


def test_arrays_are_brought_to_the_size_that_the_data_were_resized_to(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (30, 8, 8), dtype=np.uint8)
    for name, rows in {"data": images[:20], "samples": images[20:]}.items():
        np.save(tmp_path / f"{name}.npy", rows)
    real = load(tmp_path / "data.npy", size=4)
    made = like(real, tmp_path / "samples.npy", "--samples", size=4)
    np.testing.assert_array_equal(made.values, load(tmp_path / "samples.npy", size=4).values)
    with pytest.raises(InputError, match="they must agree"):
        like(real, tmp_path / "samples.npy", "--samples")
    np.save(tmp_path / "small.npy", made.values)
    assert like(real, tmp_path / "small.npy", "--samples", size=4).shape == (4, 4)


def test_transparent_samples_get_the_background_of_the_data(tmp_path: Path) -> None:
    pixels = np.zeros((2, 8, 8, 4), np.uint8)
    pixels[1, ..., 3] = 255
    save_images(tmp_path / "made", pixels)
    save_images(tmp_path / "real", ROWS[:50, ..., None].repeat(3, -1))
    real = load(tmp_path / "real")
    for background, expected in (("white", 255), ("black", 0)):
        made = like(real, tmp_path / "made", "--samples", background=background)
        assert np.all(made.values[0] == expected)
        assert np.all(made.values[1] == 0)
        assert made.notes == (
            f"1 image has transparent pixels; they were composited on {background} (see --background).",
        )


def test_held_out_data_must_be_many_and_none_of_the_training_data() -> None:
    unseen(data_set(FINE[:100]), data_set(FINE[100:120]), few="Give more.")
    with pytest.raises(InputError, match="--held-out: 5 of the 40 samples of fresh are among those of data"):
        unseen(data_set(FINE[:100]), data_set(FINE[95:135], "fresh"), few="Give more.")
    with pytest.raises(InputError, match=r"holds 19 samples; at least 20 are needed. Give more."):
        unseen(data_set(FINE[:100]), data_set(FINE[100:119]), few="Give more.")
