"""What would end a run at its first step, and is told before it begins."""

from __future__ import annotations

import ast
import copy
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ganforge.game.error_attribution import needs_more_items
from ganforge.game.game import Game
from ganforge.hardware import resident_memory
from ganforge.hardware.machine import Machine
from ganforge.hardware.processes import WholeBatchNorm
from ganforge.interfaces.errors import GanforgeError, RunError
from ganforge.interfaces.specs import Spec
from ganforge.planning.plan import GeneratorPlan, Plan

_FLOAT = 4  # bytes


def refuse_vast_batch(plan: Plan, decided: Machine) -> None:
    """Raises GanforgeError where the rows of a batch alone, and the fakes beside them, are more
    than the memory that is free; a system that runs out of it ends processes without a word."""
    free = _free(decided.device)
    rows = _rows(plan, decided.processes)
    needed = rows * _row_bytes(plan)
    if free and needed > free:
        parts = 2
        while _rows(plan, decided.processes, parts) * _row_bytes(plan) > free / 4:
            parts *= 2
        raise GanforgeError(
            f"train.batch = {plan.train.batch:,} needs at least {needed / 1e9:,.1f} GB of memory "
            f"for its rows alone, and {free / 1e9:,.1f} GB are free: lower it, or split it with "
            f"`--set train.accumulate={parts}`"
        )


def _rows(plan: Plan, processes: int, parts: int | None = None) -> int:
    """Rows that a process plays at once."""
    parts = min(parts or plan.train.accumulate, plan.train.batch)
    return -(-plan.train.batch // parts) // processes


def _row_bytes(plan: Plan) -> int:
    """Bytes that lie there for each row in a step, at the least: what is real, and what is made
    with its gradient."""
    real = sum(plan.domains[name].spec.flat for name in plan.played_domains())
    made = sum(generator.target_spec.flat for generator in plan.generators.values())
    return _FLOAT * (real + 2 * made)


def _free(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return resident_memory.available() if device.type == "cpu" else 0


def is_too_few(game: Game) -> bool:
    """Whether some network is given one item at a time and cannot train on that: BatchNorm.

    Copies are tried on an item of zeros, which moves nothing and draws nothing of anybody's.
    """
    plan = game.plan
    if _rows(plan, game.machine.processes) > 1:
        return False
    return any(_fails_on_one(network, plan, name) for name, network in game.networks.items())


def _fails_on_one(network: nn.Module, plan: Plan, address: str) -> bool:
    norms = [m for m in network.modules() if isinstance(m, _BatchNorm)]
    if all(isinstance(norm, WholeBatchNorm) for norm in norms):
        return False
    shadow = copy.deepcopy(network).train()
    device = next(network.parameters(), torch.empty(0)).device
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            shadow(*_one_item(plan, address, device))
    except ValueError as error:
        return needs_more_items(error)
    except Exception:  # of another kind: told where it is played
        return False
    return False


def _one_item(plan: Plan, address: str, device: torch.device) -> list[Tensor]:
    network = plan.networks[address]
    if isinstance(network, GeneratorPlan):
        return [_zeros(spec).to(device) for spec in network.source_specs]
    judged = torch.zeros((1, *network.judged.played), device=device)
    given = tuple(_zeros(spec).to(device) for spec in network.given_specs)
    return [judged, *([given] if given else [])]  # type: ignore[list-item]


def _zeros(spec: Spec) -> Tensor:
    dtype = torch.int64 if spec.kind in ("label", "text") else torch.float32
    return torch.zeros((1, *spec.shape), dtype=dtype)


def refuse_unguarded_script() -> None:
    """Raises RunError where a script trains with worker processes outside of `if __name__ ==
    "__main__":`, since each of them runs the script again."""
    for frame in _frames():
        if frame.f_globals.get("__name__") != "__main__" or frame.f_code.co_name != "<module>":
            continue
        file = frame.f_code.co_filename
        if Path(file).name == "__main__.py" or not os.path.isfile(file):  # noqa: PTH113
            return
        if not _is_guarded(Path(file), frame.f_lineno):
            raise RunError(
                f"{file}:{frame.f_lineno} trains with worker processes, and each of them would run "
                'the script again: put this below `if __name__ == "__main__":`, or set '
                "`train.workers = 0`"
            )


def _frames() -> Iterator[FrameType]:
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        yield frame
        frame = frame.f_back


def _is_guarded(file: Path, line: int) -> bool:
    """Whether a line stands below a test of `__name__`."""
    try:
        tree = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return True  # nobody knows
    return any(
        isinstance(node, ast.If)
        and any(isinstance(n, ast.Name) and n.id == "__name__" for n in ast.walk(node.test))
        and node.lineno <= line <= (node.end_lineno or node.lineno)
        for node in tree.body
    )
