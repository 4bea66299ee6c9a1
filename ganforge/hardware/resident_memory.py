"""How much main memory this process occupies, and how much a new one can have."""

from __future__ import annotations

import ctypes
import os
import platform
import re
from collections.abc import Iterator
from pathlib import Path

# Limit, use and statistics of this process's control group, where it is in a container; the second
# version and the first.
_GROUPS = (
    ("memory.max", "memory.current", "memory.stat"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat"),
)


def resident() -> int:
    """Bytes of main memory that this process holds; 0 where the system does not say.

    What was freed goes back to the system first, as far as the C library can do that. On macOS it
    is the most that it held so far.
    """
    if platform.system() == "Linux":
        if platform.libc_ver()[0] == "glibc":
            ctypes.CDLL(None).malloc_trim(0)
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    if platform.system() == "Windows":
        return 0
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def available() -> int:
    """Bytes of main memory that a new process can have; 0 where the system does not say. On macOS
    it is all that the machine has."""
    if platform.system() == "Linux":
        text = Path("/proc/meminfo").read_text(encoding="ascii")
        found = re.search(r"MemAvailable:\s+(\d+) kB", text)
        return min([int(found[1]) * 1024 if found else 0, *_left_to_groups()])
    if platform.system() == "Windows":
        return 0
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _left_to_groups(root: Path = Path("/sys/fs/cgroup")) -> Iterator[int]:
    """What limits of control groups leave; files that the system can drop are not counted."""
    for names in _GROUPS:
        try:
            limit, used, more = ((root / name).read_text(encoding="ascii") for name in names)
        except OSError:
            continue
        files = re.search(r"^inactive_file (\d+)$", more, re.MULTILINE)
        if limit.strip().isdecimal():  # else there is none: `max`
            yield max(0, int(limit) - int(used) + (int(files[1]) if files else 0))
