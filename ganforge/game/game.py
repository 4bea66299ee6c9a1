"""The game: networks, losses and augmentors built from a plan, and how a turn is played.

Rules that hold for every turn:
- Real and fake batches pass a network separately, so BatchNorm sees each by itself.
- A network's buffers (running statistics, power-iteration vectors) change only in forwards that
  belong to its own side's turn; elsewhere they are lent as copies.
- While one side updates, the other side's parameters take no gradient. A network that its phase
  does not train is in eval mode.
- What the author of a network or a loss froze is moved by no optimizer, and stays in eval mode.
- Every forward runs under its own address in the draws, so dropout follows from (seed, address).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ganforge.data.feed import Feed
from ganforge.game import optimizers
from ganforge.game.ema import build_ema, decay_at, follow
from ganforge.game.error_attribution import attributing_errors
from ganforge.game.forwards import Batches, Forwards
from ganforge.game.frozen import Frozen
from ganforge.game.networks import build_loss, build_networks, build_views, learning_side
from ganforge.game.output_checks import loss_terms, unchanged
from ganforge.game.single_row_gradients import sound_gradients
from ganforge.game.trained_module import TrainedModule
from ganforge.game.turn import Turn
from ganforge.hardware.compilation import compiled
from ganforge.hardware.machine import Machine
from ganforge.hardware.matmul import by_onednn
from ganforge.hardware.processes import Ranks, over_the_whole_batch
from ganforge.interfaces.addresses import (
    Address,
    of_augmentor,
    of_discriminator,
    of_generator,
    of_loss,
)
from ganforge.interfaces.components import (
    Augmentor,
    Loss,
)
from ganforge.interfaces.draws import Draws
from ganforge.interfaces.errors import PluginError, TrainingError
from ganforge.interfaces.vocabulary import current
from ganforge.planning.graph import learning_chain
from ganforge.planning.plan import (
    LossPlan,
    NetworkSettings,
    PhasePlan,
    Plan,
    Side,
)
from ganforge.registry.plugin_loader import BUILT_IN
from ganforge.registry.registry import Registry

_Read = Callable[[str], Any]  # the value of a name of the vocabulary


class Game(Forwards):
    """Everything that plays. `batches` brings the data, `machine` says where and how precisely.

    ranks: the processes that play it, where they are several.
    """

    def __init__(
        self,
        plan: Plan,
        registry: Registry,
        machine: Machine,
        batches: Batches,
        ranks: Ranks | None = None,
    ) -> None:
        self.plan = plan
        self.machine = machine
        self.ranks = ranks
        self.device = machine.device
        self.batches = batches
        self.draws = Draws(plan.train.seed, machine.device.type)
        self.frozen: dict[str, Frozen] = {}  # by address, what the author of a part froze
        self.networks: dict[str, nn.Module] = build_networks(
            plan, registry, self.draws, self.frozen
        )
        self.augmentors = self._build_augmentors(registry)
        self._views = build_views(plan, registry)
        self.losses = self._build_losses(registry)
        self._place()
        self.ema = build_ema(plan, self.networks)
        self.trained_modules = list(self._build_trained_modules())
        if not any(trained_module.parameters for trained_module in self.trained_modules):
            raise PluginError("every parameter of every network is frozen: nothing is trained")
        if machine.compiles:
            self._compile()
        self._trained_modules = {
            trained_module.address: trained_module for trained_module in self.trained_modules
        }
        parts = (*plan.networks.values(), *plan.losses.values(), *plan.augmentors.values())
        self._foreign = any(part.component.provider != BUILT_IN for part in parts)
        self.phase: PhasePlan | None = None
        self._open: Side = "discriminator"  # the side that updates

    @property
    def feed(self) -> Feed:
        """The feed of a run that trains; a turn that is played again has none."""
        assert isinstance(self.batches, Feed)
        return self.batches

    # --- building -------------------------------------------------------------------------------

    def _build_augmentors(self, registry: Registry) -> dict[str, Augmentor]:
        """`augmentors.NAME@DISCRIMINATOR` -> instance, in the order of the recipe."""
        built: dict[str, Augmentor] = {}
        for discriminator, judging in self.plan.discriminators.items():
            spec = self.plan.domains[judging.on].spec
            for name, augmentor in self.plan.augmentors.items():
                if discriminator not in augmentor.on:
                    continue
                cls = registry.load_target(augmentor.component)
                with attributing_errors(augmentor.component):
                    built[of_augmentor(name, discriminator)] = cls(augmentor.options, spec)
                views = augmentor.component.views
                spec = views(augmentor.options, spec).get("plain", spec) if views else spec
        return built

    def _build_losses(self, registry: Registry) -> dict[str, Loss]:
        """`losses.NAME@DISCRIMINATOR` for losses of pairings, else `losses.NAME`."""
        built: dict[str, Loss] = {}
        for name, loss in self.plan.losses.items():
            if not loss.of_pairings:
                built[of_loss(name)] = build_loss(loss, registry, self.draws, self.plan)
                continue
            for discriminator in loss.on:
                plan = self.plan.discriminators[discriminator]
                built[of_loss(name, discriminator)] = build_loss(
                    loss, registry, self.draws, self.plan, plan, self.networks[plan.address]
                )
        for address, instance in built.items():
            self.frozen[address] = Frozen.of(instance)
            self.frozen[address].set_mode(instance, True)
        return built

    def _place(self) -> None:
        """Move everything to the device, each network in its memory layout."""
        for address, network in self.networks.items():
            if self.ranks is not None and self.plan.train.sync_batch_norm:
                over_the_whole_batch(network, self.ranks)
            if self.machine.products == "onednn":
                by_onednn(network)
            layout = self.machine.layout(network)
            network.to(device=self.device, memory_format=layout)  # type: ignore[call-overload]
            self.machine.layouts[address] = layout
        for module in (*self.augmentors.values(), *self._views.values(), *self.losses.values()):
            module.to(self.device)

    def _build_trained_modules(self) -> Iterator[TrainedModule]:
        for plan in self.plan.networks.values():
            if not any(True for _ in self.networks[plan.address].parameters()):
                raise PluginError(
                    f"'{plan.component.id}' has no parameters, so there is nothing to train"
                )
            yield self._build_trained_module(
                plan.address, plan.side, self.networks[plan.address], plan.settings
            )
        for address, loss in self.losses.items():
            if self.frozen[address].trainable(loss):
                plays = self.plan.losses[Address.parse(address).name]
                side = learning_side(loss, plays)
                yield self._build_trained_module(
                    address, side, loss, self._settings_of(address, side)
                )

    def _settings_of(self, address: str, side: Side) -> NetworkSettings:
        """How the parameters of a loss are moved: as the network is that it plays on, and of
        several the first one."""
        loss = Address.parse(address)
        discriminator = loss.discriminator
        if side == "discriminator" and self.plan.discriminators:
            plans = self.plan.discriminators
            return (plans[discriminator] if discriminator else next(iter(plans.values()))).settings
        made = (
            self.plan.pairings(discriminator) if discriminator else self.plan.losses[loss.name].on
        )
        return self.plan.generators[made[0]].settings

    def _build_trained_module(
        self, address: str, side: Side, module: nn.Module, settings: NetworkSettings
    ) -> TrainedModule:
        frozen = self.frozen[address]
        return TrainedModule(
            address=address,
            side=side,
            module=module,
            schedule=settings.schedule,
            lr=settings.optimizer.options.lr,
            clip=settings.clip,
            optimizer=optimizers.make(settings.optimizer, frozen.trainable(module)),
            frozen=frozen,
            layout=self.machine.layouts.get(address, torch.contiguous_format),
        )

    def _compile(self) -> None:
        """Compile what turns call; everybody else, who looks or measures, calls the networks
        themselves. A discriminator whose gradient losses read is left out, since what is compiled
        cannot be differentiated twice."""
        reading = [
            discriminator
            for loss in self.plan.losses.values()
            if any(name.endswith("_gradient") for names in loss.needs.values() for name in names)
            for discriminator in loss.on
        ]
        for trained_module in self.trained_modules:
            part = Address.parse(trained_module.address)
            twice = part.kind == "discriminators" and part.name in reading
            if part.kind != "losses" and not twice:
                trained_module.call = compiled(trained_module.module)

    # --- phases ---------------------------------------------------------------------------------

    def enter(self, phase: PhasePlan) -> None:
        """Set which networks this phase trains."""
        self.phase = phase
        trained = self.plan.trained_in(phase)
        for trained_module in self.trained_modules:
            trained_module.learns = bool(trained_module.parameters) and (
                trained_module.address in self.losses or trained_module.address in trained
            )
            trained_module.frozen.set_mode(trained_module.module, trained_module.learns)
            trained_module.module.requires_grad_(False)

    def open_side(self, side: Side) -> list[TrainedModule]:
        """Let this side's trained parameters take gradients. Returns the side's modules that learn.

        D is closed while G updates. G stays open while D updates, since the fakes of D's last turn
        are G's own in the turn after it; D is only ever shown them detached.
        """
        self._open = side
        for trained_module in self.trained_modules:
            makes_fakes = (
                Address.parse(trained_module.address).kind == "generators"
                and trained_module.side == "generator"
            )
            takes = trained_module.learns and (trained_module.side == side or makes_fakes)
            for parameter in trained_module.parameters:
                parameter.requires_grad_(takes)
        return [
            trained_module
            for trained_module in self.trained_modules
            if trained_module.learns and trained_module.side == side
        ]

    # --- losses ---------------------------------------------------------------------------------

    def active(self, side: Side, step: int, count: int) -> Iterator[LossPlan]:
        """The losses that play in this side's update number `count` (from 0)."""
        assert self.phase is not None
        progress = (step - 1) / self.plan.steps
        for name in self.phase.losses:
            loss = self.plan.losses[name]
            in_time = loss.start <= progress < loss.stop or (loss.stop == 1 and progress >= 1)
            if side in loss.needs and in_time and count % loss.every == 0:
                yield loss

    def wants(self, losses: Iterable[LossPlan], side: Side) -> set[str]:
        """Every name that these losses read, known before the first forward."""
        return {current(name) for loss in losses for name in loss.needs[side]}

    def total(
        self,
        turn: Turn,
        losses: Sequence[LossPlan],
        values: dict[str, dict[str, Tensor]],
        each: Callable[[str, str, Tensor], None] | None = None,
    ) -> Tensor | None:
        """Play a turn over its batch: the weighted sum of all that the losses return, 0-d, to be
        differentiated; None where none of them says anything.

        values: each term's mean is added to it, by the address of its loss, weighted by the share
        of the whole batch that is played. each: is called with the address, the name of the term,
        and the term as it stands in the sum.
        """
        share = (turn.batch.rows.stop - turn.batch.rows.start) / self.plan.train.batch
        total: Tensor | None = None
        with sound_gradients(turn.batch.rows, self.device) if self._foreign else nullcontext():
            for loss in losses:
                weight = loss.weight[turn.side] * loss.every * share
                for address, terms in self.terms(loss, turn):
                    kept = values.setdefault(address, {})
                    for name, term in terms.items():
                        weighted = term * weight
                        total = weighted if total is None else total + weighted
                        seen = term.detach() * share if share != 1 else term.detach()
                        kept[name] = kept[name] + seen if name in kept else seen
                        if each is not None:
                            each(address, name, weighted)
        return total

    def terms(self, loss: LossPlan, turn: Turn) -> Iterator[tuple[str, dict[str, Tensor]]]:
        """(instance address, its named terms, each a 0-d mean), as the loss defines them.

        A loss of pairings: mean over the sources of fakes, sum over views and discriminators.
        Any other: once per generator.
        """
        for address, calls, mean_over in self._calls(loss, turn):
            terms: dict[str, Tensor] = {}
            for read in calls:
                for name, value in self._call(self.losses[address], loss, turn.side, read).items():
                    terms[name] = terms[name] + value if name in terms else value
            if calls:
                yield address, {name: value / mean_over for name, value in terms.items()}

    def _calls(self, loss: LossPlan, turn: Turn) -> Iterator[tuple[str, list[_Read], int]]:
        """(instance address, how each of its calls reads an argument by name, how many generators
        the sum of the calls is a mean over), one instance after the other."""
        if not loss.of_pairings:
            address = of_loss(loss.name)
            owner_learns = self._owner_learns(address, turn.side)
            yield (
                address,
                [
                    turn.translation(g).value
                    for g in loss.on
                    if owner_learns or self._learns(g) or self._learns_from_cycle(loss, g)
                ],
                1,
            )
            return
        for discriminator in loss.on:
            if turn.side == "discriminator" and not self._judge_learns(discriminator):
                continue
            address = of_loss(loss.name, discriminator)
            plays = turn.side == "discriminator" or self._owner_learns(address, turn.side)
            sources = self.plan.pairings(discriminator)
            calls: list[_Read] = [
                partial(turn.pairing, discriminator, g, view)
                for view in turn.views(discriminator)
                for g in sources
                if plays or self._learns(g)
            ]
            yield address, calls, len(sources)

    def _learns(self, generator: str) -> bool:
        """Whether gradients that reach this generator's output move anything."""
        reached = learning_chain(self.plan.generators, generator)
        return any(self._trained_modules[of_generator(name)].learns for name in reached)

    def _learns_from_cycle(self, loss: LossPlan, generator: str) -> bool:
        """Whether the way back learns, where this generator itself does not."""
        back = self.plan.inverse(generator)
        return "cycled" in loss.needs["generator"] and back is not None and self._learns(back)

    def _owner_learns(self, address: str, side: Side) -> bool:
        """Whether a loss has parameters of its own that learn in this side's turns."""
        trained_module = self._trained_modules.get(address)
        return trained_module is not None and trained_module.learns and trained_module.side == side

    def _judge_learns(self, discriminator: str) -> bool:
        own = any(
            Address.parse(p.address).discriminator == discriminator
            and p.learns
            and p.side == "discriminator"
            for p in self.trained_modules
        )
        encoders = (
            self._trained_modules[of_generator(name)] for name in self.plan.encoders(discriminator)
        )
        return (
            own
            or self._trained_modules[of_discriminator(discriminator)].learns
            or any(trained_module.learns for trained_module in encoders)
        )

    def _call(self, instance: Loss, loss: LossPlan, side: Side, read: _Read) -> dict[str, Tensor]:
        names = loss.needs[side]
        values = dict(zip(names, map(read, names), strict=True))
        if instance.mixes_batch and self.ranks is not None and self.ranks.playing:
            values = {name: self.ranks.whole(value) for name, value in values.items()}
        with attributing_errors(loss.component), unchanged(loss.component, side, values):
            result = getattr(instance, side)(**values)
        named = loss_terms(result, loss.component, side, instance.mixes_batch)
        return {name: value.float().mean() for name, value in named.items()}

    # --- state ----------------------------------------------------------------------------------

    def state(self) -> dict[str, dict[str, Tensor]]:
        """All tensors of the game: {"networks": ..., "optimizers": ...}."""
        networks: dict[str, Tensor] = {}
        for address, module in self._modules():
            networks |= {f"{address}/{k}": v for k, v in module.state_dict().items()}
        states: dict[str, Tensor] = {}
        for trained_module in self.trained_modules:
            states |= optimizers.state_tensors(trained_module.optimizer, trained_module.names())
        return {"networks": networks, "optimizers": states}

    def load(self, networks: Mapping[str, Tensor], states: Mapping[str, Tensor]) -> set[str]:
        """Take back what `state` gave. Returns the addresses of parameters that were trained then
        and are frozen now. Raises TrainingError when it is another game's."""
        still: set[str] = set()
        for address, module in self._modules():
            own = {
                key.removeprefix(f"{address}/"): value
                for key, value in networks.items()
                if key.startswith(f"{address}/")
            }
            try:
                module.load_state_dict(own)
            except RuntimeError as error:
                raise TrainingError(f"the checkpoint does not fit {address}: {error}") from error
        for trained_module in self.trained_modules:
            prefix = f"{trained_module.address}/"
            own = {k: v for k, v in states.items() if k.startswith(prefix)}
            names = trained_module.names()
            still |= optimizers.load_state_tensors(trained_module.optimizer, names, own)
        return still

    def _modules(self) -> Iterator[tuple[str, nn.Module]]:
        yield from self.networks.items()
        yield from ((f"ema.{address}", module) for address, module in self.ema.items())
        yield from self.losses.items()
        yield from self.augmentors.items()

    def update_ema(self, step: int) -> None:
        """Move the EMA of each generator that learns towards it, after step `step` (from 1)."""
        for address, average in self.ema.items():
            plan = self.plan.generators[Address.parse(address).name]
            trained_module = self._trained_modules[address]
            if trained_module.learns and plan.ema is not None:
                follow(average, trained_module, decay_at(step, plan.ema))

    def sizes_of(self, address: str) -> tuple[int, int]:
        """(numbers in the parameters of a network or a loss, how many of them are frozen: by its
        author, or by the recipe)."""
        plan = self.plan.networks.get(address)
        module = self.losses[address] if plan is None else self.networks[address]
        whole = sum(p.numel() for p in module.parameters())
        if plan is not None and plan.settings.freeze:
            return whole, whole
        return whole, whole - sum(p.numel() for p in self.frozen[address].trainable(module))

    def decision_threshold(self, discriminator: str) -> float | None:
        """The score above which this discriminator says "real", by the first loss that knows."""
        instances = (
            loss
            for a, loss in self.losses.items()
            if Address.parse(a).discriminator == discriminator
        )
        return next(
            (i.decision_threshold for i in instances if i.decision_threshold is not None), None
        )

    def best_generator(self, name: str) -> nn.Module:
        """The averaged generator where there is one, else the trained one."""
        address = of_generator(name)
        return self.ema.get(address, self.networks[address])
