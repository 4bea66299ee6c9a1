"""Painted horses and zebras as a dataset.

The domains `horse` and `zebra` hold different scenes: they are not paired. Beside every image lie
its true counterpart (the same scene with the other species) and its mask, for measuring only.

    horse  horse-truth (its zebra)  horse-mask      zebra  zebra-truth (its horse)  zebra-mask
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ganforge import Dataset, Draws
from ganforge_painted_horses.painting import Scene, Species, paint
from ganforge_painted_horses.plugin import SIZE

GREY = np.array((0.299, 0.587, 0.114), np.float32)  # ITU-R BT.601
COUNTERPART: dict[Species, Species] = {"horse": "zebra", "zebra": "horse"}


class PaintedHorses(Dataset):
    """Image i of a split is a function of (seed, split, species, i) alone, at every size."""

    costly = True

    def count(self, split: str, domain: str) -> int:
        return {"train": self.options.count, "test": self.options.held_out}.get(split, 0)

    def item(self, split: str, domain: str, index: int) -> Tensor:
        """An image uint8 [3, H, W] (or [1, H, W] for grey), or a mask uint8 [1, H, W]."""
        species, _, part = domain.partition("-")
        height, width = self.image.loaded_pixels(SIZE, SIZE)
        shown = COUNTERPART[species] if part == "truth" else species
        picture = paint(self.scene(split, species, index), shown, height, width)
        pixels = picture.mask[None] if part == "mask" else picture.image
        if len(pixels) > self.description.domains[domain].shape[0]:
            pixels = np.tensordot(GREY, pixels, 1)[None]
        return torch.from_numpy((pixels * 255 + 0.5).astype(np.uint8))

    def scene(self, split: str, species: Species, index: int) -> Scene:
        """What an image shows; the scenes of the two species are drawn apart."""
        draws = Draws(self.options.seed)
        return Scene.drawn(draws.generator("painted-horses", split, species, index))
