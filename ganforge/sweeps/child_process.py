"""One run of a sweep as a process: `python -m ganforge run`, watched through its run folder."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import IO, Any, Literal

from attrs import define, field, frozen

from ganforge.interfaces.errors import RunError
from ganforge.storage.run_folder import RunFolder
from ganforge.sweeps.grid import Command, Planned

_PROMPT = "$ ganforge "  # begins what a new process writes into the log
_STOPPED = r"stopped after step [\d,]+: (?!interrupted by)(.*)"
_READ = 50_000  # bytes of the end of a log

How = Literal["finished", "stopped", "pruned", "interrupted", "failed", "elsewhere"]


@frozen
class End:
    """How a run ended. reason: why, where it is not simply finished."""

    how: How
    reason: str = ""


@define
class Tail:
    """Lines of a run's metrics.jsonl as they are written; also when a resumed run cut some."""

    folder: RunFolder
    step: int = 0  # of the newest line
    _file: int = 0
    _offset: int = 0

    def read(self) -> Iterator[Mapping[str, Any]]:
        """The lines that are new since the last time."""
        try:
            now = self.folder.metrics.stat()
            if now.st_ino != self._file or now.st_size < self._offset:
                self._file, self._offset = now.st_ino, 0
            with self.folder.metrics.open("rb") as file:
                file.seek(self._offset)
                new = file.read()
        except OSError:
            return
        whole = new[: new.rfind(b"\n") + 1]
        self._offset += len(whole)
        for line in whole.splitlines():
            with suppress(ValueError):
                entry = json.loads(line)
                if isinstance(entry, dict) and isinstance(entry.get("step"), int):
                    self.step = entry["step"]
                    yield entry


@define
class Child:
    """A run under way. first_step, first_seen: the first step of which a line was read, and when,
    by `time.monotonic`. asked: why it was asked to stop."""

    run: Planned
    process: subprocess.Popen[bytes]
    output: IO[bytes] = field(repr=False)
    tail: Tail
    first_step: int | None = None
    first_seen: float = 0.0
    asked: str = ""

    @classmethod
    def start(cls, run: Planned, command: Command, environment: Mapping[str, str]) -> Child:
        """Raises RunError where the log beside the run folder cannot be written."""
        try:
            run.folder.path.parent.mkdir(parents=True, exist_ok=True)
            output = run.log.open("ab")
            words = command.arguments(run)
            output.write(f"\n{_PROMPT}{shlex.join(words)}\n".encode())
            output.flush()
        except OSError as error:
            raise RunError(f"cannot write {run.log}: {error.strerror or error}") from error
        process = subprocess.Popen(
            [sys.executable, "-m", "ganforge", *words],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(environment),
            # A group of its own: Ctrl-C reaches the sweep, which asks each run to stop, once.
            start_new_session=os.name != "nt",
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
        )
        return cls(run, process, output, Tail(run.folder))

    def request_stop(self, why: str) -> None:
        """After its step, with a checkpoint; asked again, at once."""
        self.asked = self.asked or why
        with suppress(ProcessLookupError, OSError):
            self.process.send_signal(getattr(signal, "CTRL_BREAK_EVENT", signal.SIGINT))

    def kill(self) -> None:
        with suppress(ProcessLookupError, OSError):
            self.process.kill()

    def look(self) -> list[Mapping[str, Any]]:
        """New lines of its metrics."""
        lines = list(self.tail.read())
        if lines and self.first_step is None:
            self.first_step, self.first_seen = self.tail.step, time.monotonic()
        return lines

    def ended(self) -> End | None:
        """How it ended; None while it runs."""
        status = self.process.poll()
        if status is None:
            return None
        self.output.close()
        if self.run.done():
            return End("finished")
        if self.asked:
            saved = self.run.folder.checkpoint_steps()
            reason = f"saved at step {saved[-1]:,}" if saved else "nothing was saved yet"
            return End("pruned" if self.asked == "pruned" else "interrupted", reason)
        if status == 0:
            return End("stopped", self._said(_STOPPED) or "it stopped by itself")
        error = self._said(r"error: (.*)")
        if error.startswith("another process is training in"):
            return End("elsewhere", "another process is training it")
        return End("failed", error or f"its process ended with status {status}")

    def _said(self, pattern: str) -> str:
        return _last(pattern, self.run)


def stopped_before(run: Planned) -> str:
    """Why a run that has not come to its last step ended by itself the last time; "" where it was
    cut off, or never began."""
    return _last(_STOPPED, run) if run.folder.checkpoint_steps() else ""


def _last(pattern: str, run: Planned) -> str:
    """What the last line that matches says, of those that its newest process wrote."""
    try:
        text = run.log.read_bytes()[-_READ:].decode("utf-8", "replace")
    except OSError:
        return ""
    text = re.sub(r"\x1b\[[\d;]*m", "", text).replace("\r", "\n").rpartition(f"\n{_PROMPT}")[2]
    found = re.findall(f"{pattern}$", text, re.MULTILINE)
    return str(found[-1]).strip() if found else ""


def is_held(folder: RunFolder) -> bool:
    """Whether a process trains in this folder now."""
    return folder.is_held()


def environment(jobs: int) -> dict[str, str]:
    """The children's: processor cores are split among them, unless somebody has said otherwise."""
    shares = {"OMP_NUM_THREADS": str(max(1, cores() // jobs))} if jobs > 1 else {}
    return {**shares, **os.environ, "PYTHONUNBUFFERED": "1"}


def cores() -> int:
    """Processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
