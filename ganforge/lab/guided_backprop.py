"""Ways of passing a network: as it is but still, guided backpropagation, and what is connected."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

_RECTIFIERS = frozenset(
    getattr(where, name + end)
    for name in ("relu", "leaky_relu", "elu", "celu", "selu", "rrelu", "prelu", "relu6")
    for end in ("", "_")
    for where in (F, torch, Tensor)
    if hasattr(where, name + end)
)
_DROPOUT = frozenset({F.dropout, F.dropout1d, F.dropout2d, F.dropout3d, F.alpha_dropout})
_BENDS = frozenset(
    {F.tanh, F.sigmoid, F.hardtanh, F.softplus, F.gelu, F.silu, torch.tanh, torch.sigmoid}
    | {torch.tanh_, torch.sigmoid_, Tensor.tanh, Tensor.tanh_, Tensor.sigmoid, Tensor.sigmoid_}
)
_NORMS = frozenset(
    {F.batch_norm, F.instance_norm, F.group_norm, F.layer_norm, F.local_response_norm}
    | {torch.batch_norm, torch.instance_norm, torch.group_norm, torch.layer_norm}
)
_LINEAR = frozenset({F.conv1d, F.conv2d, F.conv_transpose1d, F.conv_transpose2d, F.linear})


class Still(TorchFunctionMode):
    """Nothing drops out, nothing is cut off from gradients, no activation works in place."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func in _DROPOUT or func is Tensor.detach:
            return args[0] if args else kwargs["input"]
        if func in _RECTIFIERS:
            return self.rectify(func, args, kwargs)
        return self.other(func, args, kwargs)

    def rectify(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        kwargs.pop("inplace", None)
        return func(
            args[0].clone() if func.__name__.endswith("_") else args[0], *args[1:], **kwargs
        )

    def other(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        return func(*args, **kwargs)


class Guided(Still):
    """Gradients pass rectifiers only where these were given something positive and where the
    gradient is positive itself: R = (f > 0) (R > 0) R, leaky ones too."""

    def rectify(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        passed = args[0] > 0
        return _positive_gradient(super().rectify(func, args, kwargs), passed)


def _positive_gradient(value: Tensor, passed: Tensor) -> Tensor:
    if value.requires_grad:
        value.register_hook(lambda g: g.clamp(min=0) * passed)  # type: ignore[no-untyped-call]
    return value


class Skeleton(Still):
    """Only what is connected to what: each weight is the same positive number, nothing is added,
    bent or normalised. Whatever a unit can see or reach has a positive share in it."""

    def rectify(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        return args[0]

    def other(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        if func in _BENDS or func in _NORMS:
            return args[0] if args else kwargs["input"]
        if func in (F.max_pool2d, torch.max_pool2d):
            return F.avg_pool2d(*args[:4])
        if func in _LINEAR:
            given = dict(zip(("input", "weight", "bias"), args, strict=False)) | kwargs
            weight = given.pop("weight")
            same = torch.full_like(weight, 1 / weight[0].numel(), dtype=torch.float64)
            data = given.pop("input").double()
            given.pop("bias", None)
            return func(data, same, None, *args[3:], **given)
        return func(*args, **kwargs)


@contextmanager
def hooked(hooks: Mapping[Any, Callable[[Tensor], Tensor | None]]) -> Iterator[None]:
    """Call a function on what each of these modules returns when it is first called; what the
    function returns takes its place."""
    seen: set[nn.Module] = set()

    def first(module: nn.Module, given: Any, made: Tensor) -> Tensor | None:
        if module in seen:
            return None
        seen.add(module)
        return hooks[module](made)

    handles = [module.register_forward_hook(first) for module in hooks]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def guided_modules(network: nn.Module) -> Iterator[None]:
    """The rule of `Guided` for modules that are rectifiers by their name, however they compute."""
    met: dict[nn.Module, Tensor] = {}

    def before(module: nn.Module, given: tuple[Tensor, ...]) -> None:
        met[module] = given[0] > 0

    def after(module: nn.Module, given: Any, made: Tensor) -> Tensor:
        return _positive_gradient(made, met.pop(module))

    rectifiers = [m for m in network.modules() if type(m).__name__.lower().endswith("elu")]
    handles = [module.register_forward_pre_hook(before) for module in rectifiers]
    handles += [module.register_forward_hook(after) for module in rectifiers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
