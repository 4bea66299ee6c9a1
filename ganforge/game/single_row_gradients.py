"""Keeping a fault of PyTorch's from the weights: instance norm of a single row on the CPU.

`F.instance_norm` hands the gradient of its output on as a view. Where that is of one row and laid
out channels_last, PyTorch's kernel on the CPU reads it in the wrong order: what comes back is off
by its own length, without a word (seen with 2.14.1). A convolution whose weights are channels_last
gives such gradients, whatever layout the data has.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

_INSTANCE_NORMS = frozenset({F.instance_norm, torch.instance_norm})


def sound_gradients(rows: slice, device: torch.device) -> AbstractContextManager[Any]:
    """While forwards of these rows of a batch run: whatever normalises by instance, a layer or a
    call of a function, in anybody's code, is given contiguous gradients.

    Costs nothing for more rows; for one, some microseconds a call of PyTorch. The components that
    come with ganforge do without, since they hand no such gradients on.
    """
    alone = device.type == "cpu" and rows.stop - rows.start == 1
    return _ContiguousGradients() if alone else nullcontext()


class _ContiguousGradients(TorchFunctionMode):
    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        if func in _INSTANCE_NORMS and made.requires_grad:
            made.register_hook(Tensor.contiguous)
        return made
