"""How quickly a recipe's data comes, the game apart: every way that a run may get its rows."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import attrs

from ganforge.hardware import machine
from ganforge.interfaces.manifest import with_options
from ganforge.planning.plan import Plan
from ganforge.registry.registry import Registry
from ganforge.training.launch import Wait, build_feed, unseen

FEWEST = 3  # batches, however long they take


@attrs.frozen
class Loaded:
    """One way. start: seconds until the first batch was there. rows: of the whole batch, per second
    after that."""

    way: str
    start: float
    rows: float


def data_bench(
    plan: Plan, registry: Registry, seconds: float, workers: int | None, wait: Wait = unseen
) -> Iterator[Loaded]:
    """Held, by threads, by 1, 2, 4, ... worker processes; where the recipe asks for the cache, an
    epoch or less while that fills, and the same updates again.

    seconds: how long each is measured for. workers: the most to try; unset: as many as cores.
    Raises GanforgeError as a run does.
    """
    decided = machine.decide(plan.train)

    def timed(way: str, most: int | None = None, **train: object) -> tuple[Loaded, int]:
        chosen = attrs.evolve(plan, train=with_options(plan.train, **train))
        start = time.perf_counter()
        feed = build_feed(chosen, registry, decided, wait)
        try:
            feed.settle()
            feed.follow(0)
            feed.batch(0)
            begun = time.perf_counter()
            done = 0
            epoch = max(1, feed.updates_per_epoch - 1) if plan.train.cache else None
            while _goes_on(done, most or epoch, begun + seconds):
                done += 1
                feed.follow(done)
                feed.batch(done)
            taken = time.perf_counter() - begun
        finally:
            feed.close()
        return Loaded(way, begun - start, done * plan.train.batch / taken), done

    if plan.train.cache:
        first, done = timed("cache, as it fills", hold=0.0)
        yield first
        yield timed("cache, filled", done, hold=0.0)[0]
        return
    if plan.train.hold:
        yield timed("held, if it fits")[0]
    yield timed("threads", hold=0.0, workers=0)[0]
    count = 1
    while count <= (workers or os.cpu_count() or 1):
        yield timed(f"{count} worker{'s' * (count > 1)}", hold=0.0, workers=count)[0]
        count *= 2


def _goes_on(done: int, most: int | None, end: float) -> bool:
    if most is not None and done >= most:
        return False
    return done < FEWEST or time.perf_counter() < end
