"""Figs. 6 and 7: sweeps at three scales, where their data are found, and their figure from old records and new."""

from pathlib import Path

import pytest

from geomem.errors import InputError
from geomem.jobs.engine import run
from geomem.paper.images import SCALED, ImageSettings, ImageSweep, drawn_images, sources
from geomem.paper.request import ReproduceRequest
from geomem.records import Run


@pytest.mark.parametrize("scale", ["reduced", "full"])
def test_data_that_do_not_come_along_are_asked_for(tmp_path: Path, scale: str) -> None:
    with pytest.raises(InputError, match=r"mnist: .*--data.*mnist\.npy, or mnist\.npz.*train-images-idx3-ubyte"):
        sources(SCALED[scale], None)
    with pytest.raises(InputError, match=r"holds no mnist; it should hold mnist\.npy"):
        sources(SCALED[scale], tmp_path)


def test_data_are_found_in_the_forms_that_people_have(tmp_path: Path) -> None:
    def found(name: str, one: ImageSweep, data: Path | None) -> tuple[str, int | None]:
        request = sources(ImageSettings({name: one}), data)[name]
        return request.data, request.size

    (tmp_path / "celeba").mkdir()
    (tmp_path / "celeba" / "a.png").touch()
    one = ImageSweep("celeba", "paper", image_size=64)
    assert found("celeba", one, tmp_path) == (str(tmp_path / "celeba"), 64)
    (tmp_path / "celeba.npy").touch()
    assert found("celeba", one, tmp_path) == (str(tmp_path / "celeba.npy"), 64)
    (tmp_path / "mnist").mkdir()
    (tmp_path / "mnist" / "train-images-idx3-ubyte.gz").touch()
    (tmp_path / "mnist" / "t10k-images-idx3-ubyte.gz").touch()
    idx = found("mnist", ImageSweep("mnist", "paper"), tmp_path)
    assert idx == (str(tmp_path / "mnist" / "train-images-idx3-ubyte.gz"), None)
    assert found("digits", ImageSweep("mlp", (2,)), None) == ("digits", None)


def test_the_settings_of_all_scales_are_the_paper_s_sizes_or_fewer() -> None:
    assert {scale: list(settings.sweeps) for scale, settings in SCALED.items()} == {
        "quick": ["digits"],
        "reduced": ["mnist", "fashion-mnist", "emoji"],
        "full": ["mnist", "cifar10", "celeba"],
    }
    full = SCALED["full"].sweeps
    assert {(one.preset, one.sizes, one.steps) for one in full.values()} == {(name, "paper", None) for name in full}


def test_a_tiny_experiment_leaves_one_record_a_data_set_and_figure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny = ImageSettings({"digits": ImageSweep("mlp", (2, 20), steps=500, points=2, samples=5)})
    monkeypatch.setitem(SCALED, "quick", tiny)
    result = run(ReproduceRequest("fig7", scale="quick", steps=5, seed=3), out=tmp_path / "run", workers=1)
    assert result is not None
    assert result.page == tmp_path / "run" / "fig6.png"
    assert result.page.read_bytes()[:4] == b"\x89PNG"
    here = Run.existing(result.folder)
    arrays = here.load("digits")
    assert (arrays["size"].values.tolist(), arrays["seed"].values.tolist()) == ([2, 20], [3])
    assert arrays.attrs["steps"] == 5
    assert sorted(path.name for path in here.path.glob("*.nc")) == ["digits.nc"]
    assert (here.path / "claims.json").exists()
    assert (here.path / "cells" / "digits-n000020-seed3" / "model").is_dir()


def test_the_figure_is_drawn_from_the_gallery_s_records() -> None:
    folder = Path(__file__).parents[2] / "docs" / "gallery" / "fig6"
    records = {name: Run.existing(folder).load(name) for name in ("mnist", "emoji")}
    figure = drawn_images(records, SCALED["reduced"], "note")
    titles = [axis.get_title() for axis in figure.axes]
    assert sum(title.startswith("resolved dimension, t = 0.12") for title in titles) == 2
