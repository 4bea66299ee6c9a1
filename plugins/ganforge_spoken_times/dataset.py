"""Times and their wordings as a dataset of pairs of texts.

    time     "16:45", characters       wording  "quarter to five", words

Every wording of a time is a row. The held-out rows are those of times that no training row has.
"""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

from ganforge import Dataset
from ganforge_spoken_times.wording import rows_of, times_of


class SpokenTimes(Dataset):
    """Row i of a split is one wording of one time; `time` and `wording` are aligned."""

    def count(self, split: str, domain: str) -> int:
        return len(self._rows[split]) if split in self._rows else 0

    def item(self, split: str, domain: str, index: int) -> Tensor:
        """The tokens of one row, int64 [length of the domain's spec]."""
        return self._encoded[split, domain][index]

    def rows(self, split: str, domain: str) -> Tensor:
        """All rows of a split, int64 [rows, length]."""
        return self._encoded[split, domain]

    def times(self, split: str) -> tuple[str, ...]:
        """Each time of a split once."""
        return times_of(split, self.options.held_out, self.options.seed)

    @cached_property
    def _rows(self) -> dict[str, tuple[tuple[str, str], ...]]:
        options = self.options
        return {
            split: rows_of(split, options.held_out, options.seed) for split in ("train", "test")
        }

    @cached_property
    def _encoded(self) -> dict[tuple[str, str], Tensor]:
        return {
            (split, domain): torch.tensor(
                [self.description.domains[domain].encode(row[place]) for row in rows]
            )
            for split, rows in self._rows.items()
            for place, domain in enumerate(("time", "wording"))
        }
