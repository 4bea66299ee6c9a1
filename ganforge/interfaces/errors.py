"""Errors that a person reads: what is wrong, where, what is allowed, what to do.

GanforgeError                 one clear line, exit status 2 unless said otherwise
├── RecipeError               every problem of a recipe, each with its place (problems.py)
├── PluginError               a plugin or component that is missing, broken or ambiguous
├── DataError                 a file or folder of data that cannot be used
│   └── BrokenRows            rows that cannot be read, and may be left out
├── RunError                  a run folder or checkpoint that cannot be used
├── Elsewhere                 another process of the same run had to stop (exit status 1)
└── TrainingError             a training that had to stop: NaN, memory (exit status 1)
"""

from __future__ import annotations

from collections.abc import Sequence


class GanforgeError(Exception):
    """A mistake or a misfortune told in one line; commands print it without a traceback."""

    exit_status = 2
    notes: Sequence[str] = ()  # more lines, told below the error


class PluginError(GanforgeError):
    """A plugin or a component that is missing, broken, ambiguous or misdeclared."""


class DataError(GanforgeError):
    """Data that cannot be read or used; the message names the file and what to do."""


class BrokenRows(DataError):
    """Rows of a data set that cannot be read."""


class RunError(GanforgeError):
    """A run folder or a checkpoint that cannot be used."""


class Elsewhere(GanforgeError):
    """Another of the processes that play one game ended; if it is the first one, it says why."""

    exit_status = 1


class TrainingError(GanforgeError):
    """A training that had to stop; what was finished before is kept."""

    exit_status = 1
