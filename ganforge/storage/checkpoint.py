"""Checkpoints: safetensors and JSON, written whole or not at all, checked when read.

checkpoints/step-00005000/
    networks.safetensors    weights and buffers of everything that plays, by address
    optimizers.safetensors  the optimizers' moments, by address
    state.json              step, phase, hooks' states, versions, SHA-256 of the other two
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import stat
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import frozen
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ganforge.interfaces.errors import RunError
from ganforge.storage.step_names import checkpoint_steps as steps
from ganforge.storage.step_names import folder_name

# What the system says when a disk is full, read-only, failing or over its quota.
DISK_TROUBLE = (
    *(errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.EFBIG),
    getattr(errno, "EDQUOT", errno.ENOSPC),
)
_FILES = ("networks.safetensors", "optimizers.safetensors")


@frozen
class Checkpoint:
    """A checkpoint that was read. `state` is the content of state.json."""

    folder: Path
    networks: Mapping[str, Tensor]
    optimizers: Mapping[str, Tensor]
    state: Mapping[str, Any]

    @property
    def step(self) -> int:
        return int(self.state["step"])


def save(
    checkpoints: Path,
    step: int,
    networks: Mapping[str, Tensor],
    optimizers: Mapping[str, Tensor],
    state: Mapping[str, Any],
) -> Path:
    """Write one checkpoint. Raises RunError when it cannot be written; older checkpoints are
    untouched then."""
    tensors = dict(zip(_FILES, (networks, optimizers), strict=True))
    return write(checkpoints / folder_name(step), tensors, {**state, "step": step}, "checkpoint")


def write(
    target: Path, files: Mapping[str, Mapping[str, Tensor]], state: Mapping[str, Any], what: str
) -> Path:
    """Write a folder of tensors by file, and a state.json that holds their checksums.

    Until the last rename the folder has another name, so that a kill at any moment leaves either
    the whole folder or none. what: is written, for the RunError where it cannot be.
    """
    temporary = target.with_name(f"{target.name}.partial")
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        hashes = {}
        for name, tensors in files.items():
            write_tensors(temporary / name, {k: _plain(v) for k, v in tensors.items()})
            hashes[name] = _sha256(temporary / name)
            _flush(temporary / name)
        written = {**state, "sha256": hashes}
        hashes["state"] = _sha256_of_state(written)
        text = json.dumps(written, indent=1)
        (temporary / "state.json").write_text(text, encoding="utf-8")
        _flush(temporary / "state.json")
        _swap(temporary, target)
        _flush(target.parent)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise RunError(f"cannot write the {what} {target}: {_why(error)}") from error
    return target


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write a safetensors file that others may read as far as they may read any other file; by
    itself, safetensors writes for its owner alone. Raises OSError and SafetensorError."""
    with path.open("wb") as file:
        allowed = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
    save_file(dict(tensors), path)
    path.chmod(allowed)


def load(checkpoints: Path, step: int) -> Checkpoint:
    """Read one checkpoint. Raises RunError when a file is missing or not what was written."""
    folder = checkpoints / folder_name(step)
    (networks, optimizers), state = read(folder, _FILES, "checkpoint")
    return Checkpoint(folder, networks, optimizers, state)


def read(
    folder: Path, files: Sequence[str], what: str
) -> tuple[list[dict[str, Tensor]], dict[str, Any]]:
    """(the tensors of each file, the state) of a folder that `write` wrote. Raises RunError when a
    file is missing or not what was written."""
    try:
        state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
        found = {name: _sha256(folder / name) for name in files}
        if len(state["sha256"]) > len(found):  # those of the first versions have none of their own
            found["state"] = _sha256_of_state(state)
        for name, checksum in found.items():
            if checksum != state["sha256"][name]:
                file = folder / (name if name in files else "state.json")
                raise RunError(f"{file} is damaged: its checksum is not what was written")
        return [load_file(folder / name) for name in files], state
    except (OSError, ValueError, LookupError, TypeError, AttributeError, SafetensorError) as error:
        raise RunError(f"cannot read the {what} {folder}: {error}") from error


def newest_whole(checkpoints: Path) -> tuple[Checkpoint | None, list[str]]:
    """(the newest checkpoint that can be read, what was wrong with newer ones)."""
    complaints: list[str] = []
    for step in reversed(steps(checkpoints)):
        try:
            return load(checkpoints, step), complaints
        except RunError as error:
            complaints.append(str(error))
    return None, complaints


def keep_last(checkpoints: Path, count: int, also: Collection[int] = ()) -> None:
    """Remove all but the newest `count` checkpoints and those of these steps."""
    for step in steps(checkpoints)[:-count]:
        if step not in also:
            shutil.rmtree(checkpoints / folder_name(step), ignore_errors=True)


def _swap(new: Path, target: Path) -> None:
    """Give a finished folder its name; one that has the name already steps aside first."""
    old = target.with_name(f"{target.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        os.replace(target, old)
    os.replace(new, target)
    shutil.rmtree(old, ignore_errors=True)


def _plain(tensor: Tensor) -> Tensor:
    """On the CPU, contiguous, and sharing memory with no other entry, as safetensors asks."""
    return tensor.detach().cpu().contiguous().clone()


def _sha256_of_state(state: Mapping[str, Any]) -> str:
    """Of all that state.json holds but this checksum, however it is laid out."""
    hashes = {name: value for name, value in state["sha256"].items() if name != "state"}
    text = json.dumps({**state, "sha256": hashes}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _flush(path: Path) -> None:
    """Ask the system to put a file or folder on the disk; some systems cannot for folders."""
    try:
        descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno in DISK_TROUBLE:
            raise
    finally:
        os.close(descriptor)


def _why(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return "no space left on the disk; free some and run the same command to go on"
    if "No space left" in str(error):
        return "no space left on the disk; free some and run the same command to go on"
    return str(error)
