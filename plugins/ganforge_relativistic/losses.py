"""The relativistic objective (arXiv:1807.00734), on logits: sigmoid(a - b) = "a is realer than b".

-log sigmoid(d) = softplus(-d), which never over- or underflows.
"""

from typing import Any

from torch import Tensor
from torch.nn.functional import softplus

from ganforge import Loss


class Relativistic(Loss):
    """D scores real above fake, G fake above real: only differences count, so no score is a
    boundary.

    against = "pair" compares each real item with the fake of its row (section 4.1; equation 2 of
    R3GAN, arXiv:2501.05416), "mean" with the mean score of the batch (section 4.2).
    """

    def __init__(self, options: Any) -> None:
        super().__init__(options)
        self.mixes_batch = options.against == "mean"

    def discriminator(self, real_scores: Tensor, fake_scores: Tensor) -> Tensor | dict[str, Tensor]:
        """Scores [N, ...] -> what D loses by real data that is not realer than fakes, [N, ...]"""
        return self._loss_of(real_scores, fake_scores, "real", "fake")

    def generator(self, real_scores: Tensor, fake_scores: Tensor) -> Tensor | dict[str, Tensor]:
        """Scores [N, ...] -> the same with the roles of real and fake exchanged, [N, ...]"""
        return self._loss_of(fake_scores, real_scores, "fake", "real")

    def _loss_of(
        self, higher: Tensor, lower: Tensor, high: str, low: str
    ) -> Tensor | dict[str, Tensor]:
        """The cross-entropy of "`higher` is realer than `lower`"."""
        if self.options.against == "pair":
            return softplus(lower - higher)
        return {high: softplus(lower.mean() - higher), low: softplus(lower - higher.mean())}
