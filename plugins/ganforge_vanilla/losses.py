"""The objectives of the first GAN (arXiv:1406.2661), on logits: D(x) = sigmoid(score).

log D = -softplus(-score) and log(1 - D) = -softplus(score), which never over- or underflow.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn.functional import softplus

from ganforge import Loss


class CrossEntropy(Loss):
    """What both objectives share: D minimises -log D(x) - log(1 - D(G(z))) (equation 1)."""

    decision_threshold = 0.0

    def discriminator(self, real_scores: Tensor, fake_scores: Tensor) -> dict[str, Tensor]:
        """Scores [N, ...] -> the cross-entropy of real against 1 - smooth, of fake against 0."""
        return {
            "real": softplus(-real_scores) + self.options.smooth * real_scores,
            "fake": softplus(fake_scores),
        }

    def observe(self, side: str, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The Jensen-Shannon divergence of real and fake, estimated from D's loss, in nats.

        At D's optimum the loss is 2 log 2 - 2 JSD (theorem 1), so log 2 - L / 2 is the divergence
        for an optimal D and a lower bound for every other; below 0 it says nothing and is cut.
        A smoothed loss is no such bound: then nothing is logged.
        """
        if side != "discriminator" or self.options.smooth:
            return {}
        estimate = math.log(2) - (values["real"] + values["fake"]) / 2
        return {"js-estimate": estimate.clamp(min=0)}


class Minimax(CrossEntropy):
    """The value function itself (equation 1): G's gradient vanishes where D is sure."""

    def generator(self, fake_scores: Tensor) -> Tensor:
        """log(1 - D(G(z))), [N, ...]: never above 0."""
        return -softplus(fake_scores)


class NonSaturating(CrossEntropy):
    """The objective that section 3 gives G instead: same fixed point, strong gradients early."""

    def generator(self, fake_scores: Tensor) -> Tensor:
        """-log D(G(z)), [N, ...]"""
        return softplus(-fake_scores)


class MaxMagnitude(CrossEntropy):
    """G follows -log D(G(z)) where D has the upper hand, and log(1 - D(G(z))) where G has.

    Of both objectives' means over the batch, a = mean log(1 - D(G(z))) and b = -mean log D(G(z)):
    b where |a| < |b|, else a. For a single score |a| < |b| is D(G(z)) < 1/2, so the slope is never
    flatter than 1/2: neither objective is followed where it saturates.
    """

    mixes_batch = True

    def generator(self, fake_scores: Tensor) -> Tensor:
        """Scores [N, ...] -> the mean of one objective, []"""
        minimax = -softplus(fake_scores).mean()
        non_saturating = softplus(-fake_scores).mean()
        return torch.where(minimax.abs() < non_saturating.abs(), non_saturating, minimax)
