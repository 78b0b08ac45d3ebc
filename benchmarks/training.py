"""Steps a second of the paper's toy networks, side by side, and how near they come to what the processor multiplies.

    python benchmarks/training.py [--threads N] [--out FILE.json]

One process trains the seven networks of Fig. 5 as one stack, the same by automatic differentiation, and one after the
other; in turn, and medians are stated. A model-step is one optimizer
step of one network. The limit is a step's products at the highest rate at which one of their shapes is multiplied here,
again and again in the same memory.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from geomem.paper.networks import NetworkSettings
from geomem.training import EnsembleObjective, EnsembleSettings, Training, TrainingStep, steps

_ROUNDS, _STEPS = 9, 30
_BLOCKS, _FEATURES = 2, 32
# Kinds of work, by what PyTorch's profiler calls it. Forward, what is there already is added to; backward, it is not.
_KINDS = {
    "products forward": ("aten::baddbmm", "aten::baddbmm_"),
    "products backward": ("aten::bmm",),
    "activations": ("aten::silu", "aten::silu_backward"),
    "biases, residuals and their sums": ("aten::add", "aten::add_", "aten::sum"),
    "optimizer": ("aten::_fused_adam_", "Optimizer.step#Adam.step"),
    "average": ("aten::_foreach_sub", "aten::_foreach_sub_"),
    "random draws, indexing": ("aten::rand", "aten::randn", "aten::uniform_", "aten::normal_", "aten::index"),
}

_Shape = tuple[int, int, int]


def seconds(work: Callable[[], object], times: int) -> float:
    """Seconds a call, the first few not counted."""
    for _ in range(3):
        work()
    start = time.perf_counter()
    for _ in range(times):
        work()
    return (time.perf_counter() - start) / times


def products(dim: int, hidden: int, batch: int) -> list[_Shape]:
    """(rows, inner, columns) of all products in a step of one network."""
    layers = [(dim, hidden), (_FEATURES, hidden), *[(hidden, hidden)] * (2 * _BLOCKS), (hidden, dim)]
    forward = [(batch, i, o) for i, o in layers]
    by_weights = [(i, batch, o) for i, o in layers]
    by_input = [(batch, o, i) for i, o in layers[2:]]  # nobody asks for derivatives by data or time
    return forward + by_weights + by_input


def rates(shapes: set[_Shape], count: int) -> dict[_Shape, float]:
    """Floating point operations a second of `count` products of each shape at a time, medians."""
    out = {}
    for n, k, m in shapes:
        a, b, c = torch.randn(count, n, k), torch.randn(count, k, m), torch.empty(count, n, m)
        times = [seconds(lambda a=a, b=b, c=c: torch.bmm(a, b, out=c), 50) for _ in range(_ROUNDS)]  # type: ignore[misc]
        out[n, k, m] = 2 * count * n * k * m / statistics.median(times)
    return out


class Differentiated(EnsembleObjective):
    """The same losses, with gradients by automatic differentiation."""

    def __init__(self, state: Training, data: torch.Tensor) -> None:
        super().__init__(state, data)
        self.state = state

    def __call__(self, step: int) -> tuple[tuple[float, ...], None]:
        """See `Objective`."""
        network: Any = self.state.network
        y, noise, t = self.batch(step)
        predicted = network(y + t.sqrt()[:, None] * noise, t.expand(y.shape[:2]))
        losses = torch.mean(network.stacked.loss_weight(t) * (predicted - noise).square().mean(-1), -1)
        self.state.optimizer.zero_grad()
        losses.sum().backward()
        return tuple(losses.tolist()), None


def contenders(settings: EnsembleSettings, data: torch.Tensor) -> dict[str, Callable[[], object]]:
    """One step of all networks, in each way."""

    def stepper(asked: EnsembleSettings, objective: type[EnsembleObjective]) -> Iterator[TrainingStep]:
        state = Training(asked)
        return steps(state, objective(state, data))

    stack, differentiated = stepper(settings, EnsembleObjective), stepper(settings, Differentiated)
    alone = [stepper(replace(settings, sizes=(size,)), EnsembleObjective) for size in settings.sizes]
    return {
        "stack": lambda: next(stack),
        "stack, automatic differentiation": lambda: next(differentiated),
        "one at a time": lambda: [next(one) for one in alone],
    }


def shares(step: Callable[[], object]) -> dict[str, float]:
    """Share of a step's time by kind of work, as profiled; the rest is small operations and Python."""
    step()
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        start = time.perf_counter()
        for _ in range(_STEPS):
            step()
        wall = time.perf_counter() - start
    own = {event.key: event.self_cpu_time_total / 1e6 for event in profiled.key_averages()}
    out = {kind: sum(own.get(name, 0.0) for name in names) / wall for kind, names in _KINDS.items()}
    return out | {"rest": 1 - sum(out.values())}


def main(threads: int, out: Path | None) -> None:
    """Measure, print, and write what was measured."""
    torch.set_num_threads(threads)
    settings = NetworkSettings({})
    data = torch.randn(max(settings.sizes), settings.dim, generator=torch.Generator().manual_seed(0))
    config, count = replace(settings.training(data), sigma_data=1.0), len(settings.sizes)
    shapes = products(settings.dim, config.hidden, config.batch_size)
    work = contenders(config, data)
    taken: dict[str, list[float]] = {name: [] for name in work}
    peaks = []
    for _ in range(_ROUNDS):
        for name, step in work.items():
            taken[name].append(seconds(step, _STEPS))
        peaks.append(rates(set(shapes), count))
    rate = {shape: statistics.median(peak[shape] for peak in peaks) for shape in peaks[0]}
    flops = sum(2 * n * k * m for n, k, m in shapes)
    speed = {name: count / statistics.median(times) for name, times in taken.items()}
    limit = max(rate.values()) / flops
    of_shapes = 1 / sum(2 * n * k * m / rate[n, k, m] for n, k, m in shapes)
    of_time = shares(work["stack"])
    found = {
        "width": config.hidden,
        "blocks": _BLOCKS,
        "batch": config.batch_size,
        "dim": settings.dim,
        "models": count,
        "threads": threads,
        "torch": torch.__version__,
        "flops_per_model_step": flops,
        "peak_flops_per_second": max(rate.values()),
        "model_steps_per_second": speed,
        "rounds": {name: [count / t for t in times] for name, times in taken.items()},
        "limit": limit,
        "limit_of_the_shapes": of_shapes,
        "shares": of_time,
    }
    print(
        f"{count} networks, width {config.hidden}, {_BLOCKS} blocks, d = {settings.dim}, batch {config.batch_size}, "
        f"{threads} thread(s), torch {torch.__version__}: {flops / 1e6:.1f} MFLOP a model-step, "
        f"peak {max(rate.values()) / 1e9:.0f} GFLOP/s\n\n{'model-steps/s':>14} {'of the limit':>13}"
    )
    for name, value in [*speed.items(), ("limit: all products at each shape's own rate", of_shapes), ("limit", limit)]:
        print(f"{value:14,.0f} {value / limit:13.0%}  {name}")
    print("\nshare of a step of the stack")
    for name, share in of_time.items():
        print(f"{share:14.1%}  {name}")
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    main(asked.threads, asked.out)
