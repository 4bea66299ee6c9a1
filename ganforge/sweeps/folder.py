"""The folder of a sweep: what says that it is one, and the runs below it. Light: no torch."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ganforge.interfaces.errors import RunError
from ganforge.storage.run_folder import RunFolder, write_whole

MARK = "sweep.json"  # says that a folder is a sweep's


def is_sweep(folder: Path) -> bool:
    """Whether a sweep was started in a folder."""
    return (folder / MARK).is_file()


def runs_below(folder: Path) -> list[RunFolder]:
    """Every run of a sweep, in the order of their names, numbers by their value."""
    found = [RunFolder(path.parent) for path in folder.rglob("resolved.toml")]
    inside = [run for run in found if not any(x.path in run.path.parents for x in found)]
    return sorted(inside, key=lambda run: _in_order(run.path.relative_to(folder).as_posix()))


def _in_order(name: str) -> list[tuple[float, str]]:
    return [
        (float(part), "") if number else (0.0, part)
        for part in re.split(r"(?<![\w.])(\d+(?:\.\d+)?(?:e[+-]?\d+)?)", name)
        for number in [bool(re.fullmatch(r"\d+(?:\.\d+)?(?:e[+-]?\d+)?", part))]
    ]


def marked(folder: Path) -> Mapping[str, Any]:
    """What sweep.json says; {} where there is none. Raises RunError where it cannot be read."""
    try:
        found = json.loads((folder / MARK).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise RunError(f"cannot read {folder / MARK}: {error}") from error
    return found if isinstance(found, dict) else {}


def open_folder(folder: Path, search: Mapping[str, str] | None) -> None:
    """Make the sweep's folder, or go on in it. search: metric and direction of a search.

    Raises RunError where it holds something else.
    """
    wanted = {"sweep": 1} if search is None else {"sweep": 1, "search": dict(search)}
    if is_sweep(folder):
        before = marked(folder)
        if before.get("search") != wanted.get("search"):
            raise RunError(
                f"{folder} holds {_search_text(before.get('search'))}, not "
                f"{_search_text(search)}; choose "
                "another `--out`"
            )
        return
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise RunError(f"{folder} holds something else; choose another `--out`")
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / MARK, json.dumps(wanted) + "\n")
    except OSError as error:
        raise RunError(f"cannot write {folder}: {error.strerror or error}") from error


def _search_text(search: Any) -> str:
    if not isinstance(search, Mapping):
        return "a sweep without a search"
    trials = "trials in a database" if search.get("trials") == "database" else "trials in a file"
    return f"a search that {search.get('direction')}s {search.get('metric')} with its {trials}"
