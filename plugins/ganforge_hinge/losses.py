"""The hinge loss of the geometric GAN (arXiv:1705.02894, equations 24 and 25)."""

from torch import Tensor

from ganforge import Loss


class Hinge(Loss):
    """D cares only for scores within the margin, as a support vector machine does; G for all."""

    decision_threshold = 0.0

    def discriminator(self, real_scores: Tensor, fake_scores: Tensor) -> dict[str, Tensor]:
        """Scores [N, ...] -> max(0, m - D(x)) and max(0, m + D(G(z))), each [N, ...]"""
        return {
            "real": (self.options.margin - real_scores).relu(),
            "fake": (self.options.margin + fake_scores).relu(),
        }

    def generator(self, fake_scores: Tensor) -> Tensor:
        """-D(G(z)), [N, ...]"""
        return -fake_scores
