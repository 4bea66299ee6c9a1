"""One turn, played with an eye on every number, to see where what is not finite comes from."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from attrs import frozen
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from ganforge.game.batch import all_parts_of
from ganforge.game.game import Game
from ganforge.game.nan_guard import (
    TurnPosition,
    called,
    gradients_of,
    not_finite_of,
    term_names,
    weights_of,
)
from ganforge.game.trained_module import TrainedModule
from ganforge.game.turn import Turn
from ganforge.interfaces.components import GeneratorOutput

TOGETHER = "together"  # the norm of the gradient that the update would take


@frozen
class Findings:
    """What a turn showed.

    terms: each loss term's mean, before its weight. norms: of the gradients, by module and then by
    weighted loss, and `together`. layer: the first layer that gave, or was given, what is not
    finite. weights, gradients: addresses of parameters that are not finite before the update;
    updated: after it, where that was tried.
    """

    terms: Mapping[str, float]
    norms: Mapping[str, Mapping[str, float]]
    layer: str
    weights: Sequence[str]
    gradients: Sequence[str]
    updated: Sequence[str] = ()

    @property
    def broken_terms(self) -> list[str]:
        return [name for name, value in self.terms.items() if not math.isfinite(value)]

    @property
    def broken_gradients(self) -> list[str]:
        """The losses whose gradient is not finite."""
        names = (
            name
            for norms in self.norms.values()
            for name, norm in norms.items()
            if name != TOGETHER and not math.isfinite(norm)
        )
        return list(dict.fromkeys(names))

    def what(self) -> dict[str, Any]:
        """What is not finite, without any number."""
        return {
            "terms": self.broken_terms,
            "layer": self.layer,
            "weights": list(self.weights),
            "gradients": list(self.gradients),
            "updated": list(self.updated),
        }

    def for_json(self) -> dict[str, Any]:
        """All of it; numbers that JSON does not know become texts."""
        norms = {address: _written(of) for address, of in self.norms.items()}
        return {**self.what(), "values": _written(self.terms), "norms": norms}


def examine(
    game: Game,
    at: TurnPosition,
    encoded: Mapping[tuple[str, str], GeneratorOutput] = {},
    rates: Mapping[str, float] | None = None,
) -> Findings:
    """Play a turn of the game as it is now.

    rates: learning rates by module; then the update is made, and what it gives is looked at.
    """
    losses = list(game.active(at.side, at.step, at.count))
    trained_modules = game.open_side(at.side)
    weights = not_finite_of(game.trained_modules, weights_of(game.trained_modules))
    for trained_module in trained_modules:
        trained_module.optimizer.zero_grad(set_to_none=True)
    values: dict[str, dict[str, Tensor]] = {}
    sums: dict[str, dict[str, list[Tensor]]] = {
        trained_module.address: {} for trained_module in trained_modules
    }
    with _first_layer(game) as layers:
        for batch in all_parts_of(game, at.update, graph=at.side == "generator"):
            batch.take_encoded(encoded)
            turn = Turn(batch, at.side, at.step, game.wants(losses, at.side))
            total = game.total(turn, losses, values, partial(_add_gradients, sums, trained_modules))
            if total is not None and total.requires_grad:
                total.backward()  # type: ignore[no-untyped-call]
    norms = {
        trained_module.address: _norms(trained_module, sums[trained_module.address])
        for trained_module in trained_modules
    }
    gradients = not_finite_of(trained_modules, gradients_of(trained_modules))
    return Findings(
        terms=dict(zip(term_names(values), _numbers(values), strict=True)),
        norms=norms,
        layer=layers[0] if layers else "",
        weights=weights,
        gradients=gradients,
        updated=_update(trained_modules, rates) if rates is not None else (),
    )


def _add_gradients(
    sums: dict[str, dict[str, list[Tensor]]],
    trained_modules: Sequence[TrainedModule],
    address: str,
    name: str,
    term: Tensor,
) -> None:
    """Add the gradients of one weighted term, by module."""
    (what,) = term_names({address: {name: term}})
    if not term.requires_grad:
        return
    for trained_module in trained_modules:
        found = torch.autograd.grad(
            term, trained_module.parameters, retain_graph=True, allow_unused=True
        )
        if all(gradient is None for gradient in found):
            continue
        new = [
            torch.zeros_like(p) if g is None else g
            for g, p in zip(found, trained_module.parameters, strict=True)
        ]
        before = sums[trained_module.address].get(what)
        added = new if before is None else [a + b for a, b in zip(before, new, strict=True)]
        sums[trained_module.address][what] = added


def _norms(trained_module: TrainedModule, sums: Mapping[str, Sequence[Tensor]]) -> dict[str, float]:
    whole = [p.grad for p in trained_module.parameters if p.grad is not None]
    norms = {what: get_total_norm(list(gradients)).item() for what, gradients in sums.items()}
    return {**norms, TOGETHER: get_total_norm(whole).item()} if whole else norms


def _update(trained_modules: Sequence[TrainedModule], rates: Mapping[str, float]) -> list[str]:
    """Make the update; the addresses of parameters that are not finite after it."""
    for trained_module in trained_modules:
        whole = [p.grad for p in trained_module.parameters if p.grad is not None]
        if trained_module.clip is not None and whole:
            clip_grads_with_norm_(
                trained_module.parameters, trained_module.clip, get_total_norm(whole)
            )
        for group in trained_module.optimizer.param_groups:
            group["lr"] = rates.get(trained_module.address, trained_module.lr)
        trained_module.optimizer.step()
    return not_finite_of(trained_modules, weights_of(trained_modules))


@contextmanager
def _first_layer(game: Game) -> Iterator[list[str]]:
    """Collects, in words, the layers that gave or were given what is not finite, in their order."""
    found: list[str] = []
    handles = []

    def watch(name: str) -> Any:
        def look(module: nn.Module, inputs: Any, output: Any) -> None:
            if found:
                return
            if not all(map(_is_finite, _tensors(inputs))):
                found.append(f"what is given to {name}")
            elif not all(map(_is_finite, _tensors(output))):
                found.append(f"the output of {name}")

        return look

    for address, network in game.networks.items():
        for inner, module in network.named_modules():
            layer = f"layer '{inner}' ({type(module).__name__}) of " if inner else ""
            handles.append(module.register_forward_hook(watch(layer + called(address))))
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def _tensors(value: Any) -> Iterator[Tensor]:
    """The tensors in what a module takes or gives."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _tensors(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _tensors(item)
    elif hasattr(type(value), "__attrs_attrs__"):
        for field in type(value).__attrs_attrs__:
            yield from _tensors(getattr(value, field.name))


def _is_finite(tensor: Tensor) -> bool:
    return not tensor.is_floating_point() or bool(tensor.detach().isfinite().all())


def _numbers(values: Mapping[str, Mapping[str, Tensor]]) -> list[float]:
    return [value.item() for terms in values.values() for value in terms.values()]


def _written(numbers: Mapping[str, float]) -> dict[str, float | str]:
    return {k: v if math.isfinite(v) else str(v) for k, v in numbers.items()}
