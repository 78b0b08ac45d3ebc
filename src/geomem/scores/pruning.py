r"""How many of the samples nearest to x0 are needed, so that all others together have negligible weight.

Queries are x = x0 + p, samples y_mu = x0 + z_mu, with D_mu = |z_mu|^2. For each query, add the weights of all samples processed so
far; let e^m be the smallest of these sums. Let W_k be the weight of all but the j nearest samples for query k. These samples may be
omitted once W_k <= omitted e^m is certain for all k.

- For any p, by the Cauchy-Schwarz inequality: with l = |p|/sqrt t and u_mu = sqrt(D_mu/t), W <= sum exp(-u^2/2 + l u) over the
  omitted samples.
- Let p be a Gaussian or uniform direction that is independent of the data. Then the exponential moments of p.z are at most those
  of a Gaussian of standard deviation |p||z|/sqrt d: E exp(theta p.z/t) <= exp(theta^2 s^2 u^2/2), s = l/sqrt d. Now use
  (sum w)^theta <= sum w^theta for 0 < theta <= 1 and Markov's inequality. For any m, if

      omitted^-theta e^(-theta m) sum exp(-theta (1 - theta s^2) u^2/2) <= chance/(K J),

  then W_k > omitted e^m for any of the K queries has a probability below `chance`. Here (j, theta) must be one of J pairs fixed in
  advance: j increases in steps of a quarter octave, and theta s^2 is taken from a short list of values near the optimum. This
  is tighter than a bound on the largest of all K N products, since it accounts for the distance of each sample.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["FIRST", "THETAS", "needed"]

# Fewest samples that are used.
FIRST = 16
# Values of theta s^2 that are tried, and number of values of j per octave.
THETAS = (0.025, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5)
_STEPS = 4
# Fewest dimensions in which the bound for random directions is known to be better than Cauchy-Schwarz.
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
    """Number of the nearest samples that are needed.

    Args:
        ordered: D, ascending.
        done: Number of samples processed so far.
        t: Noise variance.
        lowest: m, relative to the nearest sample's own logit -D_min/2t.
        omitted: Logarithm of the share that may be omitted.
        length: Largest |p|.
        dim: d.
        queries: Number K of queries.
        chance: Probability of omitting more, for directions that are independent of the data; 0 gives a proof for every query.
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
    # exp(-theta m) is huge where exp(-gain D/2t) is tiny, so D_min/2t is factored out of both.
    taken = done + _within(-gain * beyond, allowed + theta * (omitted + lowest) - (theta - gain) * base)
    return min(n, next(place for place in [*places, n] if place >= taken))


def _within(logs: Float[Tensor, " n"], allowed: float) -> int:
    """Number of leading terms to keep, so that the sum of exp of all others is at most exp(allowed)."""
    # A term above e^0 already exceeds the bound, and terms far below it do not count; clamping avoids slow subnormal numbers.
    left = (logs - allowed).clamp_(-100, 1).exp_().flip(0).cumsum_(0)
    return int(torch.count_nonzero(left > 1))
