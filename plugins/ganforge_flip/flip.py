"""Random horizontal flips, of real images and fakes alike, so that G does not learn them."""

from types import MappingProxyType

import torch
from torch import Tensor

from ganforge import Augmentor, Draw


class Flip(Augmentor):
    """Mirrors each image left to right with probability p; differentiable."""

    off = MappingProxyType({"p": 0.0})

    def view(self, data: Tensor, draw: Draw) -> Tensor:
        """Images [N, C, H, W] -> the same shape"""
        mirrored = draw.coin(self.options.p)[:, None, None, None]  # [N, 1, 1, 1]
        return torch.where(mirrored, data.flip(-1), data)
