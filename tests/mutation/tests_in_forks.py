"""Runs tests for `sample.py`, each time in a fresh fork of a process that has imported torch.

Reads a line of JSON for each time, {"tests": [files or ids], "limit": seconds}, and writes one:
whether all passed, or null where they took longer. With "trace", the name of a file, what each test
took and which lines of ganforge it ran are written to that.
"""

import json
import os
import signal
import sys
import time
import traceback
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import click.testing  # noqa: F401
import coverage
import numpy  # noqa: F401
import pluggy  # noqa: F401
import pytest
import safetensors.torch  # noqa: F401
import torch.optim
import torch.utils.data  # noqa: F401
from PIL import Image  # noqa: F401

OPTIONS = ("-q", "-n", "0", "-p", "no:cacheprovider", "--no-header")


def passed(tests: list[str], limit: float, trace: str | None = None) -> bool | None:
    """Whether these tests pass; None, and an end to all of them, after so many seconds."""
    child = os.fork()
    if child == 0:
        _run(tests, trace)
    end = time.monotonic() + limit
    while time.monotonic() < end:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            _end(child)  # what the tests left behind
            return status == 0
        time.sleep(0.05)
    _end(child)
    os.waitpid(child, 0)
    return None


def _run(tests: list[str], trace: str | None) -> None:
    os.setsid()
    forgets = os.open(os.devnull, os.O_RDWR)
    for number in range(3):
        os.dup2(forgets, number)
    status = 1
    try:
        sys.argv = ["pytest"]
        if trace:
            status = int(pytest.main([*OPTIONS, *tests], [Trace(Path(trace))]))
        else:
            status = int(pytest.main([*OPTIONS, "-x", *tests]))
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def _end(group: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


class Trace:
    """A plugin of pytest that notes what each test takes, and the lines that it runs."""

    def __init__(self, kept: Path) -> None:
        self._kept = kept
        self._seconds: dict[str, float] = {}
        self._failed: set[str] = set()
        self._coverage = coverage.Coverage(data_file=None, include=["ganforge/*"])
        self._coverage.start()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        started = time.monotonic()
        self._coverage.switch_context(item.nodeid)
        try:
            return (yield)
        finally:
            self._coverage.switch_context("")
            self._seconds[item.nodeid] = time.monotonic() - started

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self._failed.add(report.nodeid)

    def pytest_sessionfinish(self) -> None:
        self._coverage.stop()
        data = self._coverage.get_data()
        lines: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
        for file in data.measured_files():
            module = str(Path(file).relative_to(Path.cwd()))
            for line, tests in data.contexts_by_lineno(file).items():
                for test in tests:
                    lines[test][module].append(line)
        told = {
            test: {"seconds": seconds, "lines": lines[test]}
            for test, seconds in self._seconds.items()
            if test not in self._failed
        }
        self._kept.write_text(json.dumps(told), encoding="utf-8")


if __name__ == "__main__":
    assert "ganforge" not in sys.modules, "each fork imports what is mutated"
    for line in sys.stdin:
        print(json.dumps(passed(**json.loads(line))), flush=True)
