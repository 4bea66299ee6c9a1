"""Every random number of a run, as a function of (seed, purpose, address, step).

Nothing is drawn from a stream that others share: adding a loss, a hook or an augmentor changes
no other part's draws, and a resumed run draws what an uninterrupted one would have drawn.
numpy's Philox is counter-based with a 128-bit key, so a fresh generator per draw is cheap and
two of them never overlap; torch's CPU generator keeps only 32 bits of its seed, so it is used
for what happens inside networks (dropout) alone.
"""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from attrs import frozen
from torch import Tensor


@frozen
class Draws:
    """The source of all draws of one run; `device` is the kind that networks run on."""

    seed: int
    device: str = "cpu"

    def generator(self, *address: str | int) -> np.random.Generator:
        """A fresh generator for this address, e.g. ("noise", "noise", 17)."""
        return np.random.Generator(np.random.Philox(key=self._key(address)))

    def permutation(self, count: int, *address: str | int) -> Tensor:
        """A random order of `count` rows, int64 [count]."""
        return torch.from_numpy(self.generator(*address).permutation(count))

    def seed_networks(self, *address: str | int) -> None:
        """Make the draws that networks make by themselves (dropout, initial weights) follow from
        this address, until the next call."""
        key = self._key(address)
        # Not torch.manual_seed, which takes a tenth of a millisecond to find every accelerator.
        torch.default_generator.manual_seed(key & 0xFFFF_FFFF)  # the CPU uses 32 bits
        if self.device == "cuda":
            torch.cuda.manual_seed(key & 0x7FFF_FFFF_FFFF_FFFF)
        elif self.device == "mps":
            torch.mps.manual_seed(key & 0x7FFF_FFFF_FFFF_FFFF)

    def _key(self, address: tuple[str | int, ...]) -> int:
        text = repr((self.seed, *address)).encode()
        return int.from_bytes(hashlib.blake2b(text, digest_size=16).digest(), "little")


class Draw:
    """Draws for the rows of one batch. Made for the whole batch, then cut to this part's rows.

    rows: which rows of the whole batch of `batch` rows this part holds.
    """

    def __init__(
        self, generator: np.random.Generator, batch: int, rows: slice, device: torch.device
    ) -> None:
        self._generator = generator
        self._batch = batch
        self._rows = rows
        self._device = device

    def normal(self, *shape: int) -> Tensor:
        """N(0, 1), float32 [N, *shape]."""
        return self._cut(self._generator.standard_normal((self._batch, *shape), dtype=np.float32))

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """Uniform in [low, high), float32 [N, *shape]."""
        drawn = self._generator.random((self._batch, *shape), dtype=np.float32)
        return self._cut(drawn * np.float32(high - low) + np.float32(low))

    def integers(self, high: int, *shape: int) -> Tensor:
        """Uniform in 0 .. high - 1, int64 [N, *shape]."""
        return self._cut(self._generator.integers(high, size=(self._batch, *shape)))

    def coin(self, p: float = 0.5) -> Tensor:
        """True with probability p, bool [N]."""
        return self._cut(self._generator.random(self._batch) < p)

    def _cut(self, drawn: np.ndarray) -> Tensor:
        part = torch.from_numpy(drawn[self._rows])
        return part.to(self._device, non_blocking=True)
