"""Kill every job at random moments, run it to its end, and compare what it leaves with what an undisturbed run leaves.

    python benchmarks/kills.py 200

prints a table for docs/reliability.md. Half of the kills come within 5 ms of a change in the run's folder, which is looked at
every millisecond; the others at any moment. Some kills follow each other in one run. Exits 1 if a run differs.
"""

import argparse
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

__all__ = ["JOBS", "Tally", "differences", "killed", "stopped", "table", "undisturbed"]

# Every job at its smallest that has several parts; data and model are those of `inputs`.
JOBS: Mapping[str, tuple[str, ...]] = {
    "audit": (
        *("audit", "model", "--trained-on", "data.npy", "--held-out", "held-out.npy", "--quick", "--points", "4"),
        *("--draws", "8", "--times", "0.1,0.5", "--probe", "orthonormal"),
    ),
    "data": ("data", "data.npy", "--samples", "held-out.npy", "--quick", "--sizes", "16,40"),
    "train": ("train", "data.npy", "--preset", "mlp", "--steps", "150", "--batch-size", "8", "--hold-out", "10"),
    "sweep": (
        *("sweep", "data.npy", "--preset", "mlp", "--sizes", "2,20", "--steps", "40", "--points", "2"),
        *("--samples", "5"),
    ),
    "demo": ("demo", "--quick"),
    "theory": ("theory", "--variances", "1x2,0.3x5", "--samples", "100", "--times", "0.1,1", "--quick"),
    "reproduce": ("reproduce", "fig9"),
}
_COMMAND = [sys.executable, "-m", "geomem"]
_SOON, _POLL = 0.005, 0.001
# Kills of one run, at most.
_ROW = 4
# What tells of the time that a run took, by its name in records and summaries; cost.nc holds nothing else.
_TIMES = {"cost", "seconds", "started", "time"}
_TIMED = {"cost.nc"}


@dataclass
class Tally:
    """What became of the kills of one job."""

    job: str
    kills: int = 0
    soon: int = 0
    runs: int = 0
    same: int = 0
    wrong: list[str] = field(default_factory=list)


def inputs(folder: Path) -> Path:
    """Data and a model of random weights, for all jobs."""
    import torch
    from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel

    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    for name, count in (("data", 60), ("held-out", 30)):
        np.save(folder / f"{name}.npy", rng.integers(0, 256, (count, 8, 8), dtype=np.uint8))
    torch.manual_seed(0)
    blocks = {"down_block_types": ("DownBlock2D",) * 2, "up_block_types": ("UpBlock2D",) * 2}
    unet = UNet2DModel(
        8, 1, 1, layers_per_block=1, block_out_channels=(8, 16), norm_num_groups=4, add_attention=False, **blocks
    )
    DDPMPipeline(unet, DDPMScheduler()).save_pretrained(folder / "model")
    return folder


def started(job: str, place: Path, out: str) -> "subprocess.Popen[str]":
    """The job in a process of its own, whose output is a file beside the run."""
    with (place / f"{out}.log").open("a") as log:
        return subprocess.Popen(
            [*_COMMAND, *JOBS[job], "--workers", "1", "--out", out], cwd=place, stdout=log, stderr=log, text=True
        )


def ended(job: str, place: Path, out: str) -> None:
    """Run a job to its end.

    Raises:
        RuntimeError: If it fails.
    """
    if started(job, place, out).wait(timeout=300) != 0:
        raise RuntimeError(f"{job}: {(place / f'{out}.log').read_text()[-2000:]}")


def undisturbed(job: str, place: Path) -> tuple[int, float]:
    """Run a job that nothing disturbs, in undisturbed-JOB; the changes in its folder, and how long these take in seconds."""
    out = f"undisturbed-{job}"
    process, changes, first, last = started(job, place, out), 0, 0.0, 0.0
    for last in _changes(place / out, process):
        first = first or last
        changes += 1
    if process.wait() != 0:
        raise RuntimeError(f"{job}: {(place / f'{out}.log').read_text()[-2000:]}")
    return changes, last - first


def killed(job: str, place: Path, kills: int, measured: tuple[int, float], rng: random.Random) -> Tally:
    """Kill a job so many times, in as many runs as that takes; every run is then run to its end and compared."""
    tally, changes = Tally(job), measured[0]
    while tally.kills < kills:
        out = f"{job}-{tally.runs}"
        for _ in range(min(rng.randint(1, _ROW), kills - tally.kills)):
            soon = tally.soon * 2 <= tally.kills
            # In later starts less is left to be done: what ends before it is killed counts as no kill.
            done = _kill(started(job, place, out), place / out, soon, rng, changes, measured[1])
            tally.kills += done
            tally.soon += done and soon
            if not done:
                break
        ended(job, place, out)
        tally.runs += 1
        wrong = differences(place / out, place / f"undisturbed-{job}")
        tally.same += not wrong
        tally.wrong += [f"{out}: {what}" for what in wrong]
    return tally


def _kill(
    process: "subprocess.Popen[str]", folder: Path, soon: bool, rng: random.Random, changes: int, seconds: float
) -> bool:
    """SIGKILL within 5 ms of a change in the folder, or at any moment after the first; False if it ended before."""
    left = rng.randint(1, max(1, changes // 2)) if soon else 1
    for _ in _changes(folder, process):
        left -= 1
        if left == 0:
            time.sleep(rng.uniform(0, _SOON if soon else seconds))
            process.kill()
            break
    return process.wait() == -signal.SIGKILL


def stopped(job: str, place: Path, out: str, by: signal.Signals, changes: int) -> tuple[int, str]:
    """Send a signal after so many changes in the folder; the exit code, and all that was printed."""
    process = started(job, place, out)
    for _ in _changes(place / out, process):
        changes -= 1
        if changes == 0:
            process.send_signal(by)
    return process.wait(timeout=60), (place / f"{out}.log").read_text()


def _changes(folder: Path, process: "subprocess.Popen[str]") -> Iterator[float]:
    """The moments at which something in a folder changed, until a process ends."""
    before = _seen(str(folder))
    while process.poll() is None:
        now = _seen(str(folder))
        if now != before:
            before = now
            yield time.monotonic()
        time.sleep(_POLL)


def _seen(folder: str) -> dict[str, tuple[int, int]]:
    found: dict[str, tuple[int, int]] = {}
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                held = entry.stat(follow_symlinks=False)
                found[entry.path] = (held.st_mtime_ns, held.st_size)
                if entry.is_dir(follow_symlinks=False):
                    found |= _seen(entry.path)
    except OSError:
        pass  # it was deleted or renamed meanwhile, which the next look shows
    return found


def differences(run: Path, straight: Path) -> list[str]:
    """What one run left that another did not, apart from times; what is half-written counts."""
    mine, theirs = ({str(p.relative_to(f)): p for p in f.rglob("*") if p.is_file()} for f in (run, straight))
    wrong = [f"{name} is left half-written" for name in mine if name.endswith(".part")]
    wrong += [
        f"only one has {name}" for name in sorted(mine.keys() ^ theirs.keys()) if not name.endswith((".part", ".lock"))
    ]
    for name in sorted(mine.keys() & theirs.keys()):
        read = _READ.get(Path(name).suffix)
        if read is not None and Path(name).name not in _TIMED and read(mine[name], run) != read(theirs[name], straight):
            wrong.append(f"{name} differs")
    return wrong


def _arrays(path: Path, run: Path) -> Any:
    """All bits of a record, but for what tells of time."""
    arrays = xr.load_dataset(path, engine="netcdf4")
    held = {str(name): arrays[name] for name in sorted(map(str, arrays.variables)) if str(name) not in _TIMES}
    bits = {name: (v.dims, v.dtype.str, v.shape, _bits(v.values), _untimed(v.attrs)) for name, v in held.items()}
    return bits, _untimed(arrays.attrs)


def _bits(values: np.ndarray) -> str:
    if values.dtype.kind == "O":
        return repr(values.tolist())
    return hashlib.blake2b(np.ascontiguousarray(values).tobytes()).hexdigest()


def _untimed(content: Any) -> Any:
    """JSON, or attributes, without what tells of time; as text, so that NaN equals itself."""
    if isinstance(content, Mapping):
        return {str(k): _untimed(v) for k, v in content.items() if not _TIMES & set(str(k).split("_"))}
    return [_untimed(v) for v in content] if isinstance(content, list) else repr(content)


def _words(path: Path, run: Path) -> Any:
    """JSON without what tells of time, and of the folder that the run is in."""
    return _untimed(json.loads(path.read_text().replace(str(run.resolve()), "RUN").replace(run.name, "RUN")))


def _bytes(path: Path, run: Path) -> Any:
    return hashlib.blake2b(path.read_bytes()).hexdigest()


_READ: Mapping[str, Callable[[Path, Path], Any]] = {
    ".nc": _arrays,
    ".json": _words,
    ".safetensors": _bytes,
    ".npy": _bytes,
}


def table(tallies: list[Tally]) -> str:
    """For docs/reliability.md."""
    lines = [
        "| job | kills | within 5 ms of a change | runs | ended with the same bits |",
        "| --- | --: | --: | --: | --: |",
    ]
    lines += [f"| {t.job} | {t.kills} | {t.soon} | {t.runs} | {t.same} |" for t in tallies]
    sums = [sum(getattr(t, name) for t in tallies) for name in ("kills", "soon", "runs", "same")]
    return "\n".join([*lines, f"| all | {' | '.join(map(str, sums))} |"])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kills", type=int, help="over all jobs")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", default=",".join(JOBS), help="some of them")
    asked = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    names, tallies = asked.jobs.split(","), []
    with tempfile.TemporaryDirectory() as folder:
        place = inputs(Path(folder))
        for i, name in enumerate(names):
            share = asked.kills * (i + 1) // len(names) - asked.kills * i // len(names)
            measured = undisturbed(name, place)
            tallies.append(killed(name, place, share, measured, random.Random(f"{asked.seed} {name}")))
            print(f"{name}: {measured[0]} changes in {measured[1]:.1f} s; {tallies[-1]}", file=sys.stderr, flush=True)
    print(table(tallies))
    wrong = [what for t in tallies for what in t.wrong]
    print("\n".join(wrong), file=sys.stderr)
    sys.exit(bool(wrong))
