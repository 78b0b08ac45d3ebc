r"""How many of the samples nearest to x0 have to be taken, so that all others together weigh next to nothing.

Queries are x = x0 + p, samples y_mu = x0 + z_mu, with D_mu = |z_mu|^2. Let e^m be the smallest, over queries, of the weights of all samples met so
far, and W_k the weight of all but the j nearest for query k. They may be left out when all W_k <= omitted e^m is certain.

- For any p, by Cauchy and Schwarz: with l = |p|/sqrt t and u_mu = sqrt(D_mu/t), W <= sum exp(-u^2/2 + l u) over the rest.
- For a direction that was drawn without looking at the data, Gaussian or uniform, p.z has no larger exponential moments than a
  Gaussian of standard deviation |p||z|/sqrt d: E exp(theta p.z/t) <= exp(theta^2 s^2 u^2/2), s = l/sqrt d. By
  (sum w)^theta <= sum w^theta for 0 < theta <= 1 and Markov's inequality, whatever m turns out to be,

      omitted^-theta e^(-theta m) sum exp(-theta (1 - theta s^2) u^2/2) <= chance/(K J)

  makes W_k > omitted e^m for one of K queries less likely than `chance`, when j and theta are among J pairs fixed before: j goes in
  steps of a fourth of an octave, and theta s^2 is taken from a short list, near where it serves best. This is tighter than a
  bound on the largest of all K N products, since it counts samples by how near they are.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["FIRST", "THETAS", "needed"]

# Fewest samples that are taken.
FIRST = 16
# Values of theta s^2 for which pruning may decide, and places j in each octave.
THETAS = (0.025, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5)
_STEPS = 4
# Fewest dimensions in which random directions are known to be better than Cauchy and Schwarz.
_MANY = 64


def needed(
    ordered: Float[Tensor, " n"],
    done: int,
    t: float,
    *,
    lowest: float,
    omitted: float,
    length: float,
    dim: int,
    queries: int,
    chance: float,
) -> int:
    """Number of the nearest samples to take.

    Args:
        ordered: D, ascending.
        done: Samples met so far.
        t: Noise variance.
        lowest: m, relative to the nearest sample's own logit -D_min/2t.
        omitted: Logarithm of the share that may be left out.
        length: Largest |p|.
        dim: d.
        queries: Number of them, K.
        chance: Probability of omitting more, for directions drawn without looking at the data; 0 proves every query.
    """
    n = ordered.numel()
    if done == n:
        return n
    beyond = (ordered[done:] - ordered[0]) / (2 * t)
    if chance == 0 or dim < _MANY:
        return done + _within((ordered[done:] * (length / t) ** 2).sqrt() - beyond, lowest + omitted)
    base, s_squared = float(ordered[0]) / (2 * t), length**2 / (t * dim)
    places = [math.ceil(FIRST * 2 ** (i / _STEPS)) for i in range(math.ceil(_STEPS * math.log2(n)))]
    allowed = math.log(chance / (len(places) * len(THETAS) * queries))
    ratio = s_squared * (math.log(n) - allowed) / max(base - omitted - lowest, 1.0)
    best = math.sqrt(ratio**2 + ratio) - ratio
    product = min(THETAS, key=lambda value: abs(value - best))  # theta s^2
    theta = 1.0 if s_squared <= product else product / s_squared
    gain = theta * (1 - theta * s_squared)
    # exp(-theta m) and exp(-gain D/2t) are of opposite sizes: D_min/2t is taken out of both.
    taken = done + _within(-gain * beyond, allowed + theta * (omitted + lowest) - (theta - gain) * base)
    return min(n, next(place for place in [*places, n] if place >= taken))


def _within(logs: Float[Tensor, " n"], allowed: float) -> int:
    """How many terms must be taken so that the sum of exp of all others is at most exp(allowed)."""
    # One term above e^0 is too many already, and far below it nothing counts; underflowing would take long.
    left = (logs - allowed).clamp_(-100, 1).exp_().flip(0).cumsum_(0)
    return int(torch.count_nonzero(left > 1))
