"""What a sweep is asked for: the paper's sizes and readings, what is refused, and which images each size is trained on."""

import json
import shlex
from dataclasses import asdict
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from geomem.data import DataSet, load
from geomem.errors import InputError
from geomem.jobs.parsing import parse_seeds, seeds_text
from geomem.jobs.sweep.request import SweepRequest
from geomem.jobs.sweep.settings import SweepSettings, cell_name, paper_sizes, reading_of, settings_for, times_of
from geomem.training.images import divided
from geomem.training.unet import SHAPES

DOUBLED = (500, 1000, 2000, 4000, 8000, 16_000, 32_000)
SUPP_A = (2, 4, 8, 16, 32, 64, 128, 256, 325, 400)


def asked(*sizes: int, **options: Any) -> SweepRequest:
    return SweepRequest("data", sizes, **{"preset": "mlp", **options})


@pytest.fixture(scope="module")
def digits() -> DataSet:
    return load("digits")


@pytest.fixture(scope="module")
def doubled() -> DataSet:
    """12 distinct images, each twice."""
    once = np.random.default_rng(0).integers(0, 256, (12, 4, 4), dtype=np.uint8)
    return DataSet("doubled.npy", "array", np.concatenate([once, once[::-1]]))


@pytest.mark.parametrize(
    ("network", "available", "sizes"),
    [
        ("mnist", 59_000, (*SUPP_A, *DOUBLED, 59_000)),
        ("cifar10", 49_000, (*DOUBLED, 49_000)),
        ("celeba", 161_770, (100, 200, *DOUBLED, 64_000, 128_000, 161_770)),
        ("mlp", 1438, (500, 1000, 1438)),
        # All is one of the doubled, or few more: no size twice, none left out.
        ("cifar10", 1000, (500, 1000)),
        ("cifar10", 1001, (500, 1000, 1001)),
        ("cifar10", 500, (500,)),
        ("cifar10", 60, (60,)),
        ("mnist", 60, (2, 4, 8, 16, 32, 60)),
        ("celeba", 150, (100, 150)),
    ],
)
def test_paper_sizes_double_from_500_to_all_with_the_extra_points_of_supp_a(
    network: str, available: int, sizes: tuple[int, ...]
) -> None:
    assert paper_sizes(network, available) == sizes


def test_readings_are_the_paper_s_for_its_own_shapes_and_mnist_s_in_proportion_elsewhere() -> None:
    found = {name: reading_of(shape) for name, shape in SHAPES.items()}
    assert {n: (p.discard, p.threshold, p.step) for n, p in found.items()} == {
        "mnist": (100, 15, 0),
        "cifar10": (1000, 10, 15),
        "celeba": (1000, 10, 0),
    }
    other = reading_of((1, 8, 8))
    assert (other.discard, other.threshold, other.step) == (8, 15, 0)  # 64 * 100 / 784 = 8.16
    assert reading_of((3, 28, 28)).discard == 300


def test_times_are_those_asked_for_once_each_or_ddpm_s_at_four_steps() -> None:
    noise = 1 / np.cumprod(1 - np.linspace(1e-4, 0.02, 1000)) - 1
    assert times_of((), 0) == pytest.approx(noise[[0, 30, 100, 250]], rel=1e-9)
    assert times_of((), 15) == pytest.approx(noise[[15, 30, 100, 250]], rel=1e-9)
    assert times_of((1.0, 0.1, 1.0), 15) == (0.1, 1.0)


def test_settings_say_what_each_cell_needs(digits: DataSet) -> None:
    made = settings_for(digits, asked(20, 2, 20, seeds=(3, 1), steps=7))
    assert made.sizes == (2, 20)
    assert made.cells == ((2, 3), (2, 1), (20, 3), (20, 1))
    # A fifth of 1,797 distinct images is held out, 8x8 of 784 pixels are left out of Alg. 3.
    assert (made.training.held_out, made.discard, made.threshold) == (359, 8, 15)
    assert (made.training.steps, made.training.shape, made.training.data[1]) == (7, (1, 8, 8), digits.fingerprint())
    assert made.times == times_of((), 0)
    few = settings_for(digits, SweepRequest("data", "paper", preset="mlp", hold_out=3, points=50, times=(0.5, 0.2)))
    assert (few.points, few.times, few.sizes) == (3, (0.2, 0.5), (500, 1000, 1794))


def test_at_most_a_thousand_images_are_held_out() -> None:
    values = np.arange(5500, dtype=np.uint16).view(np.uint8).reshape(-1, 1, 2).repeat(2, 1)
    made = settings_for(DataSet("many", "array", values), SweepRequest("data", "paper", preset="mlp"))
    assert (made.training.held_out, made.sizes[-1]) == (1000, 4500)


def test_settings_come_back_from_json(digits: DataSet) -> None:
    made = settings_for(digits, asked(2, 20, seeds=(0, 4), noise_process="ve", times=(0.1, 1 / 3)))
    held = json.loads(json.dumps({"format": "of a run", "command": "sweep", **asdict(made)}))
    assert SweepSettings.read(held) == made
    del held["threshold"]
    with pytest.raises(KeyError, match="threshold"):
        SweepSettings.read(held)


def test_a_request_comes_back_from_json_and_from_its_command() -> None:
    one = asked(2, 400, seeds=(7,), times=(0.1, 0.3), size=32, mode="gray", precision="float32", hold_out=9)
    assert SweepRequest.read(json.loads(one.to_json())) == one
    words = shlex.split(one.command_line("geomem sweep"))
    assert words[words.index("--seeds") + 1] == "7,"
    assert words[words.index("--sizes") + 1] == "2,400"
    assert "--limit" not in words
    assert "--sizes paper" in SweepRequest("data", "paper", preset="mlp").command_line("geomem sweep")


def test_names_of_cells_sort_as_sizes_do() -> None:
    assert cell_name(400, 12) == "n000400-seed12"
    names = [cell_name(size, 0) for size in (2, 16, 400, 59_000, 161_770)]
    assert sorted(names) == names


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"sizes": (2, 1439)}, ["--sizes", "1,797 distinct", "1,439", "359", "can be 1,438"]),
        ({"sizes": (2, 1788), "hold_out": 10}, ["--hold-out", "1,788", "can be 1,787"]),
        ({"sizes": (1, 20)}, ["--sizes", "at least 2", "got 1"]),
        ({"sizes": (-5,)}, ["--sizes", "at least 2", "got -5"]),
        ({"sizes": ()}, ["--sizes", "at least one size"]),
        ({"sizes": "all"}, ["--sizes", "'all'", "paper"]),
        ({"seeds": ()}, ["--seeds", "one seed"]),
        ({"seeds": (0, -1)}, ["--seeds", "at least 0", "got -1"]),
        ({"seeds": (4, 4)}, ["--seeds", "twice"]),
        ({"hold_out": 1}, ["--hold-out", "at least 2", "got 1"]),
        ({"points": 1}, ["--points", "at least 2", "got 1"]),
        ({"samples": 0}, ["--samples", "at least 1"]),
        ({"preset": "big"}, ["--preset", "'big'", "small-unet"]),
        ({"noise_process": "edm"}, ["--noise-process", "'edm'", "vp, ve"]),
        ({"steps": 0}, ["--steps", "at least 1", "got 0"]),
        ({"times": (0.0, 1.0)}, ["--times", "above 0"]),
        ({"times": (float("nan"),)}, ["--times", "finite"]),
    ],
)
def test_what_cannot_be_done_is_refused_with_what_to_do(digits: DataSet, options: dict, words: list[str]) -> None:
    with pytest.raises(InputError) as raised:
        settings_for(digits, SweepRequest("data", **{"preset": "mlp", "sizes": (2, 20), **options}))
    for word in words:
        assert word in str(raised.value)


def test_the_largest_size_that_is_named_can_be_asked_for(digits: DataSet) -> None:
    assert settings_for(digits, asked(1438)).sizes == (1438,)
    assert settings_for(digits, asked(1787, hold_out=10)).sizes == (1787,)


def test_images_that_the_preset_does_not_take_are_refused_before_anything_is_done(digits: DataSet) -> None:
    with pytest.raises(InputError, match="28x28"):
        settings_for(digits, asked(2, preset="mnist"))


@pytest.mark.parametrize("sizes", ["paper", (2,)])
def test_too_many_held_out_images_are_what_is_blamed(digits: DataSet, sizes: str | tuple[int, ...]) -> None:
    with pytest.raises(InputError) as raised:
        settings_for(digits, SweepRequest("data", sizes, preset="mlp", hold_out=5000))
    assert "--hold-out" in str(raised.value)
    assert "3,203" not in str(raised.value)


def test_subsets_of_one_seed_are_nested_and_held_out_ones_stay_and_are_no_duplicate(doubled: DataSet) -> None:
    flat = doubled.values.reshape(len(doubled), -1)
    for seed in (0, 1):
        parts = [divided(doubled, size, 4, seed) for size in (2, 5, 8)]
        for (fewer, _), (more, _) in pairwise(parts):
            assert fewer.tolist() == more[: fewer.size].tolist()
        for rows, apart in parts:
            assert apart.tolist() == parts[0][1].tolist()
            seen, unseen = ({flat[i].tobytes() for i in index} for index in (rows, apart))
            # By value: a duplicate of a held-out image is not trained on under another number, nor one image twice.
            assert (len(seen), len(unseen), seen & unseen) == (rows.size, 4, set())
    assert sorted(divided(doubled, 8, 4, 0)[0]) != sorted(divided(doubled, 8, 4, 1)[0])


def test_duplicates_do_not_count_as_images(doubled: DataSet) -> None:
    assert divided(doubled, None, 4, 0)[0].size == 8
    with pytest.raises(InputError, match="12 distinct images"):
        divided(doubled, 9, 4, 0)
    with pytest.raises(InputError, match=r"12 distinct images.*can be 10"):
        settings_for(doubled, asked(11, hold_out=2))


def test_data_that_are_no_images_or_lie_on_another_scale_are_refused() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(InputError, match="not images"):
        settings_for(DataSet("rows", "array", rng.normal(size=(50, 7))), asked(2))
    with pytest.raises(InputError, match="-1 to 1"):
        settings_for(DataSet("bytes", "array", rng.uniform(0, 255, (50, 8, 8)).astype(np.float32)), asked(2))


@pytest.mark.parametrize(
    ("text", "seeds"),
    [("1", (0,)), ("3", (0, 1, 2)), ("0,7", (0, 7)), (" 4 , 2 ", (4, 2)), ("0,0", (0, 0)), ("5,", (5,))],
)
def test_seeds_are_a_number_of_them_or_a_list(text: str, seeds: tuple[int, ...]) -> None:
    assert parse_seeds(text) == seeds
    assert parse_seeds(seeds_text(seeds)) == seeds


@pytest.mark.parametrize("text", ["", "0", "-1", "1,-1", "5,,", "a", "1.5", "1;2", "1:3"])
def test_text_that_is_no_seeds_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=f"--seeds: .*{text!r}"):
        parse_seeds(text)
