"""Feature matching (arXiv:1606.03498, section 3.1)."""

from torch import Tensor

from ganforge import Loss


class FeatureMatching(Loss):
    """G makes batches whose mean features are those of real batches; D is trained by other losses.

    The paper's squared length, |E f(x) - E f(G(z))|^2, divided by the number of features, so that
    its size does not grow with D's width.
    """

    mixes_batch = True

    def generator(self, real_features: Tensor, fake_features: Tensor) -> Tensor:
        """Features [N, ...] of D -> the mean squared difference of their batch means, []"""
        return (real_features.mean(0) - fake_features.mean(0)).square().mean()
