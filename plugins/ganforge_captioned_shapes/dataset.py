"""Captioned shapes as a dataset.

    image   caption (true of it)   wrong-caption (false of it, often by a single word)

What captions may say, their meanings, is parted: training has no caption of a held-out meaning,
neither true nor false, and held-out images have no others.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from itertools import product

import attrs
import numpy as np
import torch
from torch import Tensor

from ganforge import Dataset, Draws
from ganforge_captioned_shapes.captions import (
    COLOURS,
    SHAPES,
    SIZES,
    Meaning,
    Thing,
    draw_until,
    drawn,
    near_miss,
    wording,
)
from ganforge_captioned_shapes.plugin import SIZE
from ganforge_captioned_shapes.scene import Scene

NEAR = 0.6  # share of wrong captions that are near misses


class CaptionedShapes(Dataset):
    """Row i of a split is a function of (seed, split, i) alone, its image at every size."""

    def count(self, split: str, domain: str) -> int:
        return {"train": self.options.count, "test": self.options.held_out}.get(split, 0)

    def item(self, split: str, domain: str, index: int) -> Tensor:
        """An image uint8 [3, H, W], or token numbers int64 [length]."""
        if domain == "image":
            picture = self.scene(split, index).draw(*self.image.pixels(SIZE, SIZE))
            return torch.from_numpy((picture * 255 + 0.5).astype(np.uint8))
        caption = self.caption(split, index, wrong=domain == "wrong-caption")
        return torch.tensor(self.description.domains["caption"].encode(caption))

    def scene(self, split: str, index: int) -> Scene:
        """What an image shows."""
        draws = self._draws("scene", split, index)
        meaning = self._drawn(split, draws)
        height, width = self.image.pixels(SIZE, SIZE)
        side = min(height, width)
        return Scene.of(meaning, width / side, height / side, draws)

    def caption(self, split: str, index: int, *, wrong: bool = False) -> str:
        """The caption of a row, or one that is false of it."""
        meaning = self._drawn(split, self._draws("scene", split, index))
        draws = self._draws("wrong" if wrong else "caption", split, index)
        if wrong:
            true, near = meaning, draws.random() < NEAR
            meaning = draw_until(
                lambda: near_miss(true, draws) if near else drawn(self.options.objects, draws),
                # A caption names all that there is to see, so another meaning is a false one. Of
                # held-out scenes it may be any: nothing learns from those.
                lambda other: other != true and not (split == "train" and self.held_out(other)),
            )
        return wording(meaning, draws)

    def held_out(self, meaning: Meaning) -> bool:
        """Whether no caption of training says this."""
        if len(meaning.things) == 1:  # so few that a draw for each might hold out none
            return meaning in self._unseen
        return bool(self._draws("held out", str(meaning)).random() < self.options.unseen)

    @cached_property
    def _unseen(self) -> frozenset[Meaning]:
        """The held-out meanings of one thing; every word of theirs is learnt from the others, and
        where they are enough, they have every word too."""
        every = [Thing(*values) for values in product(SIZES, COLOURS, SHAPES)]
        count = max(1, round(self.options.unseen * len(every)))
        draws = self._draws("held out")

        def complete(order: Sequence[int]) -> bool:
            held_out, learnt = (
                {word for place in part for word in attrs.astuple(every[place])}
                for part in (order[:count], order[count:])
            )
            everything = len({*SIZES, *COLOURS, *SHAPES})
            return len(learnt) == everything and (
                count < len(COLOURS) or len(held_out) == everything
            )

        order = draw_until(lambda: draws.permutation(len(every)).tolist(), complete)
        return frozenset(Meaning((every[place],)) for place in order[:count])

    def _drawn(self, split: str, draws: np.random.Generator) -> Meaning:
        return draw_until(
            lambda: drawn(self.options.objects, draws),
            lambda meaning: self.held_out(meaning) == (split == "test"),
        )

    def _draws(self, *address: str | int) -> np.random.Generator:
        return Draws(self.options.seed).generator("captioned-shapes", *address)
