"""Scores whose spectra the tests of this room take, and points to take them at."""

from dataclasses import dataclass

import torch

import laws
from geomem.manifolds import random_rotation
from geomem.scores import GaussianScore, NetworkScore
from geomem.training import ResidualMLP

S = torch.tensor([1.0, 0.5, 0.3, 0.0, 0.0], dtype=torch.float64)
TIMES = torch.tensor([0.01, 0.3, 5.0], dtype=torch.float64)


def linear(name):
    """A score with a constant Jacobian, and the Gaussian whose score it is."""
    g = torch.Generator().manual_seed(1)
    u, mean = random_rotation(5, generator=g), torch.randn(5, generator=g, dtype=torch.float64)
    truth = {
        "axes": lambda: GaussianScore(S),
        "rotated": lambda: GaussianScore(S, basis=u, mean=mean),
        "network": lambda: GaussianScore(S, basis=u, mean=mean),
        "images": lambda: GaussianScore(torch.cat([S, S[:1]]), shape=(2, 3)),
    }[name]()
    if name != "network":
        return truth, truth
    module = laws.ExactDenoiser(truth, "v", "vp", torch.float64)
    return NetworkScore(module, (5,), prediction="v", noise="vp"), truth


def points(score, n=3, seed=2):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(n, *score.shape, generator=g, dtype=torch.float64)


def network(dtype=torch.float64):
    """A score whose Jacobian depends on x and is not symmetric."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return NetworkScore(ResidualMLP(5, hidden=16).to(dtype), (5,))


@dataclass
class Plain:
    """A score from a function of x (n, 5), which notes how many points it is asked for at once."""

    function: object
    shape: tuple[int, ...] = (5,)
    largest: int = 0

    def __call__(self, x, t):
        self.largest = max(self.largest, x.shape[0] if x.ndim > 1 else 1)
        return self.function(x)


EXACT = ["exact", "smoothed", "regression", "orthonormal"]
