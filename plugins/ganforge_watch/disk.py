"""What a run takes on the disk: reported before it starts, and refused without enough room."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from ganforge import GanforgeError, Training
from ganforge_watch import cost


def row(training: Training) -> str:
    """`95 MB: 4 checkpoints of 21 MB, 10 snapshots of 1 MB; 212 GB are free`"""
    free = _free(training.folder.path)
    free_text = f"; {cost.size_of(free)} are free" if free is not None else ""
    return f"{cost.size_of(_needed(training))}: {_listed(training)}{free_text}"


def refuse_if_full(training: Training) -> None:
    """Raises GanforgeError where the run would not fit on the disk."""
    free = _free(training.folder.path)
    if free is None:
        return
    folder = training.folder
    held = _size(folder.checkpoints) + _size(folder.snapshots)  # they make room for newer ones
    if _needed(training) > free + held:
        raise GanforgeError(
            f"{folder.path} may take {cost.size_of(_needed(training))} on the disk "
            f"({_listed(training)}), but {cost.size_of(free + held)} are free: lower "
            "`hooks.checkpoint.keep`, raise or leave out `keep_every`, or choose another place "
            "with `--out DIR`"
        )


def _needed(training: Training) -> int:
    return sum(count * size for _, count, size in _needs(training))


def _listed(training: Training) -> str:
    return ", ".join(
        f"{count:,} {what}{'' if count == 1 else 's'} of {cost.size_of(size)}"
        for what, count, size in _needs(training)
    )


def _needs(training: Training) -> Iterator[tuple[str, int, int]]:
    """(what, how many at once, bytes of each)."""
    yield "checkpoint", _checkpoints(training), _checkpoint_bytes(training)
    for part in training.plan.hooks.values():
        if part.component.id == "ganforge/samples":
            modules = [training.generator(name) for name in training.plan.generators]
            yield "snapshot", part.options.snapshots, sum(map(cost.bytes_of, modules))


def _checkpoints(training: Training) -> int:
    """The most that are there at once: those that are kept, and one that is being written."""
    most = 1
    for part in training.plan.hooks.values():
        if part.component.id == "ganforge/checkpoint":
            options = part.options
            written = training.steps // options.every + 1
            written += options.keep if options.minutes else 0  # in between, if steps take long
            kept = options.keep + bool(options.best)
            kept += training.steps // options.keep_every if options.keep_every else 0
            most = max(most, min(kept + 1, written + bool(options.best)))
    return most


def _checkpoint_bytes(training: Training) -> int:
    """Weights and buffers of everything that plays, and the moments that optimizers will keep."""
    game = training.game
    tensors = sum(tensor.nbytes for tensor in game.state()["networks"].values())
    return tensors + sum(
        cost.moments(trained_module.optimizer) for trained_module in game.trained_modules
    )


def _free(path: Path) -> int | None:
    """Bytes that may still be written where a folder is; None where nobody knows."""
    try:
        return shutil.disk_usage(path).free
    except OSError:
        return None


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
