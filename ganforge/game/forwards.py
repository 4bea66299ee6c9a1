"""Forwards of networks and augmentors: checked against their specs, under their own draws."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any, Protocol

import torch
from attrs import evolve
from torch import Tensor, nn

from ganforge.game.derived_domains import derived
from ganforge.game.error_attribution import attributing_errors, defined_at
from ganforge.game.output_checks import (
    discriminator_output,
    generator_output,
    replayed_of,
    unchanged,
    views_of,
)
from ganforge.game.trained_module import TrainedModule
from ganforge.hardware.machine import Machine
from ganforge.hardware.processes import Ranks
from ganforge.interfaces.addresses import of_augmentor, of_discriminator, of_generator
from ganforge.interfaces.components import Augmentor, DiscriminatorOutput, GeneratorOutput
from ganforge.interfaces.draws import Draw, Draws
from ganforge.interfaces.errors import PluginError
from ganforge.interfaces.specs import Spec
from ganforge.planning.plan import Plan, Side


class BatchDraws(Protocol):
    """What augmentors are told of a batch: its number, and draws of its rows."""

    @property
    def update(self) -> int: ...

    def draw(self, *address: str) -> Draw: ...

    def draw_together(self, *address: str) -> Draw: ...


class Batches(Protocol):
    """Where the data of a game comes from: the feed of a run, or one batch that was kept."""

    def batch(self, update: int, rows: slice = ...) -> Mapping[str, Tensor]:
        """Real data by domain, [N, *spec.shape] each: these rows of an update's batch."""


class Forwards:
    """What batches and turns call: one forward at a time, each under its own address in the draws,
    so that what a network draws by itself follows from (seed, address)."""

    plan: Plan
    machine: Machine
    ranks: Ranks | None
    device: torch.device
    batches: Batches
    draws: Draws
    networks: dict[str, nn.Module]
    augmentors: dict[str, Augmentor]
    _trained_modules: dict[str, TrainedModule]
    _views: dict[str, Augmentor]
    _open: Side  # the side that updates

    def generate(
        self,
        name: str,
        sources: tuple[Tensor, ...],
        *,
        address: tuple[Any, ...],
        records: bool,
        forced: Tensor | None = None,
    ) -> GeneratorOutput:
        """One forward of a generator. records: whether its buffers may change. forced: the tokens,
        int64 [N, length], whose log-probabilities are wanted."""
        trained_module = self._trained_modules[of_generator(name)]
        plan = self.plan.generators[name]
        beside = {} if forced is None else {"forced": forced}
        given = dict(zip(plan.sources, sources, strict=True)) | beside
        with (
            attributing_errors(plan.component),
            unchanged(plan.component, "forward", given),
            self._drawing(trained_module, address, records),
        ):
            made = trained_module.call(*trained_module.laid_out(sources), **beside)
        made = generator_output(made, len(sources[0]), plan.component, plan.target_spec)
        if made.data.is_floating_point():
            made = evolve(made, data=made.data.float())
        where = defined_at(plan.component, "forward")
        what = f"generator '{name}' ({plan.component.id})"
        _expect(made.data, plan.target_spec, what, where)
        return made

    def judge(
        self,
        name: str,
        data: Tensor,
        given: tuple[Tensor, ...] | None,
        *,
        address: tuple[Any, ...],
        records: bool,
    ) -> DiscriminatorOutput:
        """One forward of a discriminator. records: whether its buffers may change."""
        trained_module = self._trained_modules[of_discriminator(name)]
        beside = {"given": given} if given else {}
        component = self.plan.discriminators[name].component
        conditions = {f"given[{n}]": value for n, value in enumerate(given or ())}
        with (
            attributing_errors(component),
            unchanged(component, "forward", {"data": data, **conditions}),
            self._drawing(trained_module, address, records),
        ):
            output = trained_module.call(*trained_module.laid_out((data,)), **beside)
        return discriminator_output(output, len(data), component)

    def learns_now(self, name: str) -> bool:
        """Whether a generator's parameters take gradients in the turn that is played."""
        trained_module = self._trained_modules[of_generator(name)]
        return trained_module.learns and trained_module.side == self._open

    def derived(self, domain: str, images: Tensor, draw: Draw) -> Tensor:
        """What a derived domain makes of images of the domain that it is `of`."""
        return derived(self.plan.domains[domain], images, self._views.get(domain), draw)

    def judges_rows_apart(self, name: str) -> bool:
        """Whether a discriminator's output on an item depends on that item alone."""
        return bool(getattr(self.networks[of_discriminator(name)], "independent_rows", False))

    @contextmanager
    def _drawing(
        self, trained_module: TrainedModule, address: tuple[Any, ...], records: bool
    ) -> Iterator[None]:
        """One forward: what it draws follows from its address, its precision is the machine's, and
        unless it `records`, the network's buffers stay as they are."""
        self.draws.seed_networks("network", trained_module.address, *address)
        keeps = trained_module.learns and not records
        with self.machine.autocast(), trained_module.keeping_buffers() if keeps else nullcontext():
            yield

    def views(
        self, discriminator: str, data: Tensor, batch: BatchDraws, side: Side
    ) -> dict[str, Tensor]:
        """What a discriminator sees of data, by view; the same draws for real and fake."""
        views, shown_by = {"plain": data}, ""
        for name, augmentor in self._augmentors_of(discriminator, batch):
            seen: dict[str, Tensor] = {}
            shown_by = defined_at(self.plan.augmentors[name].component, "view")
            for view, image in views.items():
                draw = batch.draw("augmentor", name, discriminator, view, side)
                component = self.plan.augmentors[name].component
                with attributing_errors(component), unchanged(component, "view", {"data": image}):
                    result = augmentor.view(image, draw)
                shown = views_of(result, len(image), component)
                seen |= {_view_name(view, key): value for key, value in shown.items()}
            views = seen
        judged = self.plan.discriminators[discriminator].judged
        for view, value in views.items():
            _expect(value, judged, f"view '{view}' of discriminator '{discriminator}'", shown_by)
        return views

    def replayed(self, discriminator: str, fakes: Tensor, batch: BatchDraws) -> Tensor:
        """What D is shown in place of fresh fakes (the image pool).

        Where several processes play, the fakes of all pass the pool of each, so that these stay
        the same, and that of one process.
        """
        for name, augmentor in self._augmentors_of(discriminator, batch):
            if type(augmentor).replay is Augmentor.replay:
                continue
            component = self.plan.augmentors[name].component
            with attributing_errors(component):
                if self.ranks is None or not self.ranks.playing:
                    shown = augmentor.replay(fakes, batch.draw("replay", name, discriminator))
                    fakes = replayed_of(shown, fakes, component)
                    continue
                whole, draw = (
                    self.ranks.whole(fakes),
                    batch.draw_together("replay", name, discriminator),
                )
                shown = replayed_of(augmentor.replay(whole, draw), whole, component)
                fakes = shown[self.ranks.share(slice(0, len(shown)))]
        return fakes

    def _augmentors_of(
        self, discriminator: str, batch: BatchDraws
    ) -> Iterator[tuple[str, Augmentor]]:
        for name, plan in self.plan.augmentors.items():
            if discriminator in plan.on and batch.update % plan.every == 0:
                yield name, self.augmentors[of_augmentor(name, discriminator)]


def _expect(data: Tensor, spec: Spec, what: str, where: str) -> None:
    """Raise PluginError where a plugin's tensor has not the shape that its spec promises. where: in
    whose code, ` (FILE:LINE, METHOD)`."""
    if data.shape[1:] != spec.played:
        raise PluginError(
            f"{what} has shape {list(data.shape[1:])} per item, but the spec is {spec}: "
            f"{list(spec.played)}{where}"
        )


def _view_name(outer: str, inner: str) -> str:
    if inner == "plain":
        return outer
    return inner if outer == "plain" else f"{outer}/{inner}"
