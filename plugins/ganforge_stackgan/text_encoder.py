"""A small encoder of texts, trained with the game."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ganforge import Generator, Spec, TextSpec, VectorSpec, as_one_hot

KERNEL = 5  # tokens that one convolution sees
SLOPE = 0.2  # of LeakyReLU


class TextEncoder(Generator):
    """Tokens to vectors, convolutions over neighbours beside them, the mean and the highest of
    each number over the text, and a dense layer to the target's vector.

    Vectors are brought to mean 0 and variance 1, so that what reads them sees one scale all along.
    """

    sources: tuple[TextSpec]

    def __init__(self, options: Any, sources: Sequence[Spec], target: VectorSpec) -> None:
        super().__init__(options, sources, target)
        width = options.width
        self.tokens = nn.Linear(len(self.sources[0].vocabulary), width, bias=False)
        nn.init.normal_(self.tokens.weight)
        self.layers = nn.ModuleList(
            nn.Conv1d(width, width, KERNEL, padding=KERNEL // 2) for _ in range(options.layers)
        )
        self.pooled = nn.Linear(2 * width, target.dim)

    def forward(self, text: Tensor) -> Tensor:
        """Token numbers int64 [N, length] or one-hot [N, length, words] -> vectors [N, dim]"""
        text = as_one_hot(text, self.sources[0])
        inside = (1 - text[:, :, :1]).transpose(1, 2)  # [N, 1, length], 0 where the text has ended
        x = self.tokens(text).transpose(1, 2) * inside  # [N, width, length]
        for layer in self.layers:
            x = x + F.leaky_relu(layer(x), SLOPE) * inside
        mean = x.sum(2) / inside.sum(2).clamp_min(1)
        highest = (x - 1e4 * (1 - inside)).amax(2)
        vector = self.pooled(torch.cat([mean, highest], 1))
        return F.layer_norm(vector.float(), vector.shape[1:])
