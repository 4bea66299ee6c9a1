"""The layers of a `mirrored` discriminator: sizes, kernels, strides. Light: the check reads it too.

28 px in 4 layers: 28 -> 9 -> 5 -> 3 -> 1. The first layer divides by 3, the next ones halve until
the shorter side has at most 4 px, the last one covers what is left whole. Whoever asks for more
layers gets them between those, 3 x 3 and of stride 1, so that the size stays: 28 px in 10 layers
are 28 -> 9, 9, 9 -> 5, 5, 5 -> 3, 3, 3 -> 1. So depth can be compared at equal sizes.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from attrs import frozen

SMALLEST_IMAGE = 6  # px of the shorter side, so that the first map has 2
SMALLEST = 4  # px of the shorter side that are not halved any more
WIDEST = 8  # maps grow no wider than this many times `width`

Pair = tuple[int, int]  # vertical, horizontal


@frozen
class Layer:
    """A convolution from maps of `large` to maps of `small` (height, width)."""

    large: Pair
    small: Pair
    kernel: Pair
    stride: int
    padding: int
    stage: int  # which of the map sizes it ends at, from 0


def layers(height: int, width: int, count: int) -> list[Layer]:
    """`count` layers from the image to 1 x 1, at least as many as `fewest` says.

    Layers that keep the size are dealt to the map sizes evenly, the smallest map first.
    """
    needed = list(_shrinking(height, width))
    stages = len(needed) - 1
    spare = count - len(needed)
    made: list[Layer] = []
    for layer in needed:
        made.append(layer)
        if layer.stage < stages:
            more = spare // stages + (stages - 1 - layer.stage < spare % stages)
            made += [Layer(layer.small, layer.small, (3, 3), 1, 1, layer.stage)] * more
    return made


def fewest(height: int, width: int) -> int:
    """How many layers an image of this size needs."""
    return len(list(_shrinking(height, width)))


def channels(stage: int, width: int) -> int:
    """Channels of the maps of a stage: width x 1, 2, 4, 8, 8, ..."""
    return width * min(2**stage, WIDEST)


def _shrinking(height: int, width: int) -> Iterator[Layer]:
    sizes = [(height, width), (height // 3, width // 3)]
    while min(sizes[-1]) > SMALLEST:
        sizes.append(((sizes[-1][0] + 1) // 2, (sizes[-1][1] + 1) // 2))
    for stage, (large, small) in enumerate(pairwise(sizes)):
        if stage == 0:  # about twice the stride, so that windows overlap: 5 px, or what is over
            yield Layer(large, small, (5 + height % 3, 5 + width % 3), 3, 1, stage)
        else:  # 3 px where the side is odd, 4 where it is even, meet both borders
            yield Layer(large, small, (4 - large[0] % 2, 4 - large[1] % 2), 2, 1, stage)
    yield Layer(sizes[-1], (1, 1), sizes[-1], 1, 0, len(sizes) - 1)
