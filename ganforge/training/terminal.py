"""Where a run's words go: to its terminal, pipe or file, and to the run folder's log once that is
lost. Light.

A terminal is closed, an ssh connection drops, `head` has read enough, the disk that a log is on is
full: none of them is a reason to lose a training.
"""

from __future__ import annotations

import io
import os
import select
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any, TextIO

from attrs import define, field

_STREAMS = ("stdout", "stderr")


def has_terminal() -> bool:
    """Whether this process belongs to a terminal, whose loss SIGHUP tells. In a container or a
    scheduler's job there is none, and SIGHUP asks to stop, as SIGTERM does."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR))
    except OSError:
        return False
    return True


@contextmanager
def lasting(log: Path) -> Iterator[None]:
    """Let standard output and error outlive what reads them: from the first write that fails, or
    from the loss of the terminal on, what is written goes to `log` instead.

    Streams that are no files of the operating system (a notebook's, a test's) stay as they are.
    """
    words = _Words(log)
    with ExitStack() as stack:
        for name in _STREAMS:
            stream = getattr(sys, name)
            if isinstance(stream, io.TextIOWrapper) and (number := _number(stream)) is not None:
                stack.enter_context(words.carried(name, stream, number))
        stack.enter_context(_outliving_the_terminal(words))
        yield


def _number(stream: TextIO) -> int | None:
    """The file descriptor of a stream, where it has one."""
    try:
        return stream.fileno()
    except (OSError, ValueError):
        return None


@define
class _Words:
    """Descriptors that a run writes to, and the file that takes over from them."""

    log: Path
    terminals: list[int] = field(factory=list)
    lost: set[int] = field(factory=set)

    @contextmanager
    def carried(self, name: str, stream: io.TextIOWrapper, number: int) -> Iterator[None]:
        """Put a stream that lasts in the place of sys.stdout or sys.stderr."""
        if os.isatty(number):
            self.terminals.append(number)
        lasts = io.TextIOWrapper(
            io.BufferedWriter(_Lasting(number, self)),
            encoding=stream.encoding,
            errors="replace",
            line_buffering=True,
        )
        self._flush(stream, number)
        setattr(sys, name, lasts)
        try:
            yield
        finally:
            lasts.flush()
            setattr(sys, name, stream)

    def _flush(self, stream: TextIO, number: int) -> None:
        """Write out what the stream itself still holds."""
        try:
            stream.flush()
        except OSError:
            self.lose(number)
            stream.flush()

    def lose(self, number: int) -> None:
        """Send what is written to a descriptor to the log; nowhere, where that cannot be written
        either."""
        _put(self._opened(), number)
        if number not in self.lost:
            self.lost.add(number)
            if number == 1 and 2 not in self.lost:
                with suppress(OSError):
                    os.write(2, f"\nthe output is lost and goes on in {self.log}\n".encode())

    def lose_terminals(self) -> None:
        """The terminal is gone."""
        self.lost |= set(self.terminals)
        for number in self.terminals:
            self.lose(number)

    def _opened(self) -> int:
        """A descriptor of the log, or of what forgets."""
        with suppress(OSError):
            self.log.parent.mkdir(parents=True, exist_ok=True)
            return os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        return os.open(os.devnull, os.O_WRONLY)


def _put(opened: int, number: int) -> None:
    """Give an opened file the number of a descriptor, for all that writes to it."""
    os.dup2(opened, number)
    os.close(opened)


class _Lasting(io.RawIOBase):
    """Writes to a descriptor, whatever becomes of it."""

    def __init__(self, number: int, words: _Words) -> None:
        self._number = number
        self._words = words

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._number

    def isatty(self) -> bool:
        return os.isatty(self._number)

    def write(self, data: Any, /) -> int:
        for _ in range(2):  # to what was there, and to the log
            with suppress(OSError):
                return self._written(data)
            self._words.lose(self._number)
        _put(os.open(os.devnull, os.O_WRONLY), self._number)  # the log's disk is full too
        return os.write(self._number, data)

    def _written(self, data: Any) -> int:
        """How many bytes were written. Raises OSError, but not where a reader is only slow."""
        while True:
            try:
                return os.write(self._number, data)
            except BlockingIOError:
                select.select([], [self._number], [])


@contextmanager
def _outliving_the_terminal(words: _Words) -> Iterator[None]:
    """SIGHUP of a terminal that is lost changes where words go, and nothing else."""
    hang_up = getattr(signal, "SIGHUP", None)
    main = threading.current_thread() is threading.main_thread()
    if hang_up is None or not main or not has_terminal():
        yield
        return

    def lost(number: int, frame: FrameType | None) -> None:
        words.lose_terminals()

    before = signal.getsignal(hang_up)
    if before is signal.SIG_IGN:  # `nohup` has settled it
        yield
        return
    signal.signal(hang_up, lost)
    try:
        yield
    finally:
        signal.signal(hang_up, before)
