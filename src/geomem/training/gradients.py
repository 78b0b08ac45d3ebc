r"""Losses and gradients of a stack of small networks, written by hand.

The results are those of `Ensemble`, `ResidualMLP` and automatic differentiation, up to rounding. Writing them by hand pays
because a step is short. Every product is written into memory that is still in the cache from the last step. Gradients are
written to where the optimizer reads them. Biases and residuals are added by the matrix products. The noise and times, which
all members share, are prepared once. On one core of a 2.6 GHz Zen 4 this saves a sixth of a step of seven networks, and a
third of a step of one.

Let r = eps^ - eps be the residual, with eps^ = skip x + gain F (`ResidualMLP.scales`), and w(t) the weight. The loss of a
member is the mean over samples and entries of w r^2. Its derivative with respect to F is 2 w gain r / (B d), and is
propagated backward through the layers.
"""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from geomem.training.mlp import ResidualMLP

__all__ = ["Gradients"]

_aten = torch.ops.aten  # the only SiLU with an out argument


class Gradients:
    """Loss and gradients of E networks at a batch of B samples each. Memory is reused, so calls must not overlap.

    Args:
        network: Provides the number of blocks, the scales, the features and the loss weight, which members share.
        parameters: Weights by name, each (E, ...); read at every call, so an optimizer may change them in place.
        batch: Batch size B.
    """

    def __init__(self, network: ResidualMLP, parameters: Mapping[str, Tensor], batch: int) -> None:
        self._network = network
        self._gradients = {name: torch.zeros_like(p) for name, p in parameters.items()}
        # Biases (E, 1, out): the same for all samples.
        self._weights = {k: p.detach()[:, None] if k.endswith("bias") else p.detach() for k, p in parameters.items()}
        bias = self._weights["enter.bias"]
        blocks, shape = len(network.blocks), (bias.shape[0], batch, bias.shape[-1])
        # Hidden activations before and after each block, with their SiLU; the same inside each block.
        self._hidden, self._active = bias.new_empty(blocks + 1, *shape), bias.new_empty(blocks + 1, *shape)
        self._inner, self._inner_active = bias.new_empty(blocks, *shape), bias.new_empty(blocks, *shape)
        self._by_hidden, self._by_inner = bias.new_empty(shape), bias.new_empty(shape)

    @torch.no_grad()
    def __call__(
        self, y: Float[Tensor, "e b d"], noise: Float[Tensor, "b d"], t: Float[Tensor, " b"]
    ) -> tuple[Float[Tensor, " e"], tuple[Tensor, ...]]:
        """Loss and gradients of each member at its own clean points y; noise and times are the same for all.

        Gradients are in the order of `parameters`, each (E, ...), in memory that the next call overwrites.
        """
        count, batch, dim = y.shape
        x = y + t.sqrt()[:, None] * noise
        scale, skip, gain = self._network.scales(t)
        scaled, features = x * scale, self._network.features(t).expand(count, -1, -1)
        output = self._forward(scaled, features)
        residual = (skip * x - noise).addcmul_(gain, output)
        weight = self._network.loss_weight(t)
        loss = torch.mean(weight * residual.square().mean(-1), -1)
        self._backward(scaled, features, residual.mul_(gain * weight[:, None] * (2 / (batch * dim))))
        return loss, tuple(self._gradients.values())

    def _forward(self, scaled: Tensor, features: Tensor) -> Tensor:
        """F (E, B, d); keeps the activations of all layers for `_backward`."""
        hidden = self._layer("enter", scaled, out=self._hidden[0])
        hidden = self._layer("time", features, onto=hidden, out=hidden)
        for i in range(len(self._inner)):
            active = _aten.silu.out(hidden, out=self._active[i])
            inner = self._layer(f"blocks.{i}.1", active, out=self._inner[i])
            inner_active = _aten.silu.out(inner, out=self._inner_active[i])
            hidden = self._layer(f"blocks.{i}.3", inner_active, onto=hidden, out=self._hidden[i + 1])
        return self._layer("leave", _aten.silu.out(hidden, out=self._active[-1]))

    def _backward(self, scaled: Tensor, features: Tensor, by_output: Tensor) -> None:
        """All gradients, from the derivative of the losses with respect to F; those of activations overwrite each other."""
        by_hidden, by_inner = self._by_hidden, self._by_inner
        self._through("leave", self._active[-1], by_output, out=by_hidden)
        _aten.silu_backward.grad_input(by_hidden, self._hidden[-1], grad_input=by_hidden)
        for i in reversed(range(len(self._inner))):
            self._through(f"blocks.{i}.3", self._inner_active[i], by_hidden, out=by_inner)
            _aten.silu_backward.grad_input(by_inner, self._inner[i], grad_input=by_inner)
            # The inner activations of the block are no longer needed.
            by_active = self._through(f"blocks.{i}.1", self._active[i], by_inner, out=self._inner_active[i])
            by_hidden += _aten.silu_backward.grad_input(by_active, self._hidden[i], grad_input=by_active)
        self._by_weights("time", features, by_hidden)
        self._by_weights("enter", scaled, by_hidden)

    def _layer(self, name: str, x: Tensor, *, onto: Tensor | None = None, out: Tensor | None = None) -> Tensor:
        """x W + b, plus `onto` if given; the product is added in place."""
        weight, bias = self._weights[f"{name}.weight"], self._weights[f"{name}.bias"]
        if onto is None:
            return torch.baddbmm(bias, x, weight, out=out)
        return torch.add(onto, bias, out=out).baddbmm_(x, weight)

    def _through(self, name: str, x: Tensor, by_output: Tensor, *, out: Tensor) -> Tensor:
        """The derivative with respect to a layer's input x, from that of its output, and the gradients of its weights."""
        self._by_weights(name, x, by_output)
        return torch.bmm(by_output, self._weights[f"{name}.weight"].mT, out=out)

    def _by_weights(self, name: str, x: Tensor, by_output: Tensor) -> None:
        torch.bmm(x.mT, by_output, out=self._gradients[f"{name}.weight"])
        torch.sum(by_output, 1, out=self._gradients[f"{name}.bias"])
