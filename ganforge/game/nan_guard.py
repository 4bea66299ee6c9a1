"""Keeping what is not finite from the weights, without waiting for an accelerator.

On the CPU each total loss is looked at before it is differentiated, and gradients before an update:
all of them where a loss reads gradients, where a loss is large, where they are clipped anyway, and
in a run that has failed before; else the smallest tensor of each network, since reading all of them
costs a small game hundredths of its time. What slips through shows in the next loss, or when the
weights are looked at as a whole, before numbers are read and before a checkpoint is written.

On an accelerator that would wait for it: there a flag goes with the gradients, the fused optimizers
skip their step while it is set, and it is read when numbers are read anyway.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import torch
from attrs import frozen
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

from ganforge.game import optimizers
from ganforge.game.game import Game
from ganforge.game.trained_module import TrainedModule
from ganforge.interfaces.addresses import Address
from ganforge.interfaces.components import Augmentor
from ganforge.planning.plan import Side

_LARGE = 1e6  # a weighted loss beyond which all gradients and updates are looked at


@frozen
class TurnPosition:
    """A turn's place in a run.

    step: counts from 1. count: the side's update, from 0. update: the batch's number, from 0.
    """

    side: Side
    step: int
    count: int
    update: int


class Broken(Exception):
    """Something is not finite. names: of loss terms, or addresses of parameters.

    exact: whether the turn of `at` is the one that it came from, with all weights as before it.
    """

    def __init__(
        self,
        kind: Literal["loss", "gradient", "weight"],
        names: Sequence[str],
        at: TurnPosition,
        *,
        exact: bool = True,
    ) -> None:
        super().__init__(f"{kind} of {', '.join(names)}")
        self.kind = kind
        self.names = list(names)
        self.at = at
        self.exact = exact


class Guard:
    """Raises Broken rather than let what is not finite reach the weights.

    closely: look at every gradient and at every updated weight, which a run that failed before is
    worth. Then an update that overflows is undone.
    """

    def __init__(self, game: Game, *, closely: bool = False) -> None:
        self._game = game
        self._waits = game.device.type == "cpu" or any(
            not trained_module.optimizer.defaults.get("fused")
            for trained_module in game.trained_modules
        )
        self._always = closely
        self._closely = closely  # look at all gradients of this turn
        self._undoes = closely  # and at what its updates make of the weights
        self.stepped = False  # whether some weight was moved since this was made
        self._at: TurnPosition | None = None
        self._kept: dict[tuple[str, str], Tensor] = {}  # (address, buffer) as before the turn
        self._owners: dict[Side, list[tuple[str, nn.Module]]] = {
            "discriminator": list(_owners(game, in_turn_of="discriminator")),
            "generator": list(_owners(game, in_turn_of="generator")),
        }
        self._smallest = {
            trained_module.address: min(trained_module.parameters, key=lambda p: p.numel())
            for trained_module in game.trained_modules
            if trained_module.parameters
        }
        self._undo: list[tuple[TrainedModule, list[Tensor], dict[str, Tensor]]] = []  # of this turn
        self._flag = torch.zeros((), device=game.device)
        self._records: dict[tuple[Side, str], tuple[list[str], Tensor]] = {}

    # --- before and after a turn ----------------------------------------------------------------

    def open(self, at: TurnPosition) -> None:
        """A turn begins: keep the buffers as they are, since its forwards move them.

        G's turn over the batch of D's last one uses the fakes that were made there, so the
        generators' buffers are those of that turn. BatchNorm's are left out, since no forward that
        trains reads them.
        """
        before, self._at = self._at, at
        self._closely = self._undoes = self._always
        self._undo.clear()
        if not self._waits:
            return
        shared = (
            before is not None
            and (before.step, before.update) == (at.step, at.update)
            and self._game.plan.train.accumulate == 1
        )
        for address, module in self._owners[at.side]:
            if shared and Address.parse(address).kind == "generators":
                continue
            for name, buffer in module.named_buffers(recurse=False):
                kept = self._kept.get((address, name))
                if kept is None or kept.shape != buffer.shape:
                    self._kept[address, name] = buffer.clone()
                else:
                    kept.copy_(buffer)  # memory that is there already: a pool's is large

    def restore(self) -> None:
        """Put buffers, and weights and moments that were kept, back to how they were before the
        turn."""
        for trained_module, weights, moments in self._undo:
            with torch.no_grad():
                torch._foreach_copy_([*trained_module.parameters], weights)
            optimizers.load_state_tensors(trained_module.optimizer, trained_module.names(), moments)
        assert self._at is not None
        for address, module in self._owners[self._at.side]:
            for name, _ in module.named_buffers(recurse=False):
                if (address, name) in self._kept:
                    setattr(module, name, self._kept[address, name].clone())

    # --- looking --------------------------------------------------------------------------------

    def watch(
        self,
        total: Tensor,
        values: Mapping[str, Mapping[str, Tensor]],
        *,
        closely: bool,
    ) -> None:
        """Look at a total loss before it is differentiated. closely: whether a loss reads
        gradients, so that those of the weights may break while it is finite."""
        assert self._at is not None
        names = term_names(values)
        if not self._waits:
            self._note("loss", names, [v for terms in values.values() for v in terms.values()])
            self._flag = torch.maximum(self._flag, (~total.detach().isfinite()).float())
            return
        whole = total.item()
        self._undoes = self._undoes or abs(whole) > _LARGE
        self._closely = self._closely or self._undoes or closely
        if not math.isfinite(whole):
            flat = [v.item() for terms in values.values() for v in terms.values()]
            broken = [n for n, v in zip(names, flat, strict=True) if not math.isfinite(v)]
            raise Broken("loss", broken or names, self._at)

    def gradients(self, trained_modules: Sequence[TrainedModule]) -> dict[str, Tensor]:
        """Look at the gradients before the update. Returns their norms by module, as far as they
        were computed."""
        assert self._at is not None
        norms = {}
        for trained_module in trained_modules:
            if self._closely or not self._waits or trained_module.clip is not None:
                gradients = [p.grad for p in trained_module.parameters if p.grad is not None]
                if gradients:
                    norms[trained_module.address] = _norm(gradients)
                looked = norms.get(trained_module.address)
            else:
                gradient = self._smallest[trained_module.address].grad
                looked = None if gradient is None else gradient.sum()
            if self._waits and looked is not None and not math.isfinite(looked.item()):
                names = not_finite_of(trained_modules, gradients_of(trained_modules))
                raise Broken("gradient", names or [trained_module.address], self._at)
        if not self._waits and norms:
            self._note("gradient", list(norms), list(norms.values()))
            finite = torch.stack(list(norms.values())).isfinite().all()
            self._flag = torch.maximum(self._flag, (~finite).float())
        return norms

    def step(self, trained_module: TrainedModule) -> None:
        """Step an optimizer, unless something was not finite."""
        if not self._waits:
            trained_module.optimizer.found_inf = self._flag  # type: ignore[attr-defined]
        if not (self._waits and self._undoes):
            trained_module.optimizer.step()
            self.stepped = True
            return
        assert self._at is not None
        names = trained_module.names()
        moments = optimizers.state_tensors(trained_module.optimizer, names)
        weights = [parameter.detach().clone() for parameter in trained_module.parameters]
        self._undo.append((trained_module, weights, {k: v.clone() for k, v in moments.items()}))
        trained_module.optimizer.step()
        if not math.isfinite(_norm(trained_module.parameters).item()):
            raise Broken(
                "weight", not_finite_of([trained_module], weights_of([trained_module])), self._at
            )
        self.stepped = True

    def raise_if_broken(self) -> None:
        """Raises Broken when the flag was set, or when a weight is not finite. Waits for the
        device."""
        if not self._waits and self._flag.item():
            raise self._first_broken()
        if self._at is None:
            return
        norms = [
            _norm(trained_module.parameters)
            for trained_module in self._game.trained_modules
            if trained_module.parameters
        ]
        if not torch.stack(norms).isfinite().all():
            trained_modules = self._game.trained_modules
            raise Broken(
                "weight",
                not_finite_of(trained_modules, weights_of(trained_modules)),
                self._at,
                exact=False,
            )

    # --- on an accelerator ----------------------------------------------------------------------

    def _note(self, kind: str, names: list[str], values: Sequence[Tensor]) -> None:
        """Note which of these are finite; what broke first is kept."""
        assert self._at is not None
        finite = torch.stack([value.detach().isfinite() for value in values]).long()
        where = (self._at.step, self._at.count, self._at.update)
        at = [torch.full((1,), number, device=finite.device) for number in where]
        now = torch.cat([finite, *at])
        before = self._records.get((self._at.side, kind))
        if before is not None and before[0] == names:
            now = torch.where(self._flag > 0, before[1], now)
        self._records[self._at.side, kind] = (names, now)

    def _first_broken(self) -> Broken:
        found: list[tuple[int, int, str, list[str], TurnPosition]] = []
        for (side, kind), (names, record) in self._records.items():
            *finite, step, count, update = record.tolist()
            broken = [name for name, good in zip(names, finite, strict=True) if not good]
            if broken:
                order = (step, 2 * update + (side == "generator"))
                found.append((*order, kind, broken, TurnPosition(side, step, count, update)))
        if not found:  # the sum of finite terms was not finite
            assert self._at is not None
            return Broken("loss", ["the total"], self._at)
        _, _, kind, names, at = min(found, key=lambda entry: (*entry[:2], entry[2] != "loss"))
        return Broken("loss" if kind == "loss" else "gradient", names, at)


def _owners(game: Game, *, in_turn_of: Side) -> Iterator[tuple[str, nn.Module]]:
    """What has buffers that a turn may move, by address: in G's turn neither discriminators nor
    augmentors that only replay. BatchNorm's are left out."""
    for parts in (game.networks, game.losses, game.augmentors):
        for address, whole in parts.items():
            if in_turn_of == "generator" and _moves_in_d_only(address, whole):
                continue
            for inner, module in whole.named_modules():
                norm = isinstance(module, nn.modules.batchnorm._BatchNorm)
                if any(True for _ in module.buffers(recurse=False)) and not norm:
                    yield f"{address}.{inner}" if inner else address, module


def _moves_in_d_only(address: str, part: nn.Module) -> bool:
    replays_only = isinstance(part, Augmentor) and type(part).view is Augmentor.view
    return Address.parse(address).kind == "discriminators" or replays_only


def term_names(values: Mapping[str, Mapping[str, Tensor]]) -> list[str]:
    """What to call each term of a side's losses: `loss 'r1' on discriminator 'main'`."""
    names = []
    for address, terms in values.items():
        for term in terms:
            names.append(called(address) + ("" if term == "loss" else f", term '{term}'"))
    return names


def called(address: str) -> str:
    """An address in words: `generators.main` -> `generator 'main'`."""
    return Address.parse(address).described


def not_finite(tensors: Mapping[str, Tensor]) -> list[str]:
    """The names of tensors whose norm is not finite."""
    return [name for name, tensor in tensors.items() if not _norm([tensor]).isfinite()]


def not_finite_of(
    trained_modules: Sequence[TrainedModule], tensors: Mapping[str, Tensor]
) -> list[str]:
    """The names of parameters for which these have a norm that is not finite; where only all of a
    module's together have one, its address."""
    names = not_finite(tensors)
    if names:
        return names
    together = {
        trained_module.address: [
            tensors[name] for name in trained_module.names().values() if name in tensors
        ]
        for trained_module in trained_modules
    }
    return [address for address, of in together.items() if of and not _norm(of).isfinite()]


def weights_of(trained_modules: Sequence[TrainedModule]) -> dict[str, Tensor]:
    """Parameters by their address in files."""
    return {
        name: p.detach()
        for trained_module in trained_modules
        for p, name in trained_module.names().items()
    }


def gradients_of(trained_modules: Sequence[TrainedModule]) -> dict[str, Tensor]:
    """The gradients that there are, by the address of their parameter."""
    named = (
        (p, name)
        for trained_module in trained_modules
        for p, name in trained_module.names().items()
    )
    return {name: p.grad for p, name in named if p.grad is not None}


def _norm(tensors: Sequence[Tensor]) -> Tensor:
    """Of all of them together, 0-d. Infinite from 1.8e19, where an optimizer's squares are too."""
    return get_total_norm([tensor.detach() for tensor in tensors])
