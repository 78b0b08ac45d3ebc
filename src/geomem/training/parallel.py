"""Several training runs at once, one processor core each.

Small networks gain little from many threads in one operation, and lose everything when another process is busy on the
same cores: threads that wait for each other at every operation then wait for the scheduler each time. Runs side by
side, of one thread each, share the machine instead, and their results do not depend on how many cores there are.
"""

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager

import torch
from torch import Tensor

from geomem.training.small import TrainState, TrainStep, train

__all__ = ["one_thread", "train_together"]

_POLL_SECONDS = 0.2


def train_together(
    runs: Sequence[tuple[TrainState, Tensor]],
    *,
    on_step: Callable[[int, TrainStep], None],
    on_wait: Callable[[], None] = lambda: None,
    workers: int | None = None,
) -> None:
    """Train each state on its data (n, d) to the end of its configuration.

    Args:
        runs: States with their data; no two runs may share a state.
        on_step: Called with a run's index after each of its steps, in that run's thread; no step is under way then.
        on_wait: Called in the caller's thread a few times a second, for progress.
        workers: Runs at a time; None is one for each core.

    Raises:
        InputError: As `train`.
        TrainingError: As `train`; the other runs are stopped after their step.
        KeyboardInterrupt: The same, when the user interrupts.
    """
    stop = threading.Event()

    def work(index: int) -> None:
        state, data = runs[index]
        for step in train(state, data):
            on_step(index, step)
            if stop.is_set():
                return

    count = max(1, min(len(runs), workers or os.cpu_count() or 1))
    with ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        waiting: set[Future[None]] = {pool.submit(work, i) for i in range(len(runs))}
        try:
            while waiting:
                done, waiting = wait(waiting, timeout=_POLL_SECONDS, return_when=FIRST_EXCEPTION)
                on_wait()
                for future in done:
                    future.result()
        finally:
            stop.set()
            for future in waiting:
                future.cancel()


@contextmanager
def one_thread() -> Iterator[None]:
    """PyTorch on one thread inside the block, so that results do not depend on the number of cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
