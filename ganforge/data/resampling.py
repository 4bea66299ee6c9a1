"""Images at another size: the one place where pixels are resampled."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from ganforge.interfaces.manifest import Resample

_GREY = (0.299, 0.587, 0.114)  # shares of red, green and blue in luma, ITU-R BT.601


def resampled(images: Tensor, size: tuple[int, int], how: Resample = "smooth") -> Tensor:
    """Images [N, C, H, W] at the size (height, width), of the same type: bytes in 0 .. 255 are
    rounded, floats are not. "smooth" averages over all pixels that one comes from, as
    arXiv:2104.11222 asks; "nearest" takes one of them, so that no new colour appears."""
    if how == "nearest":
        return F.interpolate(images, size, mode="nearest-exact")
    sized = F.interpolate(images.float(), size, mode="bilinear", antialias=True)
    return sized if images.is_floating_point() else sized.round_().clamp_(0, 255).byte()


def resized(images: Tensor, shape: tuple[int, ...], how: Resample = "smooth") -> Tensor:
    """Float images [N, C, H, W] in the shape (channels, height, width): at another size, and in
    grey where fewer channels are asked for."""
    channels, height, width = shape
    if channels == 1 and images.shape[1] == 3:
        weights = images.new_tensor(_GREY).view(1, 3, 1, 1)
        images = (images * weights).sum(1, keepdim=True)
    if images.shape[2:] == (height, width):
        return images
    return resampled(images, (height, width), how)


def averaged_down(images: Tensor, longest: int) -> Tensor:
    """Images [N, C, H, W] whose longest side is this many pixels, each the mean of an area."""
    share = longest / max(images.shape[2:])
    size = [max(1, round(side * share)) for side in images.shape[2:]]
    return F.interpolate(images, size, mode="area")
