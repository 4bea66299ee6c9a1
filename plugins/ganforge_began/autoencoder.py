"""The networks of BEGAN (arXiv:1703.10717, section 3.5 and figure 1), sized from specs.

3 x 3 convolutions with ELU, no norm; maps are halved by stride 2 down to about 8 x 8 px, enlarged
by repeating pixels; a linear layer to and from the code. The encoder grows by `width` channels a
halving, the decoder keeps `width`. The generator is a decoder with weights of its own.

Differs from the paper, which does not say how weights begin: the generator's output is brought into
[-1, 1], and weights begin so that many layers without norm neither fade nor swell. With fading ones
(Glorot's) all samples of a new G are nearly the same image, and stay so for thousands of steps.
"""

import math
from collections.abc import Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ganforge import Discriminator, DiscriminatorOutput, Generator, ImageSpec, Spec, as_vectors

SMALLEST = 6  # px of the shorter side of the smallest map, at least, where the image has them


def map_sizes(height: int, width: int) -> list[tuple[int, int]]:
    """(height, width) of the image and of every map below it: 64 -> 32, 16, 8; 28 -> 14, 7.

    Each is half the one above, rounded up, while both sides keep 6 px.
    """
    sizes = [(height, width)]
    while min(half := tuple(-(-side // 2) for side in sizes[-1])) >= SMALLEST:
        sizes.append((half[0], half[1]))
    return sizes


class BeganGenerator(Generator):
    """All sources as one vector -> the image."""

    layout = "channels_last"

    def __init__(self, options: Any, sources: Sequence[Spec], target: ImageSpec) -> None:
        super().__init__(options, sources, target)
        code = sum(spec.flat for spec in sources)
        self.decoder = Decoder(code, target, options)
        self.output = nn.Tanh() if options.output == "tanh" else nn.Hardtanh()

    def forward(self, *sources: Tensor) -> Tensor:
        """One tensor per source -> images [N, *target.shape] in [-1, 1]."""
        return self.output(self.decoder(self.join(sources)))


class BeganDiscriminator(Discriminator):
    """The image -> a code -> the image again. Conditions stand beside the code.

    Features are the code, [N, options.code]. There are no scores: what a BEGAN thinks of an image
    is how well it reconstructs it.
    """

    layout = "channels_last"

    def __init__(self, options: Any, judged: ImageSpec, given: Sequence[Spec] = ()) -> None:
        super().__init__(options, judged, given)
        self.encoder = encoder(judged, options.code, options.width, options.layers)
        code = options.code + sum(spec.flat for spec in given)
        self.decoder = Decoder(code, judged, options)

    def forward(self, data: Tensor, given: tuple[Tensor, ...] | None = None) -> DiscriminatorOutput:
        """data [N, *judged.shape] -> its reconstruction, unbounded, and the code as features."""
        code = self.encoder(data)
        beside = [as_vectors(given, self.given)] if given else []
        return DiscriminatorOutput(
            reconstruction=self.decoder(torch.cat([code, *beside], 1)), features=code
        )


def encoder(image: ImageSpec, code: int, width: int, layers: int) -> nn.Sequential:
    """Images -> codes [N, code]"""
    sizes = map_sizes(image.height, image.width)
    channels = width
    parts: list[nn.Module] = [convolution(image.channels, channels), Elu()]
    for small in [*sizes[1:], None]:
        for _ in range(layers):
            parts += [convolution(channels, channels), Elu()]
        if small is not None:
            parts += [convolution(channels, channels + width, stride=2), Elu()]
            channels += width
    height, breadth = sizes[-1]
    return nn.Sequential(*parts, nn.Flatten(), linear(channels * height * breadth, code))


class Decoder(nn.Module):
    """Codes -> images. With `skip`, the first maps stand beside those of every larger size, so that
    the code reaches all of them (section 3.5.2)."""

    def __init__(self, code: int, image: ImageSpec, options: Any) -> None:
        super().__init__()
        width = options.width
        first, *larger = map_sizes(image.height, image.width)[::-1]
        self.skip = options.skip
        self.start = nn.Sequential(
            linear(code, width * math.prod(first)), nn.Unflatten(1, (width, *first))
        )
        self.first = bent(width, width, options.layers)
        inputs = 2 * width if self.skip else width
        self.larger = nn.ModuleList(bent(inputs, width, options.layers) for _ in larger)
        self.enlarge = nn.ModuleList(nn.Upsample(size=size, mode="nearest") for size in larger)
        self.image = convolution(width, image.channels)

    def forward(self, code: Tensor) -> Tensor:
        """[N, code] -> [N, *image.shape], unbounded"""
        start = self.start(code)
        maps = self.first(start)
        for enlarge, convolutions in zip(self.enlarge, self.larger, strict=True):
            maps = enlarge(maps)
            maps = convolutions(torch.cat([maps, enlarge(start)], 1) if self.skip else maps)
        images: Tensor = self.image(maps)
        return images


def bent(inputs: int, outputs: int, layers: int) -> nn.Sequential:
    """`layers` convolutions of one map size, an ELU after each."""
    parts: list[nn.Module] = []
    for channels in [inputs] + [outputs] * (layers - 1):
        parts += [convolution(channels, outputs), Elu()]
    return nn.Sequential(*parts)


def convolution(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    """3 x 3; stride 2 halves a map, rounding up."""
    return begun(nn.Conv2d(inputs, outputs, 3, stride, padding=1))


def linear(inputs: int, outputs: int) -> nn.Linear:
    """A full layer, not followed by anything that bends."""
    return begun(nn.Linear(inputs, outputs))


Layer = TypeVar("Layer", nn.Conv2d, nn.Linear)


def begun(layer: Layer) -> Layer:
    """The layer with its first weights: N(0, 1.55 / inputs) and no bias.

    E elu(x)^2 is 1 / 1.55 for x ~ N(0, 1), so layer after layer keeps the mean square.
    """
    nn.init.normal_(layer.weight, 0.0, math.sqrt(1.55 / layer.weight[0].numel()))
    nn.init.zeros_(layer.bias)
    return layer


class Elu(nn.Module):
    """x where x > 0, exp(x) - 1 below (arXiv:1511.07289, alpha = 1)."""

    def forward(self, maps: Tensor) -> Tensor:
        """Any shape -> the same."""
        return F.elu(maps) if maps.is_cuda else _EluByExp.apply(maps)


class _EluByExp(torch.autograd.Function):
    """ELU as max(x, exp(min(x, 0)) - 1).

    PyTorch's own calls expm1, which is not vectorised on the CPU (2.14: 2.4 ms for 200,000 numbers
    against 0.2 ms for this) and took 60 % of a BEGAN's step.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        below = x.float().clamp(max=0).exp_().sub_(1).to(x.dtype)  # in bf16, exp(x) - 1 is coarse
        y = torch.maximum(x, below)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (y,) = ctx.saved_tensors
        return gradient * (y.clamp(max=0) + 1)  # exp(x) where x < 0, else 1
