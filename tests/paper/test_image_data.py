"""Figs. 6 and 7: where the images are looked for, and the sweeps that the settings stand for."""

from pathlib import Path

import pytest
import xarray as xr
from tiny import reproduce

from geomem.errors import InputError
from geomem.paper.images import SCALED, ImageSettings, ImageSweep, sources
from geomem.records import Run


def found(name: str, folder: Path) -> tuple[str, int | None]:
    (request,) = sources(ImageSettings({name: ImageSweep("celeba", "paper", image_size=64)}), folder).values()
    return request.data, request.size


@pytest.mark.parametrize("scale", ["reduced", "full"])
def test_data_that_do_not_come_along_are_asked_for(tmp_path: Path, scale: str) -> None:
    with pytest.raises(InputError, match=r"mnist: .*--data.*mnist\.npy, or mnist\.npz.*train-images-idx3-ubyte"):
        reproduce("fig6", scale=scale, out=tmp_path / "none")
    with pytest.raises(InputError, match=r"holds no mnist; it should hold mnist\.npy"):
        reproduce("fig6", scale=scale, out=tmp_path / "empty", data=str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_data_are_found_in_the_forms_that_people_have(tmp_path: Path) -> None:
    (tmp_path / "celeba").mkdir()
    (tmp_path / "celeba" / "a.png").touch()
    assert found("celeba", tmp_path) == (str(tmp_path / "celeba"), 64)
    (tmp_path / "celeba.npy").touch()
    assert found("celeba", tmp_path) == (str(tmp_path / "celeba.npy"), None)
    (tmp_path / "mnist").mkdir()
    (tmp_path / "mnist" / "train-images-idx3-ubyte.gz").touch()
    assert found("mnist", tmp_path) == (str(tmp_path / "mnist" / "train-images-idx3-ubyte.gz"), None)
    assert found("digits", tmp_path) == ("digits", None)


def test_the_settings_of_all_scales_are_the_paper_s_sizes_or_fewer() -> None:
    assert {scale: list(settings.sweeps) for scale, settings in SCALED.items()} == {
        "quick": ["digits"],
        "reduced": ["mnist", "fashion-mnist", "emoji"],
        "full": ["mnist", "cifar10", "celeba"],
    }
    full = SCALED["full"].sweeps
    assert {(one.preset, one.sizes, one.steps) for one in full.values()} == {(name, "paper", None) for name in full}


def test_steps_and_seed_are_those_of_every_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The finished record is all that is kept; a second run computes nothing."""
    sweep = ImageSweep("mlp", (2, 20), trainings=2, steps=500, points=2, samples=5)
    monkeypatch.setitem(SCALED, "quick", ImageSettings({"digits": sweep}))
    result = reproduce("fig7", steps=5, seed=3, out=tmp_path / "run")
    assert result.page == tmp_path / "run" / "fig6.png"
    arrays = Run.existing(tmp_path / "run").load("digits")
    assert (arrays["size"].values.tolist(), arrays["seed"].values.tolist()) == ([2, 20], [3, 4])
    assert arrays.attrs["steps"] == 5
    before = (tmp_path / "run" / "digits.nc").stat().st_mtime_ns
    reproduce("fig6", steps=5, seed=3, out=tmp_path / "run")
    assert (tmp_path / "run" / "digits.nc").stat().st_mtime_ns == before
    xr.testing.assert_identical(Run.existing(tmp_path / "run").load("digits"), arrays)
