"""pix2pix's generator (arXiv:1611.07004, section 6.1.1), an encoder and decoder with skips.

C64-C128-C256-C512-... halve the image, with 4 x 4 kernels, until the shorter side is one pixel (8
times at 256 px); as many transposed convolutions double it, and each is given what the encoder
had at its size. The first and the innermost convolution are not normalised: of a single pixel
a norm would leave nothing.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ganforge import GanforgeError, Generator, ImageSpec, Spec, as_maps, map_channels
from ganforge_pix2pix.plugin import halvings

DEVIATION = 0.02  # of initial weights
SLOPE = 0.2  # of LeakyReLU in the encoder
WIDEST = 8  # maps grow no wider than this many times `width`
DROPPING = 3  # at most so many decoder layers drop, the innermost ones


class UnetTranslator(Generator):
    """An image, with further sources beside it as channels -> an image of the same size.

    Its only noise is dropout in the innermost of the widest decoder layers, which stays on when it
    is sampled (section 3.2), so `draws_itself` unless `dropout` is 0 or the net too flat for it.
    """

    def __init__(self, options: Any, sources: Sequence[Spec], target: ImageSpec) -> None:
        super().__init__(options, sources, target)
        depth = halvings(options, target)
        widths = [options.width * min(2**i, WIDEST) for i in range(depth)]
        outer, *inner = pairwise([map_channels(sources), *widths])
        self.down = nn.ModuleList([convolution(nn.Conv2d, *outer)])
        for place, (inputs, outputs) in enumerate(inner, start=2):
            normed = place < depth
            layers = [nn.LeakyReLU(SLOPE), convolution(nn.Conv2d, inputs, outputs, normed)]
            self.down.append(nn.Sequential(*layers, *norm_after(options.norm, normed, outputs)))
        self.up, self.after = nn.ModuleList(), nn.ModuleList()
        shares: list[float] = []
        for place in range(depth, 1, -1):  # the innermost first
            outputs = widths[place - 2]
            inputs = widths[place - 1] * (1 if place == depth else 2)  # beside what is skipped
            self.up.append(convolution(nn.ConvTranspose2d, inputs, outputs, normed=True))
            self.after.append(nn.Sequential(*norm_after(options.norm, True, outputs)))
            drops = outputs == WIDEST * options.width and len(shares) < DROPPING
            shares.append(options.dropout if drops else 0.0)
        self.shares = tuple(shares)
        last = widths[0] * (1 if depth == 1 else 2)
        self.last = convolution(nn.ConvTranspose2d, last, target.channels)
        self.draws_itself = any(self.shares)

    def forward(self, *sources: Tensor) -> Tensor:
        """Image [N, C, H, W] and further sources -> image [N, target.channels, H, W] in [-1, 1].

        Raises GanforgeError for images too small to be halved as often as this network does.
        """
        whole = sources[0].shape[2:]
        least = 2 ** len(self.down)
        if min(whole) < least:
            raise GanforgeError(
                f"this unet-translator halves images {len(self.down)} times, so their sides must "
                f"have {least} px or more, not {whole[0]} x {whole[1]}"
            )
        maps = as_maps(sources, self.sources, *whole)
        skipped = []
        for down in self.down:
            maps = down(maps)
            skipped.append(maps)
        *skipped, maps = skipped
        for up, after, share in zip(self.up, self.after, self.shares, strict=True):
            beside = skipped.pop()
            # An odd side was rounded down when it was halved: double it to what it had been.
            maps = after(up(F.relu(maps), output_size=beside.shape[2:]))
            maps = torch.cat([F.dropout(maps, share) if share else maps, beside], 1)
        return torch.tanh(self.last(F.relu(maps), output_size=whole))


def convolution(
    kind: type[nn.Conv2d] | type[nn.ConvTranspose2d],
    inputs: int,
    outputs: int,
    normed: bool = False,
) -> nn.Module:
    """4 x 4 of stride 2, weights N(0, 0.02), biases 0, which a norm after it would take away."""
    layer = kind(inputs, outputs, 4, stride=2, padding=1, bias=not normed)
    nn.init.normal_(layer.weight, 0.0, DEVIATION)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def norm_after(name: str, normed: bool, width: int) -> list[nn.Module]:
    """The norm of a layer; weights start at N(1, 0.02). `instance` is what the paper's BatchNorm
    is at batch 1: each image has its own statistics, in training as when it is sampled."""
    if not normed or name == "none":
        return []
    # A group for each channel: instance norm, which as such forgets the memory layout.
    norm = nn.BatchNorm2d(width) if name == "batch" else nn.GroupNorm(width, width)
    nn.init.normal_(norm.weight, 1.0, DEVIATION)
    return [norm]
