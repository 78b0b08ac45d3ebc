"""Several copies of one network with their own weights, evaluated as one batch.

Small networks leave a processor idle; a stack of them, one for each data-set size, trains in little more time than the
largest layer's arithmetic takes. Members never mix: each is the network that would have been trained alone.
"""

import copy

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state

from geomem.errors import InputError

__all__ = ["Ensemble"]


class Ensemble:
    """`count` copies of a module, weights stacked along a first axis.

    All members start from the module's weights, so that what differs between them later is their data alone.

    Args:
        module: Called as module(x (n, d), t (n,)); without buffers that change in training.
        count: Number of members E.

    Attributes:
        parameters: Name to stacked tensor (E, ...), which an optimizer may change in place.

    Raises:
        InputError: For a count below 1.
    """

    def __init__(self, module: nn.Module, count: int) -> None:
        if count < 1:
            raise InputError(f"count: at least 1 member is needed, got {count}.")
        stacked, _ = stack_module_state([module] * count)
        self.parameters: dict[str, Tensor] = {name: p.detach().clone() for name, p in stacked.items()}
        self.template = copy.deepcopy(module).requires_grad_(False)
        self.count = count

    def __call__(self, x: Float[Tensor, "e n d"], t: Float[Tensor, "e n"]) -> Float[Tensor, "e n d"]:
        """Outputs (E, n, d) of all members, each at its own x (E, n, d) and t (E, n)."""

        def one(parameters: dict[str, Tensor], x: Tensor, t: Tensor) -> Tensor:
            out: Tensor = functional_call(self.template, parameters, (x, t))
            return out

        out: Tensor = torch.vmap(one)(self.parameters, x, t)
        return out

    def member(self, index: int, parameters: dict[str, Tensor] | None = None) -> nn.Module:
        """An ordinary module with one member's weights, from `parameters` (an average, say) or the current ones."""
        module = copy.deepcopy(self.template)
        stacked = self.parameters if parameters is None else parameters
        module.load_state_dict({name: p[index].detach().clone() for name, p in stacked.items()})
        return module.eval()
