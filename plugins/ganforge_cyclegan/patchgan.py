"""The patch discriminator (arXiv:1611.07004, section 6.1.2), as CycleGAN uses it.

C64, C128, C256, C512 with 4 x 4 kernels, all but the last of stride 2, then a convolution to one
score a patch of 70 x 70 px. Nothing normalises the first one's output. Convolutions before a norm
have no bias.
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm, weight_norm

from ganforge import Discriminator, DiscriminatorOutput, ImageSpec, Spec, as_maps, map_channels
from ganforge_cyclegan.instance_norm import InstanceNorm

SLOPE = 0.2  # of LeakyReLU
DEVIATION = 0.02  # of initial weights
WIDEST = 8  # maps grow no wider than this many times `width`


class Patchgan(Discriminator):
    """An image, with its conditions beside it as channels -> a map of scores.

    Features are the maps that the scores are read from, [N, 8 x width, h, w].
    """

    layout = "channels_last"

    def __init__(self, options: Any, judged: ImageSpec, given: Sequence[Spec] = ()) -> None:
        super().__init__(options, judged, given)
        self.independent_rows = options.norm != "batch"
        widths = [options.width * min(2**i, WIDEST) for i in range(options.layers + 1)]
        layers = [
            convolution(map_channels((judged, *given)), widths[0], stride=2, norm=options.norm),
            nn.LeakyReLU(SLOPE, inplace=True),
        ]
        for layer in range(1, options.layers + 1):
            stride = 2 if layer < options.layers else 1
            bias = options.norm not in ("instance", "batch")
            layers += [
                convolution(widths[layer - 1], widths[layer], stride, options.norm, bias),
                *norm_after(options.norm, widths[layer]),
                nn.LeakyReLU(SLOPE, inplace=True),
            ]
        self.body = nn.Sequential(*layers)
        self.score = convolution(widths[-1], 1, stride=1, norm=options.norm)

    def forward(self, data: Tensor, given: tuple[Tensor, ...] | None = None) -> DiscriminatorOutput:
        """data [N, C, H, W], conditions -> scores [N, h, w] and features."""
        specs = (self.judged, *self.given)
        features = self.body(as_maps((data, *(given or ())), specs, *data.shape[2:]))
        return DiscriminatorOutput(scores=self.score(features)[:, 0], features=features)


def convolution(inputs: int, outputs: int, stride: int, norm: str, bias: bool = True) -> nn.Module:
    """4 x 4 with padding 1, weights N(0, 0.02), biases 0; its weight normalised where `norm` is
    "weight" (arXiv:1602.07868) or "spectral" (arXiv:1802.05957)."""
    layer = nn.Conv2d(inputs, outputs, 4, stride, padding=1, bias=bias)
    nn.init.normal_(layer.weight, 0.0, DEVIATION)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    if norm == "weight":
        return weight_norm(layer)
    return spectral_norm(layer) if norm == "spectral" else layer


def norm_after(name: str, width: int) -> list[nn.Module]:
    """BatchNorm's weights start at N(1, 0.02), as the convolutions' at N(0, 0.02)."""
    if name == "batch":
        batch_norm = nn.BatchNorm2d(width)
        nn.init.normal_(batch_norm.weight, 1.0, DEVIATION)
        return [batch_norm]
    return [InstanceNorm()] if name == "instance" else []
