"""The memory that is free, and what must not exceed it."""

import os
from pathlib import Path

from geomem.errors import InputError

__all__ = ["check_memory"]


def check_memory(size: int, where: str, advice: str) -> None:
    """Refuse to take more memory than is free.

    Args:
        size: Bytes to be taken.
        where: What needs them, as a message begins.
        advice: What to do, as a clause.

    Raises:
        InputError: If fewer bytes are free.
    """
    free = _free_memory()
    if free is not None and size > free:
        needed = f"{_amount(size)} of memory" if size < 2**80 else "more memory than any computer has"
        raise InputError(f"{where}: needs {needed}, but {_amount(free)} are free; {advice}.")


def _amount(size: int) -> str:
    return f"{size / 2**20:.1f} MiB" if size < 2**30 else f"{size / 2**30:,.1f} GiB"


def _free_memory() -> int | None:
    """Bytes that this process can still take, as far as the system tells."""
    free = []
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        free += [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    except OSError:  # not on Linux
        if "SC_PHYS_PAGES" in os.sysconf_names:
            free.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    group = Path("/sys/fs/cgroup")
    try:
        most, used = (int((group / f"memory.{name}").read_text()) for name in ("max", "current"))
        told = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        cached = int(told["active_file"]) + int(told["inactive_file"])  # given up when memory is needed
        free.append(max(0, most - used + cached))
    except (OSError, ValueError, KeyError):  # no container, or one without a limit ("max")
        pass
    return min(free, default=None)
