"""The generator that reuses the convolutions of a discriminator.

Recognising and imagining use the same structure: G walks D's layers backwards, and each of its
blocks ends in a convolution of D, with D's weights. What G knows of a class is the row of D's last
layer that recognises it. Both are buffers, refreshed by the hook `weight-sync` and saved with G, so
that a saved G samples alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ganforge import Discriminator, GanforgeError, Generator, ImageSpec, LabelSpec, Spec, as_vectors
from ganforge_weight_sharing.convolutions import Convolution, before_features, effective_weight

SLOPE = 0.2  # of LeakyReLU: D's convolutions read what has passed an activation such as theirs
DEVIATION = 0.02  # of initial weights, as in DCGAN (arXiv:1511.06434)


Layer = TypeVar("Layer", nn.Conv2d, nn.ConvTranspose2d, nn.Linear)


class MiddleBlock(nn.Module):
    """Grows a map by one of D's layers, by the layer before that too, and shrinks it as D does.

    Where D's sizes are 5 -> 3 -> 1, the block that reads 1 x 1 runs a transposed convolution
    1 -> 3, a second one 3 -> 5, and then two convolutions 5 -> 3 side by side, which join by sum: a
    trained one of 1 x 1 with D's stride, and D's own with its weights. With `cut = "activations"`
    no gradient passes D's convolution: the block learns through the 1 x 1 path alone (and through
    `residual`, where the first transposed convolution's output joins the sum). With
    `cut = "weights"` only its weights get none.

    deep, shared: D's layer that the block undoes first, and the one before it, which it reuses.
    """

    def __init__(
        self, inputs: int, deep: Convolution, shared: Convolution, options: Any, *, last: bool
    ) -> None:
        super().__init__()
        bias = options.norm == "none"
        self.geometry = shared
        self.cut = options.cut
        self.residual = options.residual
        self.first = growing(inputs, deep, bias=bias)
        self.after_first = normed(deep.inputs, options.norm)
        self.second = started(shared.transposed(deep.inputs, bias=bias))
        # The last block's second one makes an image, since D's first layer reads images.
        self.after_second = nn.Tanh() if last else normed(shared.inputs, options.norm)
        # It sums over as many pixels fewer than D's.
        louder = math.prod(shared.kernel) ** 0.5 if options.even else 1.0
        self.trained = started(
            nn.Conv2d(shared.inputs, shared.outputs, 1, shared.stride, bias=bias),
            DEVIATION * louder,
        )
        self.register_buffer("shared", torch.zeros(shared.outputs, shared.inputs, *shared.kernel))
        self.after_sum = normed(shared.outputs, options.norm)

    def forward(self, x: Tensor) -> Tensor:
        """[N, inputs, *deep.small] -> [N, shared.outputs, *shared.small]"""
        first = self.first(x)
        large = self.after_second(self.second(self.after_first(first)))
        total = self.trained(F.pad(large, self.geometry.centres())) + self.recognised(large)
        return self.after_sum(total + first if self.residual else total)

    def recognised(self, large: Tensor) -> Tensor:
        """What D's convolution makes of a map of its size."""
        read = large.detach() if self.cut == "activations" else large
        return F.conv2d(read, self.shared, None, self.geometry.stride, self.geometry.padding)


class WeightSharingGenerator(Generator):
    """The label's row in D and noise, as one vector -> MiddleBlocks -> the image, in tanh.

    n layers of D, the last of which reads the features whole, make n - 1 blocks and one plain
    transposed convolution. memory: the rows of the classes, [K, C * f * f], features [C, f, f].
    """

    layout = "channels_last"

    def __init__(
        self,
        options: Any,
        sources: Sequence[Spec],
        target: ImageSpec,
        discriminator: Discriminator,
    ) -> None:
        super().__init__(options, sources, target)
        _refuse_other_games(discriminator, target)
        convolutions, (channels, height, width) = before_features(discriminator)
        self.shared_from = [convolution.name for convolution in convolutions]
        self.label = next(i for i, spec in enumerate(sources) if isinstance(spec, LabelSpec))
        classes, row = sources[self.label].flat, channels * height * width
        code = row + sum(spec.flat for spec in sources) - classes
        self.register_buffer("memory", torch.zeros(classes, row))
        # The length that standard normal noise of that many numbers has.
        self.length = math.sqrt(code - row) if options.balanced and code > row else None
        size = (height, width)
        whole = Convolution("", channels, code, size, (1, 1), size, (1, 1), (0, 0))
        walked = [whole, *reversed(convolutions)]
        blocks = []
        for deep, shared in pairwise(walked):
            last = shared is walked[-1]
            blocks.append(MiddleBlock(code, deep, shared, options, last=last))
            code = shared.outputs
        self.blocks = nn.Sequential(*blocks)
        self.image = started(convolutions[0].transposed(code, bias=options.norm == "none"))
        self.take_weights(discriminator, _rows_of(discriminator))

    def forward(self, *sources: Tensor) -> Tensor:
        """One tensor per source, one of them class numbers [N] -> images [N, *target.shape]."""
        others = [
            (value, spec)
            for value, spec in zip(sources, self.sources, strict=True)
            if not isinstance(spec, LabelSpec)
        ]
        row = self.memory[sources[self.label]]  # [N, C * f * f]
        if self.length is not None:
            row = F.normalize(row) * self.length
        code = torch.cat([row, as_vectors(*zip(*others, strict=True))], 1) if others else row
        return self.image(self.blocks(code[:, :, None, None])).tanh()

    @torch.no_grad()
    def take_weights(self, discriminator: nn.Module, rows: Tensor | None) -> None:
        """Copy D's effective convolution weights, and the rows of its classes [K, C * f * f].

        Raises GanforgeError where the rows are those of other features or other classes.
        """
        for name, block in zip(self.shared_from, reversed(self.blocks), strict=True):
            block.shared.copy_(effective_weight(discriminator.get_submodule(name)))
        if rows is None:
            return
        if rows.shape != self.memory.shape:
            raise GanforgeError(
                f"weight-sharing remembers {self.memory.shape[0]} classes by rows of "
                f"{self.memory.shape[1]} numbers, one for each of the features, but the classifier "
                f"has rows {list(rows.shape)}"
            )
        self.memory.copy_(rows)


def growing(inputs: int, undone: Convolution, *, bias: bool) -> nn.Module:
    """The transposed convolution that leads back over one of D's layers.

    From 1 x 1 that is a dense layer, which takes a third of the time where it is written as one.
    """
    if undone.small != (1, 1):
        return started(undone.transposed(inputs, bias=bias))
    shape = (undone.inputs, *undone.large)
    return nn.Sequential(
        nn.Flatten(),
        started(nn.Linear(inputs, math.prod(shape), bias=bias)),
        nn.Unflatten(1, shape),
    )


def started(layer: Layer, deviation: float = DEVIATION) -> Layer:
    """The layer, its weights drawn from N(0, deviation)."""
    nn.init.normal_(layer.weight, 0.0, deviation)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def normed(channels: int, norm: str) -> nn.Sequential:
    """What follows a layer: BatchNorm, or nothing, and the activation."""
    if norm == "batch":
        return nn.Sequential(nn.BatchNorm2d(channels), nn.LeakyReLU(SLOPE, True))
    return nn.Sequential(nn.LeakyReLU(SLOPE))  # not in place: a residual reads its input too


def _rows_of(discriminator: Discriminator) -> Tensor | None:
    """The rows of a discriminator that classifies by itself."""
    rows = getattr(discriminator, "class_rows", None)
    return rows() if callable(rows) else None


def _refuse_other_games(discriminator: Discriminator, target: ImageSpec) -> None:
    if discriminator.given:
        raise GanforgeError(
            "weight-sharing reuses a discriminator that judges images alone; the one it names is "
            f"given {', '.join(map(str, discriminator.given))}"
        )
    if discriminator.judged != target:
        raise GanforgeError(
            f"weight-sharing makes {target}, but the discriminator whose layers it reuses sees "
            f"{discriminator.judged}; an augmentor that stacks channels cannot stand before it"
        )
