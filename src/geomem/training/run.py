"""Training in a run's folder, with resuming, logging, checkpoints, and interruption between steps."""

import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from geomem.errors import Terminated, TrainingError
from geomem.interrupts import noted
from geomem.records import Run, environment
from geomem.training.checkpoint import load_training, save_training
from geomem.training.loop import Objective, Settings, Training, steps

if TYPE_CHECKING:
    from accelerate import Accelerator

__all__ = ["TrainingProgress", "train_in"]

_SAVE_SECONDS, _TELL_SECONDS = 60.0, 1.0
# Checkpoints take at most this share of the time.
_SAVING = 0.05
_LOGGED = 200


@dataclass(frozen=True)
class TrainingProgress:
    """Progress of a training.

    Attributes:
        step: Number of steps done.
        steps: Total number of steps.
        loss: Mean loss over the last steps and over the networks.
        samples_per_second: Speed of each network.
        seconds_left: Estimated remaining time.
    """

    step: int
    steps: int
    loss: float
    samples_per_second: float
    seconds_left: float

    @property
    def share(self) -> float:
        """Share of the steps that are done."""
        return self.step / self.steps


def train_in(
    run: Run,
    file: str,
    settings: Settings,
    objective: Callable[[Training], Objective],
    *,
    tell: Callable[[TrainingProgress], None] = lambda progress: None,
    labels: Mapping[str, Any] | None = None,
    accelerator: "Accelerator | None" = None,
) -> Training:
    """Train to the last step, starting from the checkpoint in the run's folder if there is one.

    The log gets one line at the start, and then the mean losses 200 times. SIGINT and SIGTERM take effect between steps.

    Args:
        run: The run.
        file: Name of the checkpoint in the run's folder.
        settings: The settings.
        objective: Makes the objective of a state.
        tell: Called with the progress about once a second.
        labels: Added to every line of the log.
        accelerator: For several processes, which all stop at the same step. Only the first one logs (also to the
            accelerator's trackers) and saves.

    Raises:
        InputError: If the checkpoint is damaged, or belongs to another training.
        OutputError: If the folder cannot be written.
        TrainingError: If a loss or a gradient is not finite; the last good state is saved.
        KeyboardInterrupt: If training was interrupted; the state is saved.
    """
    path = run.path / file
    state = load_training(path, settings) if path.exists() else Training(settings)
    if state.step == settings.steps:
        return state
    main, labels = accelerator is None or accelerator.is_main_process, labels or {}

    def save() -> float:
        begun = time.monotonic()
        if main:
            with run.writing(file) as temporary:
                save_training(temporary, state)
        return time.monotonic() - begun

    if main:
        run.log(**labels, step=state.step, commit=str(environment()["commit"]))
    meter = _Meter(state.step, settings)
    saved, cost, every = time.monotonic(), 0.0, max(1, settings.steps // _LOGGED)
    interrupted, received = False, list[int]()
    try:
        with noted(received):
            for step in steps(state, objective(state)):
                meter.add(step.losses)
                interrupted = _any_of(accelerator, bool(received))
                if interrupted:
                    break
                if not main:
                    continue
                if step.step % every == 0 or step.step == settings.steps:
                    numbers = meter.numbers() | {"learning_rate": step.learning_rate}
                    run.log(**labels, step=step.step, **numbers)
                    if accelerator is not None:
                        accelerator.log(numbers, step=step.step)
                    meter.restart()
                if meter.due:
                    tell(meter.progress(step.step))
                if time.monotonic() - saved > max(_SAVE_SECONDS, cost / _SAVING):
                    cost, saved = save(), time.monotonic()
    except TrainingError as error:
        save()
        raise TrainingError(f"{error} The state after {state.step:,} good steps is saved in {path}.") from error
    save()
    if interrupted:
        raise Terminated if signal.SIGTERM in received else KeyboardInterrupt
    return state


def _any_of(accelerator: "Accelerator | None", here: bool) -> bool:
    """Whether `here` is true in any of the processes."""
    if accelerator is None or accelerator.num_processes == 1:
        return here
    return bool(accelerator.reduce(torch.tensor(float(here), device=accelerator.device)) > 0)


class _Meter:
    """Losses and speed since the last line of the log, and the time of the last progress report."""

    def __init__(self, step: int, settings: Settings) -> None:
        self.settings, self.first, self.begun = settings, step, time.monotonic()
        self.reported, self.last = float("-inf"), float("nan")
        self.restart()

    def restart(self) -> None:
        self.totals: list[float] = []
        self.count, self.since = 0, time.monotonic()

    def add(self, losses: tuple[float, ...]) -> None:
        self.totals = [a + b for a, b in zip(self.totals or [0.0] * len(losses), losses, strict=True)]
        self.count += 1
        self.last = sum(self.totals) / len(losses) / self.count

    def numbers(self) -> dict[str, Any]:
        """Loss and speed for the log; the loss is a number for one network, a list for several."""
        means = [total / self.count for total in self.totals]
        seconds = max(1e-9, time.monotonic() - self.since)
        speed = self.settings.batch_size * self.count / seconds
        return {"loss": means[0] if len(means) == 1 else means, "samples_per_second": speed}

    @property
    def due(self) -> bool:
        now = time.monotonic()
        if now - self.reported < _TELL_SECONDS:
            return False
        self.reported = now
        return True

    def progress(self, step: int) -> TrainingProgress:
        rate = (step - self.first) / max(1e-9, time.monotonic() - self.begun)
        left = (self.settings.steps - step) / max(1e-9, rate)
        return TrainingProgress(step, self.settings.steps, self.last, rate * self.settings.batch_size, left)
