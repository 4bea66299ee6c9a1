"""What exceptions mean: memory ran out, a batch is too small, or a plugin's own code is wrong."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from ganforge.interfaces.errors import GanforgeError, PluginError
from ganforge.interfaces.manifest import Component
from ganforge.interfaces.source_lines import source_line
from ganforge.registry.plugin_loader import BUILT_IN

WHOLE = "GANFORGE_TRACEBACK"  # set to 1, a plugin's error comes with its traceback

# What PyTorch says of operations that can be differentiated once only.
_ONCE_DIFFERENTIABLE = (
    ("derivative for aten::", "_backward is not implemented"),
    ("differentiate twice", "once_differentiable"),
    ("ouble backward", "not supported"),
)

_SIGNS = ("out of memory", "can't allocate memory", "not enough memory", "cannot allocate memory")


def remembers_no_memory(error: BaseException) -> bool:
    """Whether an error means that memory ran out."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return any(sign in str(error).lower() for sign in _SIGNS)


def needs_more_items(error: BaseException) -> bool:
    """Whether an error means that a batch was too small for BatchNorm."""
    return "more than 1 value per channel" in str(error)


def lacks_second_derivative(error: BaseException) -> bool:
    """Whether an error means that PyTorch cannot differentiate the gradient of some operation."""
    message = str(error)
    return any(all(part in message for part in sign) for sign in _ONCE_DIFFERENTIABLE)


@contextmanager
def attributing_errors(*components: Component) -> Iterator[None]:
    """While the code of some component runs: raise PluginError, one line, for what it raises.

    Of several components, the one in whose code it was raised is named. Not for built-ins, whose
    mistakes are ours and need a traceback; nor for what the trainer knows how to tell, nor for what
    is meant for a person already.
    """
    try:
        yield
    except GanforgeError:
        raise
    except (Exception, SystemExit, GeneratorExit) as error:
        reported_elsewhere = remembers_no_memory(error) or needs_more_items(error)
        whole = os.environ.get(WHOLE, "") not in ("", "0")
        theirs = [c for c in components if c.provider != BUILT_IN]
        if len(components) > 1:
            theirs = [c for c in theirs if _place(c, error)]
        if reported_elsewhere or whole or not theirs:
            raise
        component = theirs[0]
        raise PluginError(
            f"{component.kind} '{component.name}' of {component.provider} raised "
            f"{raised_by(component, error)}; {WHOLE}=1 shows the traceback"
        ) from error


def raised_by(component: Component, error: BaseException) -> str:
    """`KeyError: 'x' (FILE:LINE, in FUNCTION)`, the place being in the component's own code: of
    its class where none of it ran, as where it was called with what it does not take."""
    lines = str(error).strip().splitlines() or [""]
    what = ": ".join(filter(None, (type(error).__name__, lines[0])))
    return f"{what}{_place(component, error) or defined_at(component)}"


def defined_at(component: Component, method: str = "") -> str:
    """` (FILE:LINE, METHOD)`: where the class behind a component, or a method of it, is defined."""
    module, _, name = component.target.partition(":")
    cls = getattr(sys.modules.get(module), name, None)
    return source_line(getattr(cls, method, None) if method else cls, method or name)


def own_code(component: Component) -> Path | None:
    """The component's own package, or its file where that is all there is."""
    name = component.target.partition(":")[0]
    file = getattr(sys.modules.get(name), "__file__", None)
    if file is None:
        return None
    return Path(file).parents[name.count(".") - 1] if "." in name else Path(file)


def _place(component: Component, error: BaseException) -> str:
    """` (FILE:LINE, in FUNCTION)` of the innermost frame in the component's own package."""
    own = own_code(component)
    if own is None:
        return ""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename)
        if path == own or own in path.parents:
            return f" ({path}:{frame.lineno}, in {frame.name})"
    return ""
