"""Zero-centred gradient penalties (arXiv:1801.04406, equations 9 and 10).

The weight in the recipe is the paper's gamma. With `every = 16` they are played lazily
(arXiv:1912.04958, section 3.1): every 16th update with 16 times the weight. With BatchNorm in D a
gradient belongs to the whole batch, not to its sample, and the penalty is not the paper's any more.
"""

from torch import Tensor

from ganforge import Loss


class R1(Loss):
    """Keeps D flat at real data."""

    def discriminator(self, real_gradient: Tensor) -> Tensor:
        """Gradients at real data [N, ...] -> half their squared length, [N]"""
        return half_squared_length(real_gradient)


class R2(Loss):
    """Keeps D flat at fakes."""

    def discriminator(self, fake_gradient: Tensor) -> Tensor:
        """Gradients at fakes [N, ...] -> half their squared length, [N]"""
        return half_squared_length(fake_gradient)


def half_squared_length(gradient: Tensor) -> Tensor:
    """[N, ...] -> |gradient|^2 / 2, [N]"""
    return gradient.flatten(1).square().sum(1) / 2
