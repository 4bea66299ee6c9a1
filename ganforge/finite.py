"""Keeping what is not finite from the weights, without waiting for an accelerator."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from ganforge.errors import TrainingError
from ganforge.game import Game
from ganforge.plan import Side


class Guard:
    """Keeps a loss that is not finite from the weights.

    On the CPU each total is looked at before it is differentiated. On an accelerator that would
    wait for it each step: there a flag goes with the gradients, the fused optimizers skip their
    step while it is set, and it is read when numbers are read anyway.
    """

    def __init__(self, game: Game) -> None:
        self._waits = game.device.type == "cpu" or any(
            not player.optimizer.defaults.get("fused") for player in game.players
        )
        self._flag = torch.zeros((), device=game.device)
        self._records: dict[Side, tuple[list[str], Tensor]] = {}  # term names; finite?, step

    def watch(
        self, total: Tensor, side: Side, step: int, values: Mapping[str, Mapping[str, Tensor]]
    ) -> None:
        """Look at a total loss before its gradients are used."""
        if self._waits:
            if not math.isfinite(total.item()):
                names = _term_names(values, side)
                flat = [v.item() for terms in values.values() for v in terms.values()]
                raise _not_finite(names, [math.isfinite(v) for v in flat], step)
            return
        finite = torch.stack([v.isfinite() for terms in values.values() for v in terms.values()])
        now = torch.cat([finite.float(), torch.full((1,), float(step), device=finite.device)])
        names = _term_names(values, side)
        before = self._records.get(side)
        if before is not None and before[0] == names:  # what broke first is kept
            now = torch.where(self._flag > 0, before[1], now)
        self._records[side] = (names, now)
        self._flag = torch.maximum(self._flag, (~total.detach().isfinite()).float())

    def step(self, optimizer: torch.optim.Optimizer) -> None:
        """Step an optimizer, unless a loss was not finite."""
        if not self._waits:
            optimizer.found_inf = self._flag  # type: ignore[attr-defined]
        optimizer.step()

    def raise_if_broken(self) -> None:
        """Raises TrainingError when the flag was set."""
        if self._waits or not self._flag.item():
            return
        broken = []
        for names, record in self._records.values():
            *finite, step = record.tolist()
            if not all(finite):
                broken.append((int(step), names, [bool(value) for value in finite]))
        step, names, good = min(broken, key=lambda entry: entry[0])
        raise _not_finite(names, good, step)


def _term_names(values: Mapping[str, Mapping[str, Tensor]], side: Side) -> list[str]:
    """What to call each term of a side's losses in an error."""
    names = []
    for address, terms in values.items():
        loss, _, guard = address.removeprefix("losses.").partition("@")
        where = f" on discriminator '{guard}'" if guard else ""
        for term in terms:
            what = "" if term == "loss" else f", term '{term}'"
            names.append(f"loss '{loss}'{what}{where} ({side} turn)")
    return names


def _not_finite(names: list[str], finite: list[bool], step: int) -> TrainingError:
    broken = [name for name, good in zip(names, finite, strict=True) if not good] or names
    return TrainingError(
        f"step {step}: not finite: {'; '.join(broken)}. The update was not made, so weights and "
        "checkpoints are good. A smaller `optimizer.lr`, `clip = 1.0` on the network or "
        '`train.precision = "fp32"` often helps'
    )
