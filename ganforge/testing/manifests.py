"""What every component's manifest must satisfy."""

from __future__ import annotations

import os
import subprocess
import sys
import types
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import attrs

from ganforge.testing.cases import Failed, NotTried, Subject

MOST_MILLISECONDS = 50
_PROBE = """
import sys, time
import ganforge.interfaces.manifest
started = time.process_time()
import {module}
milliseconds = (time.process_time() - started) * 1e3
print(milliseconds, *sorted({{"torch", "torchvision"}} & sys.modules.keys()))
"""


def light(subject: Subject) -> None:
    """The manifest imports in under 50 ms and does not import torch."""
    module = _manifest(subject)
    if module is None:
        raise NotTried("a plugin file has no manifest")
    milliseconds, heavy = _imported(module)
    if heavy:
        raise Failed(f"{module} imports {heavy}: import it in the modules that hold the code")
    if milliseconds > MOST_MILLISECONDS:
        raise Failed(
            f"{module} takes {milliseconds:.0f} ms to import; at most {MOST_MILLISECONDS} ms"
        )


def _manifest(subject: Subject) -> str | None:
    name = subject.component.provider
    for plugin in subject.registry.plugins:
        if plugin.provider == name and subject.component in plugin.components:
            return plugin.module
    return None


@lru_cache
def _imported(module: str) -> tuple[float, str]:
    """(milliseconds, heavy modules) of importing a module in a fresh process, the best of three."""
    best, heavy = float("inf"), ""
    for _ in range(3):
        done = subprocess.run(
            [sys.executable, "-c", _PROBE.format(module=module)],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},  # found as it is here
        )
        if done.returncode:
            raise Failed(f"{module} cannot be imported: {done.stderr.strip().splitlines()[-1]}")
        milliseconds, *found = done.stdout.split()
        best, heavy = min(best, float(milliseconds)), ", ".join(found)
        if heavy:
            break
    return best, heavy


def complete(subject: Subject) -> None:
    """It has a summary; every option has a type and a help text, every number has bounds."""
    component = subject.component
    if not component.summary:
        raise Failed("has no summary: Component(..., summary=...) is what `ganforge list` shows")
    types = get_type_hints(component.options)
    for field in attrs.fields(component.options):
        of = types.get(field.name, Any)
        if of is Any:
            raise Failed(f"option '{field.name}' has no type")
        if not field.metadata.get("help"):
            raise Failed(f"option '{field.name}' has no help text: write option(..., help=...)")
        if _holds_numbers(of) and not field.metadata.get("bounds"):
            raise Failed(
                f"option '{field.name}' is a number without bounds: above, below, at_least, at_most"
            )


def _holds_numbers(of: Any) -> bool:
    """Whether a type is, or holds, numbers that are not written out as choices."""
    if of in (int, float):
        return True
    if get_origin(of) is Literal:
        return False
    if get_origin(of) in (Union, types.UnionType, list, tuple):
        return any(_holds_numbers(part) for part in get_args(of))
    return False


def loadable(subject: Subject) -> None:
    """The import string leads to a class of the right kind."""
    _ = subject.cls


def checks(kind: str) -> tuple[Callable[[Subject], None], ...]:
    """The checks of every component."""
    return light, complete, loadable
