"""A network that nobody trained: fixed features for data of which nothing is known.

Features of networks with random weights tell sets of images apart and favour no kind of picture,
while those of a network trained on photographs may miss what matters elsewhere (arXiv:2002.09797).
"""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ganforge import Draws

WIDTHS = (32, 64, 64, 64)
LARGEST = 64  # pixels of the longer side of what it sees
LEAST = 8  # of the shorter one
PLACES = 2  # a side, that the last maps are averaged to


class Untrained(nn.Module):
    """Images [N, C, H, W] in [-1, 1] to features, float32 [N, 256].

    Four convolutions with normal weights (He), each followed by a leaky ReLU, and by halving while
    the map is larger than 4 px. What comes out is averaged over the quarters of the map.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        before = channels
        for place, width in enumerate(WIDTHS):
            drawn = Draws(0).generator("untrained", channels, place)
            weight = drawn.standard_normal((width, before, 3, 3), dtype="float32")
            scale = (2 / (9 * before)) ** 0.5
            self.register_buffer(f"weight{place}", torch.from_numpy(weight * scale))
            before = width

    def forward(self, images: Tensor) -> Tensor:
        maps = shrunk(images)
        for place in range(len(WIDTHS)):
            maps = F.conv2d(maps, self.get_buffer(f"weight{place}"), padding=1)
            maps = F.leaky_relu(maps, 0.2)
            if min(maps.shape[2:]) > 4:
                maps = F.avg_pool2d(maps, 2)
        return F.adaptive_avg_pool2d(maps, PLACES).flatten(1)

    def fingerprint(self) -> str:
        """SHA-256 of its weights."""
        digest = hashlib.sha256()
        for place in range(len(WIDTHS)):
            digest.update(self.get_buffer(f"weight{place}").contiguous().numpy().data)
        return digest.hexdigest()


def shrunk(images: Tensor) -> Tensor:
    """Images of at most LARGEST px a side; larger ones are averaged down."""
    longer = max(images.shape[2:])
    if longer <= LARGEST:
        return images
    height, width = (max(LEAST, round(side * LARGEST / longer)) for side in images.shape[2:])
    return F.interpolate(images, (height, width), mode="area")
