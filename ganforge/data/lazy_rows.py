"""Rows that are held, each made when it is first needed.

For data that takes long to make (pictures that are painted): the first step needs a few rows, and
would otherwise wait for every one. No thread makes them meanwhile: PyTorch lets go of Python's lock
at each operation, and a thread that computes would give it back milliseconds later each time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ganforge.data.row_loader import Reader, Rows, refuse


class LazyRows:
    """readers, counts: of each domain. rows: all of them, by domain; those that `need` was not
    called for are not there yet."""

    def __init__(self, readers: Mapping[str, Reader], counts: Mapping[str, int]) -> None:
        self.rows: Rows = {name: reader.empty(counts[name]) for name, reader in readers.items()}
        self._readers = readers
        self._there = {name: np.zeros(counts[name], dtype=bool) for name in readers}

    def need(self, name: str, numbers: Sequence[int]) -> None:
        """Make these rows, as far as they are not there. Raises DataError for what cannot be
        read."""
        there = self._there[name]
        missing = [number for number in dict.fromkeys(numbers) if not there[number]]
        refuse(self._readers[name].fill(self.rows[name], missing, missing), len(there))
        there[missing] = True

    def settle(self) -> None:
        """Make all rows."""
        for name, there in self._there.items():
            self.need(name, range(len(there)))

    @property
    def absent_bytes(self) -> int:
        """Bytes of the rows that are not there yet."""
        return sum(
            rows[0].nbytes * int(np.count_nonzero(~self._there[name]))
            for name, rows in self.rows.items()
        )
