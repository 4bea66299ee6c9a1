"""Which switches of `[train]` are fastest on this machine, for one recipe: tried side by side.

Precision, memory layout and threads change how long a step takes and, beyond rounding, nothing
else. Each way is timed in turn with what `auto` takes, a few steps each, so that other work on the
machine slows both alike; what is compared is the median of their ratios.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import attrs
import torch

from ganforge.data.feed import Feed
from ganforge.game.game import Game
from ganforge.hardware import machine, matmul
from ganforge.interfaces.manifest import with_options
from ganforge.interfaces.specs import ImageSpec
from ganforge.planning.plan import Plan
from ganforge.registry.registry import Registry
from ganforge.storage.run_folder import RunFolder
from ganforge.training.launch import Wait, build_feed, unseen
from ganforge.training.trainer import Training

TURN = 0.25  # seconds of one turn, so that starting and stopping the clock counts for nothing
WARM_UP = 2  # steps before a way is timed: kernels are chosen, memory is reserved
LEAST_ROUNDS = 3
GAIN = 0.03  # what a switch must gain to be worth a line in a recipe


@attrs.frozen
class Way:
    """One choice of the switches; what is unset stays as the recipe has it."""

    precision: str | None = None
    layout: str | None = None
    threads: int | None = None
    products: str | None = None
    compile: bool | None = None

    @property
    def lines(self) -> dict[str, str | int]:
        """The keys of `[train]` that say so."""
        return {k: v for k, v in attrs.asdict(self).items() if v is not None}


@attrs.frozen
class Timed:
    """How long a step takes one way.

    milliseconds: median over the rounds. ratio: what a step took the usual way in the same rounds
    over that, their median; above 1 is faster than usual. waiting: share of the time that went by
    waiting for data that is streamed. preparing: seconds of the first steps, in which networks are
    compiled.
    """

    way: Way
    milliseconds: float
    ratio: float
    rounds: int
    waiting: float = 0.0
    preparing: float = 0.0


def bench(
    plan: Plan,
    registry: Registry,
    seconds: float,
    wait: Wait = unseen,
    *,
    compiles: bool = False,
) -> list[Timed]:
    """As the recipe is first, then each switch changed alone, then all that gained together.

    seconds: how long to measure for; where steps are long it takes longer, three rounds each.
    compiles: try torch.compile as well.
    Raises GanforgeError as a run does.
    """
    usual = machine.decide(plan.train)
    # Deciding looks at how many threads are set, and each way sets its own.
    plan = attrs.evolve(plan, train=with_options(plan.train, threads=usual.threads))
    tried = list(ways(plan, usual, compiles=compiles))
    budget = seconds / (len(tried) + 1)
    with TemporaryDirectory() as folder:
        stage = Stage(plan, registry, Path(folder), wait)
        baseline = stage.timed(Way())
        found = [_compared(baseline, stage.timed(way), way, budget) for way in tried]
        best = together(found)
        if len(best.lines) > 1:
            found.append(_compared(baseline, stage.timed(best), best, budget))
        rounds = len(baseline.times)
        middle, waiting = median(baseline.times), baseline.waiting()
        first = Timed(Way(), middle, 1.0, rounds, waiting, baseline.preparing)
        stage.close()
    torch.set_num_threads(usual.threads)
    return [first, *found]


def ways(plan: Plan, usual: machine.Machine, *, compiles: bool = False) -> Iterator[Way]:
    """Each switch changed alone, where this machine and the game leave a choice."""
    if usual.precision == "bf16":
        yield Way(precision="fp32")
    elif machine.has_native_bf16(usual.device):
        yield Way(precision="bf16")
    if any(isinstance(domain.spec, ImageSpec) for domain in plan.domains.values()):
        for layout in ("contiguous", "channels_last"):
            if layout != usual.wanted_layout:
                yield Way(layout=layout)
    if usual.device.type == "cpu" and usual.threads > 1:
        yield Way(threads=usual.threads // 2)
    if usual.device.type == "cpu" and usual.precision == "fp32" and matmul.offered():
        yield Way(products="torch" if usual.products == "onednn" else "onednn")
    if compiles and not usual.compiles:
        yield Way(compile=True)


def together(timed: list[Timed]) -> Way:
    """Of each switch the choice that gained most, where one gained enough."""
    chosen: dict[str, str | int] = {}
    for one in sorted(timed, key=lambda one: one.ratio):
        if one.ratio > 1 + GAIN:
            chosen |= one.way.lines
    return Way(**chosen)  # type: ignore[arg-type]


class Stage:
    """Builds the game of a plan in many ways, over data that is read once for each layout."""

    def __init__(self, plan: Plan, registry: Registry, folder: Path, wait: Wait) -> None:
        self._plan = plan
        self._registry = registry
        self._folder = RunFolder(folder)
        self._wait = wait
        self._feeds: dict[bool, Feed] = {}
        self._streaming: list[Feed] = []

    def timed(self, way: Way) -> TimedTraining:
        """The game played this way, and warmed up."""
        plan = attrs.evolve(self._plan, train=with_options(self._plan.train, **way.lines))
        decided = machine.decide(plan.train)
        classes = [self._registry.load_target(n.component) for n in plan.networks.values()]
        last = decided.wants_channels_last(classes)
        if last not in self._feeds or self._feeds[last].streams:  # each goes through its own
            self._feeds[last] = build_feed(plan, self._registry, decided, self._wait)
            self._feeds[last].settle()
            self._streaming.append(self._feeds[last])
        game = Game(plan, self._registry, decided, self._feeds[last])
        return TimedTraining(Training(plan, game, self._folder, self._registry))

    def close(self) -> None:
        """End what reads data ahead."""
        for feed in self._streaming:
            feed.close()


class TimedTraining:
    """One way of playing, timed in turns. times: milliseconds of a step in each. preparing: seconds
    of the first steps."""

    def __init__(self, training: Training) -> None:
        self._training = training
        self.times: list[float] = []
        self.preparing = self._taken(WARM_UP) * WARM_UP / 1e3
        self.steps = max(1, math.ceil(TURN * 1e3 / self._taken(1)))
        self._waited = training.game.feed.waited
        self._played = 0.0

    def turn(self, steps: int) -> float:
        """Milliseconds per step over so many steps."""
        self.times.append(self._taken(steps))
        self._played += self.times[-1] * steps / 1e3
        return self.times[-1]

    def waiting(self) -> float:
        """Share of the turns that went by waiting for data."""
        return (self._training.game.feed.waited - self._waited) / self._played

    def _taken(self, steps: int) -> float:
        training = self._training
        torch.set_num_threads(training.game.machine.threads)
        self._wait_for_device()
        start = time.perf_counter()
        for _ in range(steps):
            training.take_step(training.step % training.steps + 1)
        self._wait_for_device()
        return (time.perf_counter() - start) / steps * 1e3

    def _wait_for_device(self) -> None:
        if self._training.game.device.type == "cuda":
            torch.cuda.synchronize(self._training.game.device)


def _compared(baseline: TimedTraining, timed: TimedTraining, way: Way, budget: float) -> Timed:
    """Turns of both, one after the other, for as long as the budget lasts."""
    ratios: list[float] = []
    own: list[float] = []
    end = time.perf_counter() + budget
    while len(ratios) < LEAST_ROUNDS or time.perf_counter() < end:
        usual = baseline.turn(baseline.steps)
        own.append(timed.turn(timed.steps))
        ratios.append(usual / own[-1])
    return Timed(way, median(own), median(ratios), len(own), preparing=timed.preparing)
