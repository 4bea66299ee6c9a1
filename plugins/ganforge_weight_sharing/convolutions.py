"""A discriminator's convolutions, found by watching one forward: their order, sizes and weights."""

from __future__ import annotations

import copy

import torch
from attrs import frozen
from torch import Tensor, nn

from ganforge import Discriminator, DiscriminatorOutput, GanforgeError, ImageSpec
from ganforge_weight_sharing.sizes import Pair


@frozen
class Convolution:
    """How a convolution of a network met what it read.

    name: its name in the network. large, small: (height, width) before and after it.
    """

    name: str
    inputs: int
    outputs: int
    large: Pair
    small: Pair
    kernel: Pair
    stride: Pair
    padding: Pair

    def transposed(self, inputs: int, *, bias: bool) -> nn.ConvTranspose2d:
        """The transposed convolution that leads back, [N, inputs, *small] -> [N, self.inputs,
        *large], with the same kernel, stride and padding."""
        reached = [
            (small - 1) * stride - 2 * pad + kernel
            for small, stride, pad, kernel in zip(
                self.small, self.stride, self.padding, self.kernel, strict=True
            )
        ]
        beyond = (self.large[0] - reached[0], self.large[1] - reached[1])
        return nn.ConvTranspose2d(
            inputs, self.inputs, self.kernel, self.stride, self.padding, beyond, bias=bias
        )

    def centres(self) -> tuple[int, int, int, int]:
        """(left, right, top, bottom): the padding, negative where it crops, after which every
        stride-th pixel is the centre of one of the convolution's windows."""
        sides = []
        for side in (1, 0):
            first = (self.kernel[side] - 1) // 2 - self.padding[side]
            last = first + self.stride[side] * (self.small[side] - 1)
            sides += [-first, last + 1 - self.large[side]]
        left, right, top, bottom = sides
        return left, right, top, bottom


def before_features(
    discriminator: Discriminator,
) -> tuple[list[Convolution], tuple[int, int, int]]:
    """(the convolutions from the image to the features, in order; the features' shape [C, h, w]).

    Raises GanforgeError where they are no plain chain, each reading what the one before made.
    """
    shadow = copy.deepcopy(discriminator)
    device = next(discriminator.parameters()).device
    met: list[tuple[str, nn.Conv2d, tuple[int, ...], tuple[int, ...]]] = []
    for name, module in shadow.named_modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(
                lambda conv, given, made, name=name: met.append(
                    (name, conv, tuple(given[0].shape[1:]), tuple(made.shape[1:]))
                )
            )
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        output = shadow(torch.zeros(2, *discriminator.judged.shape, device=device))
    features = output.features if isinstance(output, DiscriminatorOutput) else None
    shape = discriminator.judged.shape
    chain: list[Convolution] = []
    ends = 0  # convolutions up to the last one that makes maps of the features' shape
    for name, conv, before, after in met:
        if before != shape or conv.groups > 1 or conv.dilation != (1, 1):
            break
        chain.append(_described(name, conv, before, after))
        shape = after
        if features is not None and after == tuple(features.shape[1:]):
            ends = len(chain)
    if not isinstance(discriminator.judged, ImageSpec) or features is None or not ends:
        raise GanforgeError(
            f"weight-sharing needs a discriminator whose features are reached by convolutions one "
            f"after the other, as mirrored and dcgan have; {type(discriminator).__name__} has none"
        )
    channels, height, width = features.shape[1:]
    return chain[:ends], (channels, height, width)


def _described(
    name: str, conv: nn.Conv2d, before: tuple[int, ...], after: tuple[int, ...]
) -> Convolution:
    (inputs, *large), (outputs, *small) = before, after
    kernel, stride, padding = (
        (int(pair[0]), int(pair[1])) for pair in (conv.kernel_size, conv.stride, conv.padding)
    )
    height, width = large
    rows, columns = small
    return Convolution(
        name, inputs, outputs, (height, width), (rows, columns), kernel, stride, padding
    )


def effective_weight(module: nn.Module) -> Tensor:
    """The weight that a layer computes with, after spectral or weight normalisation, detached.

    In eval mode while it is read: in training mode spectral normalisation would take a step of its
    power iteration for every look.
    """
    training = module.training
    weight: Tensor = module.eval().weight.detach()
    module.train(training)
    return weight
