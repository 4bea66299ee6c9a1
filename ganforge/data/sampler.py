"""Which rows an update has: a function of (seed, update), computed without looking at others."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ganforge.interfaces.draws import Draws

LARGE = 10_000_000  # rows; up to so many, the order of an epoch is a drawn permutation (80 MB)
_ROUNDS = 8


class Order:
    """The row numbers of each update: in an epoch every row comes once, in an order of its own.

    rows: how many there are. batch: rows of an update. name: the address of the draws.
    large: from more rows than this on, an order is computed by index instead of drawn as a whole.
    """

    def __init__(
        self, rows: int, batch: int, draws: Draws, name: str, *, large: int = LARGE
    ) -> None:
        self.rows = rows
        self._batch = batch
        self._draws = draws
        self._name = name
        self._large = large
        self._orders: dict[int, Tensor | Shuffled] = {}

    def __call__(self, update: int) -> Tensor:
        """Row numbers of an update (from 0), int64 [batch].

        Fewer rows than a batch go round: every row comes once before any comes again.
        """
        if self.rows >= self._batch:
            epoch, place = divmod(update, self.rows // self._batch)
            return self._epoch(epoch)[place * self._batch : (place + 1) * self._batch]
        first, end = update * self._batch, (update + 1) * self._batch
        epochs = range(first // self.rows, (end - 1) // self.rows + 1)
        orders = torch.cat([self._epoch(epoch)[: self.rows] for epoch in epochs])
        return orders[first % self.rows :][: self._batch]

    def _epoch(self, epoch: int) -> Tensor | Shuffled:
        if epoch not in self._orders:
            if len(self._orders) > self._batch // self.rows + 1:
                del self._orders[next(iter(self._orders))]  # the one made first
            self._orders[epoch] = self._drawn_order(epoch)
        return self._orders[epoch]

    def _drawn_order(self, epoch: int) -> Tensor | Shuffled:
        address = ("order", self._name, epoch)
        if self.rows <= self._large:
            return self._draws.permutation(self.rows, *address)
        keys = self._draws.generator(*address).integers(2**64, size=_ROUNDS, dtype=np.uint64)
        return Shuffled(self.rows, keys)


class Shuffled:
    """A random order of so many rows, computed by index: no memory, no time to begin.

    A Feistel network over the next even number of bits, walked until it lands below `count`
    (M. Luby, C. Rackoff: How to construct pseudorandom permutations; J. Black, P. Rogaway: Ciphers
    with arbitrary finite domains). keys: uint64, one for each round.
    """

    def __init__(self, count: int, keys: np.ndarray) -> None:
        self._count = count
        self._keys = keys
        self._half = np.uint64(max(1, ((count - 1).bit_length() + 1) // 2))
        self._mask = np.uint64((1 << int(self._half)) - 1)

    def __getitem__(self, places: slice) -> Tensor:
        """The rows at these places of the order, int64."""
        rows = self._once(np.arange(*places.indices(self._count), dtype=np.uint64))
        while (beyond := rows >= self._count).any():
            rows[beyond] = self._once(rows[beyond])
        return torch.from_numpy(rows.astype(np.int64))

    def _once(self, rows: np.ndarray) -> np.ndarray:
        left, right = rows >> self._half, rows & self._mask
        for key in self._keys:
            left, right = right, left ^ (_mixed(right ^ key) & self._mask)
        return (left << self._half) | right


def _mixed(values: np.ndarray) -> np.ndarray:
    """Every bit of a uint64 spread over all others (the finalizer of SplitMix64)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: np.ndarray = values ^ (values >> np.uint64(31))
    return mixed
