"""DCGAN (arXiv:1511.06434, section 3), sized from specs.

At 64 px and the default options the layers are those of PyTorch's DCGAN example (4 x 4 kernels,
512, 256, 128, 64 channels); the paper itself has width = 128 and kernel = 5. No pooling, no
hidden dense layers, no normalisation on G's last and D's first layer. Other sizes get as many
stages as leave a map of about 4 x 4 px, whose kernel then covers it whole (sizes.py).
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm, weight_norm

from ganforge import (
    Discriminator,
    DiscriminatorOutput,
    Generator,
    ImageSpec,
    LabelSpec,
    Spec,
    as_vectors,
)
from ganforge_dcgan.sizes import map_sizes, map_widths, padding

SLOPE = 0.2  # of LeakyReLU
DEVIATION = 0.02  # of initial weights


class DcganGenerator(Generator):
    """All sources as one vector -> a map of about 4 x 4 px -> the image, a stage at a time."""

    layout = "channels_last"

    def __init__(self, options: Any, sources: Sequence[Spec], target: ImageSpec) -> None:
        super().__init__(options, sources, target)
        sizes = map_sizes(target.height, target.width, options.stride)[::-1]
        widths = [*map_widths(len(sizes) - 1, options.width)[::-1], target.channels]
        bias = options.norm != "batch"
        code = sum(spec.flat for spec in sources)
        first = nn.ConvTranspose2d(code, widths[0], sizes[0], bias=bias)
        layers = [*normed(first, options.norm), nn.ReLU(True)]
        for sides, channels in zip(pairwise(sizes), pairwise(widths), strict=True):
            last = sides[1] == sizes[-1]
            norm = outermost(options.norm) if last else options.norm
            *resizing, convolution = upsampling(options, *channels, *sides, bias)
            layers += [*resizing, *normed(convolution, norm)]
            layers += [] if last else [nn.ReLU(True)]
        layers.append(nn.Tanh() if options.output == "tanh" else nn.Hardtanh())
        self.layers = nn.Sequential(*layers)

    def forward(self, *sources: Tensor) -> Tensor:
        """One tensor per source -> images [N, *target.shape] in [-1, 1]."""
        return self.layers(self.join(sources)[:, :, None, None])


class DcganDiscriminator(Discriminator):
    """The image, a stage at a time -> a map of about 4 x 4 px -> one score, or one a class.

    Given images are channels beside the judged one. Other conditions are tiled over the last map
    and mixed in by a 1 x 1 convolution, so that the score can depend on image and condition
    together. Features are the map that the score is read from, [N, channels, ~4, ~4].
    """

    layout = "channels_last"

    def __init__(
        self,
        options: Any,
        judged: ImageSpec,
        given: Sequence[Spec] = (),
        labels: LabelSpec | None = None,
    ) -> None:
        super().__init__(options, judged, given)
        images = [spec for spec in (judged, *given) if isinstance(spec, ImageSpec)]
        vectors = [spec for spec in given if not isinstance(spec, ImageSpec)]
        sizes = map_sizes(judged.height, judged.width, options.stride)
        widths = [sum(spec.channels for spec in images)]
        widths += map_widths(len(sizes) - 1, options.width)
        bias = options.norm != "batch"

        layers: list[nn.Module] = []
        for (large, small), channels in zip(pairwise(sizes), pairwise(widths), strict=True):
            norm = options.norm if layers else outermost(options.norm)
            pads, _ = paddings(large, small, options.kernel, options.stride)
            convolution = nn.Conv2d(*channels, options.kernel, options.stride, pads, bias=bias)
            layers += [*normed(convolution, norm), nn.LeakyReLU(SLOPE, True)]
        self.body = nn.Sequential(*layers)
        self.mix = nn.Sequential()
        if vectors:
            joined = widths[-1] + sum(spec.flat for spec in vectors)
            mixing = nn.Conv2d(joined, widths[-1], 1, bias=bias)
            self.mix.extend([*normed(mixing, options.norm), nn.LeakyReLU(SLOPE, True)])
        self.independent_rows = options.norm != "batch"
        self.classes = labels.classes if labels is not None and options.head != "score" else 0
        outputs = self.classes + 1 if options.head != "classes" else self.classes
        score = nn.Conv2d(widths[-1], outputs, sizes[-1], bias=bias)
        self.score = nn.Sequential(*normed(score, outermost(options.norm)))

    def forward(self, data: Tensor, given: tuple[Tensor, ...] | None = None) -> DiscriminatorOutput:
        """data [N, *judged.shape], conditions -> scores [N], features, perhaps class scores."""
        conditions = list(zip(given or (), self.given, strict=True))
        images = [value for value, spec in conditions if isinstance(spec, ImageSpec)]
        vectors = [pair for pair in conditions if not isinstance(pair[1], ImageSpec)]
        features = self.body(torch.cat([data, *images], 1) if images else data)
        if vectors:
            vector = as_vectors(*zip(*vectors, strict=True))[:, :, None, None]
            tiled = vector.expand(-1, -1, *features.shape[2:])
            features = self.mix(torch.cat([features, tiled], 1))
        scores = self.score(features).flatten(1)  # [N, outputs]
        if self.classes:
            return DiscriminatorOutput.of_classes(scores, self.classes, features)
        return DiscriminatorOutput(scores=scores.flatten(), features=features)


def upsampling(
    options: Any,
    inputs: int,
    outputs: int,
    small: tuple[int, int],
    large: tuple[int, int],
    bias: bool,
) -> list[nn.Module]:
    """Layers from maps of `small` to maps of `large` (height, width), the convolution last."""
    if options.upsampling == "transposed":
        kernel = options.kernel or 4
        pads, extra = paddings(large, small, kernel, options.stride)
        return [nn.ConvTranspose2d(inputs, outputs, kernel, options.stride, pads, extra, bias=bias)]
    kernel = options.kernel or 3
    before, after = (kernel - 1) // 2, kernel // 2  # they differ where the kernel is even
    return [
        nn.Upsample(size=large, mode="nearest"),
        nn.ZeroPad2d((before, after, before, after)),
        nn.Conv2d(inputs, outputs, kernel, bias=bias),
    ]


def paddings(
    large: tuple[int, int], small: tuple[int, int], kernel: int, stride: int
) -> tuple[tuple[int, int], tuple[int, int]]:
    """(padding, output_padding), each (vertical, horizontal), between these two map sizes."""
    (top, below), (left, right) = (
        padding(*sides, kernel, stride) for sides in zip(large, small, strict=True)
    )
    return (top, left), (below, right)


def outermost(norm: str) -> str:
    """The norm of G's last and D's first and last layer: no BatchNorm (section 3)."""
    return "none" if norm == "batch" else norm


def normed(convolution: nn.Conv2d | nn.ConvTranspose2d, norm: str) -> list[nn.Module]:
    """The convolution, initialised N(0, 0.02), and what normalises it."""
    nn.init.normal_(convolution.weight, 0.0, DEVIATION)
    if convolution.bias is not None:
        nn.init.zeros_(convolution.bias)
    if norm == "weight":
        outputs = 1 if isinstance(convolution, nn.ConvTranspose2d) else 0
        return [weight_norm(convolution, dim=outputs)]
    if norm == "spectral":
        return [spectral_norm(convolution)]
    if norm == "batch":
        batch_norm = nn.BatchNorm2d(convolution.out_channels)
        nn.init.normal_(batch_norm.weight, 1.0, DEVIATION)
        return [convolution, batch_norm]
    return [convolution]
