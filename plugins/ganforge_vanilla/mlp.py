"""The dense networks of the first GAN (arXiv:1406.2661, section 5), for data of any size.

Widths, BatchNorm, slopes and dropout are those that later practice settled on for MNIST; the
paper's maxout discriminator is not used any more.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm, weight_norm

from ganforge import (
    Discriminator,
    DiscriminatorOutput,
    Dropout,
    Generator,
    ImageSpec,
    Spec,
    as_vectors,
)

SLOPE = 0.01  # of LeakyReLU


class MlpGenerator(Generator):
    """All sources as one vector -> hidden layers -> data; images end in tanh, vectors as they are.

    With norm = "batch", training needs a batch of 2 or more.
    """

    def __init__(self, options: Any, sources: Sequence[Spec], target: Spec) -> None:
        super().__init__(options, sources, target)
        normed = options.norm == "batch"
        layers: list[nn.Module] = []
        for width, hidden in pairwise([sum(spec.flat for spec in sources), *options.hidden]):
            layers.append(linear(width, hidden, options.norm, bias=not normed))  # it has its own
            layers += [nn.BatchNorm1d(hidden)] if normed else []
            layers.append(nn.LeakyReLU(SLOPE))
        layers.append(linear(options.hidden[-1], target.flat, options.norm))
        layers += [nn.Tanh()] if isinstance(target, ImageSpec) else []
        self.layers = nn.Sequential(*layers)

    def forward(self, *sources: Tensor) -> Tensor:
        """One tensor per source -> data [N, *target.shape], images in [-1, 1]."""
        return self.layers(self.join(sources)).unflatten(1, self.target.shape)


class MlpDiscriminator(Discriminator):
    """Data and conditions as one vector -> hidden layers with dropout -> one score.

    Its features are the last hidden layer, after its dropout, [N, hidden[-1]].
    """

    def __init__(self, options: Any, judged: Spec, given: Sequence[Spec] = ()) -> None:
        super().__init__(options, judged, given)
        self.independent_rows = True
        layers: list[nn.Module] = []
        for width, hidden in pairwise(
            [sum(spec.flat for spec in (judged, *given)), *options.hidden]
        ):
            layers.append(linear(width, hidden, options.norm))
            layers += [nn.LeakyReLU(SLOPE), Dropout(options.dropout)]
        self.body = nn.Sequential(*layers)
        self.score = linear(options.hidden[-1], 1, options.norm)

    def forward(self, data: Tensor, given: tuple[Tensor, ...] | None = None) -> DiscriminatorOutput:
        """data [N, *judged.shape], conditions -> scores [N] and features."""
        vector = as_vectors((data, *(given or ())), (self.judged, *self.given))
        features = self.body(vector)  # [N, hidden[-1]]
        return DiscriminatorOutput(scores=self.score(features).flatten(), features=features)


def linear(inputs: int, outputs: int, norm: str, bias: bool = True) -> nn.Module:
    """A dense layer, its weight normalised where `norm` is "weight" (arXiv:1602.07868) or
    "spectral" (arXiv:1802.05957)."""
    layer = nn.Linear(inputs, outputs, bias=bias)
    if norm == "weight":
        return weight_norm(layer)
    return spectral_norm(layer) if norm == "spectral" else layer
