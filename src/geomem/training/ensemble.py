"""Several copies of one network with their own weights, evaluated as one batch.

Small networks do not use a CPU fully. A stack of them, one for each data-set size, trains in little more time than the
arithmetic of the largest layer takes. Members are independent: each is the network that would have been trained alone.
"""

import copy
from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call

from geomem.errors import InputError

__all__ = ["Ensemble"]


class Ensemble(nn.Module):
    """`count` copies of a module, weights stacked along a first axis.

    All members start from the module's weights, so that trained members differ only by their data.

    Args:
        module: Called as module(x (n, d), t (n,)); must not have buffers that change in training.
        count: Number of members E.

    Attributes:
        count: E.
        stacked: The module with parameters (E, ...); only `forward` and `member` evaluate it.

    Raises:
        InputError: For a count below 1.
    """

    def __init__(self, module: nn.Module, count: int) -> None:
        super().__init__()
        if count < 1:
            raise InputError(f"count: at least 1 member is needed, got {count}.")
        self.count = count
        self.stacked = _with(module, {k: p.detach().expand(count, *p.shape) for k, p in module.named_parameters()})

    def forward(self, x: Float[Tensor, "e n d"], t: Float[Tensor, "e n"]) -> Float[Tensor, "e n d"]:
        """Outputs (E, n, d) of all members, each at its own x (E, n, d) and t (E, n)."""

        def one(parameters: dict[str, Tensor], x: Tensor, t: Tensor) -> Tensor:
            out: Tensor = functional_call(self.stacked, parameters, (x, t))
            return out

        out: Tensor = torch.vmap(one)(dict(self.stacked.named_parameters()), x, t)
        return out

    def member(self, index: int) -> nn.Module:
        """An ordinary module with one member's weights, in evaluation mode."""
        own = {name: p.detach()[index] for name, p in self.stacked.named_parameters()}
        return _with(self.stacked, own).requires_grad_(False).eval()


def _with(module: nn.Module, parameters: Mapping[str, Tensor]) -> nn.Module:
    """A copy of a module whose parameters are replaced by copies of other tensors, possibly of other shapes."""
    out = copy.deepcopy(module)
    for name, tensor in parameters.items():
        owner, _, own = name.rpartition(".")
        setattr(out.get_submodule(owner), own, nn.Parameter(tensor.clone()))
    return out
