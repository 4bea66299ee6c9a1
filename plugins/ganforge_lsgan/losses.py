"""Least squares GAN (arXiv:1611.04076, equation 2).

The squares are not halved as in the paper: published code for it (CycleGAN's too) takes the plain
squared error, and the weights that papers state are meant for that. `weight = 0.5` in the recipe
gives the paper's factor.
"""

from torch import Tensor

from ganforge import Loss


class LeastSquares(Loss):
    """Pulls every score to its target from both sides, also those that score far beyond it."""

    @property
    def decision_threshold(self) -> float:  # type: ignore[override]
        """Half way between D's two targets."""
        return (self.options.real + self.options.fake) / 2

    def discriminator(self, real_scores: Tensor, fake_scores: Tensor) -> dict[str, Tensor]:
        """Scores [N, ...] -> (D(x) - b)^2 and (D(G(z)) - a)^2, each [N, ...]"""
        return {
            "real": (real_scores - self.options.real).square(),
            "fake": (fake_scores - self.options.fake).square(),
        }

    def generator(self, fake_scores: Tensor) -> Tensor:
        """(D(G(z)) - c)^2, [N, ...]"""
        return (fake_scores - self.options.wanted).square()
