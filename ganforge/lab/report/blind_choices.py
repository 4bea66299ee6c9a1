"""What people chose in blind comparisons: files that the page saved, taken back in and counted."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from attrs import frozen

from ganforge.interfaces.errors import GanforgeError

VERSION = 1
_KINDS = ("real-or-fake", "run-or-run")
_MOST = 100_000  # choices in a file; no person makes more
_LARGEST = 5_000_000  # bytes


@frozen
class Question:
    """What a pair asks. kind: "real-or-fake", which is real; "run-or-run", which is better.

    runs: whose pictures they are, one or two. steps: of these runs.
    """

    kind: str
    generator: str
    runs: tuple[str, ...]
    steps: tuple[int, ...]


@frozen
class Counted:
    """How often the first was chosen: what is real, or the first run; a 95 % interval of that."""

    question: Question
    first: int
    count: int

    @property
    def share(self) -> float:
        return self.first / self.count

    @property
    def interval(self) -> tuple[float, float]:
        return wilson(self.first, self.count)

    @property
    def undecided(self) -> bool:
        low, high = self.interval
        return low <= 0.5 <= high


def wilson(hits: int, count: int, z: float = 1.959964) -> tuple[float, float]:
    """Wilson's score interval of a share, 95 % by default (E. B. Wilson 1927, JASA 22, p. 209)."""
    share = hits / count
    middle = share + z * z / (2 * count)
    half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    whole = 1 + z * z / count
    low, high = (middle - half) / whole, (middle + half) / whole
    return max(0.0, min(low, share)), min(1.0, max(high, share))  # not beside it by rounding


def read(files: Sequence[Path]) -> list[Counted]:
    """Count the choices of all files; one that is given twice counts once.

    Raises GanforgeError for a file that cannot be read or was not saved by a report.
    """
    counted: dict[Question, tuple[int, int]] = {}
    seen: set[str] = set()
    for file in files:
        name, questions = _read(file)
        if name in seen:
            continue
        seen.add(name)
        for question, chosen in questions:
            first, count = counted.get(question, (0, 0))
            counted[question] = (first + chosen.count(0), count + len(chosen))
    return [Counted(question, *numbers) for question, numbers in counted.items()]


def unknown_runs(counted: Iterable[Counted], runs: Iterable[str]) -> list[str]:
    """The runs that choices are about and that a report does not show."""
    there = set(runs)
    named = dict.fromkeys(run for one in counted for run in one.question.runs)
    return [run for run in named if run not in there]


def _read(file: Path) -> tuple[str, list[tuple[Question, list[int]]]]:
    try:
        if file.stat().st_size > _LARGEST:
            raise _refused(file, "is too large to hold one person's choices")
        found = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise GanforgeError(f"cannot read {file}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise _refused(file, "is not JSON") from error
    if not isinstance(found, dict) or "ganforge-choices" not in found:
        raise _refused(file, "has no choices in it")
    if found["ganforge-choices"] != VERSION:
        raise _refused(file, f"is of another version ({found['ganforge-choices']!r})")
    questions = found.get("comparisons")
    if not isinstance(questions, list):
        raise _refused(file, "has no list of comparisons")
    name = found.get("id")
    read = [_question(file, one) for one in questions]
    return (name if isinstance(name, str) else str(file.resolve())), [x for x in read if x[1]]


def _question(file: Path, one: Any) -> tuple[Question, list[int]]:
    if not isinstance(one, dict) or one.get("kind") not in _KINDS:
        raise _refused(file, "has a malformed comparison")
    runs, steps, chosen = (_list(file, one, key) for key in ("runs", "steps", "chosen"))
    expected = 1 + _KINDS.index(one["kind"])
    whole = all(isinstance(x, int) and not isinstance(x, bool) for x in (*steps, *chosen))
    if (
        not whole
        or not all(isinstance(run, str) for run in runs)
        or not len(runs) == len(steps) == expected
        or not set(chosen) <= {0, 1}
        or len(chosen) > _MOST
    ):
        raise _refused(file, "has a comparison whose runs, steps or choices are damaged")
    generator = str(one.get("generator", ""))
    return Question(one["kind"], generator, tuple(runs), tuple(steps)), chosen


def _list(file: Path, table: dict[str, Any], key: str) -> list[Any]:
    value = table.get(key)
    if not isinstance(value, list):
        raise _refused(file, f"has a comparison without '{key}'")
    return value


def _refused(file: Path, why: str) -> GanforgeError:
    return GanforgeError(f"{file} {why}; --choices takes the file that a blind comparison saved")
