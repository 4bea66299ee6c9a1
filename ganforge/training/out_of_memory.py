"""When memory runs out: find the largest batch that fits, and say so in one line."""

from __future__ import annotations

import gc

import torch

from ganforge.game.batch import Batch
from ganforge.game.error_attribution import needs_more_items, remembers_no_memory
from ganforge.game.turn import Turn
from ganforge.interfaces.errors import TrainingError
from ganforge.planning.plan import SIDES
from ganforge.training.trainer import Training


def largest_batch(training: Training) -> TrainingError:
    """The error to show: names the largest batch whose losses can be differentiated here."""
    if training.game.phase is None:  # memory ran out before the first step
        training.game.enter(training.plan.phase_at(training.step + 1))
    processes = training.game.machine.processes
    whole = training.plan.train.batch // processes
    fits = 0
    size = whole // 2
    while size >= 1:
        gc.collect()
        if training.game.device.type == "cuda":
            torch.cuda.empty_cache()
        if _fits(training, size):
            fits = size
            break
        size //= 2
    parts = -(-whole // fits) if fits else 0
    advice = (
        f"the largest batch that fits is about {fits * processes}: `--set train.batch="
        f"{fits * processes}`, or keep the batch and split it with `--set "
        f"train.accumulate={parts}`"
        if fits
        else "not even the smallest batch fits; a smaller `data.size` or network width does"
    )
    return TrainingError(
        f"out of memory at batch {whole * processes} on {training.game.device}; {advice}"
    )


def _fits(training: Training, size: int) -> bool:
    """Try one turn of each side with the first rows of a batch; nothing is updated."""
    game = training.game
    try:
        for side in SIDES:
            losses = list(game.active(side, training.step + 1, 0))
            if not game.open_side(side):
                continue
            batch = Batch(game, 0, slice(0, size), graph=side == "generator")
            turn = Turn(batch, side, 1, game.wants(losses, side))
            total = game.total(turn, losses, {})
            if total is not None and total.requires_grad:
                total.backward()  # type: ignore[no-untyped-call]
            for trained_module in game.trained_modules:
                trained_module.optimizer.zero_grad(set_to_none=True)
    except (RuntimeError, MemoryError) as error:
        if remembers_no_memory(error):
            return False
        raise
    except ValueError as error:
        if needs_more_items(error):
            return False
        raise
    return True
