"""pix2pix's loss beside the adversarial one (arXiv:1611.07004, equation 3)."""

from torch import Tensor

from ganforge import Loss


class PairedDistance(Loss):
    """|y - G(x)| for the y that belongs to x, once for each generator whose data is paired."""

    def generator(self, made: Tensor, truth: Tensor) -> Tensor:
        """Data [N, ...] -> the distance of each value, [N, ...]"""
        difference = made - truth
        return difference.abs() if self.options.norm == "l1" else difference.square()
