"""Rows that are held, each read when it is first needed, and all of them soon.

For data that takes long to make (pictures that are painted): the first step needs a few rows, and
would otherwise wait for every one. A thread reads on in the background.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Mapping

import numpy as np
from torch import Tensor

from ganforge.reading import Reader, Rows, refuse


class Filling:
    """readers, counts: of each domain. rows: all of them, by domain; those that `need` was not
    called for may not be there yet."""

    def __init__(self, readers: Mapping[str, Reader], counts: Mapping[str, int]) -> None:
        self.rows: Rows = {name: reader.empty(counts[name]) for name, reader in readers.items()}
        self._readers = readers
        self._there = {name: np.zeros(counts[name], dtype=bool) for name in readers}
        self._stopped = threading.Event()
        self.stop = weakref.finalize(self, self._stopped.set)  # also when Python ends
        what = (dict(readers), self.rows, self._there, self._stopped)
        self._thread = threading.Thread(target=_read_on, args=what, name="fill", daemon=True)
        self._thread.start()

    def need(self, name: str, numbers: Tensor) -> None:
        """Wait until these rows (int64 [N]) are there. Raises DataError for what cannot be read."""
        there = self._there[name]
        for number in numbers.tolist():
            if not there[number]:
                refuse(_fill(self._readers[name], self.rows[name], there, number), len(there))

    def settle(self) -> None:
        """Wait until all rows are there."""
        self._thread.join()

    @property
    def absent_bytes(self) -> int:
        """Bytes of the rows that were not read yet."""
        return sum(
            rows[0].nbytes * int(np.count_nonzero(~self._there[name]))
            for name, rows in self.rows.items()
        )


def _fill(reader: Reader, rows: Tensor, there: np.ndarray, number: int) -> list[str]:
    """Read a row; what was wrong with it."""
    faults = reader.fill(rows, [number], [number])
    there[number] = not faults
    return faults


def _read_on(
    readers: Mapping[str, Reader],
    rows: Rows,
    there: Mapping[str, np.ndarray],
    stopped: threading.Event,
) -> None:
    """Read what nobody needed yet; what cannot be read is told when it is needed."""
    for name, reader in readers.items():
        for number in range(len(there[name])):
            if stopped.is_set():
                return
            if not there[name][number]:
                _fill(reader, rows[name], there[name], number)
