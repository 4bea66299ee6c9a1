"""CycleGAN's generator (arXiv:1703.10593, section 7.2; blocks from arXiv:1603.08155).

c7s1-64, d128, d256, R256 x 9, u128, u64, c7s1-3. As in the published code, every convolution is
followed by InstanceNorm without affine parameters and reflection pads it where its size stays.
Convolutions before a norm have no bias, since the norm would subtract it again.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from torch import Tensor, nn

from ganforge import Generator, ImageSpec, Spec, as_maps, map_channels
from ganforge_cyclegan.instance_norm import InstanceNorm

DEVIATION = 0.02  # of initial weights


class ResnetTranslator(Generator):
    """An image, with further sources beside it as channels -> an image of the same size."""

    layout = "channels_last"

    def __init__(self, options: Any, sources: Sequence[Spec], target: ImageSpec) -> None:
        super().__init__(options, sources, target)
        widths = [options.width * 2**i for i in range(options.downsamplings + 1)]
        layers = [
            nn.ReflectionPad2d(3),
            nn.Conv2d(map_channels(sources), widths[0], 7, bias=False),
            *norm_and_relu(),
        ]
        for outer, inner in pairwise(widths):
            down = nn.Conv2d(outer, inner, 3, stride=2, padding=1, bias=False)
            layers += [down, *norm_and_relu()]
        layers += [Residual(widths[-1], options.dropout) for _ in range(options.blocks)]
        for outer, inner in reversed(list(pairwise(widths))):
            up = nn.ConvTranspose2d(inner, outer, 3, 2, padding=1, output_padding=1, bias=False)
            layers += [up, *norm_and_relu()]
        layers += [nn.ReflectionPad2d(3), nn.Conv2d(widths[0], target.channels, 7), nn.Tanh()]
        self.layers = nn.Sequential(*layers)
        self.apply(initialise)
        if options.output == "difference":
            nn.init.zeros_(self.layers[-2].weight)  # untrained, it returns its source

    def forward(self, *sources: Tensor) -> Tensor:
        """Image [N, C, H, W] and further sources -> image [N, target.channels, H, W] in [-1, 1]."""
        made = self.layers(as_maps(sources, self.sources, *self.target.shape[1:]))
        if self.options.output == "image":
            return made
        # A difference in [-2, 2] reaches every colour from every other.
        return (sources[0] + 2 * made).clamp(-1, 1)


class Residual(nn.Module):
    """maps + two 3 x 3 convolutions of them (arXiv:1603.08155), the sum without a ReLU."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.ReflectionPad2d(1),
            nn.Conv2d(width, width, 3, bias=False),
            *norm_and_relu(),
            *([nn.Dropout(dropout)] if dropout else []),
            nn.ReflectionPad2d(1),
            nn.Conv2d(width, width, 3, bias=False),
            InstanceNorm(),
        )

    def forward(self, maps: Tensor) -> Tensor:
        """[N, width, H, W] -> the same shape"""
        return maps + self.body(maps)


def norm_and_relu() -> list[nn.Module]:
    return [InstanceNorm(), nn.ReLU(inplace=True)]


def initialise(module: nn.Module) -> None:
    """Weights N(0, 0.02), biases 0."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, DEVIATION)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
