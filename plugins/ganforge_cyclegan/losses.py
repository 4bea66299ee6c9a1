"""CycleGAN's losses beside the adversarial one (arXiv:1703.10593)."""

from torch import Tensor

from ganforge import Loss


class CycleConsistency(Loss):
    """|F(G(x)) - x| (equation 2), once for each generator that has an inverse."""

    def generator(self, source: Tensor, cycled: Tensor) -> Tensor:
        """Images [N, C, H, W] -> the distance of each value, [N, C, H, W]"""
        return distance(cycled, source, self.options.norm)


class Identity(Loss):
    """|G(y) - y| for real y of G's target domain (section 5.2): keeps colours."""

    def generator(self, real: Tensor, same: Tensor) -> Tensor:
        """Images [N, C, H, W] -> the distance of each value, [N, C, H, W]"""
        return distance(same, real, self.options.norm)


def distance(a: Tensor, b: Tensor, norm: str) -> Tensor:
    """Absolute ("l1") or squared ("l2") difference of each value."""
    return (a - b).abs() if norm == "l1" else (a - b).square()
