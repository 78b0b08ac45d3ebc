"""`geomem demo`: train, measure and report on real digits and on the paper's linear manifold."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import xarray as xr
from torch import nn

from geomem.data import digits, nested_split
from geomem.errors import InputError
from geomem.findings.plain import plain
from geomem.jobs.demo.measure import Case, generated, network_directions, origin_spectra, point_spectra
from geomem.jobs.demo.settings import T_RANGE, CaseSettings, DemoSettings
from geomem.jobs.demo.summary import summarise, with_dimensions
from geomem.jobs.progress import Progress, Stages
from geomem.manifolds import LinearManifold
from geomem.precision import one_thread
from geomem.records import Result, Run
from geomem.scores import GaussianScore
from geomem.seeds import derived_generator
from geomem.training import (
    EnsembleObjective,
    EnsembleSettings,
    Training,
    TrainingProgress,
    members,
    train_in,
    train_together,
)

__all__ = ["run"]

_ARRAYS = ("digits_points", "digits_samples", "digits_directions", "manifold_points", "manifold_origin")
# Share of the whole time that each stage takes, measured on two cores of a 2.4 GHz Zen 3.
_SHARES = {"train": 0.8, "digits": 0.1, "manifold": 0.05, "samples": 0.02, "origin": 0.03}
# Directions of each kind that are shown at a point.
_SHOWN = 3
# Networks trained as one stack; the stacks are trained side by side.
_STACK = 2


def run(
    out: Path | str = "geomem-demo",
    *,
    seed: int = 0,
    quick: bool = False,
    force: bool = False,
    progress: Progress | None = None,
) -> Result:
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
    with one_thread():
        _measure(folder, settings, Stages(progress, _SHARES))
        return finish(folder)


def _measure(folder: Run, settings: DemoSettings, stage: Stages) -> None:
    """All stages that the folder does not hold yet."""
    seed = settings.seed
    manifold = LinearManifold.subspaces(30, [(2, 1.0), (5, 0.3)])
    cases = {"digits": _digits_case(settings), "manifold": _manifold_case(settings, manifold)}
    trained = _trained(folder, cases, settings, stage)
    for name, case in cases.items():
        chosen: CaseSettings = getattr(settings, name)
        if not folder.has(f"{name}_points"):
            parts = point_spectra(case, trained[name], chosen.times, settings.points, seed)
            total = len(case.sizes)
            labels = [f"spectra of {name}, training set {i + 1} of {total}" for i in range(total)]
            arrays = xr.concat(list(stage.counted(name, labels, parts)), "size")
            s = case.gaussian.variances.sort(descending=True).values.numpy()
            arrays = arrays.assign(variance=("direction", s, {"units": "data units squared"}))
            folder.save(f"{name}_points", with_dimensions(arrays))
        stage.done(name)
    case = cases["digits"]
    if not folder.has("digits_samples"):
        stage.begin("samples", "drawing digits from the networks")
        samples = generated(case, trained["digits"], settings.samples, settings.sampler_steps, T_RANGE, seed)
        folder.save("digits_samples", samples.assign(training=(("row", "pixel"), case.data.numpy())))
    if not folder.has("digits_directions"):
        arrays = network_directions(case, trained["digits"], settings.digits.focus, _SHOWN, seed)
        folder.save("digits_directions", arrays)
    stage.done("samples")
    if not folder.has("manifold_origin"):
        stage.begin("origin", "spectra at the manifold's origin, theory and 30 data sets")
        grid = [float(u) for u in torch.logspace(-3, 1, 17, dtype=torch.float64)]
        arrays = origin_spectra(manifold, cases["manifold"], trained["manifold"], grid, settings.datasets, seed)
        folder.save("manifold_origin", arrays)
    stage.done("origin")
    stage.say("writing figures and page")


def finish(folder: Run) -> Result:
    """Summary, figures and page from the arrays of a complete run.

    Raises:
        InputError: For a run that has not finished.
    """
    from geomem.jobs.demo.page import demo_page

    settings = DemoSettings.of(folder.config)
    arrays = folder.load_all(_ARRAYS)
    summary = summarise(arrays, settings)
    page = demo_page(folder, arrays, summary)
    stated: dict[str, Any] = plain(summary)
    folder.write_text("summary.json", json.dumps(stated, indent=2) + "\n")
    return Result(folder.path, page, stated)


def _digits_case(settings: DemoSettings) -> Case:
    rows = digits().reshape(-1, 64)
    split = nested_split(rows.shape[0], settings.digits.sizes, held_out=settings.control, seed=settings.seed)
    return Case("digits", rows[split.order], rows[split.held_out], GaussianScore.fit(rows), settings.digits.sizes)


def _manifold_case(settings: DemoSettings, manifold: LinearManifold) -> Case:
    data = manifold.sample(max(settings.manifold.sizes), generator=derived_generator(settings.seed, "data"))
    held_out = manifold.sample(settings.points, generator=derived_generator(settings.seed, "held-out"))
    return Case("manifold", data, held_out, manifold.score, settings.manifold.sizes)


def _trained(folder: Run, cases: dict[str, Case], settings: DemoSettings, stage: Stages) -> dict[str, list[nn.Module]]:
    """The averaged networks of each case, one for each size, trained from where the last checkpoints left them."""
    stacks = [
        _Stack(folder, case, getattr(settings, case.name), settings.seed, i)
        for case in cases.values()
        for i in range(0, len(case.sizes), _STACK)
    ]

    def on_wait() -> None:
        done = sum(stack.work * stack.share for stack in stacks) / sum(stack.work for stack in stacks)
        stage.begin("train", f"training {sum(len(stack.settings.sizes) for stack in stacks)} networks", done)

    states = train_together([stack.train for stack in stacks], on_wait=on_wait)
    stage.done("train")
    out: dict[str, list[nn.Module]] = {name: [] for name in cases}
    for stack, state in zip(stacks, states, strict=True):
        out[stack.case.name] += members(state)
    return out


class _Stack:
    """Networks of one case that are trained as one ensemble, and how far they are."""

    def __init__(self, folder: Run, case: Case, chosen: CaseSettings, seed: int, start: int) -> None:
        self.folder, self.case = folder, case
        self.file = f"{case.name}_networks_{start // _STACK}.safetensors"
        self.settings = EnsembleSettings(
            sizes=chosen.sizes[start : start + _STACK],
            dim=case.data.shape[1],
            sigma_data=float(case.data.std(correction=0)),
            steps=chosen.steps,
            hidden=chosen.hidden,
            batch_size=chosen.batch_size,
            t_min=T_RANGE[0],
            t_max=T_RANGE[1],
            seed=seed,
        )
        self.work, self.share = chosen.steps * chosen.hidden**2, 0.0

    def train(self, stopped: Callable[[], bool]) -> Training:
        """The trained state."""
        labels = {"stage": f"train {self.case.name}", "sizes": list(self.settings.sizes)}
        return train_in(
            self.folder,
            self.file,
            self.settings,
            lambda state: EnsembleObjective(state, self.case.data),
            tell=self._tell,
            labels=labels,
            stopped=stopped,
        )

    def _tell(self, at: TrainingProgress) -> None:
        self.share = at.share
