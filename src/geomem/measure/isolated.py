"""Isolation of training rows: the largest noise at which a row holds half of the posterior weight at its own position."""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geomem.measure.principal import Prepared, smallest_time
from geomem.scores import Posterior
from geomem.theory.rem import decreasing_root

__all__ = ["half_weight_times"]

# Number of distances in memory at once.
_DISTANCES = 2**24


def half_weight_times(data: Prepared, rows: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """For each training row, the time at which it holds half of the posterior weight at its own position; and its neighbour.

    The time is the root of sum_{mu != own} exp(-D_mu/2t) = 1. Below it, the empirical score leads back to this sample.
    """
    train, out, neighbours = data.train, [], []
    samples = data.samples(train)
    for chosen in torch.as_tensor(rows).split(max(1, _DISTANCES // train.shape[0])):
        squares = Posterior.of(samples, train[chosen], t_min=smallest_time(data), exclude=chosen).squares
        neighbours.append(squares.argmin(1).numpy())
        near = squares.clamp_min(torch.finfo(torch.float64).tiny)
        bound = 2 * math.log(max(2, train.shape[0] - 1))
        low = near.amin(1) / bound
        high = torch.where(near.isinf(), 0, near).amax(1) / bound

        def excess(u: NDArray[np.float64], i: NDArray[np.int64], squares: Tensor = squares) -> NDArray[np.float64]:
            t = torch.as_tensor(np.exp(u))[:, None]
            return np.asarray(-torch.logsumexp(squares[torch.as_tensor(i)] / (-2 * t), 1))

        # Minus the logarithm of the sum decreases with t; the nearest and the farthest sample bound the root.
        out.append(decreasing_root(excess, low.log().numpy(), high.log().numpy(), tolerance=1e-5))
    return np.concatenate(out), np.concatenate(neighbours)
