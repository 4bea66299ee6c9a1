"""What the author of a network or a loss froze: parts that no optimizer moves and no phase wakes.

Read off once, when the constructor (of a loss: `build`) is done, and kept by name, so that it holds
for copies too, and after layers were exchanged for others that compute the same.
"""

from __future__ import annotations

from collections.abc import Iterable

from attrs import frozen
from torch import nn


@frozen
class Frozen:
    """Names of what stays as it is. parameters: those that take no gradient. evaluating: layers
    that stay in eval mode."""

    parameters: frozenset[str] = frozenset()
    evaluating: frozenset[str] = frozenset()

    @classmethod
    def of(cls, module: nn.Module, others: Iterable[nn.Module] = ()) -> Frozen:
        """What a module's author froze: parameters by `requires_grad_(False)`, layers by `eval()`.

        A part whose parameters are all frozen is in eval mode as well, said or not, since its
        BatchNorm would drift otherwise. others: networks that it was made from; they keep their
        own modes where it holds them.
        """
        foreign = {layer for other in others for layer in other.modules()}
        still = {
            layer
            for part in module.modules()
            if not part.training or _is_wholly_frozen(part)
            for layer in ([part] if not part.training else part.modules())
        }
        return cls(
            frozenset(n for n, p in module.named_parameters() if not p.requires_grad),
            frozenset(n for n, m in module.named_modules() if m in still - foreign),
        )

    def trainable(self, module: nn.Module) -> list[nn.Parameter]:
        """The parameters that an optimizer may move."""
        return [p for name, p in module.named_parameters() if name not in self.parameters]

    def set_mode(self, module: nn.Module, training: bool) -> None:
        """Training or eval mode, with what is frozen in eval mode either way."""
        module.train(training)
        for name, layer in module.named_modules():
            if name in self.evaluating:
                layer.training = False


def _is_wholly_frozen(part: nn.Module) -> bool:
    flags = [parameter.requires_grad for parameter in part.parameters()]
    return bool(flags) and not any(flags)
