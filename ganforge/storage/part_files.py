"""Names of files that are being written. Light."""

from __future__ import annotations

import os
import zlib
from pathlib import Path


def beside(path: Path) -> Path:
    """A name in the same folder, to write to before it takes the place of `path`. It is not called
    after the file, whose name may be as long as a name can be."""
    return path.with_name(f".{zlib.crc32(os.fsencode(path.name)):08x}.{os.getpid()}.part")
