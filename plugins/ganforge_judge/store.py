"""Where trained judges are kept: a file of weights and one of JSON each, whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import nn

from ganforge.plugin import cache_folder as cache_below


def cache_folder() -> Path:
    """The folder of judges: below GANFORGE_CACHE, or below the user's cache folder."""
    return cache_below("judges")


class Damaged(Exception):
    """A judge in the cache cannot be used; the message says why."""


def read(name: str, network: nn.Module) -> dict[str, Any] | None:
    """Load the weights of this name into the network. Returns what is known about them, or None
    if there is no judge of this name. Raises Damaged if there is one that cannot be used."""
    path = cache_folder() / f"{name}.json"
    if not path.is_file():
        return None
    try:
        facts: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        weights = path.with_suffix(".safetensors").read_bytes()
        if hashlib.sha256(weights).hexdigest() != facts["sha256"]:
            raise ValueError("its weights are not the ones that were saved")
        facts["accuracy"] = float(facts["accuracy"])
        network.load_state_dict(load(weights))
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise Damaged(f"{path} cannot be used ({error}): the judge is trained again") from error
    return facts


def write(name: str, network: nn.Module, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Keep a judge; warns if that fails. Returns the facts with the weights' SHA-256."""
    content = save({k: v.cpu().contiguous() for k, v in network.state_dict().items()})
    complete = {**facts, "sha256": hashlib.sha256(content).hexdigest()}
    path = cache_folder() / f"{name}.json"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _replace(path.with_suffix(".safetensors"), content)
        _replace(path, (json.dumps(complete, indent=1) + "\n").encode())
    except OSError as error:
        say(
            f"cannot keep the judge in {path.parent} ({error.strerror or error}), so it will be "
            "trained again; set GANFORGE_CACHE to a folder that can be written"
        )
    return complete


@contextmanager
def held(name: str, what: str) -> Iterator[None]:
    """Keep other processes from making the same, and wait, saying so, while one does. The operating
    system lets go of the lock when a process ends; where none can be had, each makes its own."""
    from filelock import FileLock, Timeout

    path = cache_folder() / f"{name}.lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path, timeout=0)
        lock.acquire()
    except Timeout:
        say(f"another process is training {what}: waiting for it")
        lock.acquire(timeout=-1)
    except (OSError, NotImplementedError):
        yield
        return
    try:
        yield
    finally:
        lock.release()


def _replace(path: Path, content: bytes) -> None:
    """Write under another name, then rename: readers find the old file or the whole new one."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(content)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def say(line: str) -> None:
    """A line for the person at the screen; standard output may be read by a program."""
    print(line, file=sys.stderr, flush=True)
