"""Every experiment at tiny settings: its records, figure and verdicts."""

import json
import shutil
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from geomem.jobs.engine import finish
from geomem.paper.claims import CLAIMS, needs, verdicts
from geomem.paper.experiments import EXPERIMENTS
from geomem.paper.records import records_of, settings_of
from geomem.records import Run
from paper.tiny import quick_settings
from runs import begun

NAMES = list(EXPERIMENTS)
# The same parts as fig16, fig9 and fig4, for other subspaces; and sweeps, whose cells have their own tests.
ALIKE = ("fig5", "fig15", "fig10", "fig12", "fig6")


def computed(name: str, folder: Path, parts: int | None = None, **changes) -> dict[str, xr.Dataset]:
    """Records as the parts make them, never saved."""
    settings = quick_settings(name, **changes)
    place = begun(folder, "test", settings)
    made = {}
    for part, work in list(EXPERIMENTS[name].parts(settings).items())[:parts]:
        told: list[float] = []
        made[part] = work(place, told.append)
        assert told == sorted(told)
        assert not told or (told[0] > 0 and told[-1] == pytest.approx(1))
    return made


# --- every experiment ---


def test_the_table_is_complete_and_its_names_are_unique() -> None:
    figures = {
        "fig1",
        "fig2",
        "fig3",
        "fig4",
        "fig5",
        "fig6",
        "fig7",
        "fig8",
        "fig9",
        "fig10",
        "fig11",
        "fig12",
        "fig13",
        "fig14",
    }
    names = [n for e in EXPERIMENTS.values() for n in (e.name, *e.also)]
    assert len(names) == len(set(names))
    assert figures | {"fig15", "fig16"} <= set(names)
    for name, experiment in EXPERIMENTS.items():
        assert experiment.name == name
        assert experiment.settings.keys() == experiment.seconds.keys() >= {"quick", "full"}
        assert type(experiment.settings["quick"]) is type(experiment.settings["full"])
        assert 0 < experiment.seconds["quick"] <= 80
        assert "seed" in {f.name for f in fields(experiment.settings["full"])}
    assert set(CLAIMS) == {claim for experiment in EXPERIMENTS.values() for claim in experiment.claims}


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ALIKE])
@pytest.mark.usefixtures("tiny_experiments")
def test_records_are_what_the_parts_make_by_the_seed_alone(name: str, gallery: Path, tmp_path: Path) -> None:
    """Saved and loaded they are, bit for bit, what the same seed makes again; another seed makes others."""
    saved = records_of(Run.existing(gallery / name))
    again = computed(name, tmp_path / "again")
    assert list(again) == list(saved)
    for part, arrays in again.items():
        xr.testing.assert_identical(saved[part], arrays)
        assert arrays.equals(saved[part])
        assert all(v.dtype == saved[part][k].dtype for k, v in arrays.data_vars.items())
    other = computed(name, tmp_path / "other", 1, seed=1)
    (part,) = other
    assert not other[part].equals(saved[part])


@pytest.mark.parametrize("name", [name for name in NAMES if name != "fig6"])
def test_records_are_finite(name: str, gallery: Path) -> None:
    """Alg. 3 alone may have no answer; and a sweep has numbers of the empirical score alone."""
    for part, arrays in records_of(Run.existing(gallery / name)).items():
        for key, values in arrays.data_vars.items():
            if np.issubdtype(values.dtype, np.floating) and key != "dimension":
                assert np.isfinite(values.values).all(), f"{part}: {key}"
        assert set(arrays.sizes) <= {str(dim) for v in arrays.variables.values() for dim in v.dims}


@pytest.mark.parametrize("name", NAMES)
def test_the_figure_draws_the_records_and_says_where_they_come_from(name: str, gallery: Path) -> None:
    records = records_of(Run.existing(gallery / name))
    before = {part: arrays.copy(deep=True) for part, arrays in records.items()}
    figure = EXPERIMENTS[name].figure(records, settings_of(Run.existing(gallery / name), EXPERIMENTS[name]), "NOTE")
    assert any(text.get_text().endswith("NOTE") for text in figure.texts)
    panels = [axis for axis in figure.axes if axis.get_label() != "<colorbar>"]
    assert panels
    assert all(axis.has_data() for axis in panels)
    for part, arrays in records.items():
        xr.testing.assert_identical(arrays, before[part])
    picture = (gallery / name / f"{name}.png").read_bytes()
    assert picture[:8] == b"\x89PNG\r\n\x1a\n"
    assert len(picture) > 20_000


@pytest.mark.parametrize("name", NAMES)
def test_claims_that_rest_on_it_are_judged(name: str, gallery: Path) -> None:
    found = verdicts({name: records_of(Run.existing(gallery / name))})
    assert [v.claim.key for v in found] == [c.key for c in CLAIMS if name in needs(c)]
    for v in found:
        assert v.evidence.verdict in ("holds", "holds in part", "does not hold", "undecided")
        assert v.evidence.found
        assert all(any(c.isdigit() for c in sentence) for sentence in v.evidence.found), v.claim.key
        assert "nan" not in " ".join(v.evidence.found), v.claim.key
        if v.evidence.table is not None:
            assert {len(row) for row in v.evidence.table.rows} == {len(v.evidence.table.header)}
    assert json.loads((gallery / name / "claims.json").read_text()) == [v.plain() for v in found]


def test_pictures_say_how_they_were_made(gallery: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    whole = EXPERIMENTS["fig2"]

    def figure(records, settings, note):
        said.append(note)
        return whole.figure(records, settings, note)

    monkeypatch.setitem(EXPERIMENTS, "fig2", replace(whole, figure=figure))
    run = Run.existing(shutil.copytree(gallery / "fig2", tmp_path / "fig2"))
    finish(run)
    where = run.environment()
    assert said == [f"geomem {where['geomem']} reproduce fig2, commit {where['commit']}, seed 0"]
