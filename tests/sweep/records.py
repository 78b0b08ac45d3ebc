"""Records of sweeps made by hand, as a command leaves them."""

import numpy as np
import xarray as xr

SCORES, SETS = ["network", "empirical"], ["training", "held-out"]
READINGS = ["resolved", "degrees_of_freedom", "largest_gap", "second_difference"]
NEAR, FAR = np.array([0.1, 1.0]), np.array([0.9, 1.0])  # distances of a copy and of none


def made(
    sizes: tuple[int, ...] = (2, 64, 1000),
    seeds: tuple[int, ...] = (0, 1),
    times: tuple[float, ...] = (0.01, 0.1, 1.0),
    points: int = 2,
    direction: int = 64,
    samples: int = 10,
    controls: int = 40,
) -> xr.Dataset:
    """A sweep without copies, whose dimension is that of `value_at`, whose spectra are a step at a third of all directions."""
    shape = (len(sizes), len(seeds), 2, 2, len(times), 4, points)
    axes = ("size", "seed", "score", "set", "t", "reading", "point")
    index = dict(zip(axes, np.ogrid[tuple(slice(n) for n in shape)], strict=True))
    values = 10 + 20 * index["set"] + 4 * index["seed"] + 2 * index["point"] + 0 * sum(index.values())
    step = np.where(np.arange(direction) < direction // 3, 0.9, 0.3 - 0.01 * np.linspace(0, 1, direction) ** 2)
    spectra = np.broadcast_to(step.astype(np.float32), (len(sizes), len(seeds), 2, 2, len(times), direction))
    kept = {"sample": samples, "control": controls}
    distances = {
        f"{name}_distance": (
            ("size", "seed", name, "neighbour"),
            np.broadcast_to(FAR, (len(sizes), len(seeds), n, 2)).copy(),
        )
        for name, n in kept.items()
    }
    error = np.broadcast_to(np.asarray([1.0, 2.0])[:, None, None], (2, points, len(times)))
    return xr.Dataset(
        {
            "scaled_value": (("size", "seed", "score", "set", "t", "direction"), spectra.copy()),
            "example": (("size", "seed", "t", "direction"), spectra[:, :, 0, 0].copy()),
            "dimension": (axes, values.astype(np.float64)),
            "denoising": (
                ("size", "seed", "set", "point", "t"),
                np.broadcast_to(error, (len(sizes), len(seeds), *error.shape)).copy(),
            ),
            **distances,
            "pull": (("size", "seed", "score", "set", "point", "t"), np.ones((*shape[:4], points, len(times)))),
            "effective_samples": (
                ("size", "seed", "score", "set", "point", "t"),
                np.ones((*shape[:4], points, len(times))),
            ),
            "loss": (("size", "seed"), np.broadcast_to(np.linspace(0.5, 0.7, len(seeds)), shape[:2]).copy()),
        },
        coords={
            "size": list(sizes),
            "seed": list(seeds),
            "score": SCORES,
            "set": SETS,
            "t": list(times),
            "reading": READINGS,
            "point": np.arange(points),
        },
        attrs={
            "data": "made",
            "network": "mlp",
            "noise_process": "vp",
            "parameters": 12_345,
            "steps": 3000,
            "batch_size": 128,
            "precision": "float32",
            "held_out": controls,
            "discard": 8,
            "threshold": 15.0,
            "cells": len(sizes) * len(seeds),
        },
    )
