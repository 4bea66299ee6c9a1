"""The discriminator of both stages of StackGAN (arXiv:1612.03242, section 3.3), for any size."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from ganforge import Discriminator, DiscriminatorOutput, ImageSpec, Spec, as_vectors
from ganforge_stackgan.generators import DEVIATION, EvenPad
from ganforge_stackgan.sizes import WIDEST, map_sizes

SLOPE = 0.2  # of LeakyReLU


class StackganDiscriminator(Discriminator):
    """The image, halved to about 4 x 4 px; the condition brought down to a vector and tiled beside
    it; a 1 x 1 convolution over both, and one score.

    Features are the map after the 1 x 1 convolution, [N, channels, ~4, ~4].
    """

    layout = "channels_last"

    def __init__(self, options: Any, judged: ImageSpec, given: Sequence[Spec] = ()) -> None:
        super().__init__(options, judged, given)
        sizes = map_sizes((judged.height, judged.width))
        widths = [judged.channels]
        widths += [options.width * min(2**stage, WIDEST) for stage in range(len(sizes) - 1)]
        batch = options.norm == "batch"
        layers: list[nn.Module] = []
        for place, channels in enumerate(pairwise(widths)):
            halving = nn.Conv2d(*channels, 4, 2, bias=not batch)
            layers += [EvenPad(), *self._normed(halving, batch and place > 0)]
            layers.append(nn.LeakyReLU(SLOPE, True))
        self.body = nn.Sequential(*layers)
        told = nn.Linear(sum(spec.flat for spec in self.given), options.condition)
        self.told = nn.Sequential(told, nn.LeakyReLU(SLOPE))
        joined = nn.Conv2d(widths[-1] + options.condition, widths[-1], 1, bias=not batch)
        self.joined = nn.Sequential(*self._normed(joined, batch), nn.LeakyReLU(SLOPE, True))
        self.score = nn.Sequential(*self._normed(nn.Conv2d(widths[-1], 1, sizes[-1]), False))
        self.independent_rows = not batch

    def _normed(self, layer: nn.Conv2d, batch: bool) -> list[nn.Module]:
        """The layer, initialised N(0, 0.02), and what normalises it."""
        nn.init.normal_(layer.weight, 0.0, DEVIATION)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
        if self.options.norm == "spectral":
            return [spectral_norm(layer)]
        if not batch:
            return [layer]
        norm = nn.BatchNorm2d(layer.out_channels)
        nn.init.normal_(norm.weight, 1.0, DEVIATION)
        return [layer, norm]

    def forward(self, data: Tensor, given: tuple[Tensor, ...] | None = None) -> DiscriminatorOutput:
        """Images [N, *judged.shape], conditions [N, *given.shape] each -> scores [N], features"""
        image = self.body(data)
        told = self.told(as_vectors(given or (), self.given))
        tiled = told[:, :, None, None].expand(-1, -1, *image.shape[2:])
        features = self.joined(torch.cat([image, tiled], 1))
        return DiscriminatorOutput(scores=self.score(features).flatten(), features=features)
