"""The losses of StackGAN (arXiv:1612.03242, equations 1 to 4), on logits."""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import softplus

from ganforge import Loss


class Matching(Loss):
    """The matching-aware objective (arXiv:1605.05396, algorithm 1).

    D also sees real images with a wrong condition and must refuse them, so it learns to look
    whether image and condition belong together, not only whether the image is a real one.
    """

    decision_threshold = 0.0

    def __init__(self, options: Any) -> None:
        super().__init__(options)
        self._hinge = options.form == "hinge"

    def discriminator(
        self, real_scores: Tensor, fake_scores: Tensor, mismatched_scores: Tensor
    ) -> dict[str, Tensor]:
        """Scores [N, ...] -> real against real, and half each of fakes and of real data with a
        wrong condition against fake, [N, ...] each."""
        return {
            "real": self._refused(-real_scores),
            "fake": self._refused(fake_scores) / 2,
            "mismatched": self._refused(mismatched_scores) / 2,
        }

    def generator(self, fake_scores: Tensor) -> Tensor:
        """-log D(G(z)), or -score for the hinge loss, [N, ...]"""
        return -fake_scores if self._hinge else softplus(-fake_scores)

    def _refused(self, scores: Tensor) -> Tensor:
        """What a score costs D where it should be low."""
        return (1 + scores).relu() if self._hinge else softplus(scores)


class KlDivergence(Loss):
    """KL(N(mu, sigma^2) || N(0, I)), the regulariser of conditioning augmentation (equation 2).

    The mean over dimensions, as the authors' code has it, not their sum.
    """

    def generator(self, fake_posterior: tuple[Tensor, Tensor]) -> Tensor:
        """(mean, log-variance), [N, D] each -> [N], in nats a dimension"""
        mean, log_variance = (value.float() for value in fake_posterior)
        each = mean.square() + torch.exp(log_variance) - 1 - log_variance
        return each.flatten(1).mean(1) / 2
