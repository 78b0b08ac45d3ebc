"""Signals that arrive where they must not raise an error: they are noted, and take effect afterwards."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["noted", "postponed"]


@contextmanager
def noted(received: list[int], *, patient: bool = False) -> Iterator[None]:
    """Collect SIGINT and SIGTERM inside the block; a second one interrupts at once, unless it is patient.

    Only the main thread receives signals; in other threads this does nothing.
    """

    def note(number: int, frame: object) -> None:
        if received and not patient:
            raise KeyboardInterrupt
        received.append(number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def postponed() -> Iterator[None]:
    """Let SIGINT and SIGTERM take effect after the block.

    For short calls of libraries with locks: an error that is raised within a lock leaves it locked, and the clean-up waits for it for good.
    """
    received: list[int] = []
    with noted(received, patient=True):
        yield
    if received:
        signal.raise_signal(received[0])
