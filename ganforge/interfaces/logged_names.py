"""Names of logged numbers that were changed: who asks by a former name finds the number, and what
a run wrote under one is read under the new one. Light."""

from __future__ import annotations

import re

# What a name of 0.1.0, or a pattern of such names, begins with -> what it is of today.
_FORMER = ((re.compile(r"spread/(?=real|fake|\*)"), "pixel_std/"),)


def current_name(name: str) -> str:
    """`spread/fake/zebra` -> `pixel_std/fake/zebra`; any other name as it is."""
    for former, today in _FORMER:
        if former.match(name):
            return former.sub(today, name, count=1)
    return name
