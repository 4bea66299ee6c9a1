"""A network, or what a loss owns, with the optimizer that steps it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from attrs import define, field
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ganforge.game.frozen import Frozen
from ganforge.planning.plan import Chosen, Side


@define(eq=False)
class TrainedModule:
    """A network, or the parameters that a loss owns, with the optimizer that moves it."""

    address: str
    side: Side
    module: nn.Module
    schedule: Chosen
    lr: float
    clip: float | None
    optimizer: torch.optim.Optimizer
    frozen: Frozen = field(factory=Frozen)
    layout: torch.memory_format = torch.contiguous_format
    learns: bool = True  # in the current phase
    call: Callable[..., Any] = field(init=False)  # the module, or what was compiled of it
    parameters: list[nn.Parameter] = field(init=False)  # without those that are frozen
    _norms: list[_BatchNorm] = field(init=False)  # those that remember statistics
    _buffers: list[tuple[nn.Module, str]] = field(init=False)  # of all other layers

    def __attrs_post_init__(self) -> None:
        self.call = self.module
        self.parameters = self.frozen.trainable(self.module)
        layers = list(self.module.modules())
        self._norms = [m for m in layers if isinstance(m, _BatchNorm) and m.track_running_stats]
        others = (layer for layer in layers if layer not in self._norms)
        self._buffers = [(m, name) for m in others for name, _ in m.named_buffers(recurse=False)]

    def laid_out(self, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Inputs in the memory layout of the module's weights, as far as they are images."""
        if self.layout is not torch.channels_last:
            return inputs
        return tuple(
            x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x for x in inputs
        )

    @contextmanager
    def keeping_buffers(self) -> Iterator[None]:
        """Forwards leave the network's buffers as they are: BatchNorm, which does not read its own
        while it trains, does without; of all others a copy is lent."""
        own = [(layer, name, getattr(layer, name)) for layer, name in self._buffers]
        for layer, name, buffer in own:
            setattr(layer, name, buffer.clone())
        for norm in self._norms:
            norm.track_running_stats = False
        try:
            yield
        finally:
            for layer, name, buffer in own:
                setattr(layer, name, buffer)
            for norm in self._norms:
                norm.track_running_stats = True

    def names(self) -> dict[nn.Parameter, str]:
        """Parameter -> its address in files."""
        return {p: f"{self.address}/{name}" for name, p in self.module.named_parameters()}
