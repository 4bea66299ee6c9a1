"""The discriminator whose layers a generator can walk back: a classifier with a class for fakes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm, weight_norm

from ganforge import Discriminator, DiscriminatorOutput, ImageSpec, LabelSpec, Spec
from ganforge_weight_sharing.convolutions import effective_weight
from ganforge_weight_sharing.sizes import channels, layers

SLOPE = 0.2  # of LeakyReLU
DEVIATION = 0.02  # of initial weights, as in DCGAN (arXiv:1511.06434)


class MirroredDiscriminator(Discriminator):
    """The image, a layer at a time -> 1 x 1: a logit for each of K classes and one for fakes.

    Sizes are those of sizes.py. As in DCGAN there is no BatchNorm on the first and the last layer.
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
        assert labels is not None, "the check refused this"
        self.independent_rows = options.norm != "batch"
        *body, last = layers(judged.height, judged.width, options.layers)
        bias = options.norm != "batch"
        inputs = judged.channels
        made: list[nn.Module] = []
        for layer in body:
            outputs = channels(layer.stage, options.width)
            convolution = nn.Conv2d(
                inputs, outputs, layer.kernel, layer.stride, layer.padding, bias=bias
            )
            norm = options.norm if made or options.norm != "batch" else "none"
            made += [*normed(convolution, norm), nn.LeakyReLU(SLOPE, True)]
            inputs = outputs
        self.body = nn.Sequential(*made)
        rows = nn.Conv2d(inputs, labels.classes + 1, last.kernel)
        self.rows = normed(rows, "none" if options.norm == "batch" else options.norm)[0]

    def forward(self, data: Tensor, given: tuple[Tensor, ...] | None = None) -> DiscriminatorOutput:
        """data [N, *judged.shape] -> class scores [N, K + 1], fake last; their logit of being real,
        log p(real) - log p(fake), as scores [N]; the map before the last layer as features."""
        features = self.body(data)  # [N, C, f, f]
        class_scores = self.rows(features).flatten(1)
        return DiscriminatorOutput.of_classes(class_scores, class_scores.shape[1] - 1, features)

    def class_rows(self) -> Tensor:
        """The last layer's weight for each real class, flattened, [K, C * f * f]."""
        return effective_weight(self.rows)[:-1].flatten(1)


def normed(convolution: nn.Conv2d, norm: str) -> list[nn.Module]:
    """The convolution, initialised N(0, 0.02), and what normalises it."""
    nn.init.normal_(convolution.weight, 0.0, DEVIATION)
    if convolution.bias is not None:
        nn.init.zeros_(convolution.bias)
    if norm == "spectral":
        return [spectral_norm(convolution)]
    if norm == "weight":
        return [weight_norm(convolution)]
    return [convolution, *([nn.BatchNorm2d(convolution.out_channels)] if norm == "batch" else [])]
