"""What single parts of experiments measure, and what their pictures and documents say, where a slip would not show elsewhere."""

import math
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from geomem.paper.spectra import M7, PLACES, SizeSettings, simulated_parts

from geomem.manifolds import LinearManifold
from geomem.paper import EXPERIMENTS, networks
from geomem.paper.document import _table
from geomem.paper.latent import LatentSettings, PlaneSettings, _distinct, latent_parts, plane_parts
from geomem.paper.run import finish
from geomem.paper.verdict import Table
from geomem.records import Run
from geomem.scores import EmpiricalScore
from geomem.seeds import derived_generator
from geomem.spectra import spectrum

NOTHING = SimpleNamespace()


def computed(work):
    return work(NOTHING, lambda share: None)


def test_distinct_fixed_points_are_the_stable_ones() -> None:
    """Starts at an ellipse's vertices end on its axes: two maxima, and two saddles that are not counted."""
    arrays = computed(latent_parts(LatentSettings(t=0.05, starts=4, dense=400, grid=9))["ellipse"])
    assert arrays["converged"].all()
    assert arrays["stable"].values.tolist() in ([True, False, True, False], [False, True, False, True])
    assert _distinct(torch.from_numpy(arrays["point"].values)) == 4
    assert arrays.attrs["distinct"] == 2


def test_survival_of_an_axis_is_in_units_of_the_noise() -> None:
    """At t = 2 with 20,000 samples, 2/3 and 0.04/2.04 of the axes are left, within 5 standard errors."""
    arrays = computed(plane_parts(PlaneSettings(n_samples=20_000, betas=(0.5,), datasets=3, points=20))["survival"])
    kept = arrays["survival"].values.reshape(-1, 2)
    error = kept.std(0, ddof=1) / math.sqrt(len(kept))
    assert np.all(error < 0.02 * kept.mean(0))
    assert np.all(np.abs(kept.mean(0) - [2 / 3, 0.04 / 2.04]) < 5 * error)


def test_places_are_the_origin_a_sample_and_a_new_point() -> None:
    settings = SizeSettings(M7, sizes=(20,), times=(0.1, 0.5), realizations=2)
    arrays = computed(simulated_parts(settings)["samples-20"])
    manifold, t = LinearManifold.subspaces(30, M7), torch.tensor(settings.times, dtype=torch.float64)
    for i in range(2):
        data = manifold.sample(21, generator=derived_generator(0, "data", (20, i)))
        for place, x in zip(PLACES, (torch.zeros(30).double(), data[0], data[20]), strict=True):
            probes = derived_generator(0, "probe", (20, i))
            found = spectrum(EmpiricalScore(data[:20]), x.expand(2, 30), t, probe="antithetic", generator=probes)
            np.testing.assert_allclose(arrays["singular_value"][i].sel(place=place), found.values, rtol=1e-5)


def test_pinned_values_are_those_above_one_half() -> None:
    """At t = 0.2 the values of tJ are 1, 0.4, 0.17 and 0.17: one of four is pinned."""
    score = LinearManifold(torch.tensor([1.0, 1.0, 0.3, 0.0])).score
    settings = networks.NetworkSettings({"m": ((2, 1.0), (1, 0.3))}, dim=4, points=1)
    groups = [torch.tensor(g) for g in ([0, 1], [2], [3])]
    found = networks._spectra(score, torch.zeros(3, 4).double(), torch.tensor([0.2]).double(), groups, settings)
    assert found["pinned"][-1].values.tolist() == [[1, 1, 1]]


def test_pictures_say_how_they_were_made(gallery: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    whole = EXPERIMENTS["fig2"]

    def figure(records, note):
        said.append(note)
        return whole.figure(records, note)

    monkeypatch.setitem(EXPERIMENTS, "fig2", replace(whole, figure=figure))
    run = Run.existing(shutil.copytree(gallery / "fig2", tmp_path / "fig2"))
    finish(run)
    where = run.environment()
    assert said == [f"geomem {where['geomem']} reproduce fig2, commit {where['commit']}, seed 0"]


def test_bars_in_cells_are_no_borders() -> None:
    lines = _table(Table(("a", "var(x|y)"), (("E[z|w]", "1"),)))
    assert lines == ["| a | var(x\\|y) |", "| --- | --- |", "| E[z\\|w] | 1 |"]
