"""The pool of earlier fakes (arXiv:1612.07828, section 2.3, as arXiv:1703.10593 uses it)."""

from typing import Any

import torch
from torch import Tensor

from ganforge import Augmentor, Draw, Spec


class ImagePool(Augmentor):
    """Once full, shows D an earlier fake instead of half of the new ones and keeps those.

    The images of a batch pass one after the other, so one that was kept may be shown to D in
    the place of a later one of the same batch. Nothing is read back to the host: which slot is
    meant and whether it is used stay tensors, and so a step never waits for an accelerator.
    Images are kept without the condition they were made under.
    """

    def __init__(self, options: Any, spec: Spec) -> None:
        super().__init__(options, spec)
        self.register_buffer("stored", torch.zeros(options.size, *spec.shape))
        self.register_buffer("count", torch.zeros(1, dtype=torch.int64))  # slots in use

    @torch.no_grad()
    def replay(self, fakes: Tensor, draw: Draw) -> Tensor:
        """fakes [N, *spec.shape] -> what D sees of them and of earlier ones, same shape."""
        swaps = draw.coin()  # [N]
        slots = draw.integers(self.options.size, 1)  # [N, 1]
        shown = [self._pass(*row) for row in zip(fakes, swaps, slots, strict=True)]
        return torch.stack(shown).to(fakes.dtype)

    def _pass(self, fake: Tensor, swap: Tensor, slot: Tensor) -> Tensor:
        """One fake [*shape], a coin [] and a slot [1] -> what is shown instead, [*shape]."""
        fake = fake.to(self.stored.dtype)
        filling = self.count < self.options.size
        slot = torch.where(filling, self.count, slot)
        earlier = self.stored.index_select(0, slot)[0]
        self.stored.index_copy_(0, slot, torch.where(filling | swap, fake, earlier)[None])
        self.count += filling
        return torch.where(~filling & swap, earlier, fake)
