"""Whether what the author of a network or a loss froze stays unchanged while the rest learns."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn

from ganforge.game.frozen import Frozen
from ganforge.testing.cases import Failed

UPDATES = 20

M = TypeVar("M", bound=nn.Module)


def play_frozen(module: M, still: Frozen, objective: Callable[[M], Tensor], where: str) -> None:
    """Make some updates as a run makes them. Raises Failed if something frozen has changed.

    objective: a 0-d number to descend on.
    """
    before = {
        name: tensor.detach().clone() for name, tensor in _frozen_tensors(module, still).items()
    }
    if not before:
        return
    learning = still.trainable(module)
    optimizer = torch.optim.SGD(learning, lr=1e-3) if learning else None
    still.set_mode(module, True)
    for _ in range(UPDATES):
        module.requires_grad_(False)
        for parameter in learning:
            parameter.requires_grad_(True)
        total = objective(module)
        if optimizer is not None and total.requires_grad:
            optimizer.zero_grad()
            total.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    for name, tensor in _frozen_tensors(module, still).items():
        if not torch.equal(tensor, before[name]):
            raise Failed(
                f"'{name}' is frozen, but changed during {UPDATES} updates ({where}): change "
                "modes and weights of frozen parts in the constructor only"
            )


def _frozen_tensors(module: nn.Module, still: Frozen) -> dict[str, Tensor]:
    """Frozen parameters, and the buffers of layers that stay in eval mode."""
    found: dict[str, Tensor] = {
        name: p for name, p in module.named_parameters() if name in still.parameters
    }
    for inner, layer in module.named_modules():
        if inner in still.evaluating:
            own = layer.named_buffers(recurse=False)
            found |= {f"{inner}.{name}" if inner else name: buffer for name, buffer in own}
    return found
