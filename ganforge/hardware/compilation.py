"""torch.compile for networks: a switch, since what it gains depends on machine and networks."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from ganforge.interfaces.errors import GanforgeError

COMPILERS = ("g++", "clang++", "cl")  # of C++, which code for CPUs is written in


def compiled(network: nn.Module) -> Callable[..., Any]:
    """The network as one call that is compiled when it is first made, anew for each shape.

    Dropout draws what it draws without compiling.
    """
    return torch.compile(network, dynamic=False, options={"fallback_random": True})


def refuse_without_compiler(device: torch.device) -> None:
    """Raises GanforgeError where code for this device cannot be compiled."""
    if device.type == "cpu" and not offered(device):
        raise GanforgeError(
            "`train.compile` needs a C++ compiler, and neither g++ nor clang++ is here: install "
            "one, or leave `compile` out"
        )


def offered(device: torch.device) -> bool:
    """Whether torch.compile can be expected to work for this device."""
    if device.type == "cpu":
        return any(map(shutil.which, COMPILERS))
    return device.type == "cuda"
