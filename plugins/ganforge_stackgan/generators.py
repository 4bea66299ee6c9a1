"""The two stages of StackGAN (arXiv:1612.03242, sections 3.2 to 3.4 and 4), sized from specs."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ganforge import Generator, GeneratorOutput, ImageSpec, NoiseSpec, Spec, as_vectors
from ganforge_stackgan.sizes import Size, doublings, map_sizes, quarter

DEVIATION = 0.02  # of initial weights


class Augmented(Generator):
    """What both stages share: conditioning augmentation (section 3.2).

    The condition (all sources but noise and images, as one vector) gives mean and log-variance of
    a normal distribution, and the last noise among the sources says which of its codes is taken:
    c = mean + deviation x noise. The code is as long as that noise.
    """

    layout = "channels_last"

    def __init__(self, options: Any, sources: Sequence[Spec], target: ImageSpec) -> None:
        super().__init__(options, sources, target)
        places = range(len(self.sources))
        noise = [i for i in places if isinstance(self.sources[i], NoiseSpec)]
        self._wobble = noise[-1]
        self._noise = noise[:-1]
        self._images = [i for i in places if isinstance(self.sources[i], ImageSpec)]
        self._condition = [i for i in places if i not in (*noise, *self._images)]
        self.code = self.sources[self._wobble].flat
        condition = sum(self.sources[i].flat for i in self._condition)
        self.posterior = nn.Linear(condition, 2 * self.code)
        nn.init.normal_(self.posterior.weight, 0.0, condition**-0.5)
        nn.init.zeros_(self.posterior.bias)

    def augmented(self, sources: Sequence[Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """The code [N, code], and the distribution that it comes from: (mean, log-variance)."""
        condition = self._vectors(sources, self._condition)
        mean, log_variance = self.posterior(condition).float().chunk(2, 1)
        code = mean + torch.exp(log_variance / 2) * sources[self._wobble]
        return code, (mean, log_variance)

    def _vectors(self, sources: Sequence[Tensor], places: Sequence[int]) -> Tensor:
        return as_vectors([sources[i] for i in places], [self.sources[i] for i in places])


class StageOne(Augmented):
    """(noise, code) -> a map of about 4 x 4 px, then twice as large and half as wide each time."""

    def __init__(self, options: Any, sources: Sequence[Spec], target: ImageSpec) -> None:
        super().__init__(options, sources, target)
        self.sizes = map_sizes((target.height, target.width))[::-1]
        widths = [max(2, 8 * options.width // 2**stage) for stage in range(len(self.sizes))]
        inputs = sum(self.sources[i].flat for i in self._noise) + self.code
        height, width = self.sizes[0]
        first = nn.Linear(inputs, widths[0] * height * width, bias=False)
        nn.init.normal_(first.weight, 0.0, DEVIATION)
        self.first = nn.Sequential(first, nn.Unflatten(1, (widths[0], height, width)))
        self.first.extend(_batch_norm(widths[0]))
        self.layers = nn.Sequential()
        for channels, size in zip(pairwise(widths), self.sizes[1:], strict=True):
            self.layers.extend(enlarging(*channels, size))
        self.layers.extend([convolution(widths[-1], target.channels, bias=True), nn.Tanh()])

    def forward(self, *sources: Tensor) -> GeneratorOutput:
        """One tensor per source -> images [N, *target.shape] in [-1, 1] and the posterior."""
        code, posterior = self.augmented(sources)
        noise = self._vectors(sources, self._noise)
        data = self.layers(self.first(torch.cat([noise, code], 1)))
        return GeneratorOutput(data, posterior=posterior)


class StageTwo(Augmented):
    """A smaller image, read at a quarter of its size, joined with the code, to a larger image."""

    def __init__(self, options: Any, sources: Sequence[Spec], target: ImageSpec) -> None:
        super().__init__(options, sources, target)
        (self._image,) = self._images
        given, width = self.sources[self._image], options.width
        small = quarter((given.height, given.width))
        self.encoder = nn.Sequential(
            convolution(given.channels, width, bias=True),
            nn.ReLU(True),
            *halving(width, 2 * width),
            *halving(2 * width, 4 * width),
        )
        self.mix = nn.Sequential(
            convolution(4 * width + self.code, 4 * width), *_batch_norm(4 * width)
        )
        self.blocks = nn.Sequential(*(Residual(4 * width) for _ in range(options.blocks)))
        sizes = doublings(small, (target.height, target.width))
        widths = [max(2, 4 * width // 2**stage) for stage in range(len(sizes) + 1)]
        self.layers = nn.Sequential()
        for channels, size in zip(pairwise(widths), sizes, strict=True):
            self.layers.extend(enlarging(*channels, size))
        self.layers.append(convolution(widths[-1], target.channels, bias=True))

    def forward(self, *sources: Tensor) -> GeneratorOutput:
        """One tensor per source -> images [N, *target.shape] in [-1, 1] and the posterior."""
        code, posterior = self.augmented(sources)
        image = sources[self._image]
        x = self.encoder(image)
        tiled = code[:, :, None, None].expand(-1, -1, *x.shape[2:])
        x = self.layers(self.blocks(self.mix(torch.cat([x, tiled], 1))))
        if self.options.output == "image":
            return GeneratorOutput(torch.tanh(x), posterior=posterior)
        enlarged = F.interpolate(image, x.shape[2:], mode="bilinear")
        return GeneratorOutput((enlarged + x).clamp(-1, 1), posterior=posterior)


class Residual(nn.Module):
    """x + two convolutions of it, [N, C, H, W] -> the same shape."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            convolution(width, width),
            *_batch_norm(width),
            convolution(width, width),
            nn.BatchNorm2d(width),
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.layers(x))


def enlarging(inputs: int, outputs: int, size: Size) -> list[nn.Module]:
    """Nearest neighbour to a size, a 3 x 3 convolution, BatchNorm and ReLU."""
    return [
        nn.Upsample(size=size, mode="nearest"),
        convolution(inputs, outputs),
        *_batch_norm(outputs),
    ]


def halving(inputs: int, outputs: int) -> list[nn.Module]:
    """A 4 x 4 convolution of stride 2 that halves each side, rounded up, BatchNorm and ReLU."""
    layer = nn.Conv2d(inputs, outputs, 4, 2, bias=False)
    nn.init.normal_(layer.weight, 0.0, DEVIATION)
    return [EvenPad(), layer, *_batch_norm(outputs)]


class EvenPad(nn.Module):
    """One pixel of 0 around a map, and one more below and right of an odd side, so that a 4 x 4
    convolution of stride 2 halves it, rounded up."""

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        return F.pad(x, (1, 1 + width % 2, 1, 1 + height % 2))


def convolution(inputs: int, outputs: int, *, bias: bool = False) -> nn.Conv2d:
    """A 3 x 3 convolution that keeps the size, initialised N(0, 0.02)."""
    layer = nn.Conv2d(inputs, outputs, 3, 1, 1, bias=bias)
    nn.init.normal_(layer.weight, 0.0, DEVIATION)
    if bias:
        nn.init.zeros_(layer.bias)
    return layer


def _batch_norm(width: int) -> list[nn.Module]:
    norm = nn.BatchNorm2d(width)
    nn.init.normal_(norm.weight, 1.0, DEVIATION)
    return [norm, nn.ReLU(True)]
