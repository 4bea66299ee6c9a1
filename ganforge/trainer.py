"""The training loop: one step after another, each side in its turn, hooks looking on."""

from __future__ import annotations

import inspect
import math
import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import pairwise
from types import FrameType
from typing import Any

import pluggy
import torch
from torch import Tensor, nn

from ganforge import checkpoint, optimizers
from ganforge.errors import PluginError, TrainingError
from ganforge.game import Game, Player
from ganforge.hookspecs import TrainingSpecs
from ganforge.interfaces import Hook, Loss
from ganforge.plan import LossPlan, PhasePlan, Plan, Side
from ganforge.registry import Registry
from ganforge.runfolder import RunFolder
from ganforge.runs import Run
from ganforge.suggest import nearest
from ganforge.turn import Batch, Turn


class Training:
    """A run in progress, as hooks see it.

    step: steps done. steps: steps of the whole run. seconds: training time so far, over all
    sittings. `watching` lists the hooks by their name in the recipe.
    """

    def __init__(self, plan: Plan, game: Game, folder: RunFolder, registry: Registry) -> None:
        self.plan = plan
        self.game = game
        self.folder = folder
        self.registry = registry
        self.step = 0
        self.steps = plan.steps
        self.first_step = 0  # what this process started from
        self.seconds = 0.0
        self.stop_reason = ""
        self.interrupted = False  # by Ctrl-C or SIGTERM
        self.watching = _build_hooks(plan, registry)
        self._hooks = _manager(self.watching)
        self._gauges: dict[str, Tensor | float] = {}
        self._scores: dict[str, tuple[Tensor, Tensor, float | None]] = {}
        self._guard = _Guard(game)
        self._clock = time.perf_counter()

    # --- what hooks may ask ---------------------------------------------------------------------

    @property
    def elapsed(self) -> float:
        """Seconds of training up to now, over all sittings."""
        return self.seconds + time.perf_counter() - self._clock

    @property
    def images(self) -> int:
        """Real images that each discriminator has seen."""
        return updates_before(self.plan, self.step + 1) * self.plan.train.batch

    def log(self, name: str, value: Tensor | float) -> None:
        """Note a number; it is read when the next line of metrics is written."""
        self._gauges[name] = value.detach() if isinstance(value, Tensor) else value

    def gauges(self) -> dict[str, float]:
        """The newest value of every number. Waits for the device, so ask seldom.

        Raises TrainingError when a loss was not finite.
        """
        self._guard.raise_if_broken()
        gauges = dict(self._gauges)
        for name, (real, fake, boundary) in self._scores.items():
            gauges |= _score_gauges(name, real, fake, boundary)
        tensors = {k: v for k, v in gauges.items() if isinstance(v, Tensor)}
        if tensors:
            read = torch.stack([v.float() for v in tensors.values()]).tolist()
            gauges |= dict(zip(tensors, read, strict=True))
        for player in self.game.players:
            if player.trained and not player.address.startswith("losses."):
                gauges[f"lr/{player.address}"] = player.optimizer.param_groups[0]["lr"]
        return {name: float(value) for name, value in gauges.items()}

    def generator(self, name: str) -> nn.Module:
        """The generator to sample from: averaged where the recipe averages; in eval mode."""
        return self.game.best_generator(name)

    @contextmanager
    def looking(self) -> Iterator[Run]:
        """The run as it is now, to sample from and to measure; every network is put back into
        the mode it was in."""
        networks = (*self.game.networks.values(), *self.game.averages.values())
        modes = {module: module.training for net in networks for module in net.modules()}
        try:
            yield Run.during(self)
        finally:
            for module, mode in modes.items():
                module.training = mode

    def real(self, domain: str, count: int) -> Tensor:
        """The first real items of a domain as discriminators are shown them, [<= count, ...]."""
        count = min(count, self.game.feed.count(self.plan.domains[domain].of or domain))
        updates = range(-(-count // self.plan.train.batch))
        batches = (Batch(self.game, update, slice(None), graph=False) for update in updates)
        return torch.cat([batch[domain] for batch in batches])[:count]

    def computed(self, metrics: Mapping[str, float]) -> None:
        """Tell every hook that metrics were computed; keys are `metric/NAME/FIGURE`."""
        self._hooks.hook.metrics_computed(training=self, step=self.step, metrics=metrics)

    def stop(self, reason: str) -> None:
        """End the run after this step, with a checkpoint."""
        self.stop_reason = reason

    def save(self) -> None:
        """Write a checkpoint of this step. Raises TrainingError rather than save a broken game."""
        self._guard.raise_if_broken()
        state = {
            "images": self.images,
            "seconds": self.elapsed,
            "gauges": self.gauges(),
            "machine": self.game.machine.locked(),
            "torch": torch.__version__,
            "hooks": {name: hook.save_state() for name, hook in self.watching.items()},
        }
        tensors = self.game.state()
        checkpoint.save(
            self.folder.checkpoints, self.step, tensors["networks"], tensors["optimizers"], state
        )

    def keep_checkpoints(self, count: int) -> None:
        """Remove all but the newest `count` checkpoints."""
        checkpoint.keep_last(self.folder.checkpoints, count)

    # --- the loop -------------------------------------------------------------------------------

    def resume(self, saved: checkpoint.Checkpoint) -> None:
        """Go on from a checkpoint."""
        self.game.load(saved.networks, saved.optimizers)
        self.step = self.first_step = saved.step
        self.seconds = float(saved.state.get("seconds", 0.0))
        self._gauges = dict(saved.state.get("gauges", {}))
        for name, state in saved.state.get("hooks", {}).items():
            if name in self.watching:
                self.watching[name].load_state(state)
        self.folder.cut_metrics(self.step)

    def run(self) -> None:
        """Train to the last step. Whatever ends the run, finished steps are kept: an interruption
        saves a checkpoint, a broken loss leaves the last good one."""
        error: BaseException | None = None
        self._clock = time.perf_counter()
        try:
            with self._stoppable():
                self._hooks.hook.run_started(training=self)
                while self.step < self.steps and not self.stop_reason:
                    self._take_step(self.step + 1)
                if self.step == self.steps:  # whatever came in the last step cut nothing short
                    self.stop_reason, self.interrupted = "", False
                self.save()
        except BaseException as caught:
            error = caught
            raise
        finally:
            self.seconds += time.perf_counter() - self._clock
            self._clock = time.perf_counter()
            self._hooks.hook.run_ended(training=self, error=error)

    def _take_step(self, step: int) -> None:
        phase = self.plan.phase_at(step)
        if phase is not self.game.phase:
            self.game.enter(phase)
            if step == phase.first:  # numbers of networks and losses that no longer play
                self._gauges.clear()
                self._scores.clear()
        self._hooks.hook.step_started(training=self, step=step)
        shared = self._discriminator_turns(step, phase)
        self._generator_turn(step, phase, shared)
        self.game.average(step)
        self.step = step
        self._hooks.hook.step_ended(training=self, step=step)

    def _discriminator_turns(self, step: int, phase: PhasePlan) -> list[Batch]:
        """D's updates, a fresh batch each. Returns the last one's batches, for G's turn."""
        batches: list[Batch] = []
        first = updates_before(self.plan, step)
        for update in range(first, first + phase.discriminator_steps):
            last = update == first + phase.discriminator_steps - 1
            batches = self._batches(update, graph=last and self.plan.train.accumulate == 1)
            self._play("discriminator", step, update, batches)
        return batches

    def _generator_turn(self, step: int, phase: PhasePlan, shared: list[Batch]) -> None:
        """G's update, over the batch of D's last one; fakes that have a graph are used again."""
        if self.plan.train.accumulate > 1:
            shared = self._batches(shared[0].update, graph=True)
        self._play("generator", step, step - 1, shared)

    def _batches(self, update: int, *, graph: bool) -> list[Batch]:
        whole, parts = self.plan.train.batch, min(self.plan.train.accumulate, self.plan.train.batch)
        edges = [whole * part // parts for part in range(parts + 1)]
        return [
            Batch(self.game, update, slice(start, end), graph=graph)
            for start, end in pairwise(edges)
        ]

    def _play(self, side: Side, step: int, count: int, batches: list[Batch]) -> None:
        """One update of one side; `count` numbers the side's updates from 0."""
        losses = list(self.game.active(side, step, count))
        players = self.game.open_side(side)
        if not losses or not players:
            return
        for player in players:
            player.optimizer.zero_grad(set_to_none=True)
        values: dict[str, dict[str, Tensor]] = {}
        for batch in batches:
            turn = Turn(batch, side, step, self.game.wants(losses, side))
            share = (batch.rows.stop - batch.rows.start) / self.plan.train.batch
            self._differentiate(turn, losses, share, values)
        self._hooks.hook.before_update(training=self, step=step, side=side)
        self._update(players)
        self._hooks.hook.after_update(training=self, step=step, side=side)
        self._observe(side, values)

    def _differentiate(
        self,
        turn: Turn,
        losses: list[LossPlan],
        share: float,
        values: dict[str, dict[str, Tensor]],
    ) -> None:
        """Add the gradients of one batch's weighted losses, and its values to `values`."""
        total: Tensor | None = None
        for loss in losses:
            weight = loss.weight[turn.side] * loss.every * share
            for address, terms in self.game.terms(loss, turn):
                kept = values.setdefault(address, {})
                for name, term in terms.items():
                    total = term * weight if total is None else total + term * weight
                    seen = term.detach() * share if share != 1 else term.detach()
                    kept[name] = kept[name] + seen if name in kept else seen
        if total is None:
            return
        if not total.requires_grad:
            raise PluginError(
                f"no gradient flows from the {turn.side}'s losses "
                f"({', '.join(loss.name for loss in losses)}) to any network that is trained"
            )
        self._guard.watch(total, turn.side, turn.step, values)
        total.backward()  # type: ignore[no-untyped-call]
        if turn.side == "discriminator":
            self._note_scores(turn)

    def _update(self, players: list[Player]) -> None:
        progress = self.step / self.steps
        for player in players:
            if player.clip is not None:
                nn.utils.clip_grad_norm_(player.parameters, player.clip)
            for group in player.optimizer.param_groups:
                group["lr"] = player.lr * optimizers.factor(player.schedule, progress)
            self._guard.step(player.optimizer)

    @torch.no_grad()
    def _observe(self, side: Side, values: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Log each term, and let losses that keep a state move it."""
        for address, terms in values.items():
            loss = self.game.losses[address]
            name = self._log_name(address)
            for term, value in terms.items():
                self.log(f"loss/{name}/{side}" + (f"/{term}" if term != "loss" else ""), value)
            if type(loss).observe is not Loss.observe:
                for what, value in loss.observe(side, terms).items():
                    self.log(f"{name}/{what}", value)

    def _log_name(self, address: str) -> str:
        """`losses.adversarial@horse` -> `adversarial/horse`, or `adversarial` where D is alone."""
        name, _, guard = address.removeprefix("losses.").partition("@")
        return f"{name}/{guard}" if guard and len(self.plan.discriminators) > 1 else name

    def _note_scores(self, turn: Turn) -> None:
        """Keep D's last scores; they are reduced only when somebody reads them."""
        for guard in self.plan.discriminators:
            scores = turn.known_scores(guard)
            if scores is not None:
                name = f"/{guard}" if len(self.plan.discriminators) > 1 else ""
                self._scores[name] = (*scores, self.game.boundary(guard))

    @contextmanager
    def _stoppable(self) -> Iterator[None]:
        """Ctrl-C and SIGTERM end the run after the current step; a second one ends it at once."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def ask(number: int, frame: FrameType | None) -> None:
            if self.stop_reason:
                raise KeyboardInterrupt
            self.interrupted = True
            self.stop(f"interrupted by {signal.Signals(number).name}")
            with suppress(OSError):  # no print: this may come in the middle of another one
                os.write(2, b"\nstopping after this step, with a checkpoint; once more: at once\n")

        numbers = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.signal(number, ask) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


class _Guard:
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
        self._names: list[str] = []
        self._first: Tensor | None = None

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
        names = _term_names(values, side)
        finite = torch.stack([v.isfinite() for terms in values.values() for v in terms.values()])
        broken = (~total.detach().isfinite()).float()
        fresh = bool(self._first is None or names != self._names)
        if fresh or self._first is None:
            self._names, self._first = names, torch.cat([finite.float(), finite.new_tensor([step])])
        now = torch.cat([finite.float(), torch.full((1,), float(step), device=finite.device)])
        self._first = torch.where(self._flag > 0, self._first, now)
        self._flag = torch.maximum(self._flag, broken)

    def step(self, optimizer: torch.optim.Optimizer) -> None:
        """Step an optimizer, unless a loss was not finite."""
        if not self._waits:
            optimizer.found_inf = self._flag  # type: ignore[attr-defined]
        optimizer.step()

    def raise_if_broken(self) -> None:
        """Raises TrainingError when the flag was set."""
        if self._waits or self._first is None or not self._flag.item():
            return
        *finite, step = self._first.tolist()
        raise _not_finite(self._names, [bool(value) for value in finite], int(step))


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


def updates_before(plan: Plan, step: int) -> int:
    """How many discriminator updates come before step `step` (from 1)."""
    done = 0
    for phase in plan.phases:
        length = max(0, min(step - 1, phase.last) - phase.first + 1)
        done += length * phase.discriminator_steps
    beyond = step - 1 - plan.phases[-1].last
    return done + max(0, beyond) * plan.phases[-1].discriminator_steps


def _score_gauges(
    name: str, real: Tensor, fake: Tensor, boundary: float | None
) -> dict[str, Tensor]:
    gauges = {f"score/real{name}": real.mean(), f"score/fake{name}": fake.mean()}
    if boundary is not None:
        right = ((real > boundary).float().mean() + (fake < boundary).float().mean()) / 2
        gauges[f"accuracy{name}"] = right
    return gauges


def _build_hooks(plan: Plan, registry: Registry) -> dict[str, Hook]:
    return {
        name: registry.load_target(part.component)(part.options)
        for name, part in plan.hooks.items()
    }


class _Hooks(pluggy.PluginManager):
    """Takes every public method of a hook for an implementation, so authors need no marker."""

    def parse_hookimpl_opts(self, plugin: object, name: str) -> Any:
        return {"optionalhook": False} if _is_moment(type(plugin), name) else None


def _is_moment(cls: type, name: str) -> bool:
    """Whether an attribute of a hook is a method that is called at some moment. A class is none:
    in a plugin file, a hook's options are its inner `class Options`."""
    value = getattr(cls, name, None)
    own = not name.startswith("_") and not hasattr(Hook, name)
    return own and callable(value) and not isinstance(value, type)


def _manager(hooks: Mapping[str, Hook]) -> pluggy.PluginManager:
    """A fresh manager. pluggy calls the last registered first, so hooks go in backwards."""
    manager = _Hooks("ganforge")
    manager.add_hookspecs(TrainingSpecs)
    moments = [name for name in vars(TrainingSpecs) if not name.startswith("_")]
    for name, hook in reversed(list(hooks.items())):
        for method in dir(type(hook)):
            if _is_moment(type(hook), method) and method not in moments:
                close = nearest(method, moments)
                hint = f"did you mean '{close[0]}'?" if close else f"known: {', '.join(moments)}"
                raise PluginError(f"hook '{name}' has an unknown method '{method}'; {hint}")
            if method in moments:
                _refuse_unknown_arguments(name, hook, method)
        manager.register(hook, name)
    return manager


def _refuse_unknown_arguments(name: str, hook: Hook, moment: str) -> None:
    known = list(inspect.signature(getattr(TrainingSpecs, moment)).parameters)[1:]
    for argument in inspect.signature(getattr(hook, moment)).parameters:
        if argument not in known:
            raise PluginError(
                f"hook '{name}': {moment}() asks for '{argument}', which is not known at that "
                f"moment; known: {', '.join(known)}"
            )
