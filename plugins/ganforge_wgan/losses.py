"""The Wasserstein objective (arXiv:1701.07875) and the gradient penalty for it (arXiv:1704.00028).

The objective needs a D whose slope is bounded: by the penalty below, or by spectral norm.
"""

from collections.abc import Mapping

from torch import Tensor

from ganforge import Loss


class Wasserstein(Loss):
    """D widens the gap between the mean scores of real data and of fakes; G closes it."""

    def discriminator(self, real_scores: Tensor, fake_scores: Tensor) -> dict[str, Tensor]:
        """Scores [N, ...] -> -D(x) and D(G(z)), and drift D(x)^2 where asked for, each [N, ...]

        The objective leaves open where 0 lies; the small drift term (arXiv:1710.10196, appendix
        A.1) keeps the scores near it.
        """
        terms = {"real": -real_scores, "fake": fake_scores}
        if self.options.drift:
            terms["drift"] = self.options.drift * real_scores.square()
        return terms

    def generator(self, fake_scores: Tensor) -> Tensor:
        """-D(G(z)), [N, ...]"""
        return -fake_scores

    def observe(self, side: str, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The gap, E D(x) - E D(G(z)): for the best D of slope 1 it is the Wasserstein distance
        (equation 2), for any other D of slope 1 less."""
        if side != "discriminator":
            return {}
        return {"wasserstein-estimate": -(values["real"] + values["fake"])}


class GradientPenalty(Loss):
    """Holds the slope of D at a target, on the lines between real data and fakes (equation 3).

    Its weight is the paper's lambda, 10. With BatchNorm in D a gradient belongs to the whole batch,
    not to its sample, and the penalty is not the paper's any more (section 4, "No critic batch
    normalization").
    """

    def discriminator(self, mixed_gradient: Tensor) -> Tensor:
        """Gradients [N, ...] -> (|gradient| - target)^2, [N]; one-sided: only above the target."""
        excess = mixed_gradient.flatten(1).norm(dim=1) - self.options.target
        if self.options.sides == "one":
            excess = excess.relu()
        return excess.square()
