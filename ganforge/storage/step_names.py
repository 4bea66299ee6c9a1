"""What files and folders of one step of a run are called: `step-00005000`. Light."""

from __future__ import annotations

import re
from pathlib import Path


def folder_name(step: int) -> str:
    """`step-00005000`, a folder of a checkpoint or of a failed step."""
    return f"step-{step:08d}"


def sheet_name(step: int) -> str:
    """`step-000500.png`"""
    return f"step-{step:06d}.png"


def snapshot_name(step: int) -> str:
    """`step-000500.safetensors`"""
    return f"step-{step:06d}.safetensors"


def step_of(path: Path) -> int | None:
    """The step that a file or folder is of; None where its name says none, as that of a checkpoint
    that is still being written."""
    match = re.fullmatch(r"step-(\d+)(\.png|\.safetensors)?", path.name)
    return int(match[1]) if match else None


def steps_of(folder: Path, pattern: str = "*") -> dict[int, Path]:
    """step -> path of what lies in a folder, ascending; empty where there is no such folder."""
    found = {number: path for path in folder.glob(pattern) if (number := step_of(path)) is not None}
    return dict(sorted(found.items()))


def checkpoint_steps(checkpoints: Path) -> list[int]:
    """The steps that have a whole checkpoint in this folder, ascending."""
    return [n for n, path in steps_of(checkpoints).items() if (path / "state.json").is_file()]
