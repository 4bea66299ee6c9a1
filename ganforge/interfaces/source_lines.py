"""Where code stands, for messages about plugins. Light."""

from __future__ import annotations

import inspect
from typing import Any


def source_line(what: Any, name: str = "") -> str:
    """` (FILE:LINE, NAME)`: where a class or a function is defined; "" where nobody knows."""
    try:
        file, (_, line) = inspect.getsourcefile(what), inspect.getsourcelines(what)
    except (OSError, TypeError):
        return ""
    return f" ({file}:{line}, {name or what.__name__})"
