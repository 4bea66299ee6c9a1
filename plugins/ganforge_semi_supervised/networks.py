"""The dense discriminator for digits of Salimans et al. (arXiv:1606.03498, appendix and code)."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from ganforge import Discriminator, DiscriminatorOutput, LabelSpec, Spec, as_vectors


class NoisyMlp(Discriminator):
    """Dense layers with ReLU, Gaussian noise before each -> class scores, features and a score.

    Features are the last hidden layer before its noise, [N, hidden[-1]]. The noise is there in
    training only.
    """

    independent_rows = True

    def __init__(
        self,
        options: Any,
        judged: Spec,
        given: Sequence[Spec] = (),
        labels: LabelSpec | None = None,
    ) -> None:
        super().__init__(options, judged, given)
        self.classes = labels.classes if labels is not None and options.head != "score" else 0
        outputs = self.classes + 1 if options.head != "classes" else self.classes
        widths = [sum(spec.flat for spec in (judged, *given)), *options.hidden]
        layers: list[nn.Module] = []
        noise = options.input_noise
        for width, hidden in pairwise(widths):
            layers += [GaussianNoise(noise), dense(width, hidden, options.norm), nn.ReLU()]
            noise = options.noise
        self.body = nn.Sequential(*layers)
        self.head = nn.Sequential(GaussianNoise(noise), dense(widths[-1], outputs, options.norm))

    def forward(self, data: Tensor, given: tuple[Tensor, ...] | None = None) -> DiscriminatorOutput:
        """data [N, *judged.shape], conditions -> scores [N], features, perhaps class scores."""
        vector = as_vectors((data, *(given or ())), (self.judged, *self.given))
        features = self.body(vector)  # [N, hidden[-1]]
        scores = self.head(features)  # [N, outputs]
        if self.classes:
            return DiscriminatorOutput.of_classes(scores, self.classes, features)
        return DiscriminatorOutput(scores=scores.flatten(), features=features)


class GaussianNoise(nn.Module):
    """Adds N(0, deviation) to each number while training."""

    def __init__(self, deviation: float) -> None:
        super().__init__()
        self.deviation = deviation

    def forward(self, data: Tensor) -> Tensor:
        """Any shape -> the same."""
        if not self.training or self.deviation == 0:
            return data
        return data + self.deviation * torch.randn_like(data)

    def extra_repr(self) -> str:
        return f"deviation={self.deviation}"


def dense(inputs: int, outputs: int, norm: str) -> nn.Module:
    """A dense layer, its weight normalised where `norm` is "weight" (arXiv:1602.07868)."""
    layer = nn.Linear(inputs, outputs)
    return weight_norm(layer) if norm == "weight" else layer
