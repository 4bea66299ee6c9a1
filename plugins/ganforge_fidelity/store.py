"""What need not be computed twice: features of real images, and figures of real against real."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from ganforge.plugin import cache_folder as cache_below
from ganforge_fidelity.figures import Seen


def cache_folder() -> Path:
    """The folder `features` below GANFORGE_CACHE, or below the user's cache folder."""
    return cache_below("features")


def name_of(protocol: str, images: Iterable[Tensor] = ()) -> str:
    """A name that follows from a text and from images uint8 [N, C, H, W], which come in parts."""
    digest = hashlib.blake2b(protocol.encode(), digest_size=12)
    for part in images:
        digest.update(f"\n{tuple(part.shape)}\n".encode())
        digest.update(part.contiguous().numpy().data)
    return digest.hexdigest()


def seen(name: str, compute: Callable[[], Seen]) -> Seen:
    """What is kept under a name, else computed and kept. A file that cannot be read or written
    costs the computing, no more."""
    path = cache_folder() / f"{name}.safetensors"
    try:
        kept = load(path.read_bytes())
        return Seen(kept["features"], kept.get("logits"))
    except (OSError, KeyError, SafetensorError):
        found = compute()
    tensors = {"features": found.features, "logits": found.logits}
    _write(path, save({k: v.contiguous() for k, v in tensors.items() if v is not None}))
    return found


def figures(name: str, compute: Callable[[], dict[str, float]]) -> dict[str, float]:
    """The same for figures."""
    path = cache_folder() / f"{name}.json"
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        return {str(k): float(v) for k, v in kept.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        found = compute()
    _write(path, (json.dumps(found, indent=1) + "\n").encode())
    return found


def _write(path: Path, content: bytes) -> None:
    """Write under another name, then rename: readers find no file or a whole one."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(content)
        part.replace(path)
    except OSError:
        with suppress(OSError):
            part.unlink(missing_ok=True)
