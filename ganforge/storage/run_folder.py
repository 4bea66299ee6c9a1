"""The run folder: one training and all of it. Light; nothing here needs torch.

recipe.toml  resolved.toml  data.json  metrics.jsonl  evaluations.jsonl  best.json
log.txt  samples/  snapshots/  checkpoints/  failed/
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from attrs import frozen

from ganforge.interfaces.errors import RunError
from ganforge.interfaces.logged_names import current_name
from ganforge.storage import step_names

LOCK = ".lock"
LOG = "log.txt"
_AT_ONCE = 1 << 20  # characters of JSON lines that are read in one call


@frozen
class RunFolder:
    """Paths and small files of one run."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def recipe(self) -> Path:
        return self.path / "recipe.toml"

    @property
    def resolved(self) -> Path:
        return self.path / "resolved.toml"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def evaluations(self) -> Path:
        return self.path / "evaluations.jsonl"

    @property
    def samples(self) -> Path:
        return self.path / "samples"

    @property
    def snapshots(self) -> Path:
        return self.path / "snapshots"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def failed(self) -> Path:
        """What stopped the run because it was not finite, by step."""
        return self.path / "failed"

    @property
    def log(self) -> Path:
        """What the run said once nobody read its output any more."""
        return self.path / LOG

    @property
    def data(self) -> Path:
        """What the rows are made of that the run learns from."""
        return self.path / "data.json"

    def exists(self) -> bool:
        """Whether a run was started here."""
        return self.resolved.is_file()

    def is_free(self) -> bool:
        """Whether nothing is here but what a run that never began may have left."""
        return not self.path.exists() or (
            self.path.is_dir() and all(p.name in (LOCK, LOG) for p in self.path.iterdir())
        )

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep other processes from training here. Raises RunError where one does already.

        The operating system lets go of the lock when the process ends, however it ends.
        """
        from filelock import FileLock, Timeout

        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.path / LOCK, timeout=0.3)  # others look in for a moment
            lock.acquire()
        except Timeout:
            raise RunError(
                f"another process is training in {self.path}; wait until it ends, or choose "
                "another place with `--out DIR` or `--new`"
            ) from None
        except OSError as error:
            raise RunError(
                f"cannot write the run folder {self.path}: {error.strerror or error}; "
                "choose another place with `--out DIR`"
            ) from error
        try:
            yield
        finally:
            lock.release()

    def is_held(self) -> bool:
        """Whether a process trains here now."""
        from filelock import FileLock, Timeout

        if not (self.path / LOCK).is_file():
            return False
        try:
            with FileLock(self.path / LOCK, timeout=0):
                return False
        except Timeout:
            return True
        except OSError:  # may not be written to, so nobody here trains in it
            return False

    def create(self, recipe: str, resolved: str, plugin_files: Mapping[str, str] = {}) -> None:
        """Write the recipe, its resolved form, and the texts of plugin files by name.

        Raises RunError where that is not possible.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            if not self.recipe.exists():
                write_whole(self.recipe, recipe)
            for name, text in plugin_files.items():
                (self.path / "plugin-files").mkdir(exist_ok=True)
                write_whole(self.path / "plugin-files" / name, text)
            write_whole(self.resolved, resolved)
        except OSError as error:
            raise RunError(
                f"cannot write the run folder {self.path}: {error.strerror or error}; "
                "choose another place with `--out DIR`"
            ) from error

    def resolved_tables(self) -> dict[str, Any]:
        """The content of resolved.toml. Raises RunError when there is none."""
        try:
            return tomllib.loads(self.resolved.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise RunError(f"{self.path} is no run folder: it has no resolved.toml") from None
        except (OSError, ValueError) as error:
            raise RunError(f"cannot read {self.resolved}: {error}") from error

    def metric_lines(self) -> Iterator[dict[str, Any]]:
        """The lines of metrics.jsonl, numbers under the names of today; a line cut off by a kill is
        left out."""
        for line in _lines(self.metrics):
            yield {current_name(name): value for name, value in line.items()}

    def evaluation_lines(self) -> Iterator[dict[str, Any]]:
        """The lines of evaluations.jsonl, oldest first; one cut off by a kill is left out."""
        yield from _lines(self.evaluations)

    def cut_metrics(self, step: int) -> None:
        """Remove the lines after a step: a resumed run writes them again."""
        if not self.metrics.exists():
            return
        lines = (json.dumps(e) + "\n" for e in self.metric_lines() if e["step"] <= step)
        write_whole(self.metrics, lines)

    def checkpoint_steps(self) -> list[int]:
        """The steps that have a whole checkpoint, ascending."""
        return step_names.checkpoint_steps(self.checkpoints)

    def kept(self) -> str:
        """What a run that has to stop can go on from, in words."""
        steps = self.checkpoint_steps()
        return f"the checkpoint of step {steps[-1]:,} is kept" if steps else "no checkpoint was due"

    def kept_steps(self) -> list[int]:
        """The steps whose generators are kept, in checkpoints or snapshots, ascending."""
        return sorted({*self.checkpoint_steps(), *self.snapshots_by_step()})

    def sheets(self) -> list[Path]:
        """The sample sheets, oldest first."""
        return list(self.sheets_by_step().values())

    def snapshot(self, step: int) -> Path:
        """The generators that made the sheet of a step, where they were kept."""
        return self.snapshots / step_names.snapshot_name(step)

    def sheet(self, step: int) -> Path:
        """The sample sheet of a step, where it was drawn."""
        return self.samples / step_names.sheet_name(step)

    def sheets_by_step(self) -> dict[int, Path]:
        """The sample sheets, oldest first, by their step."""
        return step_names.steps_of(self.samples, "*.png")

    def snapshots_by_step(self) -> dict[int, Path]:
        """The generators that are kept beside sheets, oldest first, by their step."""
        return step_names.steps_of(self.snapshots, "*.safetensors")

    def best(self) -> int | None:
        """The step that best.json names; None where it names none."""
        try:
            step = json.loads((self.path / "best.json").read_text(encoding="utf-8"))["step"]
        except (OSError, ValueError, LookupError, TypeError):
            return None
        return step if type(step) is int else None

    def write_best(self, step: int, figure: str, value: float) -> None:
        """Name the step whose figure is best. Raises OSError."""
        text = json.dumps({"step": step, "figure": figure, "value": value}) + "\n"
        write_whole(self.path / "best.json", text)

    def state(self) -> Mapping[str, Any]:
        """name, step, steps, state ("training", "finished", "stopped" or "started"), changed (ISO
        time), for `runs`."""
        tables = self.resolved_tables()
        steps = tables.get("train", {}).get("steps", 0)
        saved = self.checkpoint_steps()
        step = saved[-1] if saved else 0
        newest = _changed(self.path)
        state = "finished" if saved and step >= steps else "stopped" if saved else "started"
        if state != "finished" and self.is_held():
            state = "training"
        return {
            "name": self.name,
            "recipe": tables.get("name", ""),
            "step": step,
            "steps": steps,
            "state": state,
            "changed": datetime.fromtimestamp(newest).isoformat(timespec="seconds"),
            "folder": str(self.path),
        }


def find_runs(root: Path = Path("runs")) -> list[RunFolder]:
    """Every run below a folder, the newest last."""
    if not root.is_dir():
        return []
    folders = [RunFolder(path) for path in root.iterdir() if (path / "resolved.toml").is_file()]
    return sorted(folders, key=lambda folder: _changed(folder.path))


def find_run(name: str | Path | None, root: Path = Path("runs")) -> RunFolder:
    """A run by its folder, its name, or nothing for the newest. Raises RunError."""
    if name is None:
        runs = find_runs(root)
        if not runs:
            raise RunError(f"there is no run in {root}; start one with `ganforge run RECIPE`")
        return runs[-1]
    for path in (Path(name), root / name):
        if (path / "resolved.toml").is_file():
            return RunFolder(path)
    from ganforge.recipes.suggestions import nearest

    close = nearest(str(name), [folder.name for folder in find_runs(root)])
    hint = f"did you mean '{close[0]}'?" if close else "`ganforge runs` lists what there is"
    raise RunError(f"there is no run '{name}'; {hint}")


def write_whole(path: Path, text: str | Iterable[str]) -> None:
    """Write a file, in one piece or in several, whole or not at all."""
    temporary = path.with_name(f".{path.name}.partial")
    try:
        with temporary.open("w", encoding="utf-8", newline="\n") as file:
            file.writelines([text] if isinstance(text, str) else text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except (OSError, UnicodeEncodeError) as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, UnicodeEncodeError):
            raise RunError(_not_text(path, error)) from error
        raise


def _not_text(path: Path, error: UnicodeEncodeError) -> str:
    """The error to show where text holds a name of the system that is none."""
    line = error.object[: error.start].rpartition("\n")[2] + error.object[error.start :]
    shown = line.partition("\n")[0].encode("utf-8", "backslashreplace").decode()
    return (
        f"{path.name} would hold a name that is not UTF-8 ({shown.strip()}): rename that folder, "
        "or let a link of another name lead to it"
    )


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of a file of JSON lines that have a step."""
    if not path.exists():
        return
    with path.open(encoding="utf-8", errors="replace") as file:
        while lines := file.readlines(_AT_ONCE):
            for entry in _objects(lines):
                if isinstance(entry, dict) and isinstance(entry.get("step"), int):
                    yield entry


def _objects(lines: list[str]) -> Iterator[Any]:
    """What lines hold, but those that are no JSON: all in one call, which is faster, if all are."""
    try:
        found: list[Any] = json.loads(f"[{','.join(lines)}]")
        if len(found) == len(lines):
            yield from found
            return
    except ValueError:
        pass
    for line in lines:
        try:
            yield json.loads(line)
        except ValueError:
            continue


def _changed(path: Path) -> float:
    newest = [
        p.stat().st_mtime for p in (path / "metrics.jsonl", path / "resolved.toml") if p.exists()
    ]
    return max(newest, default=0.0)
