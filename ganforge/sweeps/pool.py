"""Plays runs a few at a time, until there are no more or somebody ends it."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any, Protocol

from attrs import define, field

from ganforge.interfaces.errors import GanforgeError
from ganforge.sweeps.child_process import Child, End, environment, is_held, stopped_before
from ganforge.sweeps.grid import Command, Planned

_EVERY = 0.3  # seconds between two looks
_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")  # those that a system has


class Source(Protocol):
    """Where runs come from."""

    def next(self) -> Planned | None:
        """The next run; None where there is none (now, while others are playing)."""

    def looked(self, run: Planned, lines: Sequence[Mapping[str, Any]]) -> str:
        """Told the new lines of a run's metrics; why it is to stop, or ""."""

    def ended(self, run: Planned, end: End) -> End:
        """Told how a run ended; what it makes of it."""


class Shown(Protocol):
    """Shows progress."""

    def began(self, child: Child) -> None: ...
    def ended(self, run: Planned, end: End) -> None: ...
    def went_on(self, children: Sequence[Child]) -> None: ...


@define
class Listed:
    """Runs that are known from the start."""

    runs: Sequence[Planned]
    _waiting: list[Planned] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._waiting = list(self.runs)

    def next(self) -> Planned | None:
        return self._waiting.pop(0) if self._waiting else None

    def looked(self, run: Planned, lines: Sequence[Mapping[str, Any]]) -> str:
        return ""

    def ended(self, run: Planned, end: End) -> End:
        return end


@define
class Pool:
    """Runs that play at the same time, `jobs` at most. One that fails stops no other."""

    command: Command
    source: Source
    shown: Shown
    jobs: int
    ends: dict[str, End] = field(factory=dict)  # run -> how it ended
    interrupted: bool = False
    _children: list[Child] = field(factory=list)

    def play(self) -> None:
        """Until all are done. Ctrl-C asks every run to stop after its step; a second one ends them
        at once. Raises GanforgeError where the source does, once the runs under way have stopped.
        """
        surroundings = environment(self.jobs)
        with self._stoppable():
            try:
                while self._start(surroundings) or self._children:
                    self._look()
                    self.shown.went_on(self._children)
                    time.sleep(_EVERY if self._children else 0)
            except GanforgeError:
                self._end_all("the sweep stopped")
                raise

    def _start(self, surroundings: Mapping[str, str]) -> bool:
        """Fill the free places; whether there was anything to do."""
        found = False
        while not self.interrupted and len(self._children) < self.jobs:
            run = self.source.next()
            if run is None:
                break
            found = True
            known = self._known(run)
            if known is not None:
                self._note(run, known)
                continue
            child = Child.start(run, self.command, surroundings)
            self._children.append(child)
            self.shown.began(child)
        return found

    def _known(self, run: Planned) -> End | None:
        """How a run ended that need not be played; None for all others."""
        if run.done():
            return End("finished", "it was already finished")
        if is_held(run.folder):
            return End("elsewhere", "another process is training it")
        why = stopped_before(run)
        return End("stopped", why) if why else None

    def _look(self) -> None:
        for child in list(self._children):
            end = child.ended()  # first, so that the last lines are read after it
            why = self.source.looked(child.run, child.look())
            if end is not None:
                self._children.remove(child)
                self._note(child.run, end)
            elif why and not child.asked:
                child.request_stop(why)

    def _note(self, run: Planned, end: End) -> None:
        self.ends[run.name] = end = self.source.ended(run, end)
        self.shown.ended(run, end)

    def _end_all(self, why: str) -> None:
        for child in self._children:
            child.request_stop(why)
        while self._children:
            for child in list(self._children):
                if child.ended() is not None:
                    self._children.remove(child)
            time.sleep(_EVERY)

    @contextmanager
    def _stoppable(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def stop(number: int, frame: FrameType | None) -> None:
            again, self.interrupted = self.interrupted, True
            for child in self._children:
                if again and child.asked == _AT_ONCE:
                    child.kill()
                else:
                    child.request_stop("interrupted")
                if again:
                    child.asked = _AT_ONCE

        numbers = [getattr(signal, name) for name in _SIGNALS if hasattr(signal, name)]
        before: dict[int, Callable[..., Any] | int | None] = {
            number: signal.signal(number, stop) for number in numbers
        }
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


_AT_ONCE = "stopped at once"
