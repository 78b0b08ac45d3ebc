"""Several training runs at once, one processor core each.

Small networks gain little from many threads in one operation, and lose everything when another process is busy on the
same cores: threads that wait for each other at every operation then wait for the scheduler each time. Runs side by
side, of one thread each, share the machine instead, and their results do not depend on how many cores there are.
"""

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import TypeVar

import torch

__all__ = ["train_together"]

_POLL_SECONDS = 0.2
_Result = TypeVar("_Result")


def train_together(
    runs: Sequence[Callable[[Callable[[], bool]], _Result]],
    *,
    on_wait: Callable[[], None] = lambda: None,
    workers: int | None = None,
) -> list[_Result]:
    """The results of all runs.

    Args:
        runs: Each is called in a thread with the `stopped` of `train_in`.
        on_wait: Called in the caller's thread a few times a second, for progress.
        workers: Runs at a time; None is one for each core.

    Raises:
        InputError: As a run.
        TrainingError: As a run; the others are stopped after their step.
        KeyboardInterrupt: The same, when the user interrupts.
    """
    stop = threading.Event()
    count = max(1, min(len(runs), workers or os.cpu_count() or 1))
    with ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        futures = [pool.submit(run, stop.is_set) for run in runs]
        waiting = set(futures)
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
    return [future.result() for future in futures]
