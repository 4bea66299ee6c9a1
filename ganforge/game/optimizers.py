"""Optimizers and schedules, from the settings of a recipe."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterable, Mapping
from functools import cache

import attrs
import torch
from torch import Tensor, nn

from ganforge.interfaces.settings import Constant, ConstantThenLinear, Cosine
from ganforge.planning.plan import Chosen

_CLASSES: dict[str, type[torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "rmsprop": torch.optim.RMSprop,
    "sgd": torch.optim.SGD,
}
_FUSED = frozenset({"adam", "adamw", "sgd"})  # RMSprop has no fused form in torch


def make(chosen: Chosen, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """An optimizer over these parameters, fused where torch has that."""
    settings = attrs.asdict(chosen.options)
    if chosen.use in _FUSED:
        settings["fused"] = True
    group = {"params": list(parameters)}  # perhaps none: all of them may be frozen
    return _without_compiler(chosen.use)([group], **settings)


@cache
def _without_compiler(name: str) -> type[torch.optim.Optimizer]:
    """The class of this name without what keeps `torch.compile` out of its methods. Nobody compiles
    these here, and calling one imports the compiler, which takes a second or two and 100 MB."""
    cls = _CLASSES[name]
    plain = {own: inspect.unwrap(getattr(cls, own)) for own in ("add_param_group", "zero_grad")}
    step = torch.no_grad()(inspect.unwrap(cls.step))
    return type(cls.__name__, (cls,), {**plain, "step": step})


def factor(schedule: Chosen, progress: float) -> float:
    """What the learning rate is multiplied with at this share of the run, 0 to 1."""
    options = schedule.options
    if not isinstance(options, Constant):
        progress = min(1.0, progress / options.until)
    if isinstance(options, ConstantThenLinear):
        if progress < options.constant or options.constant == 1:
            return 1.0
        return max(0.0, (1 - progress) / (1 - options.constant))
    assert isinstance(options, (Constant, Cosine))
    if progress < options.warmup:
        return progress / options.warmup
    if isinstance(options, Constant):
        return 1.0
    along = (progress - options.warmup) / (1 - options.warmup)
    return options.floor + (1 - options.floor) * 0.5 * (1 + math.cos(math.pi * along))


def state_tensors(
    optimizer: torch.optim.Optimizer, names: Mapping[nn.Parameter, str]
) -> dict[str, Tensor]:
    """The optimizer's state, `parameter/quantity` -> tensor."""
    return {
        f"{name}/{quantity}": value
        for parameter, name in names.items()
        for quantity, value in optimizer.state.get(parameter, {}).items()
        if isinstance(value, Tensor)
    }


def load_state_tensors(
    optimizer: torch.optim.Optimizer,
    names: Mapping[nn.Parameter, str],
    tensors: Mapping[str, Tensor],
) -> set[str]:
    """Take back what `state_tensors` gave. Returns the names of parameters that have a state there
    and are not moved.

    Each moment is copied into a tensor laid out in memory as its parameter is: the fused kernels
    pair the two by memory order, and files hold contiguous tensors, so a moment taken as read
    beside a channels_last weight would corrupt the update without a word. What is there of
    parameters that the optimizer does not move, which older versions kept of frozen ones too, is
    left out.
    """
    by_name = {name: parameter for parameter, name in names.items()}
    moved = {p for group in optimizer.param_groups for p in group["params"]}
    optimizer.state.clear()
    still = set()
    for key, value in tensors.items():
        name, quantity = key.rsplit("/", 1)
        parameter = by_name[name]
        if parameter not in moved:
            still.add(name)
            continue
        if value.shape == parameter.shape and value.dim() > 0:
            kept = torch.empty_like(parameter, dtype=value.dtype)
        else:
            kept = torch.empty_like(value, device=parameter.device)
        optimizer.state[parameter][quantity] = kept.copy_(value)
    return still
