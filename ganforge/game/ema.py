"""The exponential moving average (EMA) of generators' weights, which is what is sampled from."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import nn

from ganforge.game.trained_module import TrainedModule
from ganforge.planning.plan import Plan


def build_ema(plan: Plan, networks: Mapping[str, nn.Module]) -> dict[str, nn.Module]:
    """A copy of each generator that has an EMA, in eval mode, by the generator's address.

    One that keeps another network by a `Ref` without registering it as its part sees that one's
    EMA, or that one itself where it has none.
    """
    ema: dict[str, nn.Module] = {}
    waiting = [generator for generator in plan.generators.values() if generator.ema is not None]
    while waiting:  # what `Ref`s name first
        later = {generator.address for generator in waiting}
        ready = next(g for g in waiting if not later & set(g.settings.refs.values()))
        waiting.remove(ready)
        network = networks[ready.address]
        own = {id(part) for part in network.modules()}
        shared = {
            id(other): ema.get(address, other)
            for address, other in networks.items()
            if id(other) not in own
        }
        ema[ready.address] = copy.deepcopy(network, shared).eval().requires_grad_(False)
    return ema


def decay_at(step: int, ema: float) -> float:
    """The decay of step `step` (from 1): min(ema, (1 + step) / (10 + step)).

    It rises with the steps, so that the average of a short run is not mostly its untrained start.
    """
    return min(ema, (1 + step) / (10 + step))


@torch.no_grad()
def follow(average: nn.Module, trained: TrainedModule, decay: float) -> None:
    """average = decay * average + (1 - decay) * trained; buffers are copied."""
    moved = trained.frozen.trainable(average)
    torch._foreach_lerp_([*moved], [*trained.parameters], 1 - decay)
    for kept, new in zip(average.buffers(), trained.module.buffers(), strict=True):
        kept.copy_(new)
