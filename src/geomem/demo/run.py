"""`geomem demo`: train, measure and report on real digits and on the paper's linear manifold."""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import xarray as xr
from torch import nn

from geomem.demo.measure import Case, generated, origin_spectra, point_spectra
from geomem.demo.settings import CaseSettings, DemoSettings
from geomem.demo.summary import plain, summarise, with_dimensions
from geomem.errors import InputError
from geomem.images import digits, nested_split
from geomem.manifolds import LinearManifold
from geomem.networks import TrainConfig, TrainState, load_checkpoint, save_checkpoint, train
from geomem.records import Run
from geomem.scores import GaussianScore
from geomem.seeds import derived_generator

__all__ = ["DemoResult", "Progress", "run"]

# (what is being done, share of the whole work done so far)
Progress = Callable[[str, float], None]

# Share of the whole time that each stage takes, measured on two cores of a 2.4 GHz Zen 3.
_SHARES = {
    "train digits": 0.64,
    "train manifold": 0.18,
    "digits": 0.1,
    "manifold": 0.04,
    "samples": 0.01,
    "origin": 0.03,
}
_SAVE_EVERY_SECONDS = 15.0


@dataclass(frozen=True)
class DemoResult:
    """What a demo left: its folder, the page, and the numbers that the page states."""

    folder: Path
    page: Path
    summary: dict[str, Any]


def run(
    out: Path | str = "geomem-demo",
    *,
    seed: int = 0,
    quick: bool = False,
    force: bool = False,
    progress: Progress | None = None,
) -> DemoResult:
    """Which dimensions do networks keep of digits and of a linear manifold, by theory, empirical score and network.

    Trains one small network for each of several training-set sizes, measures spectra at training and held-out points,
    draws images and counts copies, and writes figures and a page. Interrupted, it continues where it was.

    Args:
        out: Folder of the run; see `records.Run`.
        seed: Seed of everything random.
        quick: Hardly trained networks and few points, in seconds.
        force: Replace another run in the folder.
        progress: Called with what is being done and the share that is done.

    Returns:
        Folder, page, and summary.

    Raises:
        OutputError: If the folder cannot be used.
        InputError: For a negative seed.
    """
    if seed < 0:
        raise InputError(f"seed: must not be negative, got {seed}.")
    settings = DemoSettings.quick(seed) if quick else DemoSettings.standard(seed)
    folder = Run.open(out, "demo", settings, force=force)
    stage = _Stages(progress)
    manifold = LinearManifold.subspaces(30, [(2, 1.0), (5, 0.3)])
    cases = {"digits": _digits_case(settings), "manifold": _manifold_case(settings, manifold)}
    trained: dict[str, tuple[TrainState, list[nn.Module]]] = {}
    for name, case in cases.items():
        chosen: CaseSettings = getattr(settings, name)
        state = _trained(folder, case, chosen, seed, stage)
        trained[name] = state, [state.ensemble.member(i, state.average) for i in range(len(case.sizes))]
        if not folder.has(f"{name}_points"):
            parts = point_spectra(case, trained[name][1], chosen.times, settings.points, seed)
            arrays = xr.concat(stage.counted(name, parts, len(case.sizes)), "size")
            s = case.gaussian.variances.sort(descending=True).values.numpy()
            arrays = arrays.assign(variance=("direction", s, {"units": "data units squared"}))
            folder.save(f"{name}_points", with_dimensions(arrays))
        stage.done(name)
    state, networks = trained["digits"]
    if not folder.has("digits_samples"):
        stage.begin("samples", "drawing digits from the networks")
        reach = state.config.t_min, state.config.t_max
        case = cases["digits"]
        samples = generated(case, networks, settings.samples, settings.sampler_steps, reach, seed)
        folder.save("digits_samples", samples.assign(training=(("row", "pixel"), case.data.numpy())))
    stage.done("samples")
    if not folder.has("manifold_origin"):
        stage.begin("origin", "spectra at the manifold's origin, theory and 30 data sets")
        grid = [float(u) for u in torch.logspace(-3, 1, 17, dtype=torch.float64)]
        arrays = origin_spectra(manifold, cases["manifold"], trained["manifold"][1], grid, settings.datasets, seed)
        folder.save("manifold_origin", arrays)
    stage.done("origin")
    stage.say("writing figures and page")
    return finish(folder, settings)


def finish(folder: Run, settings: DemoSettings) -> DemoResult:
    """Summary, figures and page from the arrays of a complete run."""
    from geomem.report import demo_page

    arrays = {
        name: folder.load(name) for name in ("digits_points", "digits_samples", "manifold_points", "manifold_origin")
    }
    summary = summarise(arrays, settings)
    page = demo_page(folder, arrays, summary)
    stated: dict[str, Any] = plain(summary)
    folder.write_text("summary.json", json.dumps(stated, indent=2) + "\n")
    return DemoResult(folder.path, page, stated)


def _digits_case(settings: DemoSettings) -> Case:
    rows = digits().reshape(-1, 64)
    split = nested_split(rows.shape[0], settings.digits.sizes, held_out=settings.control, seed=settings.seed)
    return Case("digits", rows[split.order], rows[split.held_out], GaussianScore.fit(rows), settings.digits.sizes)


def _manifold_case(settings: DemoSettings, manifold: LinearManifold) -> Case:
    data = manifold.sample(max(settings.manifold.sizes), generator=derived_generator(settings.seed, "data"))
    held_out = manifold.sample(settings.points, generator=derived_generator(settings.seed, "held-out"))
    return Case("manifold", data, held_out, manifold.score, settings.manifold.sizes)


def _trained(folder: Run, case: Case, chosen: CaseSettings, seed: int, stage: "_Stages") -> TrainState:
    """The case's networks, trained from where the last checkpoint left them."""
    path = folder.path / f"{case.name}_networks.safetensors"
    config = TrainConfig(
        chosen.sizes, steps=chosen.steps, hidden=chosen.hidden, batch_size=chosen.batch_size, seed=seed
    )
    if path.exists():
        state = load_checkpoint(path)
    else:
        state = TrainState(config, case.data.shape[1], float(case.data.std(correction=0)))

    def save() -> None:
        with folder.writing(path.name) as temporary:
            save_checkpoint(temporary, state)

    name, label = f"train {case.name}", f"training {len(chosen.sizes)} networks on {case.name}"
    saved = time.monotonic()
    try:
        for step in train(state, case.data):
            if step.step % 50 == 0:
                stage.begin(name, label, step.step / chosen.steps)
            if step.step % 500 == 0:
                folder.log(stage=name, step=step.step, loss=step.loss.tolist(), learning_rate=step.learning_rate)
            if step.step == chosen.steps or time.monotonic() - saved > _SAVE_EVERY_SECONDS:
                save()
                saved = time.monotonic()
    except KeyboardInterrupt:
        save()
        raise
    stage.done(name)
    return state


class _Stages:
    """Turns stages into one share of the whole work."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress
        self._finished = 0.0
        self._said = ""

    def begin(self, name: str, label: str, part: float = 0.0) -> None:
        self._said = label
        self._report(self._finished + _SHARES[name] * part)

    def done(self, name: str) -> None:
        self._finished += _SHARES[name]
        self._report(self._finished)

    def say(self, label: str) -> None:
        self._said = label
        self._report(self._finished)

    def counted(self, name: str, parts: Iterator[xr.Dataset], total: int) -> list[xr.Dataset]:
        """The parts of a stage, reporting each."""
        out = []
        for i in range(total):
            self.begin(name, f"spectra of {name}, training set {i + 1} of {total}", i / total)
            out.append(next(parts))
        return out

    def _report(self, share: float) -> None:
        if self._progress is not None:
            self._progress(self._said, min(1.0, share))
