"""The hook that keeps what generators share with discriminators up to date."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor, nn

from ganforge import GanforgeError, Hook, Training
from ganforge.plugin import Address


class WeightSync(Hook):
    """Copies D's weights into every generator that asks for them, before the first step and then
    every `every` steps; also into the averages.

    A generator asks by an option `discriminator` and a method `take_weights(discriminator, rows)`.
    The rows are those that tell D's classes apart: of a loss on D that owns its classifier, or of
    D itself, whichever has a method `class_rows()`.
    """

    changes_weights = True

    def run_started(self, training: Training) -> None:
        if not list(_sharing(training)):
            raise GanforgeError(
                "the hook weight-sync found no generator that shares weights, such as "
                "weight-sharing; `[hooks.weight-sync] off = true` removes it"
            )
        if training.step == 0:  # a resumed run goes on with the copies that it was saved with
            self._sync(training)

    def step_ended(self, training: Training, step: int) -> None:
        if step % self.options.every == 0:
            self._sync(training)

    def _sync(self, training: Training) -> None:
        for network, address in _sharing(training):
            discriminator = training.game.networks[address]
            network.take_weights(discriminator, _rows(address, discriminator, training.game.losses))


def _sharing(training: Training) -> Iterator[tuple[Any, str]]:
    """(generator, address of the discriminator that it reuses), averages too."""
    for plan in training.plan.generators.values():
        address = plan.settings.refs.get("discriminator")
        for networks in (training.game.networks, training.game.ema):
            network = networks.get(plan.address)
            if address is not None and hasattr(network, "take_weights"):
                yield network, address


def _rows(address: str, discriminator: nn.Module, losses: Mapping[str, nn.Module]) -> Tensor:
    """The rows [K, features] of the classifier on a discriminator. A loss's go first: who adds a
    head to a discriminator wants its classes."""
    name = Address.parse(address).name
    heads = (loss for at, loss in losses.items() if Address.parse(at).discriminator == name)
    for owner in (*heads, discriminator):
        if callable(getattr(owner, "class_rows", None)):
            rows: Tensor = owner.class_rows()
            return rows
    raise GanforgeError(
        f"weight-sync needs the rows of a classifier on discriminator '{name}': use `mirrored`, or "
        "add the loss auxiliary-classifier"
    )
