"""The networks in which weight and batch normalisation are compared (arXiv:1704.03971, section 4).

Shaped as a DCGAN (4 x 4 kernels, stride 2) with a dense layer at the narrow end, sized from specs
(sizes.py). The norms change what follows a layer's weights and nothing else:

norm      layers                      then                   last layer of G and D
weight    strictly normalised         TPReLU                 strictly normalised, affine
batch     no bias                     BatchNorm, PReLU       plain, with a bias
none      with a bias                 PReLU                  plain, with a bias

BatchNorm leaves out D's first layer, as in DCGAN. All three start from the same draws, of the
length that strict normalisation has, so that a learning rate means the same to all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from torch import Tensor, nn

from ganforge import (
    Discriminator,
    DiscriminatorOutput,
    Generator,
    ImageSpec,
    Spec,
    as_maps,
    map_channels,
)
from ganforge_weight_norm.sizes import map_sizes, map_widths
from ganforge_weight_norm.strict_norm import (
    Affine,
    Layer,
    PReLU,
    TPReLU,
    inputs_met,
    strictly_normed,
)

KERNEL, STRIDE, PADDING = 4, 2, 1  # halves a map, rounded down


class WeightNormalisedGenerator(Generator):
    """All sources as one vector -> a dense layer to the smallest map -> the image, by tanh."""

    layout = "channels_last"

    def __init__(self, options: Any, sources: Sequence[Spec], target: ImageSpec) -> None:
        super().__init__(options, sources, target)
        sizes = map_sizes(target.height, target.width)[::-1]
        widths = map_widths(len(sizes) - 1, options.width)[::-1]
        first, height, width = widths[0], *sizes[0]
        dense = nn.Linear(sum(spec.flat for spec in sources), first * height * width)
        layers = [normed(dense, options.norm), nn.Unflatten(1, (first, height, width))]
        layers += bent(first, options.norm)
        for channels, larger in zip(pairwise(widths), sizes[1:-1], strict=True):
            layers += [normed(doubling(*channels, larger), options.norm)]
            layers += bent(channels[1], options.norm)
        layers += last(doubling(widths[-1], target.channels, sizes[-1]), options.norm)
        self.layers = nn.Sequential(*layers, nn.Tanh())

    def forward(self, *sources: Tensor) -> Tensor:
        """One tensor per source -> images [N, *target.shape] in [-1, 1]."""
        return self.layers(self.join(sources))


class WeightNormalisedDiscriminator(Discriminator):
    """The image, halved stage by stage to the smallest map -> a dense layer to one score.

    Conditions are channels beside the image, vectors and labels tiled. Features are the map that
    the score is read from, [N, channels, height, width].
    """

    layout = "channels_last"

    def __init__(self, options: Any, judged: ImageSpec, given: Sequence[Spec] = ()) -> None:
        super().__init__(options, judged, given)
        self.independent_rows = options.norm != "batch"
        sizes = map_sizes(judged.height, judged.width)
        widths = map_widths(len(sizes) - 1, options.width)
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise([map_channels((judged, *given)), *widths]):
            norm = options.norm if layers else outermost(options.norm)
            halving = nn.Conv2d(inputs, outputs, KERNEL, STRIDE, PADDING)
            layers += [normed(halving, norm), *bent(outputs, norm)]
        self.body = nn.Sequential(*layers)
        height, width = sizes[-1]
        score = nn.Linear(widths[-1] * height * width, 1)
        self.score = nn.Sequential(nn.Flatten(), *last(score, options.norm))

    def forward(self, data: Tensor, given: tuple[Tensor, ...] | None = None) -> DiscriminatorOutput:
        """data [N, *judged.shape], conditions -> scores [N] and features."""
        specs = (self.judged, *self.given)
        features = self.body(as_maps((data, *(given or ())), specs, *self.judged.shape[1:]))
        return DiscriminatorOutput(scores=self.score(features).flatten(), features=features)


def doubling(inputs: int, outputs: int, size: tuple[int, int]) -> nn.ConvTranspose2d:
    """From maps of half of `size` (height, width), rounded down, to maps of `size`."""
    odd = size[0] % 2, size[1] % 2
    return nn.ConvTranspose2d(inputs, outputs, KERNEL, STRIDE, PADDING, odd)


def normed(layer: Layer, norm: str) -> Layer:
    """A layer with first weights that keep the variance, and what the norm does to weights."""
    nn.init.normal_(layer.weight, 0.0, inputs_met(layer) ** -0.5)
    if norm == "none":
        nn.init.zeros_(layer.bias)
    else:
        layer.bias = None
    return strictly_normed(layer) if norm == "weight" else layer


def bent(channels: int, norm: str) -> list[nn.Module]:
    """What follows a normed layer: the activation, and BatchNorm before it."""
    if norm == "weight":
        return [TPReLU(channels)]
    return [*([nn.BatchNorm2d(channels)] if norm == "batch" else []), PReLU(channels)]


def last(layer: Layer, norm: str) -> list[nn.Module]:
    """The last layer of a network: nothing follows that would bend it."""
    ends = [normed(layer, outermost(norm))]
    outputs = layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels
    return [*ends, Affine(outputs)] if norm == "weight" else ends


def outermost(norm: str) -> str:
    """The norm of D's first layer and of both networks' last ones: no BatchNorm."""
    return "none" if norm == "batch" else norm
