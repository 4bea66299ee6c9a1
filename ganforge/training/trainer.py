"""The training loop: one step after another, each side in its turn, hooks looking on."""

from __future__ import annotations

import gc
import os
import signal
import threading
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn

from ganforge.data.row_loader import is_worker_trouble, worker_trouble
from ganforge.game import optimizers
from ganforge.game.batch import Batch, parts_of, rows_of
from ganforge.game.error_attribution import (
    attributing_errors,
    lacks_second_derivative,
    remembers_no_memory,
)
from ganforge.game.game import Game
from ganforge.game.nan_guard import Broken, Guard, TurnPosition
from ganforge.game.output_checks import observed
from ganforge.game.trained_module import TrainedModule
from ganforge.game.turn import Turn
from ganforge.hardware.processes import Ranks, running_statistics
from ganforge.interfaces.addresses import Address
from ganforge.interfaces.components import Loss
from ganforge.interfaces.errors import (
    DataError,
    Elsewhere,
    GanforgeError,
    PluginError,
    RunError,
    TrainingError,
)
from ganforge.interfaces.logged_names import current_name
from ganforge.planning.plan import LossPlan, PhasePlan, Plan, Side
from ganforge.registry.registry import Registry
from ganforge.runs.run import Run
from ganforge.storage import checkpoint
from ganforge.storage.run_folder import RunFolder
from ganforge.training.failed_backward import blamed, detaching, differentiated
from ganforge.training.hooks import build_hooks, kept_state, manager_of
from ganforge.training.terminal import has_terminal

_FEWEST = 4  # images in a batch, for it to say how much they differ

# What asks a run to stop: a terminal's keys, a container, schedulers before the time is up, a limit
# of processor seconds, a machine whose power fails. On Windows, Ctrl-Break is how one process asks
# another.
_KEYS = ("SIGINT", "SIGQUIT", "SIGBREAK")
_STOPS = (*_KEYS, "SIGTERM", "SIGUSR1", "SIGUSR2", "SIGXCPU", "SIGPWR")
_BOUNCE = 0.5  # seconds in which a second signal is the first one, passed on by a parent as well


class Training:
    """A run in progress, as hooks see it.

    step: steps done. steps: steps of the whole run. seconds: training time so far, over all
    sessions. `watching` lists the hooks by their name in the recipe.
    """

    def __init__(self, plan: Plan, game: Game, folder: RunFolder, registry: Registry) -> None:
        self.plan = plan
        self.ranks = game.ranks
        self.game = game
        self.folder = folder
        self.registry = registry
        self.step = 0
        self.steps = plan.steps
        self.first_step = 0  # what this process started from
        self.seconds = 0.0
        self.lr_factor = 1.0  # of every learning rate, beside its schedule; hooks may lower it
        self.stop_reason = ""
        self.interrupted = False  # by Ctrl-C or SIGTERM
        self._signal = 0  # which of them
        self.inexact: list[dict[str, Any]] = []  # {step, changed} where sessions were not bit-exact
        self.frozen_since: set[str] = set()  # parameters that were trained before it was resumed
        self.watching = build_hooks(plan, registry, all_=self.leads)
        self._hooks = manager_of(self.watching)
        self._gauges: dict[str, Tensor | float] = {}
        self._scores: dict[str, tuple[Tensor, Tensor, float | None]] = {}
        self._shown: dict[str, tuple[Tensor, Tensor]] = {}  # images: real, fake
        self._summed: dict[str, Tensor] = {}  # what was shown to all, where they are several
        self._guard = Guard(game, closely=self._any(folder.failed.is_dir()))
        self._in_step_ended = False
        self._asked_to_save = False
        self._kept: tuple[int, Collection[int]] = (1_000_000, ())
        self._clock = time.perf_counter()

    # --- what hooks may ask ---------------------------------------------------------------------

    @property
    def leads(self) -> bool:
        """Whether this process writes and shows: the only one, or the first of several."""
        return self.ranks is None or self.ranks.leads

    @property
    def elapsed(self) -> float:
        """Seconds of training up to now, over all sessions."""
        return self.seconds + time.perf_counter() - self._clock

    @property
    def images(self) -> int:
        """Real images that each discriminator has seen."""
        return updates_before(self.plan, self.step + 1) * self.plan.train.batch

    def log(self, name: str, value: Tensor | float) -> None:
        """Note a number; it is read when the next line of metrics is written."""
        self._gauges[name] = value.detach() if isinstance(value, Tensor) else value

    def gauge(self, name: str) -> Tensor | float | None:
        """The newest value of a number that was logged, without waiting for the device; None where
        there is none yet."""
        name = current_name(name)
        return self._seen().get(name, self._gauges.get(name))

    def gauges(self) -> dict[str, float]:
        """The newest value of every number. Waits for the device, so ask seldom.

        Raises TrainingError when a loss, a gradient or a weight was not finite.
        """
        self._stop_if_broken()
        gauges = {**self._gauges, **self._seen()}
        tensors = {k: v for k, v in gauges.items() if isinstance(v, Tensor)}
        if tensors:
            device = self.game.device
            read = torch.stack([v.float().to(device) for v in tensors.values()]).tolist()
            gauges |= dict(zip(tensors, read, strict=True))
        progress = max(0, self.step - 1) / self.steps
        for trained_module in self.game.trained_modules:
            if trained_module.learns and trained_module.address not in self.game.losses:
                factor = optimizers.factor(trained_module.schedule, progress)
                gauges[f"lr/{trained_module.address}"] = trained_module.lr * factor * self.lr_factor
        gauges.pop("wait/data", None)  # of a session that streamed its data
        if self.game.feed.streams:
            gauges["wait/data"] = self.game.feed.waiting()
        return {name: float(value) for name, value in gauges.items()}

    def _seen(self) -> dict[str, Tensor]:
        """What D's last turn showed: scores, accuracy, and how much images differ in a batch."""
        return {**self._summed, **self._shown_here()}

    def _shown_here(self) -> dict[str, Tensor]:
        """The same of this process's rows, as far as it is not reduced yet."""
        gauges: dict[str, Tensor] = {}
        for name, (real, fake, threshold) in self._scores.items():
            gauges |= _score_gauges(name, real, fake, threshold)
        for name, (real, fake) in self._shown.items():
            gauges[f"pixel_std/real{name}"] = _pixel_std(real)
            gauges[f"pixel_std/fake{name}"] = _pixel_std(fake)
        return gauges

    def generator(self, name: str) -> nn.Module:
        """The generator to sample from: the EMA where the recipe has one; in eval mode."""
        return self.game.best_generator(name)

    @contextmanager
    def looking(self) -> Iterator[Run]:
        """The run as it is now, to sample from and to measure; every network is put back into
        the mode it was in."""
        game = self.game
        playing = (*game.networks.values(), *game.ema.values(), *game.losses.values())
        modes = {module: module.training for part in playing for module in part.modules()}
        learning = {p: p.requires_grad for part in playing for p in part.parameters()}
        for module in modes:  # all of them, since one may use another without being asked for
            module.training = False
        try:
            yield Run.during(self)
        finally:
            for module, mode in modes.items():
                module.training = mode
            for parameter, learns in learning.items():
                parameter.requires_grad_(learns)

    def real(self, domain: str, count: int) -> Tensor:
        """The first real items of a domain as discriminators are shown them, [<= count, ...]."""
        count = min(count, self.game.feed.count(self.plan.domains[domain].of or domain))
        updates = range(-(-count // self.plan.train.batch))
        batches = (Batch(self.game, update, slice(None), graph=False) for update in updates)
        return torch.cat([batch[domain] for batch in batches])[:count]

    def computed(self, metrics: Mapping[str, float]) -> None:
        """Tell every hook that metrics were computed; keys are `metric/NAME/FIGURE`."""
        self._call_hooks("metrics_computed", step=self.step, metrics=metrics)

    def _call_hooks(self, event: str, **what: Any) -> None:
        """Call the hooks that attend an event, in the order of the recipe."""
        with attributing_errors(*(part.component for part in self.plan.hooks.values())):
            getattr(self._hooks.hook, event)(training=self, **what)

    def _call_each_hook(self, event: str, **what: Any) -> Exception | None:
        """The same, and where a hook fails the others are still called. Returns the first error."""
        errors = []
        arguments = {"training": self, **what}
        try:
            with attributing_errors(*(part.component for part in self.plan.hooks.values())):
                for hook in reversed(getattr(self._hooks.hook, event).get_hookimpls()):
                    try:
                        hook.function(*(arguments[name] for name in hook.argnames))
                    except Exception as error:
                        errors.append(error)
                if errors:
                    raise errors[0]
        except Exception as error:
            return error
        return None

    def _save_after(self, error: Exception) -> None:
        """Keep the step that a hook failed at, unless the game itself is broken."""
        self._asked_to_save = False
        if not isinstance(error, TrainingError):
            with suppress(GanforgeError):
                self.save()

    def stop(self, reason: str) -> None:
        """End the run after this step, with a checkpoint."""
        self.stop_reason = reason

    def save(self) -> None:
        """Write a checkpoint of this step; asked for in `step_ended`, once all hooks are done with
        it. Raises TrainingError rather than save a broken game."""
        if not self.leads:
            return
        if self._in_step_ended:
            self._asked_to_save = True
            return
        tensors = self.game.state()
        self._stop_if_broken(tensors["networks"])
        state = {
            "images": self.images,
            "seconds": self.elapsed,
            "lr_factor": self.lr_factor,
            "gauges": self.gauges(),
            "machine": self.game.machine.facts(),
            "inexact": self.inexact,
            "torch": torch.__version__,
            "hooks": {
                name: kept_state(hook, self.plan.hooks[name].component)
                for name, hook in self.watching.items()
            },
        }
        try:
            checkpoint.save(
                self.folder.checkpoints,
                self.step,
                *(tensors["networks"], tensors["optimizers"]),
                state,
            )
        except RunError as error:
            raise RunError(f"{error}; {self.folder.kept()}") from error

    def keep_checkpoints(self, count: int, also: Collection[int] = ()) -> None:
        """Remove all but the newest `count` checkpoints, one that was asked for among them, and
        those of these steps."""
        self._kept = (count, frozenset(also))
        if not self._asked_to_save:
            checkpoint.keep_last(self.folder.checkpoints, *self._kept)

    # --- the loop -------------------------------------------------------------------------------

    def resume(self, saved: checkpoint.Checkpoint) -> None:
        """Go on from a checkpoint."""
        self.frozen_since = self.game.load(saved.networks, saved.optimizers)
        self.step = self.first_step = saved.step
        self.seconds = float(saved.state.get("seconds", 0.0))
        self.lr_factor = float(saved.state.get("lr_factor", 1.0))
        gauges = saved.state.get("gauges", {})
        self._gauges = {current_name(name): value for name, value in gauges.items()}
        self.inexact = list(saved.state.get("inexact", []))
        for name, state in saved.state.get("hooks", {}).items():
            if name in self.watching:
                self.watching[name].load_state(state)
        if self.leads:
            self.folder.cut_metrics(self.step)

    def run(self) -> None:
        """Train to the last step. Whatever ends the run, finished steps are kept: an interruption
        saves a checkpoint, and so does an error between two steps; one in the middle of a step, as
        a loss that is not finite, leaves the last good one."""
        error: BaseException | None = None
        self._clock = time.perf_counter()
        try:
            with self._stoppable(), _little_garbage():
                self._call_hooks("run_started")
                while self.step < self.steps:
                    unread = self._read_ahead()
                    if self._stops(unread is not None):
                        break
                    self.take_step(self.step + 1)
                if self.step == self.steps:  # whatever came in the last step cut nothing short
                    self.stop_reason, self.interrupted = "", False
                self.save()
                if self.step < self.steps:
                    self._any(False)  # so that none ends before it is saved
                    if unread is not None:
                        raise unread
        except BaseException as caught:
            error = caught
            raise
        finally:
            self.seconds += time.perf_counter() - self._clock
            self._clock = time.perf_counter()
            self._call_hooks("run_ended", error=error)

    def _read_ahead(self) -> DataError | None:
        """Read the rows of the next step that are not held, while the game is whole; what was wrong
        with them, to be raised once that is saved."""
        phase = self.plan.phase_at(self.step + 1)
        first = updates_before(self.plan, self.step + 1)
        updates = range(first, first + phase.discriminator_steps)
        try:
            self.game.feed.read_ahead(updates, rows_of(self.game))
        except DataError as error:
            return error
        except RuntimeError as error:
            if is_worker_trouble(error):
                return worker_trouble(error)
            raise
        return None

    def _stops(self, unread: bool = False) -> bool:
        """Whether the run is to end before the next step. Of several processes all end where one
        is to, and learn as the first one does."""
        if self.ranks is None:
            return unread or bool(self.stop_reason)
        asked = (unread or bool(self.stop_reason), self._signal if self.interrupted else 0)
        factor = self.lr_factor if self.leads else 0.0
        stops, number, self.lr_factor = self.ranks.agree(*asked, factor)
        if number:
            self.interrupted = True
        if stops and not self.stop_reason:
            other = "another process does" if self.leads else "the first process does"
            self.stop_reason = _interrupted_by(int(number)) if number else other
        return bool(stops)

    def _any(self, condition: bool) -> bool:
        """Whether it holds in any process."""
        return condition if self.ranks is None else bool(self.ranks.agree(condition)[0])

    def take_step(self, step: int) -> None:
        """Play one step: D's turns, a fresh batch each, G's turn over the last of them, the EMA."""
        phase = self._phase_of(step)
        self._call_hooks("step_started", step=step)
        first = updates_before(self.plan, step)
        for update in range(first, first + phase.discriminator_steps):
            last = update == first + phase.discriminator_steps - 1
            batches = self._batches(update, graph=last and self.plan.train.accumulate == 1)
            self._play("discriminator", step, update, batches)
        self._play("generator", step, step - 1, self._shared_with_generator(batches))
        self.game.update_ema(step)
        self.step = step
        self._end_step(step)

    def _phase_of(self, step: int) -> PhasePlan:
        """The phase that a step belongs to, entered where it begins."""
        phase = self.plan.phase_at(step)
        if phase is not self.game.phase:
            if step == phase.first > 1:  # numbers of networks and losses that no longer play
                self._gauges.clear()
                self._scores.clear()
                self._shown.clear()
                self._summed.clear()
            self.game.enter(phase)
        return phase

    def _batches(self, update: int, *, graph: bool) -> list[Batch]:
        """The batch of one of D's updates, in the parts that the recipe splits it into."""
        batches = parts_of(self.game, update, graph=graph)
        self.game.feed.follow(update, [batch.rows for batch in batches])
        return batches

    def _shared_with_generator(self, batches: list[Batch]) -> list[Batch]:
        """D's last batch for G's turn: with its fakes, which have a graph; or where it is split,
        anew, since the graphs of all parts do not fit into memory beside each other."""
        if self.plan.train.accumulate == 1:
            return batches
        return parts_of(self.game, batches[0].update, graph=True)

    def _end_step(self, step: int) -> None:
        """Let the hooks see the step, and save where one of them asked for it."""
        self._in_step_ended = True
        error = self._call_each_hook("step_ended", step=step)
        self._in_step_ended = False
        if error is not None:
            self._save_after(error)
            raise error
        if self._asked_to_save:  # now that every hook has seen the step
            self._asked_to_save = False
            self.save()
            self.keep_checkpoints(*self._kept)

    def _play(self, side: Side, step: int, count: int, batches: list[Batch]) -> None:
        """One update of one side; `count` numbers the side's updates from 0."""
        losses = list(self.game.active(side, step, count))
        trained_modules = self.game.open_side(side)
        if not losses or not trained_modules:
            return
        for trained_module in trained_modules:
            trained_module.optimizer.zero_grad(set_to_none=True)
        self._guard.open(TurnPosition(side, step, count, batches[0].update))
        try:
            values = self._differentiate(side, step, losses, trained_modules, batches)
            self._call_hooks("before_update", step=step, side=side)
            self._update(trained_modules)
        except Broken as broken:
            raise self._explained(broken, batches) from None
        self._call_hooks("after_update", step=step, side=side)
        self._observe(side, values)

    def _differentiate(
        self,
        side: Side,
        step: int,
        losses: list[LossPlan],
        trained_modules: list[TrainedModule],
        batches: list[Batch],
    ) -> dict[str, dict[str, Tensor]]:
        """Add up the gradients of the side's weighted losses, over the parts of the batch and over
        the processes that share it. Returns each term's mean, by the address of its loss."""
        values: dict[str, dict[str, Tensor]] = {}
        totals = []
        with nullcontext() if self.ranks is None else self.ranks.turn():
            for batch in batches:
                turn = Turn(batch, side, step, self.game.wants(losses, side))
                total = self.game.total(turn, losses, values)
                if total is not None:
                    self._backward(total, turn, losses, values)
                    totals.append(total.detach())
            if self.ranks is not None:
                whole = self._add_up(self.ranks, trained_modules, values, totals)
        if self.ranks is not None:
            self._guard.watch(whole, values, closely=_reads_gradients(losses, side))
        return values

    def _backward(
        self,
        total: Tensor,
        turn: Turn,
        losses: list[LossPlan],
        values: Mapping[str, Mapping[str, Tensor]],
    ) -> None:
        """Differentiate the total loss of one batch, if it is finite."""
        if not total.requires_grad:
            raise PluginError(
                f"no gradient flows from the {turn.side}'s losses "
                f"({', '.join(loss.name for loss in losses)}) to any network that is trained"
                f"{detaching(self.plan, turn.side)}"
            )
        if self.ranks is None:  # else what all of them gave is looked at
            self._guard.watch(total, values, closely=_reads_gradients(losses, turn.side))
        try:
            with attributing_errors(*differentiated(self.plan)):
                total.backward()  # type: ignore[no-untyped-call]
        except RuntimeError as error:
            if lacks_second_derivative(error):
                raise TrainingError(self._without_second_derivative(losses, turn.side)) from error
            fault = None if remembers_no_memory(error) else blamed(self.game, turn, losses, error)
            if fault is None:
                raise
            raise fault from error
        if turn.side == "discriminator":
            self._note_scores(turn)

    @torch.no_grad()
    def _add_up(
        self,
        ranks: Ranks,
        trained_modules: list[TrainedModule],
        values: dict[str, dict[str, Tensor]],
        totals: list[Tensor],
    ) -> Tensor:
        """Make gradients and values those of all processes, and what norms remember of the data
        the mean of what each does. Returns the total loss."""
        gradients = [
            p.grad
            for trained_module in trained_modules
            for p in trained_module.parameters
            if p.grad is not None
        ]
        shown = {name: value / ranks.count for name, value in self._shown_here().items()}
        flat = [value for terms in values.values() for value in terms.values()]
        total = sum(totals, torch.zeros((), device=self.game.device))
        numbers = torch.stack([total, *flat, *shown.values()])
        trained = (
            trained_module.module
            for trained_module in self.game.trained_modules
            if trained_module.learns
        )
        moved = [place for module in trained for place in running_statistics(module)]
        # New tensors, since a graph that G's turn has yet to go back through keeps the old ones.
        means = [getattr(module, name) / ranks.count for module, name in moved]
        ranks.add_up([*gradients, numbers, *means])
        for (module, name), mean in zip(moved, means, strict=True):
            setattr(module, name, mean)
        total, *rest = numbers.unbind()
        places = [(terms, name) for terms in values.values() for name in terms]
        for (terms, name), value in zip(places, rest, strict=False):
            terms[name] = value
        self._summed |= dict(zip(shown, rest[len(places) :], strict=True))
        self._scores.clear()
        self._shown.clear()
        return total

    def _without_second_derivative(self, losses: list[LossPlan], side: Side) -> str:
        """The line to show where a gradient that losses read cannot be differentiated again."""
        reading = [loss for loss in losses if _reads_gradients([loss], side)]
        judging = dict.fromkeys(name for loss in reading for name in loss.on)
        plans = self.plan.discriminators
        who = ", ".join(f"'{n}' ({plans[n].component.id})" for n in judging if n in plans)
        by = ", ".join(f"'{loss.name}'" for loss in reading)
        return (
            f"discriminator {who or 'of this turn'} has no second derivative on "
            f"{self.game.device.type}, which loss {by or 'of this turn'} needs; PyTorch's fast "
            "attention has none: give a MultiheadAttention `need_weights=True`, run attention "
            "under `torch.nn.attention.sdpa_kernel(SDPBackend.MATH)`, or leave that loss out"
        )

    def _update(self, trained_modules: list[TrainedModule]) -> None:
        progress = self.step / self.steps
        norms = self._guard.gradients(trained_modules)
        for trained_module in trained_modules:
            if trained_module.clip is not None and trained_module.address in norms:
                norm = norms[trained_module.address]
                nn.utils.clip_grads_with_norm_(trained_module.parameters, trained_module.clip, norm)
            for group in trained_module.optimizer.param_groups:
                factor = optimizers.factor(trained_module.schedule, progress)
                group["lr"] = trained_module.lr * factor * self.lr_factor
            self._guard.step(trained_module)

    def _stop_if_broken(self, tensors: Mapping[str, Tensor] | None = None) -> None:
        """Raises TrainingError when something was not finite, also of what is to be saved. Waits
        for the device."""
        try:
            self._guard.raise_if_broken()
        except Broken as broken:
            raise self._explained(broken, []) from None
        names = [n for n, t in (tensors or {}).items() if t.is_floating_point() and t.isnan().any()]
        if names:
            raise TrainingError(
                f"step {self.step}: not finite: {', '.join(names[:3])}; nothing was saved of it"
            )

    def _explained(self, broken: Broken, batches: Sequence[Batch]) -> TrainingError:
        """The error to show; what is needed to see it again is in the run folder by then."""
        if not self.leads:
            raise Elsewhere("the first process says what is not finite")
        from ganforge.training.failed_turn import (
            keep,  # only now, since it plays the turn once more
        )

        done = self.step
        return keep(self.game, self.folder, self._guard, broken, batches, steps_done=done)

    @torch.no_grad()
    def _observe(self, side: Side, values: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Log each term, and let losses that keep a state move it."""
        for address, terms in values.items():
            loss = self.game.losses[address]
            name = self._log_name(address)
            for term, value in terms.items():
                self.log(f"loss/{name}/{side}" + (f"/{term}" if term != "loss" else ""), value)
            if type(loss).observe is not Loss.observe:
                component = self.plan.losses[
                    address.removeprefix("losses.").partition("@")[0]
                ].component
                with attributing_errors(component):
                    told = loss.observe(side, terms)
                for what, value in observed(told, component).items():
                    self.log(f"{name}/{what}", value)

    def _log_name(self, address: str) -> str:
        """`losses.adversarial@horse` -> `adversarial/horse`, or `adversarial` where D is alone."""
        loss = Address.parse(address)
        several = loss.discriminator and len(self.plan.discriminators) > 1
        return f"{loss.name}/{loss.discriminator}" if several else loss.name

    def _note_scores(self, turn: Turn) -> None:
        """Keep D's last scores and images; they are reduced only when somebody reads them."""
        for discriminator in self.plan.discriminators:
            name = f"/{discriminator}" if len(self.plan.discriminators) > 1 else ""
            scores, data = turn.known_scores(discriminator), turn.known_data(discriminator)
            if scores is not None:
                self._scores[name] = (*scores, self.game.decision_threshold(discriminator))
            if data is not None and data[0].dim() == 4 and min(map(len, data)) >= _FEWEST:
                self._shown[name] = data

    @contextmanager
    def _stoppable(self) -> Iterator[None]:
        """What asks to stop ends the run after this step; a second Ctrl-C ends it at once."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        asked_at = 0.0

        def ask(number: int, frame: FrameType | None) -> None:
            nonlocal asked_at
            now = time.monotonic()
            if self.interrupted:
                if signal.Signals(number).name in _KEYS and now - asked_at > _BOUNCE:
                    raise KeyboardInterrupt
                return
            asked_at = now
            self.interrupted = True
            self._signal = number
            self.stop(_interrupted_by(number))
            with suppress(OSError):  # no print: this may come in the middle of another one
                os.write(2, b"\nstopping after this step, with a checkpoint; once more: at once\n")

        before = {number: signal.signal(number, ask) for number in _stopping_signals()}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _stopping_signals() -> set[signal.Signals]:
    """Those that this system has. SIGHUP is one where there is no `nohup` and no terminal, whose
    loss it would report (terminal.py)."""
    numbers = {getattr(signal, name) for name in _STOPS if hasattr(signal, name)}
    hang_up = getattr(signal, "SIGHUP", None)
    if hang_up and not has_terminal() and signal.getsignal(hang_up) is not signal.SIG_IGN:
        numbers.add(hang_up)
    return numbers


def _reads_gradients(losses: list[LossPlan], side: Side) -> bool:
    return any(name.endswith("_gradient") for loss in losses for name in loss.needs[side])


def _interrupted_by(number: int) -> str:
    return f"interrupted by {signal.Signals(number).name}"


def updates_before(plan: Plan, step: int) -> int:
    """How many discriminator updates come before step `step` (from 1)."""
    done = 0
    for phase in plan.phases:
        length = max(0, min(step - 1, phase.last) - phase.first + 1)
        done += length * phase.discriminator_steps
    beyond = step - 1 - plan.phases[-1].last
    return done + max(0, beyond) * plan.phases[-1].discriminator_steps


def _pixel_std(images: Tensor) -> Tensor:
    """How much images [N, C, H, W] in [-1, 1] differ: the standard deviation of each pixel over the
    batch, mean over the pixels, 0-d."""
    return images.float().std(0).mean()


def _score_gauges(
    name: str, real: Tensor, fake: Tensor, threshold: float | None
) -> dict[str, Tensor]:
    gauges = {f"score/real{name}": real.mean(), f"score/fake{name}": fake.mean()}
    if threshold is not None:
        right = ((real > threshold).float().mean() + (fake < threshold).float().mean()) / 2
        gauges[f"accuracy{name}"] = right
    return gauges


@contextmanager
def _little_garbage() -> Iterator[None]:
    """Let what steps leave behind be collected soon.

    Python looks through its oldest objects only when a quarter as many new ones have come. Beside
    all that torch and ganforge are made of, that is a long time: what circles of a step survived
    it lay there for hundreds of thousands of steps (measured: 1.6 MB in 10,000). So everything
    that is there now is taken out of the count, which spares looking through it as well.
    """
    gc.freeze()
    gc.collect()
    try:
        yield
    finally:
        gc.unfreeze()
