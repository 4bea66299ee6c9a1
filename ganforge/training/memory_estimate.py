"""How much memory a run will need at its peak, estimated from a small part of its batch.

A step is played with few rows of the batch, twice, by the recipe's own networks and losses, and
PyTorch tells of every tensor that it makes and frees on the way. From few rows to more, each moment
of a step grows along a line; so what the whole batch needs at each moment is computed, and the
largest is the peak. That is done for each phase, for what generators make when they are looked at,
and for what a checkpoint copies. What lies there all the time is counted as it is built.
"""

from __future__ import annotations

import gc
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from tempfile import TemporaryDirectory

import attrs
import torch
from torch.autograd.profiler import profile  # that of torch.profiler imports the compiler

from ganforge.data.feed import Feed
from ganforge.game.error_attribution import needs_more_items
from ganforge.game.game import Game
from ganforge.hardware import resident_memory
from ganforge.hardware.machine import Machine, keeps_freed_memory
from ganforge.interfaces.errors import TrainingError
from ganforge.interfaces.manifest import with_options
from ganforge.interfaces.specs import ImageSpec
from ganforge.planning.plan import PhasePlan, Plan
from ganforge.registry.registry import Registry
from ganforge.runs.run import Run
from ganforge.storage.run_folder import RunFolder
from ganforge.training.launch import Wait, build_feed, fitting, too_few_items, unseen
from ganforge.training.trainer import Training, updates_before

ROWS = (4, 8)  # of the batch, that a step is played with; as many as are there are played whole
LOOKED_AT = (1, 2)  # items that generators make
# Of what comes and goes in a step: what the allocator cannot use between tensors. Where a process
# keeps what it freed (`machine.keep_freed_memory`), that grows over the first ten or so steps, to
# as much again and more where tensors are large (docs/performance.md).
LOST, LOST_OF_KEPT = 0.1, 1.0
_NEAR = 64  # steps of a phase that are searched for the one in which most losses play
_USUAL = 400_000_000  # bytes of Python and PyTorch, where the system does not say
_WORK = {
    "step": "a step's activations and gradients",
    "sheet": "gradients and what generators make at once",
    "checkpoint": "gradients and what a checkpoint copies",
}


@attrs.frozen
class Growth:
    """Bytes over the moments of some work, as a line of its items.

    few, more: (items, bytes at each moment). The two have the same moments, or only their peaks.
    """

    few: tuple[int, Sequence[int]]
    more: tuple[int, Sequence[int]]

    @classmethod
    def of(cls, few: tuple[int, Sequence[int]], more: tuple[int, Sequence[int]]) -> Growth:
        """Of work that was done twice; where it did not go the same way, of its peaks alone."""
        if len(few[1]) == len(more[1]):
            return cls(few, more)
        return cls((few[0], [max(few[1], default=0)]), (more[0], [max(more[1], default=0)]))

    def peak(self, items: int) -> int:
        """The most bytes at any moment, with so many items."""
        (few, first), (more, second) = self.few, self.more
        along = (items - few) / (more - few) if more > few else 0.0
        return max(
            (round(a + (b - a) * along) for a, b in zip(first, second, strict=True)), default=0
        )


@attrs.frozen(kw_only=True)
class Forecast:
    """Bytes that a run needs.

    interpreter: Python, PyTorch, and what the data set keeps beside the data; 0 where it is the
    memory of a GPU that is estimated. data: held decoded.
    networks: weights, buffers, averages, moments, pools of images. gradients: of all networks.
    copied: by a checkpoint. steps: of each phase, beside networks. looks: (growth, items) of what
    generators make for sheets and metrics. rows, parts: of the batch, and how it is split.
    frozen: (parameters, frozen ones among them) by address, of networks and losses with such.
    """

    interpreter: int
    data: int
    networks: int
    gradients: int
    copied: int
    steps: Mapping[str, Growth]
    looks: Sequence[tuple[Growth, int]]
    rows: int
    parts: int
    lost: float = LOST
    frozen: Mapping[str, tuple[int, int]] = attrs.field(factory=dict)

    def work(self, parts: int | None = None) -> dict[str, int]:
        """Bytes that come and go, by what they are for; `parts` of the batch instead of its own."""
        rows = -(-self.rows // (parts or self.parts))
        step = max(growth.peak(rows) for growth in self.steps.values())
        sheet = self.gradients + max((growth.peak(n) for growth, n in self.looks), default=0)
        return {
            "step": round(step * (1 + self.lost)),
            "sheet": round(sheet * (1 + self.lost)),
            "checkpoint": self.gradients + self.copied,
        }

    @property
    def peak(self) -> int:
        """The most bytes that the run needs at once."""
        return self.at(self.parts)

    def at(self, parts: int) -> int:
        """The same with the batch split into so many parts."""
        return self.interpreter + self.data + self.networks + max(self.work(parts).values())

    def by_part(self) -> dict[str, int]:
        """The peak, by what holds it; `work` is what comes and goes at that moment."""
        work = max(self.work().values())
        standing = {"data": self.data, "networks": self.networks}
        return {**standing, "work": work, "interpreter": self.interpreter}

    def __str__(self) -> str:
        """`memory: about 1.9 GB at its peak, in a step (data 188 MB, ...)`"""
        work = self.work()
        when = max(work, key=lambda what: work[what])
        names = {
            "data": "data",
            "networks": "networks, averages and moments",
            "work": _WORK[when],
            "interpreter": "Python and PyTorch",
        }
        sizes = self.by_part().items()
        parts = ", ".join(f"{names[what]} {in_words(size)}" for what, size in sizes if size)
        where = "memory" if self.interpreter else "memory of the GPU"
        return f"{where}: about {in_words(self.peak)} at its peak, in a {when} ({parts})"

    def advice(self, room: int) -> str:
        """What to do where only so many bytes are there."""
        why = f"{in_words(room)} of memory are free, less than that"
        parts = self._parts_for(room)
        if parts is None:
            return f"{why}: a smaller `data.size`, `train.batch` or network width needs less"
        batch = max(1, self.rows * self.parts // parts)
        return f"{why}: `--set train.accumulate={parts}`, or `--set train.batch={batch}`, fits"

    def _parts_for(self, room: int) -> int | None:
        """The fewest parts, doubling, with which the run fits; None where none does, or where a
        part would be of one row, which BatchNorm cannot take."""
        parts = self.parts
        while self.rows // parts >= 2:
            if self.at(parts) <= room:
                return parts
            parts *= 2
        return None


def forecast(plan: Plan, registry: Registry, decided: Machine, wait: Wait = unseen) -> Forecast:
    """What a run of this plan needs here. Raises GanforgeError as a run does.

    Builds everything that a run builds, and needs the memory of a few rows of the batch.
    """
    plan = attrs.evolve(plan, hooks={})  # which write, and need little
    decided = attrs.evolve(decided, compiles=False)  # which takes minutes, for the same tensors
    feed = build_feed(plan, registry, decided, wait)
    stage = _Stage(plan, registry, decided, feed)
    steps = {phase.name: stage.step(phase) for phase in plan.phases}
    looks = list(stage.looks())
    networks, gradients, copied = stage.standing()
    frozen = stage.frozen()
    stage.leave()
    resident = resident_memory.resident()
    on_host = decided.device.type == "cpu"
    data = feed.held_bytes - feed.absent_bytes if on_host else 0
    feed.close()
    interpreter = resident - data if resident else _USUAL
    return Forecast(
        interpreter=interpreter if on_host else 0,
        data=feed.held_bytes,
        networks=networks,
        gradients=gradients,
        copied=copied if on_host else 0,
        steps=steps,
        looks=looks,
        rows=plan.train.batch,
        parts=min(plan.train.accumulate, plan.train.batch),
        lost=LOST_OF_KEPT if on_host and keeps_freed_memory() else LOST,
        frozen=frozen,
    )


class _Stage:
    """Plays parts of a plan's game over one feed."""

    def __init__(self, plan: Plan, registry: Registry, decided: Machine, feed: Feed) -> None:
        self._plan = plan
        self._registry = registry
        self._decided = decided
        self._feed = feed
        self._training: Training | None = None

    def leave(self) -> None:
        """Let go of what was built last."""
        self._training = None
        gc.collect()

    def step(self, phase: PhasePlan) -> Growth:
        """What a step of a phase needs beside what lies there all the time."""
        parts = min(self._plan.train.accumulate, self._plan.train.batch)
        rows = -(-self._plan.train.batch // parts)
        few, more = ROWS if rows > ROWS[1] else (rows, rows)
        first = few, self._step(phase, few * parts)
        return Growth.of(first, first if more == few else (more, self._step(phase, more * parts)))

    def _step(self, phase: PhasePlan, batch: int) -> list[int]:
        self.leave()
        plan = attrs.evolve(self._plan, train=with_options(self._plan.train, batch=batch))
        game = Game(plan, self._registry, self._decided, self._feed)
        with TemporaryDirectory() as folder:
            training = Training(plan, game, RunFolder(Path(folder)), self._registry)
        self._training = training
        _make_moments(game)
        step = _fullest_step(training, phase)
        training.step = step - 1
        with _fitting(training):
            return held(lambda: training.take_step(step), self._decided.device)

    def looks(self) -> Iterator[tuple[Growth, int]]:
        """What it takes to make items by each generator, and how many are made at once."""
        assert self._training is not None
        with self._training.looking() as run:
            for name, plan in run.plan.generators.items():
                translates = isinstance(plan.source_specs[0], ImageSpec)
                few, more = LOOKED_AT
                first, second = (self._look(run, name, translates, n) for n in LOOKED_AT)
                growth = Growth.of((few, first), (more, second))
                yield growth, run.at_once(name)

    def _look(self, run: Run, name: str, translates: bool, count: int) -> list[int]:
        spec = run.generator_plan(name).source_specs[0]
        images = torch.zeros(count, *spec.played) if translates else torch.empty(0)

        def look() -> None:
            if translates:
                run.translate(images, name)
            else:
                run.sample(count, generator=name)

        return held(look, self._decided.device)

    def standing(self) -> tuple[int, int, int]:
        """Bytes of what lies there all the time, of gradients, and of a checkpoint's copies."""
        assert self._training is not None
        game = self._training.game
        state = {name: sum(t.nbytes for t in kept.values()) for name, kept in game.state().items()}
        gradients = sum(
            p.nbytes for trained_module in game.trained_modules for p in trained_module.parameters
        )
        return sum(state.values()), gradients, max(state.values())

    def frozen(self) -> dict[str, tuple[int, int]]:
        """(parameters, frozen ones among them) of networks and losses that have such."""
        assert self._training is not None
        game = self._training.game
        sizes = {address: game.sizes_of(address) for address in (*game.networks, *game.losses)}
        return {address: counts for address, counts in sizes.items() if counts[1]}


@contextmanager
def _fitting(training: Training) -> Iterator[None]:
    """Tell in one line where a step cannot be played: too little memory, or too few rows."""
    rows = f"{training.plan.train.batch} rows of the batch"
    try:
        with fitting(f"{rows} do not fit into memory; a smaller `data.size` or width does"):
            yield
    except ValueError as error:
        if not needs_more_items(error):
            raise
        raise TrainingError(too_few_items(training)) from error


def _make_moments(game: Game) -> None:
    """Let optimizers make the moments that they have after the first step, moving nothing."""
    for trained_module in game.trained_modules:
        if not trained_module.parameters:
            continue
        for parameter in trained_module.parameters:
            parameter.grad = torch.zeros_like(parameter)
        for group in trained_module.optimizer.param_groups:
            group["lr"] = 0.0
        trained_module.optimizer.step()
        trained_module.optimizer.zero_grad(set_to_none=True)


def _fullest_step(training: Training, phase: PhasePlan) -> int:
    """A step of a phase in which as many losses play as in any that is looked at."""
    game, plan = training.game, training.plan
    game.enter(phase)
    near = range(phase.first, min(phase.last, phase.first + _NEAR - 1) + 1)
    last = range(max(phase.first, phase.last - _NEAR + 1), phase.last + 1)

    def playing(step: int) -> int:
        first = updates_before(plan, step)
        updates = range(first, first + phase.discriminator_steps)
        many = [len(list(game.active("discriminator", step, update))) for update in updates]
        return max(many, default=0) + len(list(game.active("generator", step, step - 1)))

    candidates: list[int] = [*near, *last]
    return max(candidates, key=playing)


def held(work: Callable[[], None], device: torch.device) -> list[int]:
    """Bytes of the tensors, and of what PyTorch's kernels keep meanwhile, that `work` holds on a
    device, after each that is made or freed."""
    with TemporaryDirectory() as folder:
        trace = Path(folder) / "trace.json"
        with profile(profile_memory=True) as seen:
            work()
        seen.export_chrome_trace(str(trace))
        events = json.loads(trace.read_text(encoding="utf-8"))["traceEvents"]
    on = 1 if device.type == "cuda" else 0
    moves = [
        (event["ts"], event["args"]["Bytes"])
        for event in events
        if event["name"] == "[memory]" and event["args"]["Device Type"] == on
    ]
    moves.sort(key=lambda move: move[0])  # keeps the order of those at one time
    return list(accumulate(size for _, size in moves))


def room(device: torch.device) -> int:
    """Bytes that a run can have on a device; 0 where nobody says."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return resident_memory.available() if device.type == "cpu" else 0


def in_words(size: int) -> str:
    """Bytes for people: 38 MB, 1.2 GB."""
    return f"{size / 1e9:.1f} GB" if size >= 995e6 else f"{size / 1e6:.0f} MB"
